#!/usr/bin/env bash
# Sets up what the kit needs, once: a virtual environment in .venv beside this file, and Jittor compiled in it.
#   bash setup_env.sh          for run_train.sh and run_infer.sh, which call it themselves
#   bash setup_env.sh --dev    also what the tests need
# If everything is ready, it returns at once and says nothing. PYTHON=/path/to/python chooses the interpreter.
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi # sh setup_env.sh
set -euo pipefail

case ${PYTHON:-} in
  /*) ;;
  */*) PYTHON=$PWD/$PYTHON ;;
esac
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
unset CDPATH
cd "$here" # a random.py in the caller's folder would be taken for Python's own
venv=$here/.venv
log=$venv/setup.log
extras=
step=  # process group of the step that is running
told=0 # half minutes of it already shown where stderr is no terminal

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# What the environment was made from. A change of the first line makes it anew; a change of the second installs again.
made_from() { printf '%s %s\n' "$here" "$("${PYTHON:-$venv/bin/python}" -V 2>&1)"; }
installed_from() { cat "$here/setup.py" "$here/pyproject.toml" | cksum; }

# What decides whether Jittor compiles anew, apart from the environment.
compiled_from() {
  printf '%s|%s|%s|%s|%s\n' "$(uname -snrm)" "${HOME:-}" "${JITTOR_HOME:-}" \
    "$("${cc_path:-g++}" -dumpfullversion -dumpversion 2>/dev/null || true)" \
    "$(cksum <"$here/jiidm/system/precompiled.py" || true)"
}

is_installed() { [[ -f $venv/installed$extras && $(cat "$venv/installed$extras") == "$(made_from; installed_from)" ]]; }

is_compiled() {
  [[ -f $venv/compiled && $(head -n 1 "$venv/compiled") == "$(compiled_from)" ]] &&
    [[ -d $(tail -n 1 "$venv/compiled") ]] # the JIT cache itself may have been deleted
}

is_ready() { is_installed && is_compiled; }

supported() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1; }

# Prints the interpreter to use: PYTHON, else the first supported one.
find_python() {
  local candidate candidates=("${PYTHON:-python3}")
  [[ -n ${PYTHON:-} ]] || candidates+=(python3.12 python3.11 python3.10)
  for candidate in "${candidates[@]}"; do
    if supported "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  candidate=${candidates[0]}
  command -v "$candidate" >/dev/null ||
    die "$candidate not found; mend it with: apt-get install -y python3 python3-venv python3-dev"
  die "$candidate is $("$candidate" -V 2>&1), which Jittor and numpy 1 don't support;" \
    "use Python 3.10 to 3.12: PYTHON=/path/to/python3.12 bash $0"
}

# show_progress WHAT SECONDS: one line that rewrites itself on a terminal, a line every half minute elsewhere.
show_progress() {
  local line count
  count=$(tail -c 400 "$log" | tr '\r' '\n' | grep -o '([0-9]*/[0-9]*)' | tail -n 1 || true)
  line=$(printf '  %s  %d:%02d %s' "$1" $(($2 / 60)) $(($2 % 60)) "$count")
  if [[ -t 2 ]]; then
    printf '\r\033[K%s' "$line" >&2
  elif (($2 / 30 > told)); then
    told=$(($2 / 30))
    say "$line"
  fi
}

# run_step WHAT COMMAND...: runs it with its output in the log; its exit status is the command's.
run_step() {
  local what=$1 start=$SECONDS shown=0 status=0
  shift
  told=0
  set -m # a process group of its own, so that all of it can be stopped
  "$@" </dev/null >>"$log" 2>&1 &
  step=$!
  set +m
  while kill -0 "$step" 2>/dev/null; do
    if ((SECONDS - start > shown)); then
      shown=$((SECONDS - start))
      show_progress "$what" "$shown"
    fi
    sleep 0.2
  done
  wait "$step" || status=$?
  step=
  [[ -t 2 ]] && printf '\r\033[K' >&2
  ((status != 0)) || say "  $what: done in $((SECONDS - start)) s"
  return "$status"
}

stop_step() { [[ -z $step ]] || kill -TERM -- "-$step" 2>/dev/null || true; }

# Two set-ups at once would write over each other: the second waits for the first.
take_lock() {
  command -v flock >/dev/null || return 0
  exec 9>"$venv.lock" || die "$here can't be written, and the environment goes there"
  if ! flock -n 9; then
    say "Another set-up of $here is running; waiting for it."
    flock 9
  fi
}

make_environment() {
  local python clear=()
  # made anew through a link, it would take away what another project uses
  [[ ! -L $venv ]] || die "$venv is a link; remove it, and the set-up makes one of its own"
  python=$(find_python)
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    die "$python has no venv module; mend it with: apt-get install -y $(basename "$python")-venv"
  PYTHONPATH=$here "$python" -c 'import sys; from jiidm.system import doctor; sys.exit(doctor.preflight())' || exit 1
  # Don't trust an environment that is half made, of another Python, or moved here.
  if [[ -e $venv/incomplete || $("$venv/bin/python" -V 2>&1) != "$("$python" -V 2>&1)" ]] ||
    [[ -f $venv/installed && $(head -n 1 "$venv/installed") != "$(made_from)" ]]; then
    clear=(--clear)
  fi
  say "Setting up $venv with $("$python" -V 2>&1): packages (about a minute), then Jittor (1-2 minutes on 2 cores)."
  say "This happens once."
  rm -f "$venv/installed" "$venv/installed-dev" "$venv/compiled"
  if ! mkdir -p "$venv" || ! touch "$venv/incomplete"; then
    die "$here can't be written, and the environment goes there"
  fi
  "$python" -m venv ${clear[@]+"${clear[@]}"} "$venv" || die "$python -m venv $venv failed"
  touch "$venv/incomplete"
}

install_packages() {
  local what=.
  [[ -z $extras ]] || what='.[dev]'
  : >"$log"
  run_step "installing packages" pip_install "$what" || explain_pip
  { made_from; installed_from; } >"$venv/installed"
  [[ -z $extras ]] || cp "$venv/installed" "$venv/installed$extras"
  rm -f "$venv/incomplete"
}

pip_install() {
  export PIP_RETRIES=${PIP_RETRIES:-2} PIP_DISABLE_PIP_VERSION_CHECK=1
  "$venv/bin/python" -m pip install 'pip>=22' && "$venv/bin/python" -m pip install -e "$1"
}

explain_pip() {
  if grep -qE 'NewConnectionError|ConnectTimeout|ReadTimeout|NameResolution|ProxyError|SSLError' "$log"; then
    die "no package index could be reached; connect, or name a mirror: PIP_INDEX_URL=https://... bash $0 (log: $log)"
  fi
  die "pip could not install the packages: $(grep -i error "$log" | tail -n 1) (log: $log)"
}

compile_jittor() {
  local cache
  say "Compiling Jittor: 1-2 minutes on 2 cores, once (log: $log)."
  run_step "compiling Jittor" warm_up || die "Jittor did not compile: $(tail -n 1 "$log") (log: $log);" \
    "$venv/bin/python -m jiidm doctor says more, and nvcc_path= bash $0 leaves CUDA out"
  cache=$(tail -n 1 "$log")
  printf '%s\n' "$(compiled_from)" "$cache" >"$venv/compiled"
}

warm_up() {
  log_silent=0 PYTHONUNBUFFERED=1 "$venv/bin/python" -c 'from jiidm.system import runtime; print("\n" + runtime.warm_up())'
}

case "$*" in
  '') ;;
  --dev) extras=-dev ;;
  *) die "unknown argument: $*; usage: bash setup_env.sh [--dev]" ;;
esac
if is_ready; then exit 0; fi
take_lock
if is_ready; then exit 0; fi
trap stop_step EXIT
trap 'say; say "Stopped. The next run goes on from here."; exit 130' INT
trap 'exit 143' TERM HUP
if ! is_installed; then
  make_environment
  install_packages
fi
is_compiled || compile_jittor

"""The shell scripts on a copy of the project, with an interpreter that only notes what it was asked to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = ("run_train.sh", "run_infer.sh", "run_paint.sh", "setup_env.sh", "tests/parity/setup.sh", ".ci/run")

# A stand-in for Python: each call goes into $CALLS, `-m venv` makes a folder with a copy of itself, `-m pip`
# takes $PIP_SECONDS, fails with $PIP_FAILS and else makes the command `jiidm`, which is another copy and shows its
# folder and arguments; compiling names a cache folder.
INTERPRETER = """#!/usr/bin/env bash
printf '%s\\n' "${*//$'\\n'/ }" >>"$CALLS"
if [[ $0 == */bin/jiidm ]]; then printf '%s\\n' "$PWD" "$@"; exit; fi
case "$*" in
  -V) echo 'Python 3.11.7' ;;
  *'-m venv'*) mkdir -p "${!#}/bin" && cp "$0" "${!#}/bin/python" ;;
  *'pip install -e'*)
    sleep "${PIP_SECONDS:-0}"
    [[ -z ${PIP_FAILS:-} ]] || { echo "$PIP_FAILS"; exit 1; }
    cp "$0" "${0%/*}/jiidm" ;;
  *warm_up*) mkdir -p "$CACHE" && echo "$CACHE" ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    """A copy of the scripts and what they read."""
    folder = tmp_path / "my project"
    shutil.copytree(PROJECT / "jiidm" / "system", folder / "jiidm" / "system")
    for name in ("run_train.sh", "run_infer.sh", "run_paint.sh", "setup_env.sh", "setup.py", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder / name)
    (folder / "ldm_jittor").mkdir()
    for package in ("jiidm", "ldm_jittor"):
        for name in ("__init__.py", "errors.py"):
            shutil.copy(PROJECT / package / name, folder / package / name)
    interpreter = tmp_path / "python"
    interpreter.write_text(INTERPRETER)
    interpreter.chmod(0o755)
    return folder


def environment(project: Path, **more: str) -> dict[str, str]:
    folder = project.parent
    own = {"PYTHON": str(folder / "python"), "CALLS": str(folder / "calls"), "CACHE": str(folder / "cache")}
    return {**os.environ, **own, **more}


def bash(script: Path, *arguments: str, env: dict[str, str], cwd: Path | None = None):
    command = [shutil.which("bash"), str(script), *arguments]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def calls(project: Path) -> list[str]:
    """What the interpreter was asked since the last time, without questions about its version."""
    path = project.parent / "calls"
    lines = [line for line in path.read_text().splitlines() if line != "-V"]
    path.unlink()
    return lines


def installs(lines: list[str]) -> int:
    return sum("pip install -e" in line for line in lines)


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_can_parse_the_script(name):
    subprocess.run(["bash", "-n", PROJECT / name], check=True)


@pytest.mark.parametrize(
    ("script", "command"), [("run_train.sh", "train"), ("run_infer.sh", "infer"), ("run_paint.sh", "paint")]
)
def test_first_run_sets_up_and_hands_over_from_the_callers_folder(project, tmp_path, script, command):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = bash(project / script, "a b", "--help", env=environment(project), cwd=elsewhere)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [str(elsewhere), command, "a b", "--help"]
    assert "1-2 minutes on 2 cores" in run.stderr
    lines = calls(project)
    assert installs(lines) == 1 and sum("warm_up" in line for line in lines) == 1


@pytest.mark.parametrize("script", ["run_train.sh", "run_infer.sh", "run_paint.sh", "setup_env.sh"])
@pytest.mark.parametrize("shell", ["sh", "bash --posix"])
def test_any_shell_may_run_the_script(project, script, shell):
    bash(project / "setup_env.sh", env=environment(project))
    command = [*shell.split(), script, *(["--help"] if script.startswith("run") else [])]
    done = subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_cdpath_leads_nowhere_else(project):
    (project.parent / "other" / project.name).mkdir(parents=True)
    env = environment(project, CDPATH=f"{project.parent / 'other'}:.:..")
    run = bash(Path(project.name) / "run_infer.sh", "--help", env=env, cwd=project.parent)
    assert run.stdout.splitlines() == [str(project.parent), "infer", "--help"], run.stderr


def test_links_lead_to_the_project(project):
    elsewhere = project.parent / "bin"
    elsewhere.mkdir()
    (elsewhere / "infer").symlink_to("infer.sh")
    (elsewhere / "infer.sh").symlink_to(Path("..") / project.name / "run_infer.sh")
    (elsewhere / "set up").symlink_to(project / "setup_env.sh")
    assert bash(elsewhere / "set up", env=environment(project)).returncode == 0
    run = bash(Path("infer"), "x", env=environment(project), cwd=elsewhere)
    assert run.stdout.splitlines() == [str(elsewhere), "infer", "x"] and run.stderr == ""


def test_a_relative_interpreter_is_that_of_the_callers_folder(project):
    env = environment(project, PYTHON="./python")
    assert bash(project / "setup_env.sh", env=env, cwd=project.parent).returncode == 0


def test_modules_of_the_callers_folder_are_not_imported(project, tmp_path):
    for name in ("random", "subprocess", "dataclasses", "venv"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working folder')\n")
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("cat", "cksum", "uname", "head", "tail", "dirname", "basename", "bash", "flock", "sh", "readlink"):
        if shutil.which(name):
            (bare / name).symlink_to(shutil.which(name))
    env = {"PATH": str(bare), "HOME": str(tmp_path), "PYTHON": sys.executable}
    run = bash(project / "run_infer.sh", env=env, cwd=tmp_path)
    assert "error: compiler: g++ not found" in run.stderr and "working folder" not in run.stderr + run.stdout


def test_second_run_only_hands_over(project):
    bash(project / "run_infer.sh", env=environment(project))
    calls(project)
    run = bash(project / "run_infer.sh", "--help", env=environment(project))
    assert calls(project) == ["infer --help"]
    assert run.stderr == ""


def test_changed_setup_py_installs_again_and_keeps_the_environment(project):
    bash(project / "setup_env.sh", env=environment(project))
    calls(project)
    with open(project / "setup.py", "a") as file:
        file.write("# changed\n")
    bash(project / "setup_env.sh", env=environment(project))
    lines = calls(project)
    assert installs(lines) == 1
    assert not any("--clear" in line for line in lines)


def test_deleted_jit_cache_is_compiled_again(project):
    bash(project / "setup_env.sh", env=environment(project))
    calls(project)
    shutil.rmtree(project.parent / "cache")
    bash(project / "setup_env.sh", env=environment(project))
    lines = calls(project)
    assert installs(lines) == 0 and sum("warm_up" in line for line in lines) == 1


def test_moved_project_is_set_up_anew(project):
    bash(project / "setup_env.sh", env=environment(project))
    calls(project)
    moved = project.rename(project.parent / "moved")
    assert bash(moved / "setup_env.sh", env=environment(moved)).returncode == 0
    assert any("-m venv --clear" in line for line in calls(moved))


def test_an_environment_behind_a_link_is_left_alone(project, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    (project / ".venv").symlink_to(other)
    run = bash(project / "setup_env.sh", env=environment(project))
    assert run.returncode == 1 and f"error: {project / '.venv'} is a link" in run.stderr and (other / "kept").exists()


def test_dev_needs_an_installation_of_its_own_and_serves_the_plain_one(project):
    bash(project / "setup_env.sh", env=environment(project))
    calls(project)
    bash(project / "setup_env.sh", "--dev", env=environment(project))
    assert any("pip install -e .[dev]" in line for line in calls(project))
    bash(project / "setup_env.sh", "--dev", env=environment(project))
    bash(project / "setup_env.sh", env=environment(project))
    assert not (project.parent / "calls").exists() or calls(project) == []


def test_failed_installation_is_told_and_redone(project):
    run = bash(project / "run_infer.sh", env=environment(project, PIP_FAILS="ERROR: no such thing"))
    assert run.returncode == 1
    assert "error: pip could not install the packages: ERROR: no such thing" in run.stderr
    assert "infer" not in calls(project)
    assert bash(project / "run_infer.sh", env=environment(project)).returncode == 0
    lines = calls(project)
    assert installs(lines) == 1 and any("-m venv --clear" in line for line in lines)


def test_unreachable_index_is_told(project):
    failure = "NewConnectionError: Failed to establish a new connection"
    run = bash(project / "run_infer.sh", env=environment(project, PIP_FAILS=failure))
    assert run.returncode == 1 and "no package index could be reached" in run.stderr.splitlines()[-1]


def test_interrupted_installation_stops_and_is_redone(project):
    command = ["bash", str(project / "setup_env.sh")]
    setup = subprocess.Popen(command, env=environment(project, PIP_SECONDS="100"), stderr=subprocess.PIPE)
    asked, end = project.parent / "calls", time.monotonic() + 20
    while not (asked.exists() and "pip install -e" in asked.read_text()):
        assert time.monotonic() < end, "the installation never started"
        time.sleep(0.1)
    setup.terminate()
    assert setup.wait(timeout=10) == 143
    setup.stderr.close()
    calls(project)
    start = time.monotonic()
    assert bash(project / "setup_env.sh", env=environment(project)).returncode == 0
    assert installs(calls(project)) == 1
    assert time.monotonic() - start < 60, "the stopped installation still held the lock"


@pytest.mark.skipif(not shutil.which("flock"), reason="no flock")
def test_two_at_once_set_up_once(project):
    command = ["bash", str(project / "run_infer.sh")]
    env = environment(project, PIP_SECONDS="1")
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [run.communicate(timeout=60)[1].decode() for run in both]
    assert [run.returncode for run in both] == [0, 0]
    assert installs(calls(project)) == 1
    assert sum("waiting for it" in error for error in errors) == 1


def test_missing_interpreter_is_told(project, tmp_path):
    run = bash(project / "run_infer.sh", env=environment(project, PYTHON=str(tmp_path / "none")))
    assert run.returncode == 1
    assert run.stderr.startswith("error:") and "none not found" in run.stderr
    assert not (project / ".venv").exists()


def test_unsupported_interpreter_is_told(project, tmp_path):
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.8.18" || exit 1\n')
    old.chmod(0o755)
    run = bash(project / "run_infer.sh", env=environment(project, PYTHON=str(old)))
    assert run.returncode == 1
    assert "is Python 3.8.18, which Jittor and numpy 1 don't support" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_missing_compiler_is_told(project, tmp_path):
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in (
        "cat",
        "cksum",
        "uname",
        "head",
        "tail",
        "dirname",
        "readlink",
        "basename",
        "bash",
        "flock",
        "sh",
        "sed",
    ):
        if shutil.which(name):
            (bare / name).symlink_to(shutil.which(name))
    env = {"PATH": str(bare), "HOME": str(tmp_path), "PYTHON": sys.executable}
    run = bash(project / "run_infer.sh", env=env)
    assert run.returncode == 1
    assert "error: compiler: g++ not found" in run.stderr and "apt-get install -y g++" in run.stderr
    assert not (project / ".venv").exists()


def test_unknown_argument_is_refused(project):
    run = bash(project / "setup_env.sh", "--devel", env=environment(project))
    assert run.returncode == 1 and "--devel" in run.stderr

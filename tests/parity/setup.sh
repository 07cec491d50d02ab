#!/usr/bin/env bash
# Makes .venv-parity, once: PyTorch, diffusers and transformers, which the parity tests compare with. They run there
# as programs of their own, because PyTorch and Jittor's oneDNN clash in one process. Needs .venv (bash setup_env.sh).
set -euo pipefail
unset CDPATH

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
venv=$top/.venv-parity
python=$top/.venv/bin/python
packages=('torch==2.13.0' 'diffusers>=0.27,<1' 'transformers>=5,<6' 'safetensors>=0.4' 'numpy>=1.22,<2' 'scipy>=1.9'
  'opencv-python-headless>=4.7,<4.12') # for colour transfer in benchmarks/pipeline.py
# apart, in the folder fid: a torchvision built for CUDA breaks transformers beside a PyTorch that is not
fid_packages=('torchvision==0.28.0' 'pytorch-fid==0.3.0' 'torch-fidelity==0.4.0' 'clean-fid==0.1.35')

if [[ ! -x $python ]]; then
  printf 'error: %s is missing; make it with: bash setup_env.sh --dev\n' "$python" >&2
  exit 1
fi
made_from=$(printf '%s\n' "$top" "$("$python" -V)" "${packages[@]}" "${fid_packages[@]}")
if [[ -f $venv/installed && $(cat "$venv/installed") == "$made_from" ]]; then exit 0; fi
printf 'Setting up %s: PyTorch, diffusers and transformers, about two minutes, once.\n' "$venv" >&2
"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$venv/fid" "${fid_packages[@]}"
printf '%s\n' "$made_from" >"$venv/installed"

#!/usr/bin/env bash
# Trains the model (Algorithm 1). On first use it sets up .venv beside this file (about 3 minutes, once).
#   bash run_train.sh                     the embedded demo on generated landscapes
#   bash run_train.sh DATA [--config ...] your data: DATA/imgs/*.jpg and DATA/labels/*.png
#   bash run_train.sh DATA --ranks 4      in four processes, one a GPU (needs Open MPI)
# All arguments go to `python -m jiidm train`; --help lists them.
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi # sh run_train.sh
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
bash "$here/setup_env.sh"
export PYTHONSAFEPATH=1 # Python imports nothing from the working folder; jiidm itself comes without it
exec "$here/.venv/bin/jiidm" train "$@"

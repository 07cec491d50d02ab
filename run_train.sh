#!/usr/bin/env bash
# Trains the model (Algorithm 1). On first use it sets up .venv beside this file (about 5 minutes, once).
#   bash run_train.sh                     the embedded demo on generated landscapes
#   bash run_train.sh DATA [--config ...] your data: DATA/imgs/*.jpg and DATA/labels/*.png
# All arguments go to `python -m jiidm train`; --help lists them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
bash "$here/setup_env.sh"
exec "$here/.venv/bin/python" -m jiidm train "$@"

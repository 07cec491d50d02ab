#!/usr/bin/env bash
# Makes images from masks (Algorithm 2). On first use it sets up .venv beside this file (about 5 minutes, once).
#   bash run_infer.sh                      generated masks and references, the model that ships with the kit
#   bash run_infer.sh MASKS REFS.json OUT  your masks (folder of *.png) and the references JSON
# All arguments go to `python -m jiidm infer`; --help lists them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
bash "$here/setup_env.sh"
exec "$here/.venv/bin/python" -m jiidm infer "$@"

#!/usr/bin/env bash
# Makes images from masks (Algorithm 2). On first use it sets up .venv beside this file (about 3 minutes, once).
#   bash run_infer.sh                      generated masks and references, the model that ships with the kit
#   bash run_infer.sh MASKS REFS.json OUT  your masks (folder of *.png) and the references JSON
# All arguments go to `python -m jiidm infer`; --help lists them.
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi # sh run_infer.sh
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
bash "$here/setup_env.sh"
export PYTHONSAFEPATH=1 # Python imports nothing from the working folder; jiidm itself comes without it
exec "$here/.venv/bin/jiidm" infer "$@"

#!/usr/bin/env bash
# Opens the painter: a page in the browser where a mask becomes a landscape. On first use it sets up .venv beside this
# file (about 3 minutes, once).
#   bash run_paint.sh                               the run that finished last, else the model that ships with the kit
#   bash run_paint.sh --masks MASKS --data DATA     start from your masks and the photos of your data
# All arguments go to `python -m jiidm paint`; --help lists them.
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi # sh run_paint.sh
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
bash "$here/setup_env.sh"
export PYTHONSAFEPATH=1 # Python imports nothing from the working folder; jiidm itself comes without it
exec "$here/.venv/bin/jiidm" paint "$@"

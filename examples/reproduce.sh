#!/usr/bin/env bash
# The whole way from photos to the zip at reduced settings, on generated landscapes: bash examples/reproduce.sh [FOLDER]
# docs/reproduce.md has the same way at full size; docs/reproduce.log is what this printed.
set -euo pipefail
unset CDPATH

work=${1:-reproduce}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "$work/masks"
say() { printf '\n$ %s\n' "$*"; "$@"; }
kit() { say "${PYTHON:-.venv/bin/python}" -m jiidm "$@"; }

kit doctor --selftest --device cpu
kit data synth "$work/train" --count 24 --size 64x48 --seed 1
kit data check "$work/train" --size 64x48
kit data split "$work/train" "$work/split" --validation-fraction 0.3
while read -r stem; do cp "$work/train/labels/$stem.png" "$work/masks/"; done <"$work/split/val.txt"

kit train "$work/train" --config smoke --run "$work/run" --device cpu
kit leaderboard "$work/masks" "$work/split/val_references.json" "$work/out" --data "$work/train" --real "$work/train" \
  --checkpoint "$work/run/model.safetensors" --device cpu
kit submit "$work/out" "$work/masks" --size 64x48

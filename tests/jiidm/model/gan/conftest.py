"""Some tests here compare with recorded results of the published code. They are no part of the project: where they do
not lie beside the checkout, those tests are not collected. (tests/parity compares with PyTorch everywhere.)"""

from __future__ import annotations

from pathlib import Path

RECORDED = Path(__file__).resolve().parents[5] / "shared" / "data"

collect_ignore = []
if not RECORDED.is_dir():
    collect_ignore = ["test_recorded_names.py", "test_recorded_outputs.py"]

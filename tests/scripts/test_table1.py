"""`make table1` from nothing to the table, in miniature."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TINY_GAN = """base: table1_{name}
data: {{size: [64, 64], validation_fraction: 0.25}}
gan_training: {{max_steps: 2, decay_steps: 1, checkpoint_every: 2, discriminator_channels: 2}}
"""
TINY = {
    **{name: TINY_GAN.format(name=name) for name in ("gaugan", "clade", "sean", "scgan")},
    "iidm": """base: table1_iidm
data: {size: [64, 64], validation_fraction: 0.25}
diffusion_training: {max_steps: 2, batch_size: 2, validate_every: 2, checkpoint_every: 2}
autoencoder_training: {crop_size: [64, 64]}
inference: {rounds: [{start_timestep: 600, num_steps: 2, color_transfer: true}], fast_steps: 1}
""",
    "judge": """base: table1_judge
data: {validation_fraction: 0.25, synthetic_count: 8}
segmenter: {size: [64, 64], max_steps: 2, batch_size: 2}
""",
}


def make(folder: Path) -> str:
    given = {"PYTHON": sys.executable, "TABLE1": folder, "CONFIGS": folder / "%.yaml"}
    given |= {"COUNT": 8, "SIZE": "64x64", "MASKS": 2}
    command = ["make", "table1", *(f"{key}={value}" for key, value in given.items())]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_one_command_makes_the_table(tmp_path):
    for name, text in TINY.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    assert "orderings of the paper hold" in make(tmp_path)
    with (tmp_path / "table" / "table1.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["SEAN", "SCGAN", "GauGAN", "CLADE", "DM", "IIDM", "IIDM-demo"]
    assert all(row["networks"] == "perceptual: autoencoder (demo.safetensors)" for row in list(rows.values())[:4])
    assert len(list(tmp_path.glob("table/*/*.jpg"))) >= 14
    assert rows["IIDM"]["networks"] == "none" and "segmenter" in rows["IIDM-demo"]["networks"]

"""Weights that cannot be trusted: every command that reads them says so, names the file, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jiidm.cli import main as cli
from ldm_jittor import checkpoint


@pytest.fixture
def commands(smoke_model, inputs, tmp_path):
    """Every command that reads the weights of a file and writes a target, by that file."""
    target, images = tmp_path / "new.safetensors", inputs.masks.parent
    out, latents = tmp_path / "out", tmp_path / "latents"

    def listed(path: Path) -> list[list[str]]:
        encode = ["data", "encode", images, latents, "--checkpoint", path, "--device", "cpu"]
        rewrite = [["export", path, target], ["convert", path, target], ["average", smoke_model, path, "--out", target]]
        return [[str(word) for word in command] for command in (inputs.command(out, path), encode, *rewrite)]

    return listed


def test_a_flipped_bit_is_told_by_every_command(commands, smoke_model, tmp_path, capsys):
    content = bytearray(smoke_model.read_bytes())
    content[len(content) // 2] ^= 4  # among the weights
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    for command in commands(path):
        assert cli.main(command) == 2, command
        assert f"error: {path}: damaged" in capsys.readouterr().err.splitlines()[-1], command
    assert not (tmp_path / "new.safetensors").exists()
    assert not [*tmp_path.glob("out/*.jpg"), *tmp_path.glob("latents/*.npz")]


def test_weights_that_are_not_finite_are_told_by_every_command(commands, smoke_model, tmp_path, capsys):
    stored = checkpoint.load(smoke_model)
    arrays = {**stored.arrays, "unet.out.2.weight": np.full_like(stored.arrays["unet.out.2.weight"], np.nan)}
    path = tmp_path / "nan.safetensors"
    save_file(arrays, path, {checkpoint.METADATA_KEY: json.dumps(stored.metadata)})
    for command in commands(path):
        if command[0] != "data":  # which uses the autoencoder
            assert cli.main(command) == 2, command
            error = capsys.readouterr().err
            assert str(path) in error and "out.2.weight is not finite" in error, command
    assert not (tmp_path / "new.safetensors").exists() and not list(tmp_path.glob("out/*.jpg"))

"""The perceptual loss of an autoencoder's features; that of VGG-19's is compared with PyTorch in tests/parity."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from jiidm.baselines import perceptual
from jiidm.config import load as configs
from jiidm.errors import InputError
from jiidm.model.files import SHIPPED, sha256
from jiidm.train.networks import Used
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError

RNG = np.random.default_rng(2)
FEATURES = [[RNG.standard_normal((2, width, 4, 3)) + 5 for width in (3, 4)] for _ in range(2)]


def settings(*overrides: str):
    return configs.load_config("smoke_gaugan", [f"gan_training.{given}" for given in overrides]).gan_training


def test_levels_count_alike_in_units_of_the_photos_own_deviation():
    given = iter([[jt.array((scale * x).astype(np.float32)) for x, scale in zip(side, (1, 100))] for side in FEATURES])
    found = perceptual.AutoencoderLoss(lambda image: next(given))(jt.zeros(1), jt.zeros(1)).item()
    expected = [
        np.abs(ours - theirs).mean() / np.abs(theirs - theirs.mean((0, 2, 3), keepdims=True)).mean()
        for ours, theirs in zip(*FEATURES)
    ]
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


def test_equal_images_have_no_loss_and_photos_no_gradient():
    fake, real = (jt.array(RNG.uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)) for _ in range(2))
    loss = perceptual.VGGLoss(lambda x: [x[:, :, ::step, ::step] for step in (1, 2, 4, 8, 16)])
    assert loss(fake, fake).item() == 0
    ours, theirs = jt.grad(loss(fake, real), [fake, real])
    assert ours.numpy().any() and not theirs.numpy().any()


def test_shipped_autoencoder_sees_a_change_of_colour():
    loss, used = perceptual.load(settings("perceptual=autoencoder"))
    assert used == Used("perceptual", "autoencoder (demo.safetensors)", sha256(SHIPPED))
    photo = jt.array(RNG.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32))
    assert loss(photo * 0.5 + 0.2, photo).item() > 0.1 > loss(photo, photo).item() == 0
    assert perceptual.load(settings()) is None


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "vgg.safetensors"
    with pytest.raises(CheckpointError, match="vgg.safetensors: no such checkpoint"):
        perceptual.load(settings("perceptual=vgg19", f"perceptual_file={file}"))
    checkpoint.save(file, {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)}, {})
    with pytest.raises(CheckpointError, match="not the weights of torchvision's VGG-19; .*features.0.bias is missing"):
        perceptual.load(settings("perceptual=vgg19", f"perceptual_file={file}"))
    with pytest.raises(InputError, match="vgg.safetensors: holds no config"):
        perceptual.load(settings("perceptual=autoencoder", f"perceptual_file={file}"))
    with pytest.raises(InputError, match=r"perceptual_file is None, expected the path of torchvision's"):
        settings("perceptual=vgg19")
    with pytest.raises(InputError, match=r"perceptual_weight.*only where gan_training.perceptual is vgg19"):
        settings("perceptual_weight=3")

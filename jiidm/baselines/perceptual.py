"""The perceptual loss: how far an image's features are from a photo's, as a fixed network sees both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import jittor as jt

from jiidm.baselines.losses import mean
from jiidm.config.schema import GANTraining
from jiidm.model.files import SHIPPED, ModelFile, sha256
from jiidm.model.gan.vgg import load_vgg19
from jiidm.system import ranks
from jiidm.train.networks import Used

VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
"""Of relu1_1 to relu5_1, as GauGAN's code has them (Park et al. 2019, arXiv:1903.07291)."""
Features = Callable[[jt.Var], Iterable[jt.Var]]


class VGGLoss:
    """Weighted sum of the mean absolute differences of VGG-19's features. Images go in as they are, in [-1, 1]."""

    def __init__(self, features: Features):
        self.features = features

    def __call__(self, fake: jt.Var, real: jt.Var) -> jt.Var:
        """fake, real [B,3,H,W] -> a scalar. The photo's features are held constant."""
        pairs = zip(VGG_WEIGHTS, self.features(fake), constant_features(self.features, real))
        return sum(weight * mean(jt.abs(ours - theirs)) for weight, ours, theirs in pairs)


class AutoencoderLoss:
    """Mean over an encoder's levels of the mean absolute difference of its features, in units of the photos' own.

    A level's unit is the mean absolute deviation of the features of all ranks' photos from their channels' means, so
    the levels count alike whatever the autoencoder.
    """

    def __init__(self, features: Features):
        self.features = features

    def __call__(self, fake: jt.Var, real: jt.Var) -> jt.Var:
        """fake, real [B,3,H,W] -> a scalar. The photo's features are held constant."""
        terms = []
        for ours, theirs in zip(self.features(fake), constant_features(self.features, real)):
            center = ranks.mean(theirs.mean(3).mean(2).mean(0)).reshape((1, -1, 1, 1))
            deviation = ranks.mean(mean(jt.abs(theirs - center)))
            terms.append(mean(jt.abs(ours - theirs)) / deviation)
        return sum(terms) / len(terms)


def constant_features(features: Features, real: jt.Var) -> list[jt.Var]:
    """The features of photos, which need no gradient."""
    with jt.no_grad():
        return [found.detach() for found in features(real)]


def load(training: GANTraining) -> tuple[VGGLoss | AutoencoderLoss, Used] | None:
    """The perceptual loss of a config, with what to record of its network; None where it has none.

    Raises CheckpointError or InputError for a file that does not hold the network.
    """
    if training.perceptual == "none":
        return None
    path = Path(training.perceptual_file or SHIPPED)
    if training.perceptual == "vgg19":
        loss: VGGLoss | AutoencoderLoss = VGGLoss(load_vgg19(path))
    else:
        file = ModelFile(path)
        loss = AutoencoderLoss(file.load_autoencoder(file.config.autoencoder).encoder.levels)
    return loss, Used("perceptual", f"{training.perceptual} ({path.name})", sha256(path))

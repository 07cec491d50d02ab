"""The two adversarial games: hinge loss with feature matching, as published, and OASIS' segmenting discriminator."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.baselines import losses
from jiidm.classes import NUM_CLASSES
from jiidm.config.schema import GANTraining
from jiidm.model.gan.discriminators import Verdict

Terms = dict[str, jt.Var]
"""Named scalars with their weights on them."""
Draw = Callable[[tuple[int, ...], str], np.ndarray]
"""Standard normal numbers [B,*shape] that belong to the samples of a batch, and to a purpose."""


def _in_turns(*batches: jt.Var) -> jt.Var:
    """The first sample of each batch, then the second of each, ...: so ranks hold parts of what one process holds."""
    return jt.stack(batches, dim=1).reshape((-1, *batches[0].shape[1:]))


class Hinge:
    """GauGAN's (Park et al. 2019, arXiv:1903.07291)."""

    def __init__(self, discriminator: nn.Module, training: GANTraining):
        self.discriminator, self.training = discriminator, training

    def generator_terms(self, segmap: jt.Var, fake: jt.Var, real: jt.Var) -> Terms:
        verdicts = self._judge(segmap, fake, real)
        matching = losses.feature_matching(*verdicts)
        return {
            "adversarial": losses.adversarial_loss(verdicts[0]),
            "feature_matching": self.training.feature_weight * matching,
        }

    def discriminator_terms(self, segmap: jt.Var, fake: jt.Var, real: jt.Var, draw: Draw) -> Terms:
        return {"discriminator": losses.hinge_loss(*self._judge(segmap, fake, real))}

    def _judge(self, segmap: jt.Var, fake: jt.Var, real: jt.Var) -> tuple[Verdict, Verdict]:
        """What the discriminator says of fakes and photos. It sees both in one batch, so that its spectral norms take
        one power iteration a turn.
        """
        verdict = self.discriminator(_in_turns(segmap, segmap), _in_turns(fake, real))
        fakes, reals = (
            Verdict(
                [logits[first::2] for logits in verdict.logits],
                [[features[first::2] for features in group] for group in verdict.features],
            )
            for first in range(2)
        )
        return fakes, reals


class OASIS:
    """OASIS' (Schoenfeld et al. 2021, arXiv:2012.04781). A mixture takes each class of an image from photo or fake."""

    def __init__(self, discriminator: nn.Module, training: GANTraining):
        self.discriminator, self.training = discriminator, training

    def generator_terms(self, segmap: jt.Var, fake: jt.Var, real: jt.Var) -> Terms:
        return {"adversarial": losses.class_balanced_cross_entropy(self.discriminator(fake), segmap)}

    def discriminator_terms(self, segmap: jt.Var, fake: jt.Var, real: jt.Var, draw: Draw) -> Terms:
        from_photo = jt.array((draw((NUM_CLASSES, 1, 1), "labelmix") > 0).astype(np.float32))  # [B,classes,1,1]
        photo_part = (segmap * from_photo).sum(1, keepdims=True)  # [B,1,H,W]
        mixed = photo_part * real + (1 - photo_part) * fake
        # one batch: one power iteration a turn, as for the hinge loss
        logits = self.discriminator(_in_turns(fake, real, mixed))
        fakes, reals, mixtures = (logits[first::3] for first in range(3))
        segmentation = losses.class_balanced_cross_entropy(reals, segmap) + losses.fake_cross_entropy(fakes)
        mixed_logits = photo_part * reals + (1 - photo_part) * fakes
        labelmix = self.training.labelmix_weight * losses.mean(jt.sqr(mixed_logits - mixtures))
        return {"discriminator": segmentation + labelmix, "segmentation": segmentation, "labelmix": labelmix}


GAMES: dict[str, type[Hinge] | type[OASIS]] = {"hinge": Hinge, "oasis": OASIS}
"""By `gan_training.adversarial`."""

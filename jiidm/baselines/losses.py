"""The losses of GauGAN, which CLADE, SEAN and SCGAN share (Park et al. 2019, arXiv:1903.07291). All give a scalar.

The published code also compares VGG-19's features of ImageNet. That loss is not here.
"""

from __future__ import annotations

import jittor as jt
from jittor import nn

from jiidm.model.gan.discriminators import Verdict


def adversarial_loss(fake: Verdict) -> jt.Var:
    """The generator's: minus the mean logit of generated images, averaged over the discriminator's maps."""
    return _mean([-logits.mean() for logits in fake.logits])


def hinge_loss(fake: Verdict, real: Verdict) -> jt.Var:
    """The discriminator's: mean of relu(1 + D(fake)) plus mean of relu(1 - D(real)), averaged over its maps."""
    margins = [nn.relu(1 + logits).mean() for logits in fake.logits]
    return _mean(margins) + _mean([nn.relu(1 - logits).mean() for logits in real.logits])


def feature_matching(fake: Verdict, real: Verdict) -> jt.Var:
    """Mean absolute difference of features, summed over the layers of a group and averaged over the groups.

    The real features are held constant.
    """
    return _mean(
        [
            sum(jt.abs(ours - theirs.detach()).mean() for ours, theirs in zip(*groups))
            for groups in zip(fake.features, real.features)
        ]
    )


def kl_divergence(mean: jt.Var, log_variance: jt.Var) -> jt.Var:
    """KL of normal distributions [B,256] from the standard one, in nats: a sum over dimensions and batch."""
    return -0.5 * (1 + log_variance - jt.sqr(mean) - jt.exp(log_variance)).sum()


def _mean(values: list[jt.Var]) -> jt.Var:
    return sum(values) / len(values)

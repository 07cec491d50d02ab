"""The losses of GauGAN, which CLADE, SEAN and SCGAN share (Park et al. 2019, arXiv:1903.07291), and those of OASIS
(Schoenfeld et al. 2021, arXiv:2012.04781). All give a scalar.
"""

from __future__ import annotations

import jittor as jt
from jittor import nn

from jiidm.model.gan.discriminators import Verdict
from jiidm.system import ranks


def adversarial_loss(fake: Verdict) -> jt.Var:
    """The generator's: minus the mean logit of generated images, averaged over the discriminator's maps."""
    return _average([-mean(logits) for logits in fake.logits])


def hinge_loss(fake: Verdict, real: Verdict) -> jt.Var:
    """The discriminator's: mean of relu(1 + D(fake)) plus mean of relu(1 - D(real)), averaged over its maps."""
    margins = [mean(nn.relu(1 + logits)) for logits in fake.logits]
    return _average(margins) + _average([mean(nn.relu(1 - logits)) for logits in real.logits])


def feature_matching(fake: Verdict, real: Verdict) -> jt.Var:
    """Mean absolute difference of features, summed over the layers of a group and averaged over the groups.

    The real features are held constant.
    """
    return _average(
        [
            sum(mean(jt.abs(ours - theirs.detach())) for ours, theirs in zip(*groups))
            for groups in zip(fake.features, real.features)
        ]
    )


def kl_divergence(mu: jt.Var, log_variance: jt.Var) -> jt.Var:
    """KL of normal distributions [B,256] from the standard one, in nats: a sum over dimensions and batch."""
    return -0.5 * (1 + log_variance - jt.sqr(mu) - jt.exp(log_variance)).sum()


def class_balanced_cross_entropy(logits: jt.Var, segmap: jt.Var) -> jt.Var:
    """Mean cross-entropy in nats of logits [B,1+classes,H,W], whose first class is "fake", from segmap one-hot.

    Each pixel counts by the inverse of its class's share of the batch's pixels, over the number of classes there. The
    batch is that of all ranks.
    """
    counts = ranks.mean(segmap.sum(3).sum(2).sum(0))  # [classes]
    present = (counts > 0).float32().sum()
    weights = segmap.numel() / segmap.shape[1] / (jt.maximum(counts, 1 / ranks.size()) * present)
    balanced = segmap * weights.reshape((1, -1, 1, 1))
    return -mean((nn.log_softmax(logits, dim=1)[:, 1:] * balanced).sum(1))


def fake_cross_entropy(logits: jt.Var) -> jt.Var:
    """Mean cross-entropy in nats of logits [B,1+classes,H,W] from the class "fake" everywhere."""
    return -mean(nn.log_softmax(logits, dim=1)[:, 0])


def mean(x: jt.Var) -> jt.Var:
    """The mean of all elements, one axis after the other: a sum of all at once loses digits in float32."""
    for axis in reversed(range(x.ndim)):
        x = x.mean(axis)
    return x


def _average(values: list[jt.Var]) -> jt.Var:
    return sum(values) / len(values)

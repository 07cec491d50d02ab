"""CLADE: batch norms whose scale and shift are looked up by class (Tan et al. 2021, arXiv:2012.04644).

With a distance map (the paper's ICPE) scale and shift also depend on where in its region a pixel lies.
"""

from __future__ import annotations

import jittor as jt
from jittor import nn

from jiidm.model.gan.generator import Generator, ResidualBlock
from jiidm.model.gan.layers import conv2d
from jiidm.model.gan.norms import BatchNorm, tanh
from ldm_jittor.layers import resize_nearest


class DistanceFactor(nn.Module):
    """1 + a 1x1 convolution of a distance map [B,2,H,W] -> [B,1,H,W].

    It starts at 1, as the paper's does. The released code meant to, but draws the weights anew.
    """

    def __init__(self):
        self.weight = jt.zeros((1, 2, 1, 1))
        self.bias = jt.zeros((1,))

    def execute(self, distance: jt.Var) -> jt.Var:
        return 1 + conv2d(distance, self.weight, self.bias)


class ClassAffine(nn.Module):
    """A scale and a shift [classes,channels] for each class: normed * scale + shift, where SPADE has 1 + scale."""

    def __init__(self, channels: int, num_classes: int, distance_map: bool):
        self.weight = jt.init.uniform((num_classes, channels), "float32", 0, 1)
        self.bias = jt.zeros((num_classes, channels))
        if distance_map:
            self.dist_conv_w = DistanceFactor()
            self.dist_conv_b = DistanceFactor()

    def execute(self, normed: jt.Var, segmap: jt.Var, distance: jt.Var | None) -> jt.Var:
        scale, shift = _look_up(self.weight, segmap), _look_up(self.bias, segmap)
        if distance is not None:
            scale, shift = scale * self.dist_conv_w(distance), shift * self.dist_conv_b(distance)
        return normed * scale + shift


def _look_up(table: jt.Var, segmap: jt.Var) -> jt.Var:
    """Each pixel's row of table [classes,C] -> [B,C,H,W].

    A product with the one-hot mask finds the row faster than an index does, and so does the gradient.
    """
    return conv2d(segmap, table.transpose(1, 0).reshape((table.shape[1], table.shape[0], 1, 1)))


class CLADE(nn.Module):
    def __init__(self, channels: int, num_classes: int, distance_map: bool):
        self.param_free_norm = BatchNorm(channels)
        self.class_specified_affine = ClassAffine(channels, num_classes, distance_map)

    def execute(self, x: jt.Var, segmap: jt.Var, distance: jt.Var | None) -> jt.Var:
        size = x.shape[2:]
        distance = None if distance is None else resize_nearest(distance, size)
        return self.class_specified_affine(self.param_free_norm(x), resize_nearest(segmap, size), distance)


class CLADEGenerator(Generator):
    def __init__(
        self,
        num_classes: int,
        size: tuple[int, int],
        channels: int,
        use_vae: bool = True,
        upsamplings: int = 5,
        distance_map: bool = False,
    ):
        def block(in_channels: int, out_channels: int) -> ResidualBlock:
            return ResidualBlock(in_channels, out_channels, lambda width: CLADE(width, num_classes, distance_map))

        super().__init__(num_classes, size, channels, use_vae, block, upsamplings=upsamplings)
        self.distance_map = distance_map

    def execute(self, segmap: jt.Var, z: jt.Var | None = None, distance: jt.Var | None = None) -> jt.Var:
        """segmap [B,classes,H,W] one-hot, z [B,256] with a VAE, distance [B,2,H,W] (jiidm.data.distance) with a
        distance map -> images [B,3,H,W] in [-1, 1]. Raises ValueError where one is missing or one too many."""
        if self.distance_map == (distance is None):
            raise ValueError("a CLADE with distance_map needs a distance, and one without has no use for it")
        return tanh(self.generate(segmap, z, segmap, distance))

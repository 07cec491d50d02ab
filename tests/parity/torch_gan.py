"""Plain PyTorch generators of GauGAN, CLADE, SEAN and SCGAN: the oracles of jiidm.model.gan.

Each does what its paper says in the plainest way: a loop over classes or experts, a lookup for each pixel. References:
arXiv:1903.07291 (SPADE), 2012.04644 (CLADE), 1911.12861 (SEAN), 2109.07053 (SCGAN). Sizes are (height, width).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm

NUM_CLASSES = 29


def act(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, 0.2)


def nearest(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="nearest")


def double(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def batch_norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False)


def conv3x3(in_channels: int, out_channels: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)


class SPADE(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.param_free_norm = batch_norm(channels)
        self.mlp_shared = nn.Sequential(conv3x3(NUM_CLASSES, 128), nn.ReLU())
        self.mlp_gamma, self.mlp_beta = conv3x3(128, channels), conv3x3(128, channels)

    def maps(self, segmap: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.mlp_shared(segmap)
        return self.mlp_gamma(hidden), self.mlp_beta(hidden)

    def forward(self, x: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        gamma, beta = self.maps(nearest(segmap, x))
        return self.param_free_norm(x) * (1 + gamma) + beta


class ClassAffine(nn.Module):
    def __init__(self, channels: int, distance_map: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(NUM_CLASSES, channels))
        self.bias = nn.Parameter(torch.zeros(NUM_CLASSES, channels))
        if distance_map:
            self.dist_conv_w, self.dist_conv_b = nn.Conv2d(2, 1, 1), nn.Conv2d(2, 1, 1)


class CLADE(nn.Module):
    def __init__(self, channels: int, distance_map: bool):
        super().__init__()
        self.param_free_norm = batch_norm(channels)
        self.class_specified_affine = ClassAffine(channels, distance_map)

    def forward(self, x: torch.Tensor, segmap: torch.Tensor, distance: torch.Tensor | None) -> torch.Tensor:
        tables = self.class_specified_affine
        labels = nearest(segmap, x).argmax(1)  # [B,H,W]
        scale, shift = (table[labels].permute(0, 3, 1, 2) for table in (tables.weight, tables.bias))
        if distance is not None:
            scale = scale * (1 + tables.dist_conv_w(nearest(distance, x)))
            shift = shift * (1 + tables.dist_conv_b(nearest(distance, x)))
        return self.param_free_norm(x) * scale + shift


class ACE(nn.Module):
    def __init__(self, channels: int, style_channels: int, styled: bool):
        super().__init__()
        self.styled = styled
        self.param_free_norm = batch_norm(channels)
        self.noise_var = nn.Parameter(torch.zeros(channels))
        self.blending_gamma, self.blending_beta = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.Spade = SPADE(channels)
        if styled:
            for label in range(NUM_CLASSES):
                setattr(self, f"fc_mu{label}", nn.Linear(style_channels, style_channels))
            self.conv_gamma, self.conv_beta = conv3x3(style_channels, channels), conv3x3(style_channels, channels)

    def forward(self, x: torch.Tensor, segmap: torch.Tensor, codes: torch.Tensor, noise: list[torch.Tensor]):
        segmap = nearest(segmap, x)
        x = x + noise.pop(0) * self.noise_var[None, :, None, None]
        gamma, beta = self.Spade.maps(segmap)
        if self.styled:
            spread = x.new_zeros(len(x), codes.shape[2], *x.shape[2:])
            for label in range(NUM_CLASSES):
                style = F.relu(getattr(self, f"fc_mu{label}")(codes[:, label]))  # [B,S]
                spread = torch.where(segmap[:, label : label + 1] > 0, style[:, :, None, None], spread)
            share = torch.sigmoid(self.blending_gamma)
            gamma = share * self.conv_gamma(spread) + (1 - share) * gamma
            share = torch.sigmoid(self.blending_beta)
            beta = share * self.conv_beta(spread) + (1 - share) * beta
        return self.param_free_norm(x) * (1 + gamma) + beta


class Block(nn.Module):
    """`norm(channels)` makes its norms, which are called `name`_0, `name`_1 and `name`_s."""

    def __init__(self, in_channels: int, out_channels: int, norm, name: str = "norm"):
        super().__init__()
        middle = min(in_channels, out_channels)
        self.name = name
        self.conv_0 = spectral_norm(conv3x3(in_channels, middle))
        self.conv_1 = spectral_norm(conv3x3(middle, out_channels))
        setattr(self, f"{name}_0", norm(in_channels))
        setattr(self, f"{name}_1", norm(middle))
        if in_channels != out_channels:
            self.conv_s = spectral_norm(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            setattr(self, f"{name}_s", norm(in_channels))

    def forward(self, x: torch.Tensor, *condition) -> torch.Tensor:
        skip = self.conv_s(getattr(self, f"{self.name}_s")(x, *condition)) if hasattr(self, "conv_s") else x
        h = self.conv_0(act(getattr(self, f"{self.name}_0")(x, *condition)))
        return skip + self.conv_1(act(getattr(self, f"{self.name}_1")(h, *condition)))


class Generator(nn.Module):
    def __init__(self, size, channels: int, use_vae: bool, block, fc_channels: int | None = None, upsamplings: int = 5):
        super().__init__()
        first, wide = 16 * (fc_channels or channels), 16 * channels
        self.start = (first, size[0] // 2**upsamplings, size[1] // 2**upsamplings)
        self.use_vae, self.more = use_vae, upsamplings == 6
        self.fc = nn.Linear(256, first * self.start[1] * self.start[2]) if use_vae else conv3x3(NUM_CLASSES, first)
        self.head_0, self.G_middle_0, self.G_middle_1 = block(first, wide), block(wide, wide), block(wide, wide)
        for i in range(4):
            setattr(self, f"up_{i}", block(wide >> i, wide >> (i + 1)))
        self.conv_img = conv3x3(channels, 3)

    def generate(self, segmap: torch.Tensor, z: torch.Tensor | None, conditions) -> torch.Tensor:
        """conditions: what each of the seven blocks is given."""
        if self.use_vae:
            x = self.fc(z).view(-1, *self.start)
        else:
            x = self.fc(F.interpolate(segmap, size=self.start[1:], mode="nearest"))
        x = double(self.head_0(x, *conditions[0]))
        x = self.G_middle_0(x, *conditions[1])
        x = self.G_middle_1(double(x) if self.more else x, *conditions[2])
        for i in range(4):
            x = getattr(self, f"up_{i}")(double(x), *conditions[3 + i])
        return self.conv_img(act(x))


class GauGAN(Generator):
    def __init__(self, size, channels: int, use_vae: bool, upsamplings: int = 5):
        super().__init__(size, channels, use_vae, lambda i, o: Block(i, o, SPADE), upsamplings=upsamplings)

    def forward(self, segmap: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        return torch.tanh(self.generate(segmap, z, 7 * [(segmap,)]))


class CLADEGenerator(Generator):
    def __init__(self, size, channels: int, use_vae: bool, distance_map: bool = False):
        super().__init__(size, channels, use_vae, lambda i, o: Block(i, o, lambda c: CLADE(c, distance_map)))

    def forward(self, segmap: torch.Tensor, z=None, distance=None) -> torch.Tensor:
        return torch.tanh(self.generate(segmap, z, 7 * [(segmap, distance)]))


class StyleEncoder(nn.Module):
    def __init__(self, style_channels: int):
        super().__init__()
        convs = [nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3, 2, 1), nn.Conv2d(64, 128, 3, 2, 1)]
        convs.append(nn.ConvTranspose2d(128, 256, 3, 2, 1, output_padding=1))
        layers = [nn.ReflectionPad2d(1)]
        for conv in convs:
            layers += [conv, nn.InstanceNorm2d(conv.out_channels), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(1), nn.Conv2d(256, style_channels, 3), nn.Tanh())

    def forward(self, image: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        features = self.model(image)
        segmap = nearest(segmap, features)
        codes = features.new_zeros(len(image), NUM_CLASSES, features.shape[1])
        for i in range(len(image)):
            for label in range(NUM_CLASSES):
                if segmap[i, label].any():
                    codes[i, label] = features[i][:, segmap[i, label] > 0].mean(1)
        return codes


class SEAN(Generator):
    def __init__(self, size, channels: int, style_channels: int):
        def block(i: int, o: int) -> Block:
            return Block(i, o, lambda c: ACE(c, style_channels, styled=o != channels), "ace")

        super().__init__(size, channels, False, block)
        self.Zencoder = StyleEncoder(style_channels)

    def forward(self, segmap: torch.Tensor, codes: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
        return torch.tanh(self.generate(segmap, None, 7 * [(segmap, codes, noise)]))


class RoutingNet(nn.Module):
    def __init__(self, n: int, spectral: bool):
        super().__init__()

        def conv(i: int, o: int) -> nn.Module:
            return spectral_norm(conv3x3(i, o)) if spectral else conv3x3(i, o)

        widths = [16 * n, 8 * n, 4 * n, 2 * n, n, n]
        self.labelDec1 = nn.Sequential(conv(NUM_CLASSES, 16 * n), nn.LeakyReLU(0.2), conv(16 * n, 16 * n))
        for i in range(1, 6):
            first, second = conv(widths[i - 1] + NUM_CLASSES, widths[i]), conv(widths[i], widths[i])
            setattr(self, f"labelDec{i + 1}", nn.Sequential(nn.LeakyReLU(0.2), first, nn.LeakyReLU(0.2), second))
        self.toRGB = nn.Sequential(conv3x3(n, n // 2), nn.LeakyReLU(0.2), conv3x3(n // 2, 3), nn.Hardtanh())

    def forward(self, pyramid: list[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        features = [self.labelDec1(pyramid[0])]
        for i in range(1, 6):
            features.append(getattr(self, f"labelDec{i + 1}")(torch.cat([double(features[-1]), pyramid[i]], 1)))
        return features, self.toRGB(features[-1])


def gaussian_weighted(segmap: torch.Tensor) -> torch.Tensor:
    at = torch.arange(-3.0, 4.0)
    window = torch.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    return segmap * F.conv2d(segmap, window.expand(segmap.shape[1], 1, 7, 7), padding=3, groups=segmap.shape[1])


def pyramid(segmap: torch.Tensor, position: bool) -> list[torch.Tensor]:
    levels = [segmap]
    for i in range(1, 6):
        if position:
            half = F.interpolate(levels[-1], scale_factor=0.5, mode="nearest")
            levels.append(gaussian_weighted(half) if i < 3 else half)
        else:
            levels.append(F.interpolate(levels[-1], scale_factor=0.5, mode="bilinear"))
    if position:
        levels[0] = gaussian_weighted(segmap)
    return levels[::-1]


class SpatialConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, experts: int):
        super().__init__()
        convs = [spectral_norm(conv3x3(in_channels, out_channels, bias=False)) for _ in range(experts)]
        self.conv_bases = nn.ModuleList(convs)

    def forward(self, x: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        return (torch.stack([conv(x) for conv in self.conv_bases], 1) * shares[:, :, None]).sum(1)


class SpatialNorm(nn.Module):
    def __init__(self, channels: int, experts: int):
        super().__init__()
        self.param_free_norm = batch_norm(channels)
        self.affine_params_groups = nn.Parameter(torch.zeros(experts, 2 * channels))

    def forward(self, x: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        gamma, beta = torch.einsum("bkhw,kc->bchw", shares, self.affine_params_groups).chunk(2, 1)
        return self.param_free_norm(x) * (1 + gamma) + beta


class SCBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, experts: tuple[int, int]):
        super().__init__()
        middle = min(in_channels, out_channels)
        self.conv_0 = SpatialConv(in_channels, middle, experts[0])
        self.conv_1 = SpatialConv(middle, out_channels, experts[0])
        self.norm_0, self.norm_1 = SpatialNorm(in_channels, experts[1]), SpatialNorm(middle, experts[1])
        if in_channels != out_channels:
            self.conv_s, self.norm_s = spectral_norm(conv3x3(in_channels, out_channels)), SPADE(in_channels)

    def forward(self, x: torch.Tensor, segmap: torch.Tensor, conv: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        skip = self.conv_s(self.norm_s(x, segmap)) if hasattr(self, "conv_s") else x
        h = self.conv_0(act(self.norm_0(x, norm)), conv)
        return skip + self.conv_1(act(self.norm_1(h, norm)), conv)


class SCGAN(Generator):
    def __init__(
        self, size, channels, use_vae, routing_channels, fc_channels, experts, temperature, spectral_routing, position
    ):
        super().__init__(size, channels, use_vae, lambda i, o: SCBlock(i, o, experts), fc_channels)
        self.pyramid_spaital_routing = RoutingNet(routing_channels, spectral_routing)
        self.experts, self.temperature, self.position = experts, temperature, position

    def forward(self, segmap: torch.Tensor, z: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        features, auxiliary = self.pyramid_spaital_routing(pyramid(segmap, self.position))
        conditions = []
        for level in (0, 1, 1, 2, 3, 4, 5):
            x = features[level]
            pooled = (F.adaptive_avg_pool3d(x[:, None], (k, *x.shape[2:]))[:, 0] for k in self.experts)
            conditions.append((segmap, *(torch.softmax(self.temperature * p, 1) for p in pooled)))
        return F.hardtanh(self.generate(segmap, z, conditions)), auxiliary

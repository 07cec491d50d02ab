"""Plain PyTorch discriminators and the image encoder: the oracles of jiidm.model.gan.

References: arXiv:1711.11585 (two scales), 1910.06809 (feature pyramid), 2012.04781 (OASIS), 1903.07291 (encoder).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm
from torch_gan import NUM_CLASSES, act, double


def normed(*conv) -> nn.Module:
    return nn.Sequential(spectral_norm(nn.Conv2d(*conv, bias=False)), nn.InstanceNorm2d(conv[1]))


class Encoder(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        widths = [3, *(channels * mult for mult in (1, 2, 4, 8, 8, 8))]
        for i in range(6):
            setattr(self, f"layer{i + 1}", normed(widths[i], widths[i + 1], 3, 2, 1))
        self.fc_mu, self.fc_var = nn.Linear(128 * channels, 256), nn.Linear(128 * channels, 256)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = F.interpolate(image, size=(256, 256), mode="bilinear", align_corners=False)
        for i in range(6):
            x = act(getattr(self, f"layer{i + 1}")(x))
        return self.fc_mu(x.flatten(1)), self.fc_var(x.flatten(1))


class Patch(nn.Module):
    def __init__(self, channels: int, strides: list[int]):
        super().__init__()
        width, self.count = channels, len(strides) + 1
        self.model0 = nn.Sequential(nn.Conv2d(NUM_CLASSES + 3, width, 4, strides[0], 2), nn.LeakyReLU(0.2))
        for i, stride in enumerate(strides[1:], start=1):
            setattr(self, f"model{i}", nn.Sequential(normed(width, 2 * width, 4, stride, 2), nn.LeakyReLU(0.2)))
            width *= 2
        setattr(self, f"model{len(strides)}", nn.Sequential(nn.Conv2d(width, 1, 4, 1, 2)))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        outputs = []
        for i in range(self.count):
            x = getattr(self, f"model{i}")(x)
            outputs.append(x)
        return outputs


class Multiscale(nn.Module):
    def __init__(self, channels: int, strides: list[int]):
        super().__init__()
        self.discriminator_0, self.discriminator_1 = Patch(channels, strides), Patch(channels, strides)

    def forward(self, segmap: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits of both scales, then the features of both."""
        x = torch.cat([segmap, image], 1)
        first = self.discriminator_0(x)
        second = self.discriminator_1(F.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
        return [first[-1], second[-1], *first[:-1], *second[:-1]]


class FeaturePyramid(nn.Module):
    def __init__(self, ndf: int):
        super().__init__()
        widths = [3, ndf, 2 * ndf, 4 * ndf, 8 * ndf, 8 * ndf]
        for i in range(1, 6):
            setattr(self, f"enc{i}", nn.Sequential(normed(widths[i - 1], widths[i], 3, 2, 1), nn.LeakyReLU(0.2)))
        for i in range(2, 6):
            setattr(self, f"lat{i}", nn.Sequential(normed(widths[i], 4 * ndf, 1), nn.LeakyReLU(0.2)))
        for i in range(2, 5):
            setattr(self, f"final{i}", nn.Sequential(normed(4 * ndf, 2 * ndf, 3, 1, 1), nn.LeakyReLU(0.2)))
        self.tf, self.seg = nn.Conv2d(2 * ndf, 1, 1), nn.Conv2d(2 * ndf, 2 * ndf, 1)
        self.embedding = nn.Conv2d(NUM_CLASSES, 2 * ndf, 1)

    def forward(self, segmap: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits of three sizes, then four features."""
        f1 = self.enc1(image)
        f2 = self.enc2(f1)
        f3 = self.enc3(f2)
        f4 = self.enc4(f3)
        f5 = self.enc5(f4)
        p5 = self.lat5(f5)
        p4 = F.interpolate(p5, scale_factor=2, mode="bilinear", align_corners=False) + self.lat4(f4)
        p3 = F.interpolate(p4, scale_factor=2, mode="bilinear", align_corners=False) + self.lat3(f3)
        p2 = F.interpolate(p3, scale_factor=2, mode="bilinear", align_corners=False) + self.lat2(f2)
        embedded, logits = self.embedding(segmap), []
        for i, (p, final) in enumerate(((p2, self.final2), (p3, self.final3), (p4, self.final4))):
            x = final(p)
            embedding = F.avg_pool2d(embedded, 4 * 2**i)
            logits.append(self.tf(x) + (embedding * self.seg(x)).sum(1, keepdim=True))
        return [*logits, f2, f3, f4, f5]


class OASISBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kind: str):
        super().__init__()
        self.kind = kind
        before = {"first": [], "down": [nn.LeakyReLU(0.2)], "up": [nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2)]}[
            kind
        ]
        self.conv1 = nn.Sequential(*before, spectral_norm(nn.Conv2d(in_channels, out_channels, 3, padding=1)))
        self.conv2 = nn.Sequential(
            nn.LeakyReLU(0.2), spectral_norm(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        )
        if in_channels != out_channels:
            self.conv_s = spectral_norm(nn.Conv2d(in_channels, out_channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = double(x) if self.kind == "up" else x
        skip = self.conv_s(skip) if hasattr(self, "conv_s") else skip
        out = skip + self.conv2(self.conv1(x))
        return out if self.kind == "up" else F.avg_pool2d(out, 2)


class OASIS(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        down = [3, *(channels * mult for mult in (2, 2, 4, 4, 8, 8))]
        kinds = ["first"] + 5 * ["down"]
        self.body_down = nn.ModuleList([OASISBlock(*down[i : i + 2], kinds[i]) for i in range(6)])
        up = [(8, 8), (16, 4), (8, 4), (8, 2), (4, 2), (4, 1)]
        self.body_up = nn.ModuleList([OASISBlock(channels * i, channels * o, "up") for i, o in up])
        self.layer_up_last = nn.Conv2d(channels, NUM_CLASSES + 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        encoded = [image]
        for block in self.body_down:
            encoded.append(block(encoded[-1]))
        x = self.body_up[0](encoded[6])
        for i in range(1, 6):
            x = self.body_up[i](torch.cat([encoded[6 - i], x], 1))
        return self.layer_up_last(x)

"""Write real PyTorch and diffusers checkpoints: python oracle_checkpoints.py IN.npz OUT.npz.

In: `folder` to write to; `autoencoder`, `vq` and `unet`, the constructors' arguments as JSON; `ours/<name>`, a KL
autoencoder's weights under latent-diffusion's names; `exported`, a safetensors file of a U-Net; inputs `x`, `z`,
`noisy`, `timesteps`, `mask`. Writes tensors.pt and its kin, ldm.ckpt, the folders kl, kl_half, vq and vq_bin, and
unet.pt. Out: `tensors/<name>`, what was written; what each network makes of its inputs.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import sys

import numpy as np
import torch
from diffusers import AutoencoderKL, VQModel
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import load_file
from torch_unet import UNet


class Callback:
    """A class that only this program knows."""

    def __init__(self):
        self.best = torch.ones(3)

    def __setstate__(self, state):
        raise AssertionError("made while reading")


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    return {
        "float": base,
        "double": base.double() * 1e100,
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "long": torch.tensor([2**62, -5]),
        "int": torch.arange(3, dtype=torch.int32),
        "short": torch.arange(3, dtype=torch.int16),
        "byte": torch.arange(3, dtype=torch.uint8),
        "char": -torch.arange(3, dtype=torch.int8),
        "bool": torch.tensor([True, False]),
        "transposed": base.t(),
        "permuted": torch.randn(2, 3, 4, 5).permute(3, 0, 2, 1),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "row": base[2],
        "steps": base[1::2, ::3],
        "bfloat_steps": base.bfloat16()[1::2, ::3],
        "parameter": torch.nn.Parameter(base),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "unit": base[:1].expand(1, 8),
    }


def write_tensors(folder: pathlib.Path) -> dict[str, np.ndarray]:
    state = collections.OrderedDict(tensors())
    module = torch.nn.BatchNorm2d(3)
    state.update(module.state_dict(prefix="norm."))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    lightning = {
        "epoch": 3,
        "callbacks": {Callback: {"best": torch.tensor(1.0)}, "b": Callback()},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": argparse.Namespace(
            path=pathlib.Path("a"),
            size=torch.Size([2]),
            device=torch.device("cpu"),
            counts=collections.defaultdict(list, a=[1]),
            dtype=torch.float16,
            kinds={1, 2},
            callback=Callback(),
        ),
        "state_dict": state,
    }
    torch.save(state, folder / "tensors.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(lightning, folder / "lightning.ckpt")
    torch.save(lightning, folder / "lightning_legacy.ckpt", _use_new_zipfile_serialization=False)
    torch.save(state, folder / "protocol4.pt", pickle_protocol=4)
    widened = {name: value.float() if value.dtype == torch.bfloat16 else value for name, value in state.items()}
    return {f"tensors/{name}": value.detach().numpy() for name, value in widened.items()}


@torch.no_grad()
def run_autoencoder(model: torch.nn.Module, inputs) -> dict[str, np.ndarray]:
    encoded = model.encode(torch.from_numpy(inputs["x"]))
    encoded = encoded.latents if "latents" in encoded else encoded.latent_dist.mode()
    return {"encoded": encoded.numpy(), "decoded": model.decode(torch.from_numpy(inputs["z"])).sample.numpy()}


def write_autoencoders(folder: pathlib.Path, inputs) -> dict[str, np.ndarray]:
    config = json.loads(str(inputs["autoencoder"]))
    torch.manual_seed(1)
    kl = AutoencoderKL(**config).eval()
    kl.save_pretrained(folder / "kl")
    half = AutoencoderKL(**config).eval().half()
    half.save_pretrained(folder / "kl_half", variant="fp16")
    vq = VQModel(**config, **json.loads(str(inputs["vq"]))).eval()
    torch.nn.init.normal_(vq.quantize.embedding.weight)
    vq.save_pretrained(folder / "vq")
    vq.save_pretrained(folder / "vq_bin", safe_serialization=False)

    ours = {name: torch.from_numpy(array) for name, array in inputs.items() if name.startswith("ours/")}
    ours = {name.removeprefix("ours/"): tensor for name, tensor in ours.items()}
    state = {f"first_stage_model.{name}": tensor for name, tensor in ours.items()}
    torch.save({"state_dict": {**state, "betas": torch.ones(9)}, "global_step": 7}, folder / "ldm.ckpt")
    torch.save({"state_dict": {**ours, "loss.logvar": torch.ones(())}}, folder / "kl.ckpt")
    ldm = AutoencoderKL(**config).eval()
    ldm.load_state_dict(convert_ldm_vae_checkpoint(state, config), strict=True)

    answers = {}
    for name, model in {"kl": kl, "kl_half": half.float(), "vq": vq, "ldm": ldm}.items():
        answers.update({f"{name}/{key}": array for key, array in run_autoencoder(model, inputs).items()})
    return answers


@torch.no_grad()
def run_unets(folder: pathlib.Path, inputs) -> dict[str, np.ndarray]:
    config = json.loads(str(inputs["unet"]))
    torch.manual_seed(2)
    unet, exported = UNet(**config).eval(), UNet(**config).eval()
    torch.save(unet.state_dict(), folder / "unet.pt")
    exported.load_state_dict(load_file(str(inputs["exported"])), strict=True)
    given = [torch.from_numpy(inputs[name]) for name in ("noisy", "timesteps", "mask")]
    return {"unet": unet(*given).numpy(), "exported": exported(*given).numpy()}


def main(source: str, target: str) -> None:
    inputs = dict(np.load(source))
    folder = pathlib.Path(str(inputs["folder"]))
    np.savez(target, **write_tensors(folder), **write_autoencoders(folder, inputs), **run_unets(folder, inputs))


if __name__ == "__main__":
    main(*sys.argv[1:])

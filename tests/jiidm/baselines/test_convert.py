"""Published files of the GANs to models of this kit and back: strict, and without loss."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
import torch_files
from gan_weights import draw
from tiny_gans import OPTIONS, tiny

from jiidm.baselines.model import GAN, load_gan
from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.model.files import ModelFile
from ldm_jittor import checkpoint

CASES = {
    **{method: tiny(method) for method in OPTIONS},
    "gaugan, no VAE": tiny("gaugan", "gan.use_vae=false"),
    "gaugan, more": tiny("gaugan", "data.size=[64,64]", "gan.upsamplings=6"),
    "scgan, no VAE": tiny("scgan", "gan.use_vae=false"),
}


def published(network: jt.Module, batches: int = 7) -> dict[str, np.ndarray]:
    """What PyTorch saves of such a network: our arrays, a counter beside every batch norm, SEAN's norm without use."""
    state = draw({name: tuple(value.shape) for name, value in network.named_parameters()})
    for name in list(state):
        if name.endswith(".noise_var"):
            stem, size = name.removesuffix("noise_var"), state[name].shape
            state |= {f"{stem}Spade.param_free_norm.running_{kind}": np.ones(size, "f") for kind in ("mean", "var")}
    counters = [name.replace("running_mean", "num_batches_tracked") for name in state if name.endswith("running_mean")]
    return {**state, **{name: np.array(batches) for name in counters}}


class Files:
    """The networks of a case in files as the four projects save them, and the config."""

    def __init__(self, config, folder):
        self.network, self.folder, self.config = GAN(config), folder, folder / "gan.yaml"
        self.config.write_text(configs.to_yaml(config))
        self.states = {"generator": published(self.network.generator)}
        if config.has_vae:
            self.states["encoder"] = published(self.network.encoder)
        for kind in self.states:
            self.save(kind)

    def path(self, kind):
        return self.folder / f"latest_net_{kind[0].upper()}.pth"

    def save(self, kind):
        torch_files.save(self.path(kind), self.states[kind])

    def command(self, *kinds):
        sources = [self.path(kind) for kind in kinds or self.states]
        return ["convert", *map(str, sources), str(self.folder / "model.safetensors"), "--config", str(self.config)]


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case, tmp_path):
    files = Files(CASES[case], tmp_path)
    assert cli.main(files.command()) == 0
    arrays = checkpoint.load(tmp_path / "model.safetensors").arrays
    for kind, state in files.states.items():
        own = {name: array for name, array in arrays.items() if name.startswith(f"{kind}.")}
        assert own
        for name, array in own.items():
            np.testing.assert_array_equal(array, state[name.removeprefix(f"{kind}.")])
        # and out again under all published names
        target = tmp_path / f"{kind}.safetensors"
        assert cli.main(["convert", str(tmp_path / "model.safetensors"), str(target), "--only", kind]) == 0
        back = checkpoint.load(target).arrays
        assert {name: array.shape for name, array in back.items()} == {name: x.shape for name, x in state.items()}
        for name in {f"{kind}.{name}" for name in back} & set(own):
            np.testing.assert_array_equal(back[name.removeprefix(f"{kind}.")], own[name])
    provenance = ModelFile(tmp_path / "model.safetensors").metadata["provenance"]
    assert [origin["file"] for origin in provenance["converted_from"].values()] == [
        f"latest_net_{letter}.pth" for letter in "GE"[: len(files.states)]
    ]


def test_wrapped_in_data_parallel_and_of_an_old_pytorch(tmp_path):
    """Before 0.4.1 there were no counters of batches."""
    files = Files(tiny("clade", "gan.use_vae=false"), tmp_path)
    state = {f"module.{name}": x for name, x in files.states["generator"].items() if "num_batches" not in name}
    torch_files.save(files.path("generator"), state)
    assert cli.main(files.command()) == 0


def test_converted_model_paints(tmp_path, inputs):
    files = Files(tiny("sean"), tmp_path)
    assert cli.main(files.command()) == 0
    assert cli.main(inputs.command(tmp_path / "out", tmp_path / "model.safetensors")) == 0
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 3
    assert not load_gan(ModelFile(tmp_path / "model.safetensors")).mean_codes.any()


def missing(state):
    del state["conv_img.bias"]


def surplus(state):
    state["up_4.conv_0.bias"] = np.zeros(2, "f")


def reshaped(state):
    state["fc.weight"] = np.zeros((3, 256), "f")


def not_finite(state):
    state["conv_img.bias"] = np.full(3, np.nan, "f")


def reshaped_unused(state):
    state["head_0.norm_0.param_free_norm.num_batches_tracked"] = np.zeros(2, "f")


def classes(state):
    for name in state:
        if name.endswith("mlp_shared.0.weight"):
            state[name] = np.zeros((128, 151, 3, 3), "f")


@pytest.mark.parametrize(
    "change, told",
    [
        (missing, "conv_img.bias is missing"),
        (surplus, "up_4.conv_0.bias is surplus"),
        (reshaped, "fc.weight is 3x256, not 64x256"),
        (not_finite, "conv_img.bias is not finite"),
        (reshaped_unused, "param_free_norm.num_batches_tracked is 2, not a scalar"),
        (classes, "a generator of 151 classes, and not of 29"),
    ],
)
def test_file_that_does_not_fit_is_refused_in_one_line(tmp_path, refusal, change, told):
    files = Files(tiny("gaugan"), tmp_path)
    change(files.states["generator"])
    files.save("generator")
    line = refusal(files.command())
    assert told in line and "latest_net_G.pth" in line
    assert not (tmp_path / "model.safetensors").exists()


def test_network_too_many_or_too_few_is_refused(tmp_path, refusal, smoke_model):
    files = Files(tiny("gaugan"), tmp_path)
    assert "latest_net_G.pth: smoke_gaugan also needs the encoder, latest_net_E.pth" in refusal(
        files.command("generator")
    )
    assert "a second generator beside" in refusal(files.command("generator", "generator", "encoder"))
    torch_files.save(tmp_path / "latest_net_D.pth", {"discriminator_0.model0.0.weight": np.zeros((2, 2, 4, 4), "f")})
    assert "latest_net_D.pth: the discriminator of a GAN" in refusal(files.command("generator", "d"))
    target = str(tmp_path / "model.safetensors")
    other = ["convert", str(smoke_model), target]
    assert "holds no generator or encoder of a GAN" in refusal([*other, "--config", str(files.config)])
    assert "a diffusion model, and not a GAN" in refusal([*other, "--only", "generator"])
    assert "takes a network out of one GAN" in refusal([*files.command(), "--only", "generator"])


def test_published_file_is_pointed_to_convert(tmp_path, refusal, inputs):
    files = Files(tiny("clade", "gan.use_vae=false"), tmp_path)
    for given in ([], ["--config", "clade"], ["--config", "smoke"]):
        line = refusal(inputs.command(tmp_path / "out", files.path("generator"), *given))
        assert "latest_net_G.pth" in line and "jiidm convert" in line
    line = refusal(["convert", str(files.path("generator")), str(tmp_path / "model.safetensors")])
    assert "a GAN's generator" in line and "--config" in line

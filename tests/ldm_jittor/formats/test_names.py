from __future__ import annotations

import numpy as np
import pytest

from ldm_jittor.formats.names import (
    diffusers_groups,
    from_diffusers_kl,
    from_diffusers_vq,
    networks,
    to_diffusers_kl,
    to_diffusers_vq,
)

CONV, VECTOR, MATRIX = (4, 4, 3, 3), (4,), (4, 4)
DIFFUSERS_TO_OURS = {  # hand-written from the two projects' module trees, for two levels
    "encoder.conv_in.weight": ("encoder.conv_in.weight", CONV),
    "encoder.down_blocks.0.resnets.1.norm2.bias": ("encoder.down.0.block.1.norm2.bias", VECTOR),
    "encoder.down_blocks.0.downsamplers.0.conv.weight": ("encoder.down.0.downsample.conv.weight", CONV),
    "encoder.down_blocks.1.resnets.0.conv_shortcut.weight": (
        "encoder.down.1.block.0.nin_shortcut.weight",
        CONV,
    ),
    "encoder.mid_block.resnets.0.conv1.weight": ("encoder.mid.block_1.conv1.weight", CONV),
    "encoder.mid_block.resnets.1.conv1.weight": ("encoder.mid.block_2.conv1.weight", CONV),
    "encoder.mid_block.attentions.0.group_norm.weight": ("encoder.mid.attn_1.norm.weight", VECTOR),
    "encoder.mid_block.attentions.0.to_q.weight": ("encoder.mid.attn_1.q.weight", MATRIX),
    "encoder.mid_block.attentions.0.to_k.bias": ("encoder.mid.attn_1.k.bias", VECTOR),
    "encoder.conv_norm_out.weight": ("encoder.norm_out.weight", VECTOR),
    "decoder.mid_block.attentions.0.to_v.weight": ("decoder.mid.attn_1.v.weight", MATRIX),
    "decoder.mid_block.attentions.0.to_out.0.weight": ("decoder.mid.attn_1.proj_out.weight", MATRIX),
    "decoder.up_blocks.0.resnets.2.conv2.weight": ("decoder.up.1.block.2.conv2.weight", CONV),
    "decoder.up_blocks.0.upsamplers.0.conv.bias": ("decoder.up.1.upsample.conv.bias", VECTOR),
    "decoder.up_blocks.1.resnets.0.conv_shortcut.bias": ("decoder.up.0.block.0.nin_shortcut.bias", VECTOR),
    "quant_conv.weight": ("quant_conv.weight", (4, 4, 1, 1)),
    "post_quant_conv.bias": ("post_quant_conv.bias", VECTOR),
}
CODEBOOK = {"quantize.embedding.weight": ("quantize.embedding.weight", (8, 4))}
MODELS = {
    "vq": (from_diffusers_vq, to_diffusers_vq, {**DIFFUSERS_TO_OURS, **CODEBOOK}),
    "kl": (from_diffusers_kl, to_diffusers_kl, DIFFUSERS_TO_OURS),
}


def state_of(names: dict) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {theirs: rng.normal(size=shape) for theirs, (_, shape) in names.items()}


@pytest.mark.parametrize("model", MODELS)
def test_every_name_and_back(model: str) -> None:
    from_diffusers, to_diffusers, names = MODELS[model]
    state = state_of(names)
    ours = from_diffusers(state)
    assert list(ours) == [name for name, _ in names.values()]
    for theirs, (name, shape) in names.items():
        assert ours[name].shape == (shape if shape != MATRIX else (4, 4, 1, 1))
        np.testing.assert_array_equal(ours[name].reshape(shape), state[theirs])
    back = to_diffusers(ours)
    assert list(back) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)


def test_decoder_levels_are_reversed() -> None:
    levels = {f"decoder.up_blocks.{i}.resnets.0.conv1.bias": np.full(4, i) for i in range(4)}
    ours = from_diffusers_vq(levels)
    assert [ours[f"decoder.up.{i}.block.0.conv1.bias"][0] for i in range(4)] == [3, 2, 1, 0]


def test_attention_names_of_old_diffusers() -> None:
    prefix = "decoder.mid_block.attentions.0."
    projections = ("query", "key", "value", "proj_attn")
    state = {f"{prefix}{name}.weight": np.full(MATRIX, i) for i, name in enumerate(projections)}
    ours = from_diffusers_kl(state)
    assert {name: array.flat[0] for name, array in ours.items()} == {
        f"decoder.mid.attn_1.{name}.weight": i for i, name in enumerate(("q", "k", "v", "proj_out"))
    }
    with pytest.raises(ValueError, match=r"decoder\.mid_block\.attentions\.0\.query\.weight: given twice"):
        from_diffusers_kl({f"{prefix}to_q.weight": np.zeros(MATRIX), **state})


@pytest.mark.parametrize("convert", [from_diffusers_vq, from_diffusers_kl, to_diffusers_vq, to_diffusers_kl])
@pytest.mark.parametrize("name", ["loss.discriminator.main.0.weight", "encoder.conv_in.scale", "encoder.conv_in"])
def test_unknown_names_are_listed(convert, name: str) -> None:
    with pytest.raises(ValueError, match=f"belong to no part of this autoencoder: {name}, zzz.weight$"):
        convert({"encoder.conv_in.weight": np.zeros(CONV), name: np.zeros(4), "zzz.weight": np.zeros(4)})


@pytest.mark.parametrize("convert", [from_diffusers_kl, to_diffusers_kl])
def test_kl_has_no_codebook(convert) -> None:
    with pytest.raises(ValueError, match="quantize.embedding.weight"):
        convert({"quantize.embedding.weight": np.zeros((8, 4))})


OURS = {"encoder.conv_in.weight": CONV, "decoder.conv_in.weight": CONV, "quant_conv.bias": VECTOR}
SPADE = {"time_embed.0.weight": MATRIX, "middle_block.0.in_norm.mlp_shared.0.weight": CONV}


def named(prefix: str, shapes: dict, value: float = 0.0) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": np.full(shape, value) for name, shape in shapes.items()}


@pytest.mark.parametrize("prefix", ["", "autoencoder.", "first_stage_model.", "ema.", "model."])
def test_an_autoencoder_is_found_under_every_prefix(prefix: str) -> None:
    others = {"loss.discriminator.main.0.weight": CONV, "model_ema.encoderconv_inweight": CONV}
    found, left = networks({**named(prefix, OURS), **named(prefix, others), "other.weight": np.zeros(2)})
    assert {kind: (network.layout, [*network.state]) for kind, network in found.items()} == {
        "autoencoder": ("latent-diffusion", [*OURS, *([] if prefix else ["other.weight"])])
    }
    assert left == [f"{prefix}{name}" for name in others] + (["other.weight"] if prefix else [])


@pytest.mark.parametrize("prefix", ["", "unet.", "ema.", "model."])
def test_a_unet_is_found_under_every_prefix(prefix: str) -> None:
    found, left = networks(named(prefix, SPADE))
    assert {kind: (network.layout, [*network.state]) for kind, network in found.items()} == {"unet": ("SDM", [*SPADE])}
    assert left == []


@pytest.mark.parametrize(
    "wrapper",
    [
        *(
            "module.",
            "_orig_mod.",
            "_orig_mod.module.",
            "module._orig_mod.",
            "model.module.",
            "net.",
            "netG.",
            "generator.",
        ),
        *("model_state_dict.", "model.module.", "params.", "params_ema.", "ema_model.", "swa_model.module.", "a.b.c."),
        *("checkpoint.model.module.", "module.model.", "vae.", "diffusion.unet.", "models.0."),
    ],
)
@pytest.mark.parametrize("shapes", [OURS, SPADE], ids=["autoencoder", "unet"])
def test_a_network_is_found_in_any_wrapper(wrapper: str, shapes: dict) -> None:
    found, left = networks({**named(wrapper, shapes), "n_averaged": np.zeros(()), "step": np.zeros(1)})
    ((_, network),) = found.items()
    bare = wrapper in ("module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.")  # then all names are its own
    assert [*network.state] == [*shapes, *(["step"] if bare else [])]
    assert left == (["n_averaged"] if bare else ["n_averaged", "step"])


@pytest.mark.parametrize(
    "average", ["ema", "model_ema", "ema_state_dict", "params_ema", "ema.module", "swa_model", "EMA"]
)
@pytest.mark.parametrize("plain", ["", "model.", "unet.", "state.module.", "schema."])
def test_the_average_is_chosen(average: str, plain: str) -> None:
    found, _ = networks({**named(plain, SPADE, 1), **named(f"{average}.", SPADE, 2)})
    assert all((array == 2).all() for array in found["unet"].state.values())


def test_modules_around_inner_modules_are_no_part_of_names() -> None:
    found, left = networks({name.replace("block.0.", "block._orig_mod.0.module."): np.zeros(1) for name in SPADE})
    assert [*found["unet"].state] == [*SPADE] and left == []
    with pytest.raises(ValueError, match="given twice"):
        networks({**named("", SPADE), **named("module.", SPADE)})


def test_a_model_has_both_and_averages_come_first() -> None:
    both = {**OURS, **SPADE}
    for shapes in (OURS, SPADE):
        found, left = networks({**named("model.", shapes, 1), **named("ema.", shapes, 2)})
        (network,) = found.values()
        assert all((array == 2).all() for array in network.state.values())
        assert left == [*named("model.", shapes)]
    found, left = networks({**named("autoencoder.", OURS), **named("unet.", SPADE), **named("model.", both)})
    assert {kind: [*network.state] for kind, network in found.items()} == {"autoencoder": [*OURS], "unet": [*SPADE]}
    assert left == [*named("model.", both)]


def test_diffusers_is_recognised_by_its_names() -> None:
    for codebook, convert in ((CODEBOOK, from_diffusers_vq), ({}, from_diffusers_kl)):
        state = state_of({**DIFFUSERS_TO_OURS, **codebook})
        found, left = networks(state)
        assert found["autoencoder"].layout == "diffusers" and left == []
        assert found["autoencoder"].state.keys() == convert(state).keys()


def test_projections_of_another_shape_stay_as_they_are() -> None:
    for shape in ((4,), (4, 4, 2), (4, 4, 3, 3), ()):
        ours = from_diffusers_vq({"encoder.mid_block.attentions.0.to_q.weight": np.zeros(shape)})
        assert ours["encoder.mid.attn_1.q.weight"].shape == shape
        assert to_diffusers_vq(ours)["encoder.mid_block.attentions.0.to_q.weight"].shape == shape


def test_what_is_no_network_of_ours() -> None:
    """Stable Diffusion's U-Net has names of ours, but sees no mask."""
    arrays = named("model.diffusion_model.", {"time_embed.0.weight": MATRIX, "input_blocks.0.0.weight": CONV})
    assert networks(arrays) == ({}, [*arrays])


def test_diffusers_configs() -> None:
    assert diffusers_groups({"norm_num_groups": 16, "act_fn": "silu", "block_out_channels": [128]}) == 16
    assert diffusers_groups({}) == 32
    for value in (0, -1, True, 4.0, "32", None):
        with pytest.raises(ValueError, match=f"norm_num_groups is {value!r}, expected a whole number"):
            diffusers_groups({"norm_num_groups": value})
    with pytest.raises(ValueError, match="act_fn is relu"):
        diffusers_groups({"act_fn": "relu"})

"""Other projects' weights in our layout: which networks a file holds, and diffusers' autoencoders renamed.

Our names are the released ones: for the autoencoder those of taming-transformers and latent-diffusion, for the U-Net
those of Semantic Diffusion Model (github.com/WeilunWang/semantic-diffusion-model). Only diffusers has other names. Both
directions read one table: a module's name is matched against one side's template and spelled by the other's. An
attention's projections are 1x1 convolutions here and linear layers there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ldm_jittor.formats.wrappers import prefix_of, without_modules

State = dict[str, np.ndarray]

_MARKS = {"autoencoder": "encoder.conv_in.weight", "unet": "middle_block.0.in_norm.mlp_shared.0.weight"}
"""A name that every autoencoder here has, and one that every SPADE U-Net has."""
_HOMES = {"autoencoder": ("autoencoder", "first_stage_model", "vae"), "unet": ("unet",)}
"""The names under which a file may hold a network beside others of its kind, best first."""
_TRAINING_ONLY = ("loss.", "model_ema.", "n_averaged")

_BLOCK = {**{name: name for name in ("norm1", "conv1", "norm2", "conv2")}, "nin_shortcut": "conv_shortcut"}
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_SPELLINGS = {"side": {"encoder": "encoder", "decoder": "decoder"}, "block": _BLOCK, "attention": _ATTENTION}
_OLD_ATTENTION = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}  # before diffusers 0.16

_TEMPLATES = (  # (ours, diffusers); {up}, a decoder level, is counted from opposite ends
    ("{side}.conv_in", "{side}.conv_in"),
    ("{side}.norm_out", "{side}.conv_norm_out"),
    ("{side}.conv_out", "{side}.conv_out"),
    ("{side}.mid.block_1.{block}", "{side}.mid_block.resnets.0.{block}"),
    ("{side}.mid.attn_1.{attention}", "{side}.mid_block.attentions.0.{attention}"),
    ("{side}.mid.block_2.{block}", "{side}.mid_block.resnets.1.{block}"),
    ("encoder.down.{down}.block.{index}.{block}", "encoder.down_blocks.{down}.resnets.{index}.{block}"),
    (
        "encoder.down.{down}.attn.{index}.{attention}",
        "encoder.down_blocks.{down}.attentions.{index}.{attention}",
    ),
    ("encoder.down.{down}.downsample.conv", "encoder.down_blocks.{down}.downsamplers.0.conv"),
    ("decoder.up.{up}.block.{index}.{block}", "decoder.up_blocks.{up}.resnets.{index}.{block}"),
    ("decoder.up.{up}.attn.{index}.{attention}", "decoder.up_blocks.{up}.attentions.{index}.{attention}"),
    ("decoder.up.{up}.upsample.conv", "decoder.up_blocks.{up}.upsamplers.0.conv"),
    ("quant_conv", "quant_conv"),
    ("post_quant_conv", "post_quant_conv"),
)
_CODEBOOK = ("quantize.embedding", "quantize.embedding")


class Network(NamedTuple):
    """Weights under our names, and the project whose names the file had."""

    state: State
    layout: str


def networks(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Network], list[str]]:
    """The networks among `arrays`, by kind ("autoencoder", "unet"), and the names that belong to neither.

    A network is found under whatever names, as `wrappers` says; averages come first.
    An autoencoder's training leaves losses (`loss.`) and averages (`model_ema.`), which belong to neither:
    latent-diffusion too runs the plain weights. Surplus names stay in their network, where `checkpoint.misfits` finds
    them.
    Raises ValueError as `from_diffusers_vq` and `without_modules` do.
    """
    found: dict[str, Network] = {}
    taken: set[str] = set()
    names = without_modules(arrays)
    for kind, mark in _MARKS.items():
        prefix = prefix_of(names, mark, _HOMES[kind])
        if prefix is None:
            continue
        own = {plain[len(prefix) :]: name for plain, name in names.items() if plain.startswith(prefix)}
        own = {plain: name for plain, name in own.items() if not plain.startswith(_TRAINING_ONLY)}
        state = {plain: arrays[name] for plain, name in own.items()}
        taken.update(own.values())
        found[kind] = _autoencoder(state) if kind == "autoencoder" else Network(state, "SDM")
    return found, [name for name in arrays if name not in taken]


def _autoencoder(state: State) -> Network:
    if not any(".mid_block." in name for name in state):
        return Network(state, "latent-diffusion")
    is_vq = any(name.startswith("quantize.") for name in state)
    return Network(from_diffusers_vq(state) if is_vq else from_diffusers_kl(state), "diffusers")


def diffusers_groups(config: Mapping[str, Any]) -> int:
    """The number of groups of every group norm, which no weight of a diffusers autoencoder shows. config: config.json.

    Raises ValueError for a value that is no such number, and for an activation that our layers do not have.
    """
    if config.get("act_fn", "silu") != "silu":
        raise ValueError(f"act_fn is {config['act_fn']}, only silu is supported")
    groups = config.get("norm_num_groups", 32)
    if type(groups) is not int or groups < 1:
        raise ValueError(f"norm_num_groups is {groups!r}, expected a whole number above 0")
    return groups


def from_diffusers_vq(state: Mapping[str, np.ndarray]) -> State:
    """Weights of diffusers' VQModel in our VQModel's layout.

    Raises ValueError listing the names that belong to no part of that model.
    """
    return _from_diffusers(state, (*_TEMPLATES, _CODEBOOK))


def from_diffusers_kl(state: Mapping[str, np.ndarray]) -> State:
    """Weights of diffusers' AutoencoderKL in our AutoencoderKL's layout.

    Raises ValueError listing the names that belong to no part of that model.
    """
    return _from_diffusers(state, _TEMPLATES)


def to_diffusers_vq(state: Mapping[str, np.ndarray]) -> State:
    """The inverse of `from_diffusers_vq`; raises as it does."""
    return _to_diffusers(state, (*_TEMPLATES, _CODEBOOK))


def to_diffusers_kl(state: Mapping[str, np.ndarray]) -> State:
    """The inverse of `from_diffusers_kl`; raises as it does."""
    return _to_diffusers(state, _TEMPLATES)


def _from_diffusers(state: Mapping[str, np.ndarray], templates: tuple) -> State:
    current = {}
    for name, array in state.items():
        modern = re.sub(r"(?<=\.)(query|key|value|proj_attn)(?=\.)", lambda m: _OLD_ATTENTION[m[1]], name)
        if modern in current:
            raise ValueError(f"{name}: given twice, in the old and in the new spelling")
        current[modern] = array
    names = _rename(current, [(theirs, ours) for ours, theirs in templates], _inverted(_SPELLINGS))
    return {
        ours: array[..., None, None] if _is_projection(ours) and array.ndim == 2 else array
        for array, ours in ((current[name], ours) for name, ours in names.items())
    }


def _to_diffusers(state: Mapping[str, np.ndarray], templates: tuple) -> State:
    names = _rename(state, templates, _SPELLINGS)
    return {
        theirs: state[name][..., 0, 0] if _is_projection(name) and state[name].shape[2:] == (1, 1) else state[name]
        for name, theirs in names.items()
    }


def _inverted(spellings: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    return {field: {theirs: ours for ours, theirs in names.items()} for field, names in spellings.items()}


def _is_projection(name: str) -> bool:
    """Whether `name`, in our layout, is the matrix of an attention's q, k, v or proj_out."""
    return re.search(r"\.(q|k|v|proj_out)\.weight$", name) is not None


def _rename(state: Mapping[str, np.ndarray], templates, spellings: dict[str, dict[str, str]]) -> dict[str, str]:
    """{name: name in the other layout}; `templates` are (this, other), `spellings` {field: {this: other}}."""
    patterns = [(_pattern(this, spellings), other) for this, other in templates]
    levels = [int(match[1]) for match in (re.match(r"decoder\.up\w*\.(\d+)\.", name) for name in state) if match]
    last_level = max(levels, default=0)

    names, unknown = {}, []
    for name in state:
        module, _, leaf = name.rpartition(".")
        found = next(((match, other) for pattern, other in patterns if (match := pattern.fullmatch(module))), None)
        if found is None or leaf not in ("weight", "bias"):
            unknown.append(name)
            continue
        match, other = found
        fields = {field: spellings.get(field, {}).get(text, text) for field, text in match.groupdict().items()}
        if "up" in fields:
            fields["up"] = str(last_level - int(fields["up"]))
        names[name] = f"{other.format(**fields)}.{leaf}"
    if unknown:
        raise ValueError(f"names that belong to no part of this autoencoder: {', '.join(sorted(unknown))}")
    return names


def _pattern(template: str, spellings: dict[str, dict[str, str]]) -> re.Pattern:
    """Regular expression for a template: {field} is one of its spellings, or a number where it has none."""

    def group(match: re.Match) -> str:
        texts = "|".join(re.escape(text) for text in spellings.get(match[1], ())) or r"\d+"
        return f"(?P<{match[1]}>{texts})"

    return re.compile(re.sub(r"\\{(\w+)\\}", group, re.escape(template)))

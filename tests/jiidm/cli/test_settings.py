"""Every key of a config does something: it is read, it changes what it should, or --set refuses it."""

from __future__ import annotations

import ast
import itertools
import json
from pathlib import Path

import pytest

from jiidm.cli import experiments, options, train
from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.config.rules import without_effect
from jiidm.data.identity import made_by
from jiidm.errors import InputError
from ldm_jittor import checkpoint

PROJECT = Path(__file__).resolve().parents[3]
UNUSED = {
    "train": train.UNUSED,
    "train segmenter": train.UNUSED_BY_SEGMENTER,
    "infer": (*options.TRAINING_ONLY, "inference.fast_steps"),
    "ablate": experiments.UNUSED,
    "sweep": experiments.UNUSED,
}
CHANGE_NO_IMAGE = {
    "name": "it is printed and kept",
    "inference.batch_size": "images do not depend on their batch",
    "inference.modulation_memory": "it limits the batch",
    "inference.fast_steps": "only --fast reads it",
}


def keys_of(tree, prefix=""):
    """The dotted keys of all values; those of rounds are the first round's."""
    if isinstance(tree, list) and tree and isinstance(tree[0], dict):
        tree = {"0": tree[0]}
    if not isinstance(tree, dict):
        return [prefix]
    return [key for name, value in tree.items() for key in keys_of(value, f"{prefix}.{name}" if prefix else name)]


KEYS = keys_of(configs.to_dict(configs.load_config("smoke")))


def is_in(key, names):
    return any(f"{key}.".startswith(f"{name}.") for name in names)


def value_at(config, key):
    node = configs.to_dict(config)
    for part in key.split("."):
        node = node[int(part) if isinstance(node, list) else part]
    return node


def with_another_value(config, key):
    """A valid config in which this one value is another."""
    value = value_at(config, key)
    words = ["other", "kl", "cosine", "linear", "ddpm", "linspace", "lalphabeta", "b0", "constant"]
    words += ["gaugan", "clade", "v"]
    candidates = {
        bool: [not value],
        int: [value + n for n in (1, -1, 32)] + [2 * value, value // 2] if type(value) is int else [],
        float: [value / 2, value * 2, 0.5] if type(value) is float else [],
        str: words,
        list: [[2 * n for n in value], value[:1]] if isinstance(value, list) else [],
        type(None): [75, [9, 9], 0.5],
    }[type(value)]
    for candidate in candidates:
        try:
            changed = configs.override(config, [f"{key}={json.dumps(candidate)}"])
        except InputError:
            continue
        if value_at(changed, key) != value:
            return changed
    raise AssertionError(f"no other value found for {key} = {value!r}")


def with_an_effect(key):
    """A config in which the key has an effect."""
    # a size that six upsamplings reach too
    small = configs.load_config("smoke"), configs.load_config("smoke_gaugan", ["data.size=[128,128]"])
    if key == "method":  # the GANs are alternatives of the same size
        return small[1]
    if key.endswith(".dynamic_thresholding_ratio"):  # it goes with a bound
        return configs.override(small[0], [key.replace("dynamic_thresholding_ratio", "clip_x0") + "=2"])
    others = [configs.override(small[0], ["schedule.kind=paper"])]
    others += [configs.override(small[1], [f"method={method}"]) for method in ("clade", "sean", "scgan")]
    return next(config for config in (*small, *others) if without_effect(config, key) is None)


def test_there_are_keys_of_every_section():
    assert {"seed", "data.size", "inference.rounds.0.num_steps", "released.noise_timesteps"} <= set(KEYS)
    assert len(KEYS) > 60


def test_every_key_is_read_outside_of_the_config_room():
    """By its name as an attribute: a key that only the config room knows changes nothing."""
    paths = [*(PROJECT / "jiidm").rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths if path.parent.name != "config"]
    schema = ast.parse((PROJECT / "jiidm" / "config" / "schema.py").read_text(encoding="utf-8"))
    # what the schema's properties read is read by who reads them
    properties = [node for node in ast.walk(schema) if isinstance(node, ast.FunctionDef)]
    nodes = itertools.chain.from_iterable(map(ast.walk, [*trees, *properties]))
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    by_config_alone = {"fast_steps"}  # `fast` makes other rounds of it
    assert [key for key in KEYS if key.split(".")[-1] not in read | by_config_alone] == []


@pytest.mark.parametrize("key", [key for key in KEYS if not is_in(key, options.TRAINING_ONLY)])
def test_every_key_of_inference_decides_the_images_or_is_known_not_to(key):
    config = with_an_effect(key)
    changed = with_another_value(config, key)
    same = made_by("0" * 64, config, config.seed) == made_by("0" * 64, changed, changed.seed)
    assert same == (key in CHANGE_NO_IMAGE)


@pytest.mark.parametrize("command", UNUSED)
def test_set_refuses_every_key_that_the_command_does_not_use(command, refusal):
    needed = {"ablate": ["--out", "out"], "sweep": ["--out", "out"]}.get(command, [])
    for key in KEYS:
        if is_in(key, UNUSED[command]):
            line = refusal([*command.split(), "--set", f"{key}=1", *needed])
            assert f"--set {key}=1" in line and f"jiidm {command}" in line and "does not use" in line
        else:
            options.refuse_unused([f"{key}=1"], command, UNUSED[command])


def test_a_whole_section_that_is_not_used_is_refused(refusal):
    assert "--set segmenter={}" in refusal(["train", "--set", "segmenter={}"])
    assert "no such setting" in refusal(["train", "--set", "segmenters.variant=b1"])


def test_fast_steps_go_with_fast(inputs, smoke_model, tmp_path, refusal):
    given = inputs.command(tmp_path / "out", smoke_model, "--set", "inference.fast_steps=2")
    assert "infer without --fast" in refusal(given)
    assert cli.main([*given, "--fast", "--dry-run"]) == 0


@pytest.mark.parametrize("assignment", ["inference.rounds.0.sampler=unipc", "inference.rounds.0.spacing=linspace"])
def test_what_fast_decides_is_not_set_beside_it(inputs, smoke_model, tmp_path, refusal, assignment):
    given = inputs.command(tmp_path / "out", smoke_model, "--fast", "--set", "inference.fast_steps=2")
    assert f"--set {assignment}: --fast samples by dpmpp_2m" in refusal([*given, "--set", assignment])


@pytest.mark.parametrize(
    "assignment, told",
    [
        ("autoencoder_training.max_steps=3", "quantization_start: 3, expected less than max_steps = 3"),
        ("autoencoder_training.crop_size=[16,32]", "expected 24 or more a side"),
    ],
)
def test_an_autoencoder_that_would_learn_too_little_is_not_trained(refusal, assignment, told):
    assert told in refusal(["train", "--config", "smoke", "--set", assignment, "--dry-run"])


def test_set_that_another_option_makes_useless_is_told(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = ["--set", "autoencoder_training.max_steps=3", "--set", "data.synthetic_count=9"]
    command = ["train", "DATA", "--config", "smoke", "--autoencoder", "FILE", "--dry-run", "--device", "cpu"]
    assert cli.main([*command, *given]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "warning: --set data.synthetic_count=9 does nothing here, because of DATA",
        "warning: --set autoencoder_training.max_steps=3 does nothing here, because of --autoencoder",
    ]


@pytest.mark.parametrize(
    "given, seed",
    [
        ([], 0),
        (["--set", "seed=1"], 1),
        (["--seed", "1"], 1),
        (["--seed", "2", "--set", "seed=1"], 2),
        (["--seed", "0", "--set", "seed=1"], 0),
        (["--config", "seven.yaml"], 7),
        (["--config", "seven.yaml", "--set", "seed=1"], 1),
        (["--config", "seven.yaml", "--seed", "3"], 3),
    ],
)
@pytest.mark.parametrize("command", ["infer", "ablate --out out", "sweep --out out"])
def test_the_seed_is_that_of_the_option_of_set_of_the_config_or_zero(command, given, seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("seven.yaml").write_text("base: smoke\nseed: 7\n", encoding="utf-8")
    arguments = cli._parser().parse_args([*command.split(), *given])
    stored = configs.load_config(arguments.config or "smoke", ["seed=5", *arguments.set])  # 5: a training's
    config = configs.load_config(arguments.config, arguments.set) if arguments.config else stored
    assert options.noise_seed(arguments, config) == seed


def test_set_seed_paints_what_seed_paints(inputs, smoke_model, tmp_path):
    """Of a model that holds another seed, that of its training."""
    stored = checkpoint.load(smoke_model)
    config = configs.to_dict(configs.load_config("smoke", ["seed=5"]))
    checkpoint.save(tmp_path / "five.safetensors", stored.arrays, {**stored.metadata, "config": config})
    images = {}
    for name, given in {
        "plain": [],
        "zero": ["--seed", 0],
        "set": ["--set", "seed=1"],
        "one": ["--seed", 1],
        "both": ["--seed", 1, "--set", "seed=9"],
    }.items():
        out = tmp_path / name
        assert cli.main(inputs.command(out, tmp_path / "five.safetensors", *given)) == 0
        images[name] = [path.read_bytes() for path in sorted(out.glob("*.jpg"))]
        config = configs.load_saved(out / "_run" / "config.yaml")
        assert config.seed == json.loads((out / "_run" / "manifest.json").read_text())["made_by"]["seed"]
    assert images["set"] == images["one"] == images["both"]
    assert images["plain"] == images["zero"] != images["one"]


def test_config_of_a_finished_folder_paints_it_again(inputs, smoke_model, tmp_path):
    assert cli.main(inputs.command(tmp_path / "a", smoke_model, "--seed", 3)) == 0
    again = ["--config", tmp_path / "a" / "_run" / "config.yaml"]
    assert cli.main(inputs.command(tmp_path / "b", smoke_model, *again)) == 0
    first, second = (sorted((tmp_path / name).glob("*.jpg")) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]

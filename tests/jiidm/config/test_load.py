from __future__ import annotations

import dataclasses
import sys

import pytest
from config_files import message_of, write

from jiidm.config import load as configs
from jiidm.config.schema import Config, Round
from jiidm.size import Size


def test_fast_rounds_keep_all_but_how_they_are_sampled():
    config = configs.load_config("iidm_released", ["inference.fast_steps=12"])
    fast = configs.fast(config)
    assert [(r.sampler, r.num_steps, r.spacing) for r in fast.inference.rounds] == [("dpmpp_2m", 12, "logsnr")] * 3
    for changed, before in zip(fast.inference.rounds, config.inference.rounds, strict=True):
        kept = dataclasses.replace(changed, sampler=before.sampler, num_steps=before.num_steps, spacing=before.spacing)
        assert kept == before
    assert dataclasses.replace(fast, inference=config.inference) == config
    assert dataclasses.replace(fast.inference, rounds=config.inference.rounds) == config.inference


def test_a_round_does_not_take_more_steps_for_being_fast(tmp_path):
    path = write(
        tmp_path, "inference: {rounds: [{start_timestep: 99, num_steps: 20}, {start_timestep: 1, num_steps: 2}]}"
    )
    assert [spec.num_steps for spec in configs.fast(configs.load_config(path)).inference.rounds] == [10, 2]


def test_fast_is_refused_where_it_saves_nothing_or_cannot_be():
    assert "fast_steps = 10" in message_of(configs.fast, configs.load_config("smoke"))
    assert "ddpm" in message_of(configs.fast, configs.load_config("iidm_paper"))
    ending = "inference.rounds=[{start_timestep: 999, num_steps: 20}]"
    assert "abar is 0" in message_of(configs.fast, configs.load_config("iidm_paper", [ending]))


def test_an_empty_file_is_the_default(tmp_path):
    assert configs.load_config(write(tmp_path, "")) == Config()


def test_a_config_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


def test_numbers_that_yaml_reads_as_strings(tmp_path):
    # YAML 1.1 wants a dot in floats: 1e-4 is the string "1e-4"
    config = configs.load_config(
        write(tmp_path, "diffusion_training: {learning_rate: 1e-4}\nschedule: {beta_end: 1}\n")
    )
    assert config.diffusion_training.learning_rate == 0.0001
    assert type(config.schedule.beta_end) is float and config.schedule.beta_end == 1.0


def test_null_is_allowed_where_there_is_a_choice(tmp_path):
    for text, expected in (("null", None), ("4", 4.0)):
        rounds = f"inference: {{rounds: [{{start_timestep: 9, num_steps: 1, clip_x0: {text}}}]}}"
        assert configs.load_config(write(tmp_path, rounds)).inference.rounds[0].clip_x0 == expected


def test_colour_transfer_is_false_true_or_region():
    key = "inference.rounds.0.color_transfer"
    for text, expected in (("false", False), ("true", True), ("on", True), ("region", "region")):
        config = configs.load_config("demo", [f"{key}={text}"])
        assert config.inference.rounds[0].color_transfer == expected
        assert config.uses_reference_masks == (expected == "region")
        assert configs.from_dict(configs.to_dict(config), "here") == config
    told = f"{key} is 'regions', expected false or true or region"
    assert told in message_of(configs.load_config, "demo", [f"{key}=regions"])


def test_what_older_files_do_not_say_has_a_default():
    """The config in a checkpoint of an earlier version has no word of distances: none are taken."""
    assert configs.from_dict({"diffusion_training": {"max_steps": 3}}, "here").diffusion_training.distance_every is None
    assert configs.load_config("demo", ["diffusion_training.distance_every=0"]).diffusion_training.distance_every == 0


def test_rounds_are_read_with_their_defaults(tmp_path):
    path = write(tmp_path, "inference: {rounds: [{start_timestep: 9, num_steps: 10}]}")
    assert configs.load_config(path).inference.rounds == (Round(9, 10),)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("sede: 1", ["sede"]),
        ("unet: {model_chanels: 64}", ["unet.model_chanels"]),
        ("inference: {rounds: [{start_timestep: 1, num_steps: 1, steps: 2}]}", ["inference.rounds.0.steps"]),
        ("1: 2", ["1"]),
        ("seed: one", ["seed", "one"]),
        ("seed: 1.5", ["seed", "1.5"]),
        ("seed: true", ["seed", "True"]),
        ("name: 3", ["name", "3"]),
        ("unet: {learn_variance: 1}", ["unet.learn_variance", "1"]),
        ("diffusion_training: {learning_rate: fast}", ["diffusion_training.learning_rate", "fast"]),
        ("diffusion_training: {learning_rate: true}", ["diffusion_training.learning_rate", "True"]),
        ("diffusion_training: {max_steps: null}", ["diffusion_training.max_steps", "None"]),
        ("schedule: {kind: quadratic}", ["schedule.kind", "quadratic"]),
        ("schedule: {kind: [linear]}", ["schedule.kind", "linear"]),
        ("schedule: linear", ["schedule", "linear"]),
        ("data: {size: 512}", ["data.size", "512"]),
        ("data: {size: [512]}", ["data.size", "512"]),
        ("data: {size: [512, wide]}", ["data.size.1", "wide"]),
        ("inference: {rounds: [{start_timestep: 5}]}", ["inference.rounds.0", "num_steps"]),
        ("[1, 2]", ["[1, 2]"]),
        ("just words", ["just words"]),
        ("seed: {", ["YAML"]),
        ("data: {size: [510, 384]}", ["data.size", "510x384"]),
        ("data: {size: [0, 384]}", ["data.size", "0x384"]),
        ("data: {validation_fraction: 1.0}", ["data.validation_fraction", "1.0"]),
        ("unet: {model_channels: 40}", ["unet.model_channels", "40", "multiple of 32"]),
        ("unet: {model_channels: 16}", ["unet.model_channels", "16", "multiple of 32"]),
        (
            "unet: {model_channels: 48, norm_min_channels: 4, channel_mult: [1, 3]}",
            ["unet.model_channels", "48", "144"],
        ),
        (
            "unet: {model_channels: 48, norm_min_channels: 4, channel_mult: [1, 2], attention_downsamples: []}",
            ["unet.model_channels", "48", "144 channels"],  # of 48 and 96, concatenated in the decoder
        ),
        ("unet: {norm_groups: 0}", ["unet.norm_groups", "0"]),
        ("autoencoder: {channels: 48}", ["autoencoder.channels", "48", "multiple of 32"]),
        ("autoencoder: {norm_groups: 24}", ["autoencoder.channels", "128", "multiple of 24"]),
        ("autoencoder: {norm_min_channels: 0}", ["autoencoder.norm_min_channels", "0"]),
        ("autoencoder: {channels: 0}", ["autoencoder.channels", "0"]),
        ("autoencoder_training: {crop_size: [1024, 256]}", ["autoencoder_training.crop_size", "1024x256"]),
        ("diffusion_training: {batch_size: 5, accumulation_steps: 2}", ["diffusion_training.batch_size", "5"]),
        ("diffusion_training: {accumulation_steps: 0}", ["diffusion_training", "0"]),
        ("diffusion_training: {mask_dropout: 1.0}", ["diffusion_training.mask_dropout", "1.0"]),
        ("inference: {rounds: []}", ["inference.rounds"]),
        ("inference: {batch_size: 0}", ["inference.batch_size", "0"]),
        ("inference: {rounds: [{start_timestep: 1000, num_steps: 1}]}", ["inference.rounds.0.start_timestep", "1000"]),
        ("inference: {rounds: [{start_timestep: 9, num_steps: 11}]}", ["inference.rounds.0.num_steps", "11"]),
        (
            "inference: {rounds: [{start_timestep: 9, num_steps: 1, guidance_scale: -3}]}",
            ["inference.rounds.0.guidance_scale", "-3", "0 or more"],
        ),
        (
            "inference: {rounds: [{start_timestep: 9, num_steps: 1, noise_timestep: 7}]}",
            ["inference.rounds.0.noise_timestep", "it is released.noise_timesteps now"],
        ),
        (
            "inference: {jpeg_between_rounds: 75}",
            ["inference.jpeg_between_rounds", "it is released.jpeg_between_rounds now"],
        ),
        (
            "inference: {rounds: [{start_timestep: 9, num_steps: 1}]}\nreleased: {noise_timesteps: [1000]}",
            ["released.noise_timesteps", "1000", "0 to 999"],
        ),
        (
            "inference: {rounds: [{start_timestep: 9, num_steps: 1}]}\nreleased: {noise_timesteps: [8, 9]}",
            ["released.noise_timesteps", "1 timesteps, one a round"],
        ),
        (
            "inference: {rounds: [{start_timestep: 9, num_steps: 1, spacing: leading}]}",
            ["inference.rounds.0.spacing", "leading"],
        ),
    ],
)
def test_faults_name_file_key_and_value(tmp_path, text, parts):
    path = write(tmp_path, text)
    message = message_of(configs.load_config, path)
    assert message.startswith(f"{path}: ")
    for part in parts:
        assert part in message.removeprefix(str(path))


@pytest.mark.parametrize(
    "key, value",
    [
        ("schedule.num_timesteps", "0"),
        ("schedule.beta_end", "1.5"),
        ("schedule.beta_start", "0"),
        ("autoencoder_training.batch_size", "0"),
        ("diffusion_training.batch_size", "0"),
        ("diffusion_training.log_every", "0"),
        ("diffusion_training.checkpoint_every", "0"),
        ("diffusion_training.validate_every", "0"),
        ("diffusion_training.distance_every", "-1"),
        ("diffusion_training.distance_images", "1"),
        ("diffusion_training.keep_best", "1"),
        ("diffusion_training.learning_rate", "nan"),
        ("diffusion_training.learning_rate", ".inf"),
        ("diffusion_training.weight_decay", ".nan"),
        ("inference.rounds.0.clip_x0", "1" + "0" * 400),
        ("inference.rounds.0.clip_x0", "0"),
        ("inference.rounds.0.guidance_rescale", "1.1"),
        ("inference.rounds.0.guidance_rescale", "null"),
        ("inference.rounds.0.dynamic_thresholding_ratio", "0"),
        ("inference.rounds.0.guidance_interval", "[400, 300]"),
        ("inference.rounds.0.guidance_interval", "[-1, 300]"),
        ("inference.rounds.0.guidance_interval", "[0, 1000]"),
        ("inference.rounds.0.guidance_interval", "[0, 300.5]"),
        ("inference.rounds.0.guidance_interval", "[300]"),
        ("inference.rounds.0.guidance_interval", "300"),
        ("inference.rounds.0.dynamic_thresholding_ratio", "1.1"),
        ("autoencoder.channel_mult", "[]"),
        ("autoencoder.channel_mult", "[1, 0]"),
        ("unet.channel_mult", "[]"),
        ("unet.channel_mult", "[1, -2]"),
        ("unet.num_head_channels", "48"),
        ("inference.rounds.0.num_steps", "0"),
        *(
            ("inference.rounds.0.color_transfer", value)
            for value in ("1", "regions", "Region", "null", "'true'", "[region]")
        ),
        ("data.synthetic_count", "0"),
        ("inference.fast_steps", "0"),
        ("inference.jpeg_quality", "101"),
        ("inference.jpeg_quality", "null"),
        ("released.jpeg_between_rounds", "0"),
        ("autoencoder.latent_scale", "0"),
    ],
)
def test_values_that_would_fail_later_are_refused_at_once(key, value):
    message = message_of(configs.load_config, "demo", [f"{key}={value}"])
    assert key in message.removeprefix(f"--set {key}={value}")


def test_a_paper_schedule_whose_betas_pass_one_is_refused():
    message = message_of(configs.load_config, "iidm_paper", ["schedule.slope=0.002"])
    assert "schedule.slope" in message.removeprefix("--set schedule.slope=0.002") and "0.002" in message


def test_a_round_cannot_be_even_in_log_snr_from_pure_noise():
    told = "inference.rounds.0.spacing is logsnr, expected another: abar is 0 at timestep 999"
    rounds = "inference.rounds=[{start_timestep: 999, num_steps: 9, spacing: logsnr}]"
    for name, more in (("iidm_paper", []), ("iidm", ["schedule.beta_end=1"])):
        assert told in message_of(configs.load_config, name, [rounds, *more])
        configs.load_config(name, [rounds.replace("999", "998"), *more])
    configs.load_config("iidm", [rounds])


def test_dynamic_thresholding_needs_the_range_to_shrink_to():
    ratio = "inference.rounds.1.dynamic_thresholding_ratio"
    told = f"{ratio} is 0.99, expected null, or clip_x0 beside it"
    assert told in message_of(configs.load_config, "demo", [f"{ratio}=0.99"])
    rounds = configs.load_config("demo", ["inference.rounds.1.clip_x0=2", f"{ratio}=0.99"]).inference.rounds
    assert (rounds[1].clip_x0, rounds[1].dynamic_thresholding_ratio) == (2.0, 0.99)


def test_files_that_cannot_be_read(tmp_path):
    assert "nothing.yaml" in message_of(configs.load_config, tmp_path / "nothing.yaml")
    assert "no_such_name" in message_of(configs.load_config, "no_such_name")
    assert str(tmp_path) in message_of(configs.load_config, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "binary.yaml" in message_of(configs.load_config, tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "seed: 1\nname: a\nseed: 2",
        "data: {synthetic_count: 1, synthetic_count: 2}",
        "inference:\n  batch_size: 1\ninference: {}",
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path, text):
    """PyYAML silently takes the last."""
    message = message_of(configs.load_config, write(tmp_path, text))
    assert "my.yaml" in message and " is there twice" in message and "line" in message


def test_merge_keys_are_no_duplicates(tmp_path):
    path = write(tmp_path, "data: &d {synthetic_count: 1}\nunet: {num_res_blocks: 1}\n")
    assert configs.load_config(path).data.synthetic_count == 1
    rounds = "[&r {start_timestep: 9, num_steps: 2, sampler: ddpm}, {<<: *r, num_steps: 1}]"
    assert configs.load_config("smoke", [f"inference.rounds={rounds}"]).inference.rounds == (
        Round(9, 2, "ddpm"),
        Round(9, 1, "ddpm"),
    )


def test_yaml_that_is_nested_too_deeply_is_refused(tmp_path):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        message = message_of(configs.load_config, write(tmp_path, "[" * 1000 + "]" * 1000))
    finally:
        sys.setrecursionlimit(limit)
    assert message.endswith("my.yaml: not valid YAML (nested too deeply)")


@pytest.mark.parametrize(
    "name, assignment, condition",
    [
        ("smoke", "schedule.slope=1e-4", "schedule.kind is paper"),
        ("iidm_paper", "schedule.beta_end=0.03", "schedule.kind is linear"),
        ("iidm", "diffusion_training.keep_best=3", None),
        ("iidm", "inference.color_space=lalphabeta", None),
        ("demo_paper", "inference.color_space=lalphabeta", "a round has color_transfer"),
        ("gaugan", "inference.rounds.0.clip_x0=2", "method is iidm"),
        ("sean", "inference.rounds.0.guidance_rescale=0.7", "method is iidm"),
        ("iidm_paper", "inference.rounds.0.guidance_interval=[0, 300]", "inference.rounds.0.guidance_scale is not 1"),
        ("iidm_paper", "inference.rounds.0.guidance_rescale=0.7", "inference.rounds.0.guidance_scale is not 1"),
        ("demo", "inference.rounds.0.guidance_interval=[0, 300]", None),
        ("demo", "schedule={slope: 1e-4}", "schedule.kind is paper"),
    ],
)
def test_set_refuses_what_would_do_nothing(name, assignment, condition):
    if condition is None:
        assert configs.load_config(name, [assignment]) != configs.load_config(name)
    else:
        told = message_of(configs.load_config, name, [assignment])
        assert told == f"--set {assignment}: this has an effect only where {condition}"


def test_set_may_bring_the_condition_with_it():
    config = configs.load_config("smoke", ["schedule.slope=1e-4", "schedule.kind=paper"])
    assert (config.schedule.kind, config.schedule.slope) == ("paper", 1e-4)
    off = ["diffusion_training.distance_every=null", "diffusion_training.keep_best=3"]
    assert "keep_best=3" in message_of(configs.load_config, "smoke", off)
    kl = ["autoencoder.kind=kl", "autoencoder.codebook_size=9"]
    assert "only where autoencoder.kind is vq" in message_of(configs.load_config, "smoke", kl)


def test_yaml_tags_run_no_code(tmp_path):
    mark = tmp_path / "ran"
    path = write(tmp_path, f"name: !!python/object/apply:os.system ['touch {mark}']")
    assert "YAML" in message_of(configs.load_config, path)
    assert not mark.exists()


def test_sizes_have_the_width_first_in_trees_and_the_height_first_in_code(smoke):
    tree = configs.to_dict(smoke)
    tree["data"]["size"], tree["autoencoder_training"]["crop_size"] = [128, 96], [64, 32]
    tree["segmenter"]["size"] = [48, 40]
    config = configs.from_dict(tree, "here")
    assert config.data.size == Size(height=96, width=128) and config.latent_size == Size(height=24, width=32)
    assert config.autoencoder_training.crop_size == Size(height=32, width=64)
    assert config.segmenter.size == Size(height=40, width=48)
    assert configs.to_dict(config) == tree


def test_set_overrides_values_of_every_kind(smoke):
    assignments = [
        "seed=7",
        "name=other",
        "diffusion_training.learning_rate=1e-5",
        "data.size=[128, 96]",
        "inference.fast_steps=3",
        "unet.learn_variance=false",
        "inference.rounds=[{start_timestep: 9, num_steps: 2, sampler: ddpm}]",
    ]
    changed = configs.override(smoke, assignments)
    assert changed.seed == 7 and changed.name == "other" and changed.data.size == (96, 128)
    assert changed.diffusion_training.learning_rate == 1e-5
    assert changed.inference.fast_steps == 3 and changed.unet.learn_variance is False
    assert changed.inference.rounds == (Round(9, 2, "ddpm"),)
    assert changed.autoencoder == smoke.autoencoder and smoke.seed == 0
    assert configs.load_config("smoke", assignments) == changed
    assert configs.override(smoke, []) is smoke
    mended = configs.load_config("iidm_released", ["released.noise_timesteps.0=598"]).released
    assert mended.noise_timesteps == (598, 640, 400)


@pytest.mark.parametrize(
    "assignment",
    [
        "sede=1",
        "seed",
        "unet.chanels=1",
        "seed.part=1",
        "inference.rounds.0=1",
        "inference.rounds.9.num_steps=1",
        "inference.rounds.-1.num_steps=1",
        "inference.rounds.0.steps=1",
        "inference.0=1",
        "=1",
        "seed=one",
        "data.size=[1",
        "seed=",
    ],
)
def test_set_faults_name_the_assignment(smoke, assignment):
    assert f"--set {assignment}" in message_of(configs.override, smoke, [assignment])


def test_set_of_a_section_changes_what_it_names_and_keeps_the_rest():
    demo = configs.load_config("demo")
    changed = configs.override(demo, ["diffusion_training={max_steps: 5}"])
    assert changed == configs.override(demo, ["diffusion_training.max_steps=5"]) != demo
    rounds = configs.override(demo, ["inference.rounds=[{start_timestep: 9, num_steps: 2}]"]).inference.rounds
    assert len(rounds) == 1 and rounds[0].guidance_scale == 1.0  # lists are replaced


def test_a_round_guides_some_of_its_own_timesteps():
    start = configs.load_config("demo").inference.rounds[0].start_timestep
    told = message_of(configs.load_config, "demo", [f"inference.rounds.0.guidance_interval=[{start + 1}, {start + 9}]"])
    assert f"a part of the round, which starts at {start}" in told


def test_rounds_that_are_no_mappings_are_told():
    config = configs.load_config("iidm_released")
    assert "expected a mapping" in message_of(configs.with_rounds, config, [600], "rounds")


def test_other_rounds_keep_noise_timesteps_where_they_start_alike():
    config = configs.load_config("iidm_released")
    first = configs.with_rounds(config, config.inference.rounds[:1], "test")
    assert first.released.noise_timesteps == (600,)
    other = configs.with_rounds(config, [{"start_timestep": 200, "num_steps": 5}], "test")
    assert other.released.noise_timesteps is None and other.released.jpeg_between_rounds == 75
    assert len(configs.with_rounds(config, config.inference.rounds * 2, "test").inference.rounds) == 6

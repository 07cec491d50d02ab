"""The Python facade: what it accepts, what it refuses, and that it gives what `jiidm infer` gives."""

from __future__ import annotations

import importlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import run_python
from tiny_gans import tiny

import jiidm
from jiidm import IIDMPipeline
from jiidm.baselines.model import GAN, GANModel, save_gan
from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.config.schema import Round
from jiidm.data.images import load_image, load_mask, save_jpeg
from jiidm.data.pairs import find_pairs
from jiidm.data.synthetic.dataset import landscape
from jiidm.errors import InputError
from jiidm.seeding import normal
from jiidm.size import Size
from jiidm.system import runtime
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError


@pytest.fixture(scope="module")
def pipe(smoke_model):
    return IIDMPipeline.from_pretrained(smoke_model, device="cpu")


@pytest.fixture(scope="module")
def pair():
    """A mask and a photo of another size than the model's."""
    return landscape(0, Size(64, 96))[1], landscape(1, Size(96, 80))[0]


@pytest.fixture(scope="module")
def image(pipe, pair):
    return pipe(*pair)


class TestImports:
    def test_neither_the_package_nor_the_facade_loads_jittor(self, tmp_path):
        code = """
import sys
import jiidm
assert not {"numpy", "jittor", "jiidm.api"} & set(sys.modules)
from jiidm import IIDMPipeline, color_transfer, load_config
assert "jittor" not in sys.modules and IIDMPipeline.__module__ == "jiidm.api"
"""
        run = run_python(code, folder=tmp_path)
        assert (run.returncode, run.stderr) == (0, "")

    def test_the_names_are_those_of_their_modules(self):
        assert jiidm.load_config is configs.load_config
        assert jiidm.color_transfer is importlib.import_module("jiidm.color").color_transfer
        assert set(jiidm.__all__) <= set(dir(jiidm)) and jiidm.__version__

    def test_an_unknown_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="'jiidm' has no attribute 'Pipelin'"):
            jiidm.Pipelin  # noqa: B018


class TestSameAsInfer:
    @pytest.mark.parametrize("seed", [0, 5])
    def test_paths_give_what_infer_gives_before_jpeg(self, pipe, inputs, smoke_model, tmp_path, seed):
        """The same array through the same encoder is the same file."""
        assert cli.main(inputs.command(tmp_path / "out", smoke_model, "--seed", seed)) == 0
        for number in range(3):
            photo = inputs.references.parent / "imgs" / f"photo{number}.jpg"
            save_jpeg(tmp_path / "image.jpg", pipe(inputs.masks / f"m{number}.png", str(photo), seed=seed), 95)
            assert (tmp_path / "image.jpg").read_bytes() == (tmp_path / "out" / f"m{number}.jpg").read_bytes()

    def test_the_released_codes_defects_are_there_too(self, inputs, smoke_model, tmp_path):
        stored = checkpoint.load(smoke_model)
        stored.metadata["config"]["released"] = {"jpeg_between_rounds": 20, "noise_timesteps": [650, 390]}
        checkpoint.save(tmp_path / "defects.safetensors", stored.arrays, stored.metadata)
        assert cli.main(inputs.command(tmp_path / "out", tmp_path / "defects.safetensors")) == 0
        pipe = IIDMPipeline.from_pretrained(tmp_path / "defects.safetensors", device="cpu")
        image = pipe(inputs.masks / "m1.png", inputs.references.parent / "imgs" / "photo1.jpg")
        save_jpeg(tmp_path / "image.jpg", image, 95)
        assert (tmp_path / "image.jpg").read_bytes() == (tmp_path / "out" / "m1.jpg").read_bytes()
        plain = IIDMPipeline.from_pretrained(smoke_model, device="cpu")
        assert not np.array_equal(
            image, plain(inputs.masks / "m1.png", inputs.references.parent / "imgs" / "photo1.jpg")
        )


class TestArguments:
    def test_the_image_has_the_masks_size(self, image):
        assert image.shape == (64, 96, 3) and image.dtype == np.uint8 and image.std() > 5

    def test_arrays_pil_images_and_paths_give_the_same(self, pipe, pair, image, tmp_path):
        mask, photo = (Image.fromarray(array) for array in pair)
        np.testing.assert_array_equal(pipe(mask, photo), image)
        mask.save(tmp_path / "mask.png")
        photo.save(tmp_path / "photo.png")
        np.testing.assert_array_equal(pipe(tmp_path / "mask.png", str(tmp_path / "photo.png"), name=""), image)

    def test_a_palette_image_gives_its_indices(self, pipe, pair, image):
        mask = Image.fromarray(pair[0]).convert("P")
        mask.putdata(pair[0].ravel().tolist())
        mask.putpalette(bytes(range(255, -1, -1)) * 3)
        np.testing.assert_array_equal(pipe(mask, pair[1]), image)

    def test_a_photo_is_turned_upright_as_files_are(self, pipe, pair, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pair[1]).save(tmp_path / "photo.jpg", exif=exif)
        with Image.open(tmp_path / "photo.jpg") as photo:
            np.testing.assert_array_equal(pipe(pair[0], photo), pipe(pair[0], tmp_path / "photo.jpg"))

    def test_flipped_views_are_taken_as_they_look(self, pipe, pair):
        mask, photo = (array[:, ::-1] for array in pair)
        np.testing.assert_array_equal(pipe(mask, photo), pipe(mask.copy(), photo.copy()))

    def test_the_noise_belongs_to_the_name_else_to_the_masks_stem(self, pipe, pair, image, tmp_path):
        Image.fromarray(pair[0]).save(tmp_path / "lake.png")
        by_stem = pipe(tmp_path / "lake.png", pair[1])
        np.testing.assert_array_equal(pipe(pair[0], pair[1], name="lake"), by_stem)
        np.testing.assert_array_equal(pipe(pair[0], pair[1], name=""), image)
        assert not np.array_equal(by_stem, image)

    def test_the_seed_matters_and_may_be_numpys(self, pipe, pair, image):
        np.testing.assert_array_equal(pipe(*pair, seed=np.int64(0)), image)
        assert not np.array_equal(pipe(*pair, seed=1), image)

    def test_rounds_are_as_in_yaml(self, pipe, pair, image, smoke_model):
        by_mapping = pipe(*pair, rounds=[{"start_timestep": 300, "num_steps": 2}])
        np.testing.assert_array_equal(pipe(*pair, rounds=(Round(300, 2),)), by_mapping)
        assert not np.array_equal(by_mapping, image)
        np.testing.assert_array_equal(pipe(*pair, rounds=pipe.config.inference.rounds), image)

    def test_by_region_the_references_mask_is_the_given_one_else_the_data_folders(self, pipe, landscapes):
        first, second = find_pairs(landscapes)[:2]
        rounds = [{"start_timestep": 90, "num_steps": 1, "color_transfer": "region"}]
        image = pipe(first.label, second.image, rounds=rounds)
        np.testing.assert_array_equal(
            image, pipe(first.label, second.image, rounds=rounds, reference_mask=second.label)
        )
        rolled = np.roll(load_mask(second.label), 24, axis=0)
        assert not np.array_equal(image, pipe(first.label, second.image, rounds=rounds, reference_mask=rolled))
        # a photo without a mask: the segmenter predicts it
        assert pipe(first.label, load_image(second.image), rounds=rounds).shape == image.shape

    def test_a_references_mask_changes_nothing(self, pipe, pair, image):
        np.testing.assert_array_equal(pipe(*pair, reference_mask=pair[0]), image)


def short_gray_png():
    """A PNG of two bits, which Pillow stretches: label 1 would be 85."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, format="PNG", bits=2)
    return Image.open(file)


def truncated_photo():
    file = io.BytesIO()
    Image.fromarray(landscape(0, Size(48, 64))[0]).save(file, format="PNG")
    return Image.open(io.BytesIO(file.getvalue()[:2000]))


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"mask": np.zeros((4, 4), np.int64)}, "mask: int64 [4, 4], expected uint8 [h,w] of class ids 0-28"),
            ({"mask": np.zeros((4, 4, 3), np.uint8)}, "mask: uint8 [4, 4, 3], expected uint8 [h,w]"),
            ({"mask": np.zeros((0, 4), np.uint8)}, "mask: uint8 [0, 4], expected"),
            ({"mask": np.full((4, 4), 29, np.uint8)}, "mask: label 29 outside 0-28"),
            ({"mask": [[0, 1]]}, "mask: [[0, 1]], expected a path, a PIL image or uint8 [h,w]"),
            ({"mask": None}, "mask: None, expected a path"),
            ({"mask": Image.new("RGB", (4, 4))}, "mask: mode RGB, a mask must be"),
            ({"mask": Image.new("F", (4, 4))}, "mask: mode F, a mask must be"),
            ({"mask": Image.new("L", (4, 4), 200)}, "mask: label 200 outside 0-28"),
            ({"mask": "nowhere/mask.png"}, "nowhere/mask.png: no such file"),
            (
                {"reference": np.zeros((4, 4, 3), np.float32)},
                "reference: float32 [4, 4, 3], expected uint8 RGB [h,w,3]",
            ),
            ({"reference": np.zeros((4, 4), np.uint8)}, "reference: uint8 [4, 4], expected uint8 RGB"),
            ({"reference": np.zeros((4, 4, 4), np.uint8)}, "reference: uint8 [4, 4, 4], expected uint8 RGB"),
            ({"reference": Image.new("F", (4, 4))}, "reference: mode F is not an 8-bit image"),
            ({"reference": Image.new("I;16", (4, 4))}, "reference: mode I;16 is not"),
            ({"reference": 3}, "reference: 3, expected a path"),
            ({"reference": Path("nowhere/photo.jpg")}, "nowhere/photo.jpg: no such file"),
            ({"reference_mask": np.full((4, 4), 99, np.uint8)}, "reference_mask: label 99 outside"),
            ({"seed": 1.5}, "seed: 1.5, expected an integer"),
            ({"seed": True}, "seed: True, expected an integer"),
            ({"name": 3}, "name: 3, expected text"),
            ({"rounds": []}, "rounds: inference.rounds is"),
            ({"rounds": "ddim"}, "rounds: 'ddim', expected a list of rounds"),
            ({"rounds": 3}, "rounds: 3, expected a list of rounds"),
            ({"rounds": [3]}, "rounds: inference.rounds.0 is 3, expected a mapping"),
            ({"rounds": {"start_timestep": 9, "num_steps": 1}}, "expected a list of rounds"),
            ({"rounds": [{"start_timestep": 9, "num_steps": 11}]}, "rounds: inference.rounds.0.num_steps is 11"),
            ({"rounds": [{"start_timestep": 9, "steps": 1}]}, "rounds: unknown key inference.rounds.0.steps"),
            ({"rounds": [Round(1000, 1)]}, "rounds: inference.rounds.0.start_timestep is 1000, expected 0 to 999"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_a_wrong_argument_is_named_with_its_value_before_anything_is_computed(
        self, pipe, pair, changes, told, monkeypatch
    ):
        monkeypatch.setattr(pipe._pipeline, "stream", lambda *_, **__: pytest.fail("computed"), raising=False)
        with pytest.raises(InputError) as caught:
            pipe(**{"mask": pair[0], "reference": pair[1], **changes})
        assert str(caught.value).startswith(told) or told in str(caught.value)

    def test_images_that_cannot_be_decoded_are_named_too(self, pipe, pair):
        with pytest.raises(InputError, match="mask: 2-bit gray"):
            pipe(short_gray_png(), pair[1])
        with pytest.raises(InputError, match="reference: cannot be read"):
            pipe(pair[0], truncated_photo())


class TestFromPretrained:
    def test_without_a_path_it_is_the_model_that_ships(self):
        pipe = IIDMPipeline.from_pretrained(device="cpu")
        assert pipe.config.name == "demo" and pipe.device == "cpu"

    def test_a_run_folder_gives_its_finished_model(self, smoke_model, pair, image, tmp_path):
        shutil.copy(smoke_model, tmp_path / "model.safetensors")
        np.testing.assert_array_equal(IIDMPipeline.from_pretrained(tmp_path, device="cpu")(*pair), image)

    def test_a_second_model_leaves_the_first_as_it_was(self, pipe, smoke_model, pair, image):
        again = IIDMPipeline.from_pretrained(smoke_model, device="cpu")
        np.testing.assert_array_equal(again(*pair), image)
        np.testing.assert_array_equal(pipe(*pair), image)

    def test_what_is_not_there_is_named_before_jittor_is_prepared(self, tmp_path, monkeypatch):
        monkeypatch.setattr(runtime, "prepare", lambda device: pytest.fail("prepared"))
        with pytest.raises(InputError, match="nothing.safetensors: no such file or folder"):
            IIDMPipeline.from_pretrained(tmp_path / "nothing.safetensors")

    def test_a_folder_without_a_finished_model_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"model.safetensors: no such file; a training run writes it when"):
            IIDMPipeline.from_pretrained(tmp_path, device="cpu")

    def test_a_file_that_is_no_model_is_named(self, tmp_path):
        (tmp_path / "model.safetensors").write_text("no model")
        with pytest.raises(CheckpointError, match="model.safetensors"):
            IIDMPipeline.from_pretrained(tmp_path / "model.safetensors", device="cpu")

    def test_an_unknown_device_is_refused(self, smoke_model):
        with pytest.raises(InputError, match="tpu"):
            IIDMPipeline.from_pretrained(smoke_model, device="tpu")

    def test_cuda_cannot_be_had_after_jittor_was_loaded_without(self, smoke_model, monkeypatch):
        monkeypatch.setattr(runtime, "prepare", lambda device: runtime.Runtime("cuda", ""))
        with pytest.raises(InputError, match="Jittor was imported without CUDA"):
            IIDMPipeline.from_pretrained(smoke_model, device="cuda")

    def test_the_device_is_chosen_before_jittor_is_loaded(self, smoke_model, tmp_path):
        code = f"""
import sys
from jiidm import IIDMPipeline
from jiidm.system import runtime
prepare = runtime.prepare
def spy(device):
    assert "jittor" not in sys.modules and device == "cpu"
    return prepare(device)
runtime.prepare = spy
IIDMPipeline.from_pretrained({str(smoke_model)!r}, device="cpu")
assert "jittor" in sys.modules
"""
        run = run_python(code, folder=tmp_path)
        assert run.returncode == 0, run.stderr


@pytest.mark.slow
class TestGANs:
    @pytest.fixture(scope="class")
    def gans(self, tmp_path_factory):
        """Files of an untrained GauGAN, and of a SEAN whose classes' styles show."""
        folder = tmp_path_factory.mktemp("gans")
        for method in ("gaugan", "sean"):
            network = GAN(tiny(method))
            for name, value in network.named_parameters():
                if name.endswith(("fc.weight", "conv_gamma.weight", "conv_beta.weight")) or ".fc_mu" in name:
                    value.assign(normal(tuple(value.shape), name))
            codes = normal((29, 4), "codes") if method == "sean" else None
            save_gan(folder / f"{method}.safetensors", GANModel(tiny(method), network, codes), {})
        return folder

    def test_same_call_and_same_images_as_infer(self, gans, inputs, tmp_path):
        pipe = IIDMPipeline.from_pretrained(gans / "gaugan.safetensors", device="cpu")
        # a batch of one, as the facade has it
        command = inputs.command(tmp_path / "out", gans / "gaugan.safetensors", "--seed", 3, "--batch-size", 1)
        assert cli.main(command) == 0
        photo = inputs.references.parent / "imgs" / "photo1.jpg"
        save_jpeg(tmp_path / "image.jpg", pipe(inputs.masks / "m1.png", photo, seed=3), 95)
        assert (tmp_path / "image.jpg").read_bytes() == (tmp_path / "out" / "m1.jpg").read_bytes()

    def test_rounds_are_refused_by_name(self, gans, pair):
        pipe = IIDMPipeline.from_pretrained(gans / "gaugan.safetensors", device="cpu")
        with pytest.raises(InputError, match="rounds: smoke_gaugan is a gaugan, which has no rounds"):
            pipe(*pair, rounds=[{"start_timestep": 10, "num_steps": 2}])

    def test_sean_sees_the_reference_under_its_own_mask(self, gans, landscapes):
        pipe = IIDMPipeline.from_pretrained(gans / "sean.safetensors", device="cpu")
        first, second = find_pairs(landscapes)[:2]
        image = pipe(first.label, second.image)
        np.testing.assert_array_equal(image, pipe(first.label, second.image, reference_mask=second.label))
        other = np.zeros((48, 64), np.uint8)
        assert not np.array_equal(image, pipe(first.label, second.image, reference_mask=other))
        assert image.shape == load_mask(first.label).shape + (3,)

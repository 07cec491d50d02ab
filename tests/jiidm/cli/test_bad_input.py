"""Every fault of what a user gives to `jiidm infer`: status 2, one line naming file and value, nothing half-written."""

from __future__ import annotations

import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jiidm import pipeline
from jiidm.cli import main as cli
from jiidm.data.images import save_jpeg, save_png
from jiidm.inference import folder
from ldm_jittor import checkpoint


@pytest.fixture(autouse=True)
def no_sampling(monkeypatch):
    """Every fault has to be found before the sampling, which may take hours."""
    monkeypatch.setattr(pipeline.Pipeline, "stream", lambda *_, **__: pytest.fail("sampled before the fault was found"))


def images_in(folder):
    return sorted(path.name for path in folder.glob("*.jpg"))


def change_references(inputs, **changes):
    references = json.loads(inputs.references.read_text())
    for stem, image in changes.items():
        references.pop(f"{stem}.png", None)
        if image is not None:
            references[f"{stem}.png"] = image
    inputs.references.write_text(json.dumps(references))


def photo_of(inputs, number):
    return inputs.masks.parent / "imgs" / f"photo{number}.jpg"


def without_reference(inputs):
    change_references(inputs, m1=None)
    return ["refs.json", "m1.png"]


def with_a_reference_too_many(inputs):
    change_references(inputs, m9="photo0.jpg")
    return ["refs.json", "m9.png"]


def with_an_absent_reference_image(inputs):
    change_references(inputs, m1="photo9.jpg")
    return ["refs.json", "photo9.jpg"]


def with_a_reference_above_the_folder(inputs):
    save_jpeg(inputs.masks.parent.parent / "secret.jpg", np.zeros((48, 64, 3), np.uint8))
    change_references(inputs, m1="../secret.jpg")
    return ["refs.json", "../secret.jpg"]


def with_an_absolute_reference(inputs):
    secret = inputs.masks.parent.parent / "secret.jpg"
    save_jpeg(secret, np.zeros((48, 64, 3), np.uint8))
    change_references(inputs, m1=str(secret))
    return ["refs.json", str(secret)]


def with_a_link_out_of_the_folder(inputs):
    save_jpeg(inputs.masks.parent.parent / "secret.jpg", np.zeros((48, 64, 3), np.uint8))
    (inputs.masks.parent / "imgs" / "link.jpg").symlink_to(inputs.masks.parent.parent / "secret.jpg")
    change_references(inputs, m1="link.jpg")
    return ["refs.json", "link.jpg"]


def with_references_that_are_no_json(inputs):
    inputs.references.write_text("m0.png photo0.jpg")
    return ["refs.json"]


def without_masks(inputs):
    for path in inputs.masks.iterdir():
        path.unlink()
    return [str(inputs.masks)]


def with_label(value):
    def damage(inputs):
        mask = np.zeros((48, 64), np.uint8)
        mask[7, 9] = value
        save_png(inputs.masks / "m2.png", mask)
        return ["m2.png", str(value)]

    damage.__name__ = f"with_label_{value}"
    return damage


def with_an_rgb_mask(inputs):
    save_png(inputs.masks / "m2.png", np.zeros((48, 64, 3), np.uint8))
    return ["m2.png", "RGB"]


def with_a_16_bit_mask(inputs):
    Image.fromarray(np.zeros((48, 64), np.uint16)).save(inputs.masks / "m2.png")
    return ["m2.png", "I;16"]


def with_a_truncated_mask(inputs):
    path = inputs.masks / "m2.png"
    path.write_bytes(path.read_bytes()[:-60])
    return ["m2.png"]


def with_a_truncated_photo(inputs):
    path = photo_of(inputs, 2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return ["photo2.jpg"]


def with_an_empty_mask_file(inputs):
    (inputs.masks / "m2.png").write_bytes(b"")
    return ["m2.png", "0 bytes"]


def with_an_empty_photo_file(inputs):
    photo_of(inputs, 2).write_bytes(b"")
    return ["photo2.jpg", "0 bytes"]


def with_a_photo_that_is_text(inputs):
    photo_of(inputs, 2).write_text("not a photo")
    return ["photo2.jpg"]


def bomb(width, height):
    """A PNG of a few bytes whose header promises width x height gray pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_a_mask_of_absurd_size(inputs):
    (inputs.masks / "m2.png").write_bytes(bomb(100_000, 100_000))
    return ["m2.png"]


def with_a_mask_just_too_large(inputs):
    (inputs.masks / "m2.png").write_bytes(bomb(8193, 8192))
    return ["m2.png", "8193x8192"]


def with_a_photo_of_absurd_size(inputs):
    photo_of(inputs, 2).write_bytes(bomb(100_000, 100_000))
    return ["photo2.jpg"]


def with_a_pipe_for_references(inputs):
    inputs.references.unlink()
    os.mkfifo(inputs.references)
    return ["refs.json", "not a regular file"]


def with_references_of_100_mb(inputs):
    os.truncate(inputs.references, 100 << 20)
    return ["refs.json", "larger than"]


def with_deep_references(inputs):
    inputs.references.write_text('{"a":' * 100_000)
    return ["refs.json", "too deeply"]


def with_a_name_that_clears_the_screen(inputs):
    (inputs.masks / "m2.png").rename(inputs.masks / "m2\n\x1b[2J.png")
    return [r"m2\n\x1b[2J.png"]


def with_a_name_of_no_text(inputs):
    (inputs.masks / "m2.png").rename(inputs.masks / os.fsdecode(b"\xb7\xe7.png"))
    return [r"labels/\udcb7\udce7.png"]


def with_two_masks_of_one_name(inputs):
    (inputs.masks / "m2.PNG").write_bytes((inputs.masks / "m2.png").read_bytes())
    return ["m2.png", "m2.PNG"]


BAD_INPUTS = [
    with_a_pipe_for_references,
    with_references_of_100_mb,
    with_deep_references,
    with_a_name_that_clears_the_screen,
    with_a_name_of_no_text,
    with_two_masks_of_one_name,
    without_reference,
    with_a_reference_too_many,
    with_an_absent_reference_image,
    with_a_reference_above_the_folder,
    with_an_absolute_reference,
    with_a_link_out_of_the_folder,
    with_references_that_are_no_json,
    without_masks,
    with_label(29),
    with_label(255),
    with_an_rgb_mask,
    with_a_16_bit_mask,
    with_a_truncated_mask,
    with_a_truncated_photo,
    with_an_empty_mask_file,
    with_an_empty_photo_file,
    with_a_photo_that_is_text,
    with_a_mask_of_absurd_size,
    with_a_mask_just_too_large,
    with_a_photo_of_absurd_size,
]


@pytest.mark.parametrize("damage", BAD_INPUTS, ids=lambda damage: damage.__name__)
def test_masks_and_references(inputs, smoke_model, tmp_path, damage, refusal):
    expected = damage(inputs)
    line = refusal(inputs.command(tmp_path / "out", smoke_model))
    assert all(part in line for part in expected), line
    assert not (tmp_path / "out").exists()


def test_inputs_that_are_not_there(inputs, smoke_model, tmp_path, refusal):
    for field in ("masks", "references"):
        absent = inputs._replace(**{field: tmp_path / "absent"})
        assert str(tmp_path / "absent") in refusal(absent.command(tmp_path / "out", smoke_model))
    assert not (tmp_path / "out").exists()


def test_masks_without_the_rest(inputs, refusal):
    assert "OUT" in refusal(["infer", inputs.masks])
    assert "OUT" in refusal(["infer", inputs.masks, inputs.references])


def test_a_file_where_the_output_folder_should_be(inputs, smoke_model, tmp_path, refusal):
    (tmp_path / "out").write_text("mine")
    assert str(tmp_path / "out") in refusal(inputs.command(tmp_path / "out", smoke_model))
    assert (tmp_path / "out").read_text() == "mine"
    assert "/dev/null/out" in refusal(inputs.command("/dev/null/out", smoke_model))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o000, 0o500, 0o300])
def test_an_output_folder_that_cannot_be_read_or_written(inputs, smoke_model, tmp_path, mode, refusal):
    (tmp_path / "out").mkdir(mode=mode)
    try:
        assert str(tmp_path / "out") in refusal(inputs.command(tmp_path / "out", smoke_model))
    finally:
        (tmp_path / "out").chmod(0o700)


def test_an_output_folder_that_the_system_refuses(inputs, smoke_model, tmp_path, monkeypatch, refusal):
    def refuse(**options):
        raise PermissionError(13, "Permission denied", str(options["dir"]))

    monkeypatch.setattr(folder.tempfile, "TemporaryFile", refuse)
    line = refusal(inputs.command(tmp_path / "out", smoke_model))
    assert str(tmp_path / "out") in line and "Permission denied" in line


def test_an_output_folder_with_images_of_no_mask(inputs, smoke_model, tmp_path, refusal):
    """Found at the end, it would cost all the sampling."""
    (tmp_path / "out").mkdir()
    save_jpeg(tmp_path / "out" / "old.jpg", np.zeros((48, 64, 3), np.uint8))
    assert "old.jpg" in refusal(inputs.command(tmp_path / "out", smoke_model))
    assert images_in(tmp_path / "out") == ["old.jpg"]


@pytest.mark.parametrize(
    "text, value",
    [("sede: 1", "sede"), ("inference: {batch_size: 0}", "inference.batch_size"), ("seed: [", "YAML")],
)
def test_a_faulty_config(inputs, smoke_model, tmp_path, text, value, refusal):
    (tmp_path / "my.yaml").write_text(text)
    given = inputs.command(tmp_path / "out", smoke_model, "--config", tmp_path / "my.yaml")
    line = refusal(given)
    assert "my.yaml" in line and value in line
    assert not (tmp_path / "out").exists()


def test_faulty_settings(inputs, smoke_model, tmp_path, refusal):
    for given, value in (
        (["--set", "inference.round=3"], "inference.round=3"),
        (["--set", "seed"], "seed"),
        (["--batch-size", "0"], "inference.batch_size"),
        (["--batch-size", "-2"], "-2"),
        (["--device", "tpu"], "tpu"),
    ):
        assert value in refusal(inputs.command(tmp_path / "out", smoke_model, *given))
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_whose_shapes_do_not_fit(inputs, smoke_model, tmp_path, refusal):
    given = inputs.command(tmp_path / "out", smoke_model, "--set", "unet.model_channels=64")
    line = refusal(given)
    assert "model.safetensors" in line and "64" in line and "32" in line
    assert images_in(tmp_path / "out") == []


def test_a_refused_checkpoint_leaves_the_folder_free_for_a_better_one(
    inputs, smoke_model, tmp_path, monkeypatch, refusal
):
    broken = tmp_path / "broken.safetensors"
    checkpoint.save(broken, {}, checkpoint.load_metadata(smoke_model))
    refusal(inputs.command(tmp_path / "out", broken))
    monkeypatch.undo()  # of the ban on sampling
    assert cli.main(inputs.command(tmp_path / "out", smoke_model)) == 0
    assert images_in(tmp_path / "out") == ["m0.jpg", "m1.jpg", "m2.jpg"]


@pytest.mark.parametrize("config", [[], ["--config", "smoke"]], ids=["stored config", "given config"])
@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "absent", "folder"])
def test_a_checkpoint_that_is_none(inputs, smoke_model, tmp_path, kind, config, refusal):
    model = tmp_path / "my.safetensors"
    if kind == "folder":
        model.mkdir()
    elif kind != "absent":
        content = {"text": b"weights", "empty": b"", "truncated": smoke_model.read_bytes()[:-1000]}[kind]
        model.write_bytes(content)
    line = refusal(inputs.command(tmp_path / "out", model, *config))
    assert "my.safetensors" in line
    assert images_in(tmp_path / "out") == []

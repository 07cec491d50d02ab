"""The painter's site: what it accepts from the page, and that its zip makes the same image again."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jiidm.cli import main as cli
from jiidm.data.images import encode_jpeg, encode_png
from jiidm.data.synthetic.dataset import landscape
from jiidm.size import Size

MASK = landscape(3, Size(60, 80), seed=1)[1]  # another size than the model's


def order(ids=MASK, **changes):
    height, width = ids.shape
    given = {"tab": "test", "name": "painting", "width": width, "height": height, "reference": "s30", "preview": True}
    given |= {"mask": base64.b64encode(ids.tobytes()).decode(), "seed": 7}
    return given | {"rounds": 2, "steps": 3, "start": 600, "guidance": 1.5} | changes


def get(url, path):
    with urllib.request.urlopen(url + path) as response:
        return response.read()


def post(url, path, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, content)) as response:
            return response.status, [json.loads(line) for line in response]
    except urllib.error.HTTPError as error:
        return error.code, [json.load(error)]


@pytest.fixture(scope="module")
def generated(painter_url):
    """The lines of an order, and its zip."""
    status, lines = post(painter_url, "generate", order())
    assert status == 200
    archive = zipfile.ZipFile(io.BytesIO(get(painter_url, f"results/{lines[-1]['key']}/download.zip")))
    return lines, archive


@pytest.mark.slow
class TestGenerate:
    def test_preview_then_every_step_then_the_image(self, generated, painter_url):
        lines, _ = generated

        assert [line["state"] for line in lines] == ["preview", *["step"] * 5, "image"]
        assert [(line["done"], line["total"]) for line in lines[1:-1]] == [(n, 5) for n in range(1, 6)]
        image = Image.open(io.BytesIO(get(painter_url, f"results/{lines[-1]['key']}/image.jpg")))
        assert image.size == (80, 60)

    def test_infer_makes_the_same_jpeg_of_the_zip(self, generated, smoke_model, tmp_path):
        _, archive = generated
        archive.extractall(tmp_path)
        inputs = [tmp_path / "labels", tmp_path / "refs.json", tmp_path / "out", "--config", tmp_path / "config.yaml"]
        given = ["infer", *inputs, "--seed", 7, "--device", "cpu", "--checkpoint", smoke_model]

        assert cli.main([str(argument) for argument in given]) == 0
        made, kept = (tmp_path / folder / "painting.jpg" for folder in ("out", "result"))
        assert made.read_bytes() == kept.read_bytes()
        assert np.array_equal(np.array(Image.open(tmp_path / "labels" / "painting.png")), MASK)
        assert f"--seed 7 --checkpoint {smoke_model}" in (tmp_path / "README.txt").read_text()

    def test_the_seed_and_the_photo_matter_and_nothing_else_does(self, generated, painter_url):
        def image(**changes):
            key = post(painter_url, "generate", order(preview=False, **changes))[1][-1]["key"]
            return get(painter_url, f"results/{key}/image.jpg")

        _, archive = generated
        same = archive.read("result/painting.jpg")
        assert image(tab="other") == same
        assert image(seed=8) != same and image(reference="s9") != same and image(start=300) != same

    def test_an_uploaded_photo_is_the_reference_that_was_uploaded(self, painter_url):
        photo = encode_jpeg(landscape(4, Size(70, 90), seed=2)[0])
        key = post(painter_url, "references", photo)[1][0]["key"]
        result = post(painter_url, "generate", order(reference=key))[1][-1]["key"]
        archive = zipfile.ZipFile(io.BytesIO(get(painter_url, f"results/{result}/download.zip")))

        assert archive.read("reference.jpeg") == photo

    def test_an_own_mask_keeps_its_name_and_its_noise(self, painter_url, landscapes):
        drawing = json.loads(get(painter_url, "masks/m0"))

        assert drawing["name"] == "synth_000000"
        ids = np.frombuffer(base64.b64decode(drawing["mask"]), np.uint8).reshape(48, 64)
        assert np.array_equal(ids, np.array(Image.open(landscapes / "labels" / "synth_000000.png")))
        assert post(painter_url, "generate", order(ids, name="synth_000000"))[1][-1]["state"] == "image"


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, told",
    [
        ({"name": "../../etc/passwd"}, "name"),
        ({"name": 3}, "name"),
        ({"reference": "../x"}, "../x"),
        ({"reference": "s1"}, "s1"),
        ({"reference": None}, "reference"),
        ({"mask": "????"}, "base 64"),
        ({"mask": None}, "base 64"),
        ({"mask": "AAAA"}, "3 ids"),
        ({"mask": base64.b64encode(np.full(4800, 29, np.uint8)).decode()}, "29"),
        ({"width": 10**9, "height": 10**9}, "height"),
        ({"width": -80, "height": -60}, "-60"),
        ({"seed": -1}, "-1"),
        ({"seed": 1.5}, "1.5"),
        ({"seed": True}, "True"),
        ({"rounds": 3}, "rounds"),
        ({"rounds": 0}, "rounds"),
        ({"steps": 0}, "steps"),
        ({"steps": 10**6}, "steps"),
        ({"start": 1000}, "start"),
        ({"guidance": "much"}, "much"),
        ({"guidance": 1e9}, "guidance"),
        ({"tab": "a/b"}, "a/b"),
    ],
)
def test_an_order_that_is_none_is_refused_in_one_line(painter_url, change, told):
    status, [answer] = post(painter_url, "generate", order(**change))

    assert status == 400 and told in answer["error"] and "\n" not in answer["error"]


@pytest.mark.slow
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 10**5, b"\xff", b"NaN"])
def test_a_body_that_is_no_order_is_refused(painter_url, body):
    assert post(painter_url, "generate", body)[0] == 400


def png(array, mode=None):
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    "content, told",
    [
        (b"", "0 bytes"),
        (b"GIF89a", "not a readable PNG"),
        (png(MASK)[:-30], "the mask"),
        (png(MASK, "RGB"), "RGB"),
        (png(MASK, "1"), "mode 1"),
        (png(np.full((4, 4), 30, np.uint8)), "30"),
        (encode_jpeg(np.zeros((8, 8, 3), np.uint8)), "PNG"),
        (png(np.zeros((2100, 2100), np.uint8)), "2100x2100"),
    ],
)
def test_an_uploaded_mask_is_checked_as_a_file_is(painter_url, content, told):
    status, [answer] = post(painter_url, "masks", content)

    assert status == 400 and told in answer["error"] and "/tmp" not in answer["error"]


@pytest.mark.slow
def test_an_uploaded_mask_is_taken_as_it_is(painter_url):
    status, [drawing] = post(painter_url, "masks", encode_png(MASK))

    assert (status, drawing["width"], drawing["height"], drawing["name"]) == (200, 80, 60, "painting")
    assert base64.b64decode(drawing["mask"]) == MASK.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"no photo", encode_jpeg(np.zeros((99, 99, 3), np.uint8))[:200]])
def test_an_uploaded_photo_is_checked_as_a_file_is(painter_url, content):
    status, [answer] = post(painter_url, "references", content)

    assert status == 400 and answer["error"].startswith("the photo") and "/tmp" not in answer["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["../app.py", "%2e%2e/app.py", "..%2fapp.py", "static/main.js", "masks/m99", "masks/../m0", "thumbnails/x",
             "results/x/image.jpg", "previews/x", "thumbnails/s" + "9" * 30, "masks/g-1", "app.py", "/etc/passwd"]
)  # fmt: skip
def test_no_path_leads_elsewhere(painter_url, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(painter_url, path)

    assert refused.value.code in (400, 404)


@pytest.mark.slow
def test_a_process_that_dies_is_told_and_replaced(painter_url, painter_process):
    def worker():
        """The process that owns Jittor: the largest of the painter's children."""
        children = Path(f"/proc/{painter_process.pid}/task/{painter_process.pid}/children").read_text().split()
        return max(map(int, children), key=lambda pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]))

    os.kill(worker(), signal.SIGKILL)
    assert post(painter_url, "generate", order())[1][-1]["state"] in ("failed", "image")
    assert post(painter_url, "generate", order())[1][-1]["state"] == "image"

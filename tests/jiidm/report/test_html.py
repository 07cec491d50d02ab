"""Pages that hold everything themselves."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from jiidm.data.images import save_png
from jiidm.errors import InputError
from jiidm.report import html


def written(tmp_path, *sections, title="a title"):
    return html.write_page(tmp_path / "page.html", title, "a subtitle", sections).read_text(encoding="utf-8")


def pictures(text):
    found = re.findall(r'src="data:image/(?:png|jpeg);base64,([^"]+)"', text)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(content)))) for content in found]


def test_a_page_asks_for_nothing_and_may_not(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    text = written(tmp_path, html.section("one", html.figure(image, "x"), html.slider([("a", image)], "steps")))

    assert "default-src 'none'" in text
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[^\s\"']+", text) == []
    assert "http" not in re.sub(r"http-equiv", "", text)


def test_text_is_shown_as_it_is(tmp_path):
    nasty = "<script>alert('\"&')</script>"
    blocks = [html.paragraph(nasty), html.code(nasty), html.tiles({nasty: nasty}), html.details(nasty, "")]
    blocks += [html.table([(nasty,)], (nasty,)), html.figure(np.zeros((2, 2, 3), np.uint8), nasty), html.heading(nasty)]
    text = written(tmp_path, html.section(nasty, *blocks), title=nasty)

    assert text.count("<script>") == 1 and "alert('" not in text
    assert text.count("&lt;script&gt;alert(&#x27;&quot;&amp;&#x27;)&lt;/script&gt;") == 13


def test_pictures_are_shrunk_and_never_enlarged(tmp_path):
    rng = np.random.default_rng(0)
    small, large = (rng.integers(0, 256, (height, 2 * height, 3), np.uint8) for height in (20, 800))
    save_png(tmp_path / "large.png", large)
    text = written(tmp_path, html.row([("s", small), ("l", tmp_path / "large.png")], "both"))

    assert [picture.shape for picture in pictures(text)] == [(20, 40, 3), (html.THUMBNAIL // 2, html.THUMBNAIL, 3)]


def test_a_plot_is_kept_to_the_byte(tmp_path):
    plot = np.random.default_rng(0).integers(0, 256, (30, 1200, 3), np.uint8)
    save_png(tmp_path / "plot.png", plot)

    assert np.array_equal(pictures(written(tmp_path, html.figure(tmp_path / "plot.png", "x", plot=True)))[0], plot)


def test_a_slider_names_each_picture_and_begins_at_the_last(tmp_path):
    images = [(f"step {step}", np.full((4, 4, 3), step, np.uint8)) for step in range(3)]
    text = written(tmp_path, html.slider(images, "training step"))

    assert re.findall(r'alt="(step \d)"', text) == ["step 0", "step 1", "step 2"]
    assert 'max="2" value="2" aria-label="training step"' in text


def test_columns_of_numbers_are_on_the_right_and_rows_can_stand_out():
    text = html.table([["a", "1.0 [0.5, 1.5]", 3.14159, "none"], ["b", "-", 2, "2"]], "nsvt", marked=[1])

    assert '<td>a</td><td class="number">1.0 [0.5, 1.5]</td><td class="number">3.142</td><td>none</td>' in text
    assert re.findall("<tr(.*?)><td>(.)</td>", text) == [("", "a"), (' class="marked"', "b")]


def test_a_table_without_rows_has_its_header():
    assert "<th>score</th>" in html.table([], ["score"])


def test_every_tag_is_closed(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    blocks = [html.paragraph("p"), html.heading("h"), html.code("c"), html.tiles({"a": "1"}), html.details("d", "x")]
    blocks += [html.table([[1]], ["n"]), html.figure(image, "f"), html.grid([html.row([("r", image)], "r")])]
    blocks.append(html.slider([("s", image)], "s"))
    opened = []
    for slash, tag in re.findall(
        r"<(/?)([a-z]\w*)", written(tmp_path, html.section("s", *blocks)).split("<script>")[0]
    ):
        if slash:
            assert opened.pop() == tag
        elif tag not in ("meta", "img", "input"):
            opened.append(tag)

    assert opened == ["html", "body"]


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_text("no picture")

    with pytest.raises(InputError, match=r"broken\.jpg"):
        html.row([("x", tmp_path / "broken.jpg")], "x")

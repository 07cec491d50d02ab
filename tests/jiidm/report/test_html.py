"""The page as a reader of HTML sees it."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import numpy as np
import pytest

from jiidm.data.images import save_png
from jiidm.report import html


class Reader(HTMLParser):
    """Tags that are open, texts by the tag they stand in, and attributes; it fails on what does not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.attributes = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data))


def test_a_page_holds_its_parts_and_escapes_what_would_be_markup(tmp_path):
    parts = [html.heading("a < b"), html.paragraph("x & <y>"), html.table([["<script>", 1.5]], ["name", "value"])]
    html.write_page(tmp_path / "page.html", "Scores & more", parts)
    read = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    texts = [text for text in read.texts if text[0] != "style"]
    assert texts == [
        *[("title", "Scores & more"), ("h1", "Scores & more"), ("h2", "a < b"), ("p", "x & <y>")],
        *[("th", "name"), ("th", "value"), ("td", "<script>"), ("td", "1.5")],
    ]
    assert not any(tag in ("script", "link") for tag, _ in read.attributes)


def test_columns_of_numbers_are_on_the_right_and_rows_can_stand_out():
    rows = [["a", "1.0 [0.5, 1.5]", "none"], ["b", "-", "2"]]
    read = Reader(html.table(rows, ["name", "score", "text"], marked=[1]))
    right = [attributes.get("class") == "number" for tag, attributes in read.attributes if tag == "td"]
    assert right == [False, True, False] * 2
    assert [attributes for tag, attributes in read.attributes if tag == "tr"][2] == {"class": "marked"}


def test_a_table_without_rows_has_its_header():
    assert "<th>score</th>" in html.table([], ["score"])


def test_a_picture_is_part_of_the_page(tmp_path):
    save_png(tmp_path / "a.png", np.zeros((4, 6, 3), np.uint8))
    read = Reader(html.picture(tmp_path / "a.png", 'its "name"'))
    ((_, attributes),) = [each for each in read.attributes if each[0] == "img"]
    kind, content = attributes["src"].split(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == (tmp_path / "a.png").read_bytes()
    assert attributes["alt"] == 'its "name"'


def test_a_picture_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError):
        html.picture(tmp_path / "none.png", "")

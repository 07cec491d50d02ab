"""Texts that are no config, through `load_config` and `--set`: one line each, and soon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jiidm.config import load as configs
from jiidm.errors import InputError

LAUGHS = "a: &a [1, 2, 3]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)
"""Eight lines that stand for a hundred million numbers."""


def message_of(path):
    with pytest.raises(InputError) as caught:
        configs.load_config(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed: " + "1" * 5000, "not valid YAML"),
        ("seed: 0x" + "f" * 5000, "seed is a number of thousands of digits, expected an integer of 64 bits"),
        ("seed: 18446744073709551616", "seed is 18446744073709551616, expected an integer of 64 bits"),
        ("seed: 2024-13-45", "month"),
        ("seed: !!timestamp x", "a tag whose value cannot be"),
        ("seed: !!bool x", "a tag whose value cannot be"),
        ("seed: !!int ''", "a tag whose value cannot be"),
        ("seed: !!python/object/apply:os.getpid []", "not valid YAML"),
        ("[" * 100_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
        (LAUGHS, "more than 20 aliases"),
        ("seed: &a [*a]", "seed is [[...]], expected an integer"),
        ("seed: " + "x" * 100_000, "seed is 'xxx"),
        ("a: 1\n" * 100_000, "longer than"),
        ("seed: \0", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
    ],
)
def test_a_value_that_cannot_be_is_told_in_one_line(tmp_path, text, told):
    (tmp_path / "a.yaml").write_text(text)
    message = message_of(tmp_path / "a.yaml")
    assert message.startswith(f"{tmp_path / 'a.yaml'}: ") and told in message


@pytest.mark.parametrize("value", ["2024-13-45", "!!int ''", "[" * 200, "1" * 5000])
def test_an_override_that_cannot_be_is_refused(value):
    with pytest.raises(InputError, match="not valid YAML"):
        configs.load_config("smoke", [f"seed={value}"])


def test_what_never_ends_is_no_config(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert "not a regular file" in message_of(path)


def test_anchors_are_read(tmp_path):
    text = "base: smoke\nname: a\ndata: {size: &s [64, 48]}"
    (tmp_path / "a.yaml").write_text(f"{text}\nsegmenter: {{size: *s}}\n")
    assert configs.load_config(tmp_path / "a.yaml").segmenter.size == (48, 64)

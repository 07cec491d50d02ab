from __future__ import annotations

import os

import pytest

from jiidm.errors import InputError
from ldm_jittor.errors import CheckpointError, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\tc\x1b[2J\0", r"a\nb\r\tc\x1b[2J\x00"),
        ("a\u2028b\x85c\u202egpj.exe", r"a\u2028b\x85c\u202egpj.exe"),  # line ends and the turning of text
        (os.fsdecode(b"\xb7\xe7.png"), r"\udcb7\udce7.png"),
        ("风景　1 été – 𝄞.png", "风景　1 été – 𝄞.png"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_messages_are_one_line_that_can_be_printed(text, shown):
    assert one_line(text) == shown
    for kind in (InputError, CheckpointError):
        assert str(kind(text)).encode().decode() == shown

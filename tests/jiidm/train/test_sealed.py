"""Checksums of entries in JSON: what flips is noticed, what an earlier version wrote is taken."""

from __future__ import annotations

import json

import pytest

from jiidm.train.sealed import CHECKSUM, seal, unseal

ENTRY = {"step": 6, "distance": 22.320633336044224, "score": "fd_seg", "changed": {"a.b": [None, "風"]}}


def test_what_is_sealed_comes_back_through_a_file():
    assert unseal(json.loads(json.dumps(seal(ENTRY), ensure_ascii=False))) == ENTRY


def test_no_flipped_bit_changes_a_value_unnoticed():
    content = json.dumps(seal(ENTRY)).encode()
    changed = 0
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        try:
            found = unseal(json.loads(flipped))
        except (ValueError, AttributeError):
            continue
        changed += {key: found.get(key) for key in ENTRY} != ENTRY
    assert changed == 0


def test_an_entry_without_checksum_is_taken_as_it_is():
    assert unseal(ENTRY) == ENTRY


def test_the_message_says_how_to_use_it_all_the_same():
    with pytest.raises(ValueError, match=f"without its {CHECKSUM}"):
        unseal({**seal(ENTRY), "step": 7})

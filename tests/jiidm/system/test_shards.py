from __future__ import annotations

import pytest

from jiidm.errors import InputError
from jiidm.system.shards import WHOLE, Shard, parse_shard


def slurm(**values):
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_the_parts_are_disjoint_and_together_everything():
    for count in (1, 2, 3, 7, 12):
        parts = [list(Shard(number, count).of(range(10))) for number in range(1, count + 1)]
        assert sorted(sum(parts, [])) == list(range(10))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert list(Shard(2, 3).of("abcdefgh")) == ["b", "e", "h"]


def test_i_of_n():
    assert parse_shard("2/3") == Shard(2, 3) and str(Shard(2, 3)) == "part 2 of 3"
    assert parse_shard("1/1") == WHOLE
    for wrong in ("", "0/3", "4/3", "3", "1/0", "-1/3", "1/3/5", "1.0/3", " 1/3", "1/3\n", "a/b", "SLURM", "1e1/12"):
        with pytest.raises(InputError, match="not i/n"):
            parse_shard(wrong)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (dict(ID=0, MIN=0, STEP=1, COUNT=4, MAX=3), Shard(1, 4)),
        (dict(ID=3, MIN=0, STEP=1, COUNT=4), Shard(4, 4)),
        (dict(ID=5, MIN=1, STEP=4, COUNT=3, MAX=9), Shard(2, 3)),
        (dict(ID=7, MIN=7, STEP=1, COUNT=1, MAX=7), Shard(1, 1)),
        (dict(ID=5, MIN=1, STEP=4, COUNT=3, MAX=""), Shard(2, 3)),
    ],
)
def test_the_place_in_a_slurm_array(values, expected):
    assert parse_shard("slurm", slurm(**values)) == expected


@pytest.mark.parametrize(
    "values",
    [
        {},  # not in Slurm, or no array
        dict(ID="", MIN=0, STEP=1, COUNT=4),
        dict(ID=1, MIN=0, STEP="", COUNT=4),
        dict(ID=1, MIN=0, STEP=0, COUNT=4),
        dict(ID=1, MIN=0, STEP=1, COUNT=0),
        dict(ID="x", MIN=0, STEP=1, COUNT=4),
        dict(ID=-1, MIN=0, STEP=1, COUNT=4),
        dict(ID=4, MIN=0, STEP=1, COUNT=4),
        dict(ID=2, MIN=1, STEP=4, COUNT=3),  # between two tasks
        dict(ID=1, MIN=1, STEP=1, COUNT=3, MAX=7),  # 1,3,7: parts 4 to 7 would be nobody's
    ],
)
def test_an_empty_or_impossible_place_is_refused(values):
    with pytest.raises(InputError, match="slurm: .*SLURM_ARRAY_TASK_ID="):
        parse_shard("slurm", slurm(**values))

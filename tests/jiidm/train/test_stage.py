"""Which samples a step sees."""

from __future__ import annotations

import pytest

from jiidm.train.stage import micro_batches, sample_index


def test_every_epoch_is_another_permutation():
    epochs = [[sample_index(10 * epoch + i, 10, seed=3) for i in range(10)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert epochs[0] != [sample_index(i, 10, seed=4) for i in range(10)]


def test_sample_order_does_not_depend_on_what_was_asked_before():
    expected = [sample_index(number, 7, seed=1) for number in range(40)]
    assert [sample_index(number, 7, seed=1) for number in reversed(range(40))] == expected[::-1]


@pytest.mark.parametrize("accumulation", [1, 2, 3, 6])
def test_a_step_sees_the_same_samples_whatever_the_accumulation(accumulation):
    batches = micro_batches(5, 12, accumulation)
    assert len(batches) == accumulation and len({len(batch) for batch in batches}) == 1
    assert [number for batch in batches for number in batch] == list(range(60, 72))


def test_a_batch_that_accumulation_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="a batch of 5 does not divide into 2"):
        micro_batches(0, 5, 2)

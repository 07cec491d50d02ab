from __future__ import annotations

import io

import pytest

from jiidm.system.progress import StepBar


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, bar):
        self.now = bar.start_t
        bar._time = lambda: self.now


@pytest.mark.parametrize("initial", [0, 40])
def test_the_time_left_leaves_out_the_first_step(initial):
    output = io.StringIO()
    with StepBar(total=100, initial=initial, file=output, mininterval=0) as bar:
        clock = Clock(bar)
        for seconds in (180, *[2] * 9):  # Jittor compiles for three minutes
            clock.now += seconds
            bar.update()
        shown = bar.format_dict
        assert shown["n"] == initial + 10 and shown["elapsed"] == pytest.approx(18)
        assert shown["rate"] == pytest.approx(0.5)
    assert f"{initial + 10}/100" in output.getvalue()


def test_a_bar_that_is_off_stays_off():
    bar = StepBar(total=3, disable=True)
    assert [bar.update() for _ in range(3)] == [None] * 3

import threading
import time

import pytest

from jiidm.data.prefetch import load_ahead


def test_load_ahead_keeps_the_order_and_loads_the_next_meanwhile():
    loaded, threads = [], set()

    def load(step):
        threads.add(threading.current_thread())
        loaded.append(step)
        return step * 10

    results = load_ahead(load, range(3, 6))
    assert next(results) == (3, 30)
    deadline = time.monotonic() + 5
    while 4 not in loaded and time.monotonic() < deadline:
        time.sleep(0.01)
    assert loaded == [3, 4]
    assert list(results) == [(4, 40), (5, 50)]
    assert loaded == [3, 4, 5] and threading.current_thread() not in threads


def test_load_ahead_of_no_steps_loads_nothing():
    assert list(load_ahead(lambda step: pytest.fail("loaded"), range(4, 4))) == []


def test_load_ahead_passes_errors_on():
    def load(step):
        if step == 1:
            raise OSError("disk")
        return step

    results = load_ahead(load, range(3))
    assert next(results) == (0, 0)
    with pytest.raises(OSError, match="disk"):
        next(results)

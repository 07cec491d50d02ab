"""Whose job runs: a tab has one at most, its newest; tabs take turns; whoever is gone gives up the place."""

from __future__ import annotations

import base64
import json
import threading
import time

import numpy as np
import pytest

from jiidm.painter.app import Painter
from jiidm.painter.library import Library
from jiidm.painter.results import ModelOrigin
from jiidm.painter.worker import Event
from jiidm.size import Size


class Worker:
    """Generates until it is told to finish, or until nobody wants it."""

    def __init__(self, config):
        self.config, self.origin = config, ModelOrigin("0" * 64, "")
        self.running: list[str] = []
        self.most = 0
        self.finish = threading.Event()

    def run(self, job, unwanted):
        self.running.append(job.name)
        self.most = max(self.most, len(self.running))
        try:
            while not self.finish.is_set():
                if unwanted():
                    yield Event("cancelled")
                    return
                time.sleep(0.01)
            yield Event("image", np.zeros((*job.mask.shape, 3), np.uint8))
        finally:
            self.running.remove(job.name)


@pytest.fixture
def worker(smoke):
    return Worker(smoke)


@pytest.fixture
def painter(worker, tmp_path):
    return Painter(worker, Library(tmp_path, Size(48, 64)))


class Order:
    """A job of a tab, listened to in a thread."""

    def __init__(self, painter, tab):
        self.gone = threading.Event()
        self.lines: list[dict] = []
        mask = base64.b64encode(bytes(4)).decode()
        values = {"tab": tab, "name": "painting", "width": 2, "height": 2, "mask": mask, "reference": "s30"}
        values |= {"seed": 0, "rounds": 1, "steps": 1, "start": 600, "guidance": 1}
        answer = painter.post("generate", json.dumps(values).encode(), self.gone.is_set)
        self.thread = threading.Thread(target=lambda: self.lines.extend(answer.body), daemon=True)
        self.thread.start()

    def states(self):
        self.thread.join(10)
        assert not self.thread.is_alive()
        return [line["state"] for line in self.lines]


def wait_until(holds):
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_newer_job_of_the_same_tab_takes_the_place(painter, worker):
    first = Order(painter, "a")
    wait_until(lambda: worker.running)
    second = Order(painter, "a")
    third = Order(painter, "a")
    assert first.states()[-1] == "cancelled" and second.states()[-1] == "cancelled"
    worker.finish.set()

    assert third.states()[-1] == "image" and worker.most == 1


def test_another_tab_waits_and_cancels_nothing(painter, worker):
    first = Order(painter, "a")
    wait_until(lambda: worker.running)
    second = Order(painter, "b")
    time.sleep(0.05)
    worker.finish.set()

    assert first.states() == ["image"] and second.states() == ["waiting", "image"] and worker.most == 1


def test_a_tab_that_is_closed_gives_up_its_place(painter, worker):
    first, second = Order(painter, "a"), None
    wait_until(lambda: worker.running)
    second = Order(painter, "b")
    first.gone.set()
    assert first.states() == ["cancelled"]
    second.gone.set()

    assert second.states()[-1] == "cancelled" and not worker.running
    worker.finish.set()
    assert Order(painter, "c").states() == ["image"]

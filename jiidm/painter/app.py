"""The painter's site: its pages, and from a request to an image."""

from __future__ import annotations

import base64
import itertools
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from jiidm.classes import CLASS_NAMES, PALETTE
from jiidm.data.images import encode_jpeg, encode_png
from jiidm.errors import InputError
from jiidm.painter import order
from jiidm.painter.library import Drawing, Library
from jiidm.painter.results import Result, Results, bundle
from jiidm.painter.server import Answer, NoSuchPage, as_json
from jiidm.painter.worker import Event, Job, Worker

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_TABS = 16
"""Whose last preview is kept."""
STATIC = Path(__file__).parent / "static"


class Painter:
    """The site. Requests come in threads of their own; the worker has one job at a time.

    A tab has one job at most: a newer one, or a tab that is closed, cancels it. Tabs take turns.
    """

    def __init__(self, worker: Worker, library: Library):
        self._worker, self._library = worker, library
        self._files = {path.name: path for path in STATIC.iterdir() if path.suffix in _TYPES}
        self._results = Results()
        self._previews: dict[str, bytes] = {}
        self._busy = threading.Lock()
        self._numbers = itertools.count()
        self._newest: dict[str, int] = {}

    def get(self, path: str) -> Answer:
        """Raises NoSuchPage, and InputError for a key of a mask, reference or result that is not there."""
        match path.split("/"):
            case [name] if (name or "index.html") in self._files:
                file = self._files[name or "index.html"]
                return Answer(file.read_bytes(), _TYPES[file.suffix])
            case ["state"]:
                return as_json(self._state())
            case ["masks", key]:
                return as_json(_as_json(self._library.drawing(key)))
            case ["thumbnails", key]:
                return Answer(self._library.thumbnail(key), "image/jpeg")
            case ["previews", tab] if tab in self._previews:
                return Answer(self._previews[tab], "image/jpeg")
            case ["results", key, what]:
                return self._result(key, what)
        raise NoSuchPage

    def post(self, path: str, body: bytes, gone: Callable[[], bool]) -> Answer:
        """Raises NoSuchPage, and InputError for a body that is not what the page sends.

        gone: tells whether nobody waits for the answer any more.
        """
        match path:
            case "references":
                return as_json({"key": self._library.add_reference(body), "label": ""})
            case "masks":
                return as_json(_as_json(self._library.uploaded_mask(body)))
            case "mask.png":
                return Answer(encode_png(order.mask(order.read_json(body))), "image/png")
            case "generate":
                return self._generate(order.read_json(body), gone)
        raise NoSuchPage

    def _state(self) -> dict[str, Any]:
        config = self._worker.config
        first = config.inference.rounds[0]
        height, width = config.data.size
        return {
            "model": config.name,
            "width": width,
            "height": height,
            "classes": [{"name": name, "color": color.tolist()} for name, color in zip(CLASS_NAMES, PALETTE)],
            "settings": {
                "rounds": len(config.inference.rounds),
                "steps": first.num_steps,
                "start": first.start_timestep,
                "guidance": first.guidance_scale,
                "seed": config.seed,
            },
            "lastTimestep": config.schedule.num_timesteps - 1,
            **self._library.describe(),
        }

    def _result(self, key: str, what: str) -> Answer:
        result = self._results[key]
        match what:
            case "mask":
                return as_json(_as_json(Drawing(result.mask, result.name)))
            case "image.jpg":
                return Answer(result.jpeg, "image/jpeg")
            case "download.jpg":
                return Answer(result.jpeg, "image/jpeg", f"{result.name}.jpg")
            case "download.png":
                return Answer(encode_png(result.mask), "image/png", f"{result.name}.png")
            case "download.zip":
                return Answer(bundle(result, self._worker.origin), "application/zip", f"{result.name}.zip")
        raise NoSuchPage

    def _generate(self, values: dict[str, Any], gone: Callable[[], bool]) -> Answer:
        tab, name = order.text(values, "tab"), order.text(values, "name")
        if not (tab.isascii() and tab.isalnum()):
            raise InputError(f"tab: {tab!r}, expected letters and digits")
        if name not in self._library.names:
            raise InputError(f"name: {name!r} is neither a mask of --masks nor the painter's own")
        job = Job(
            name=name,
            mask=order.mask(values),
            reference=self._library.reference(order.text(values, "reference")),
            config=order.with_settings(self._worker.config, values),
            preview=values.get("preview") is True,
        )
        number = self._newest[tab] = next(self._numbers)
        events = self._events(tab, job, lambda: self._newest[tab] != number or gone())
        return Answer(events, "application/x-ndjson")

    def _events(self, tab: str, job: Job, unwanted: Callable[[], bool]) -> Generator[dict[str, Any], None, None]:
        """What the page is told of a job, as JSON can hold it."""
        if not self._busy.acquire(blocking=False):
            yield {"state": "waiting"}
            while not self._busy.acquire(timeout=0.1):
                if unwanted():
                    yield {"state": "cancelled"}
                    return
        try:
            for event in self._worker.run(job, unwanted):
                yield self._told(tab, job, event)
        finally:
            self._busy.release()

    def _told(self, tab: str, job: Job, event: Event) -> dict[str, Any]:
        match event.kind:
            case "preview":
                self._previews.pop(tab, None)
                self._previews[tab] = encode_jpeg(_pixels(event), 90)
                if len(self._previews) > _TABS:
                    del self._previews[next(iter(self._previews))]
                return {"state": "preview", "image": f"previews/{tab}", "seconds": event.seconds}
            case "step":
                return {"state": "step", "done": event.done, "total": event.total, "seconds": event.seconds}
            case "image":
                jpeg = encode_jpeg(_pixels(event), job.config.inference.jpeg_quality)
                photo = job.reference
                result = Result(job.name, job.mask, photo.read_bytes(), photo.suffix, job.config, jpeg)
                return {"state": "image", "key": self._results.add(result), "seconds": event.seconds}
            case "failed":
                return {"state": "failed", "error": event.message}
        return {"state": "cancelled"}


def _pixels(event: Event) -> np.ndarray:
    assert event.image is not None
    return event.image


def _as_json(drawing: Drawing) -> dict[str, Any]:
    height, width = drawing.mask.shape
    ids = base64.b64encode(drawing.mask.tobytes()).decode()
    return {"name": drawing.name, "width": width, "height": height, "mask": ids, "foreign": drawing.foreign}

"""`jiidm paint`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import os
import shlex
import signal
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jiidm.cli import options
from jiidm.errors import InputError, Stopped

if TYPE_CHECKING:
    from jiidm.config.schema import Config
    from jiidm.painter.server import Server
    from jiidm.painter.worker import Loaded

LARGEST_PORT = 65535


def add_paint(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "paint",
        _paint,
        "Open a page in the browser where a mask is painted and becomes a landscape.",
        """examples:
  jiidm paint                                  the run that finished last, else the shipped model
  jiidm paint --masks test_masks/ --data train/
  jiidm paint --checkpoint runs/a/model.safetensors --port 8000 --no-browser
The page answers this machine alone, at an address with a secret token. Ctrl-C ends it.""",
    )
    help = "model (default: last finished run, else shipped)"
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help=help)
    options.add_config_options(parser)
    parser.add_argument("--masks", type=Path, metavar="DIR", help="your masks, to start from")
    options.add_data_option(parser)
    help = "address to listen on (default: 127.0.0.1); the page still answers to 127.0.0.1 and localhost alone"
    parser.add_argument("--host", default="127.0.0.1", help=help)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    options.add_seed_option(parser)
    options.add_device_option(parser)


def _paint(arguments: argparse.Namespace) -> None:
    from jiidm.config.load import load_config
    from jiidm.data.references import find_masks
    from jiidm.painter.app import Painter
    from jiidm.painter.library import Library, find_photos
    from jiidm.painter.worker import Worker

    options.refuse_unused(arguments.set, "paint", (*options.TRAINING_ONLY, "inference.fast_steps"))
    # inputs are checked before Jittor is loaded
    if not 0 <= arguments.port <= LARGEST_PORT:
        raise InputError(f"--port {arguments.port}: must lie between 0 and {LARGEST_PORT}")
    given = load_config(arguments.config) if arguments.config else None
    if given:
        options.require_diffusion(given, "paint")
    masks = find_masks(arguments.masks) if arguments.masks else []
    photos = find_photos(arguments.data) if arguments.data else []
    with (
        _ended_by_sigterm(),
        _listening(arguments.host, arguments.port) as server,
        tempfile.TemporaryDirectory(prefix="jiidm-painter-") as folder,
    ):
        worker = Worker(functools.partial(_load, arguments, given))
        library = Library(Path(folder), worker.config.data.size, masks, photos)
        print(f"painter: {server.url}\nCtrl-C ends it", flush=True)
        if not arguments.no_browser and _has_screen():
            webbrowser.open(server.url)
        try:
            server.serve(Painter(worker, library))
        except Stopped:
            raise
        except KeyboardInterrupt:  # the way to end it
            pass
        finally:
            worker.close()


def _load(arguments: argparse.Namespace, given: Config | None) -> Loaded:
    """What the worker's process does first."""
    options.start_jittor(arguments.device)
    from jiidm.evaluate import segmenter
    from jiidm.experiments.released import hooks_for
    from jiidm.painter.results import ModelOrigin
    from jiidm.painter.worker import Loaded
    from jiidm.pipeline import Pipeline

    model, config = options.open_model(arguments.checkpoint, given, arguments.set)
    options.require_diffusion(config, "paint")
    config = dataclasses.replace(config, seed=options.noise_seed(arguments, config))
    print(f"model: {model.path} ({config.name}, {config.data.size})", flush=True)
    option = f"--checkpoint {shlex.quote(str(model.path))}" if arguments.checkpoint else ""
    return Loaded(Pipeline(model.load(config), segmenter.load), hooks_for, ModelOrigin(model.sha256, option))


def _listening(host: str, port: int) -> Server:
    from jiidm.painter.server import Server

    try:
        return Server(host, port)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot listen there ({error.strerror or error})") from None


def _has_screen() -> bool:
    """Without one, a browser of text would take over the terminal."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """While the block runs, SIGTERM does what Ctrl-C does: the temporary folder goes too."""

    def stop(*_: object) -> None:
        raise Stopped(signal.SIGTERM)

    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)

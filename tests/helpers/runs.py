"""What a training run leaves, and ways to stop one on its way."""

from __future__ import annotations

import json
import signal

import numpy as np

from ldm_jittor import checkpoint


def records_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps_of(path, key):
    return [record["step"] for record in records_of(path) if key in record]


def arrays_of(path):
    return checkpoint.load(path).arrays


def largest_difference(a, b):
    """Over all arrays of two checkpoint files of the same names."""
    a, b = arrays_of(a), arrays_of(b)
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


def kill_at(monkeypatch, module, name, call):
    """Make the `call`-th call (from 1) of a module's function end the run there and then."""

    def die():
        raise KeyboardInterrupt

    _at_call(monkeypatch, module, name, call, die)


def ctrl_c_at(monkeypatch, module, name, call):
    """Press Ctrl-C while the `call`-th call (from 1) of a module's function is running, in the foreground."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _at_call(monkeypatch, module, name, call, lambda: signal.raise_signal(signal.SIGINT))


def _at_call(monkeypatch, module, name, call, action):
    original, calls = getattr(module, name), []

    def wrapper(*arguments, **options):
        calls.append(name)
        if len(calls) == call:
            action()
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, wrapper)

"""Jittor's side of the parity tests: ask a PyTorch script, measure how far we are from its answer.

PyTorch and Jittor's oneDNN clash in one process, so every oracle_*.py here runs in an environment of its own
and exchanges arrays as .npz files.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import jittor as jt
import numpy as np
import pytest

TOLERANCE = 1e-4
COMPARISONS: list[tuple[str, str, str]] = []
"""Quantity, oracle and largest relative difference of every `assert_close` so far."""
TINY_UNET = dict(
    in_channels=3,
    model_channels=32,
    out_channels=6,
    num_res_blocks=1,
    attention_downsamples=[2],
    channel_mult=[1, 2],
    num_classes=29,
    num_head_channels=16,
    spade_hidden=16,
)
_HERE = Path(__file__).parent
_PYTHON = _HERE.parents[1] / ".venv-parity" / "bin" / "python"


def ask(script: str, **arrays) -> dict[str, np.ndarray]:
    """What tests/parity/<script> answers to `arrays`. Without PyTorch the test is skipped."""
    if not _PYTHON.exists():
        pytest.skip("PyTorch is not set up for the parity tests: run `bash tests/parity/setup.sh`")
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "inputs.npz"), Path(folder, "outputs.npz")
        np.savez(inputs, **arrays)
        run = subprocess.run([_PYTHON, _HERE / script, inputs, outputs], capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, f"{script} failed:\n{run.stderr}"
        with np.load(outputs) as answers:
            return dict(answers)


def assert_close(ours: jt.Var | np.ndarray, oracle: np.ndarray, quantity: str, source: str = "PyTorch") -> None:
    """The largest difference is at most TOLERANCE of the oracle's largest value. `source` says who the oracle is, in
    the table that conftest.py prints of all comparisons."""
    ours = ours.numpy() if isinstance(ours, jt.Var) else np.asarray(ours)
    assert ours.shape == oracle.shape, f"{quantity}: {ours.shape} against {oracle.shape}"
    difference = np.abs(ours.astype(np.float64) - oracle).max() / np.abs(oracle).max()
    COMPARISONS.append((quantity, source, f"{difference:.1e}"))
    assert difference <= TOLERANCE, f"{quantity}: largest relative difference {difference:.2e}"


def randomize(model: jt.Module, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw every parameter anew, zero-initialised ones too, and return them by name.

    Matrices keep the variance of their input; vectors (biases, norms) are drawn around 0.5.
    """
    rng = np.random.default_rng(seed)
    state = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if len(shape) == 1:
            state[name] = rng.normal(0.5, 0.3, shape).astype(np.float32)
        else:
            state[name] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        parameter.assign(state[name])
    return state


def weights(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state as `ask` takes it along with other arrays."""
    return {f"weights/{name}": array for name, array in state.items()}

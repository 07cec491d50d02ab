"""The CUDA sources where there is no GPU: they compile where there is nvcc, and run on the host, one thread a block."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import jittor as jt
import numpy as np
import pytest
from arrays import normal

from ldm_jittor import ops

SOURCE = Path(ops.__file__).parent / "kernels" / "group_norm.cuh"
HOST = """
#include <cmath>
#define __global__
#define __device__
#define __shared__ static
struct Index { int x; };
static Index threadIdx{0}, blockIdx{0}, blockDim{1};
inline void __syncthreads() {}
inline float rsqrtf(float v) { return 1 / std::sqrt(v); }
"""
CALLS = """
using namespace ldm_norm;
extern "C" void run(const long long* sizes, float eps, bool silu, const float** in, const float* grad_y, float** out) {
    Shape s{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], eps, silu};
    Inputs inputs{in[0], in[1], in[2], in[3], in[4], in[5]};
    if (grad_y) backward(s, inputs, grad_y, out[0], out[1], out[2], out[3]);
    else forward(s, inputs, out[0]);
}
"""


def test_nvcc_compiles_the_kernels(tmp_path):
    if not shutil.which("nvcc"):
        pytest.skip("no CUDA compiler")
    (tmp_path / "kernels.cu").write_text(SOURCE.read_text() + CALLS)
    run = subprocess.run(["nvcc", "-c", "kernels.cu", "-o", "kernels.o"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """`run` above, with every kernel launch as a loop over its blocks."""
    folder = tmp_path_factory.mktemp("cuda")
    loop = r"for (blockIdx.x = 0; blockIdx.x < s.blocks(); blockIdx.x++) \1(\2);"
    kernels, launches = re.subn(r"(\w+)<<<s.blocks\(\), THREADS>>>\((.*)\);", loop, SOURCE.read_text())
    assert launches == 2
    (folder / "kernels.cpp").write_text(HOST + kernels + CALLS)
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", "kernels.cpp", "-o", "kernels.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "kernels.so")).run


def run_on_host(host, groups, silu, inputs, shapes, grad_y=None):
    def pointer(values):
        return None if values is None else values.ctypes.data_as(ctypes.c_void_p)

    x, gamma, _, affine = inputs[:4]
    masks = len(gamma) if gamma.ndim > 1 else 0
    outputs = [np.full(shape, np.nan, np.float32) for shape in shapes]
    host(
        (ctypes.c_longlong * 7)(*x.shape, groups, masks, 0 if affine is None else len(affine)),
        ctypes.c_float(1e-5),
        ctypes.c_bool(silu),
        (ctypes.c_void_p * 6)(*map(pointer, [*inputs, *[None] * (6 - len(inputs))])),
        pointer(grad_y),
        (ctypes.c_void_p * 4)(*map(pointer, [*outputs, *[None] * (4 - len(outputs))])),
    )
    return outputs


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("rows, masks", [(3, 0), (1, 0), (0, 0), (3, 3), (1, 2), (0, 2)])
def test_forward_is_that_of_the_cpu(host, rows, masks, silu):
    inputs = [normal(3, 8, 5, 6) * 2 + 1]
    inputs += [normal(*([masks, 8, 5, 6] if masks else [8]), seed=seed) for seed in (1, 2)]
    inputs += [normal(rows, 16, seed=3) if rows else None]
    inputs += [normal(1, 8, 3, 3, seed=seed) for seed in (5, 6) if masks == 2]
    x, gamma, beta, affine, *null = (None if values is None else jt.array(values) for values in inputs)
    expected = ops.group_norm(x, 2, gamma, beta, affine, null or None, silu=silu).numpy()
    [y] = run_on_host(host, 2, silu, inputs, [x.shape])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("masks", [0, 3])
def test_backward_is_that_of_the_cpu(host, masks, silu):
    inputs = [normal(3, 8, 5, 6) * 2 + 1]
    inputs += [normal(*([masks, 8, 5, 6] if masks else [8]), seed=seed) for seed in (1, 2)]
    inputs += [normal(3, 16, seed=3)]
    grad_y = normal(3, 8, 5, 6, seed=7)
    variables = [jt.array(values) for values in inputs]
    y = ops.group_norm(variables[0], 2, *variables[1:], silu=silu)
    expected = jt.grad((y * jt.array(grad_y)).sum(), variables)
    shapes = [values.shape if values.ndim > 1 else (3, 8) for values in inputs]  # of each sample
    gradients = run_on_host(host, 2, silu, inputs, shapes, grad_y)
    for ours, theirs in zip(gradients, expected):
        ours = ours if ours.shape == tuple(theirs.shape) else ours.sum(0)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-4)

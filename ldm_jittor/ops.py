"""Convolution, group norm and attention, each in one call and faster than Jittor's own.

Group norm runs on the CPU and on CUDA, the other two on the CPU. On CUDA, and in a Jittor without oneDNN, Jittor's own
operators take the place of those two and compute the same.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import jittor as jt
from jittor import nn

_KERNELS = Path(__file__).parent / "kernels"
ATTENTION_CHUNK = 256
"""Queries per attention chunk, of which each thread takes one at a time.

12,288 tokens (512x384 at f4) in one piece would need a matrix of 0.6 GB an image.
"""


@functools.lru_cache
def _onednn_include() -> str:
    """Folder of the oneDNN headers that came with Jittor, or "" where it was built without oneDNN."""
    if jt.compile_extern.mkl_ops is None:
        return ""
    found = sorted(Path(jt.compiler.jit_utils.home(), ".cache", "jittor", "mkl").glob("dnnl*/include/dnnl.hpp"))
    return str(found[-1].parent) if found else ""


@functools.lru_cache
def _cpu_header(name: str) -> str:
    """C++ that includes a kernel.

    Jittor makes a key of this text at every call of the operator. So the text is short, and has the digest of all
    kernels. Jittor looks for headers only in folders of its own, and takes no flags here. So a macro hides the file's
    name from Jittor, and the compiler gets the folders from the environment.
    """
    folders = [str(_KERNELS), _onednn_include(), os.environ.get("CPLUS_INCLUDE_PATH")]
    os.environ["CPLUS_INCLUDE_PATH"] = os.pathsep.join(dict.fromkeys(filter(None, folders)))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_KERNELS.glob("*.h")))).hexdigest()
    return f'#define LDM_DIGEST {digest}\n#define LDM_KERNEL "{name}"\n#include LDM_KERNEL\n'


@functools.lru_cache
def _cuda_header(name: str) -> str:
    return (_KERNELS / name).read_text(encoding="utf-8")


def _require(agree: bool, operator: str, *variables: jt.Var) -> None:
    """The kernels trust the shapes they are given."""
    if not agree:
        shapes = ", ".join("x".join(map(str, variable.shape)) for variable in variables)
        raise ValueError(f"{operator}: shapes that do not agree: {shapes}")


def conv2d(
    x: jt.Var,
    weight: jt.Var,
    bias: jt.Var | None = None,
    stride: int = 1,
    padding: int = 0,
    by_sample: bool = False,
) -> jt.Var:
    """x [B,C,H,W], weight [O,C,K,K], bias [O] -> [B,O,H',W'].

    On the CPU and under `jt.no_grad` a sample's result is the same in any batch, to the bit. With `by_sample` it always
    is, and so is its gradient. Those of weight and bias are then summed over the batch in the order of `channel_sums`.
    Raises ValueError where the shapes do not agree.
    """
    _require(x.shape[1] == weight.shape[1] and weight.shape[2] == weight.shape[3], "convolution", x, weight)
    if jt.flags.use_cuda or not _onednn_include():
        return nn.conv2d(x, weight, bias, stride, padding)
    return _Conv2d(stride, padding, by_sample)(x, weight, bias)


class _Conv2d(jt.Function):
    def __init__(self, stride: int, padding: int, by_sample: bool):
        self.data = {"stride": stride, "padding": padding}
        self.by_sample = by_sample

    def execute(self, x: jt.Var, weight: jt.Var, bias: jt.Var | None) -> jt.Var:
        self.saved = x, weight, bias
        padding, stride, kernel = self.data["padding"], self.data["stride"], weight.shape[2]
        sides = [(side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:]]
        offset = "nullptr" if bias is None else "in2_p"
        return self._code(
            [x.shape[0], weight.shape[0], *sides],
            [x, weight] if bias is None else [x, weight, bias],
            f"ldm_conv::forward({_conv_shape('in0', 'in1')}, in0_p, in1_p, {offset}, out0_p);",
        )

    def grad(self, grad_y: jt.Var) -> tuple[jt.Var, jt.Var, jt.Var | None]:
        x, weight, bias = self.saved
        kind = "_by_sample" if self.by_sample else ""
        to_x = f"ldm_conv::backward_data{kind}({_conv_shape('out0', 'in0')}, in0_p, in1_p, out0_p);"
        grad_x = self._code(x.shape, [weight, grad_y], to_x)
        to_weight = f"ldm_conv::backward_weight{kind}({_conv_shape('in0', 'out0')}, in0_p, in1_p, out0_p);"
        grad_weight = self._code(weight.shape, [x, grad_y], to_weight)
        grad_bias = None if bias is None else channel_sums(grad_y)
        return grad_x, grad_weight, grad_bias

    def _code(self, shape: list[int], inputs: list[jt.Var], source: str) -> jt.Var:
        return jt.code(shape, "float32", inputs, cpu_header=_cpu_header("conv2d.h"), cpu_src=source, data=self.data)


def _conv_shape(x: str, weight: str) -> str:
    """C++ for the shape of a convolution whose image and weight are these arguments of `jt.code`."""
    sides = [f"{x}_shape{i}" for i in range(4)] + [f"{weight}_shape0", f"{weight}_shape2"]
    return f'ldm_conv::Shape{{{", ".join(sides)}, int64_t(data["stride"]), int64_t(data["padding"])}}'


def channel_sums(x: jt.Var) -> jt.Var:
    """x [B,C,H,W] -> [C], without a gradient. Two halves of the batch are added, each of which is summed so too.

    Processes that each hold a part of the batch get what one process gets, to the bit, where they add theirs so.
    """
    if jt.flags.use_cuda:
        return x.sum(3).sum(2).sum(0)
    call = "ldm_sums::channels(in0_p, in0_shape0, in0_shape1, in0_shape2 * in0_shape3, out0_p);"
    return jt.code([x.shape[1]], "float32", [x], cpu_header=_cpu_header("channel_sums.h"), cpu_src=call)


def group_norm(
    x: jt.Var,
    num_groups: int,
    scale: jt.Var,
    shift: jt.Var,
    modulation: Sequence[jt.Var | None] = (),
    eps: float = 1e-5,
    silu: bool = False,
) -> jt.Var:
    """act((norm(x) * gamma + beta) * scale + shift) in one pass; x [B,C,H,W] or [B,C,T]; act is SiLU or nothing.

    scale, shift: [B,C], or [1,C] for all samples, since one timestep serves a batch.
    modulation: gamma and beta [M,C,H,W], or nothing for 1 and 0. Where M < B, the further samples share one null mask:
    its gamma and beta follow as [1,C,3,3], which hold their corners, edges and middle.
    A sample's result is the same in any batch, to the bit. Raises ValueError where shapes do not agree.
    """
    given = [values for values in modulation if values is not None]
    if len(given) == 2 and given[0].shape[0] != x.shape[0]:
        raise ValueError(f"{given[0].shape[0]} masks for {x.shape[0]} samples, and no null mask")
    rows = [list(values.shape) in ([1, x.shape[1]], [x.shape[0], x.shape[1]]) for values in (scale, shift)]
    maps = [list(values.shape[1:]) == list(x.shape[1:]) for values in given[:2]]
    agree = x.ndim in (3, 4) and x.shape[1] % num_groups == 0 and scale.shape == shift.shape
    _require(agree and all(rows + maps), "group norm", x, scale, shift, *given)
    return _GroupNorm(num_groups, eps, silu)(x, scale, shift, *given)


class _GroupNorm(jt.Function):
    def __init__(self, num_groups: int, eps: float, silu: bool):
        self.data = {"groups": num_groups, "eps": eps, "silu": int(silu)}

    def execute(self, x: jt.Var, scale: jt.Var, shift: jt.Var, *modulation: jt.Var) -> jt.Var:
        self.saved = [x, scale, shift, *modulation]
        return self._code(x.shape, "float32", self.saved, f"ldm_norm::forward({self._arguments()}, out0_p);")

    def grad(self, grad_y: jt.Var) -> list[jt.Var]:
        x, scale, shift, *modulation = self.saved
        rows = (x.shape[0], x.shape[1])
        if len(modulation) > 2:
            raise ValueError("a null mask that several samples share has no gradient")
        outputs = [x.shape, rows, rows, *(values.shape for values in modulation)]
        pointers = [f"out{i}_p" for i in range(len(outputs))] + ["nullptr"] * (2 - len(modulation))
        inputs = [x, scale.expand(rows), shift.expand(rows), *modulation, grad_y]
        call = f"ldm_norm::backward({self._arguments()}, in{len(outputs)}_p, {', '.join(pointers)});"
        grads = self._code(outputs, ["float32"] * len(outputs), inputs, call)
        shared = scale.shape[0] < x.shape[0]
        return [g.sum(0, keepdims=True) if shared and i in (1, 2) else g for i, g in enumerate(grads)]

    def _code(self, shape, dtype, inputs: list[jt.Var], call: str):
        if jt.flags.use_cuda:
            sources = dict(cuda_header=_cuda_header("group_norm.cuh"), cuda_src=call)
        else:
            sources = dict(cpu_header=_cpu_header("group_norm.h"), cpu_src=call)
        return jt.code(shape, dtype, inputs, **sources, data=self.data)

    def _arguments(self) -> str:
        """C++ for the shape and the inputs."""
        count = len(self.saved)
        sides = "in0_shape2, in0_shape3" if self.saved[0].ndim == 4 else "1, in0_shape2"
        maps = "in3_shape0" if count > 3 else "0"
        pointers = [f"in{i}_p" if i < count else "nullptr" for i in range(7)]
        return (
            f'ldm_norm::Shape{{in0_shape0, in0_shape1, {sides}, int64_t(data["groups"]), {maps}, in1_shape0, '
            f'float(data["eps"]), data["silu"] != 0}}, ldm_norm::Inputs{{{", ".join(pointers)}}}'
        )


def upsample_nearest(x: jt.Var) -> jt.Var:
    """Double both sides of x [B,C,H,W] by repeating pixels."""
    b, c, h, w = x.shape
    if jt.flags.use_cuda:
        return x.reshape((b, c, h, 1, w, 1)).expand((b, c, h, 2, w, 2)).reshape((b, c, 2 * h, 2 * w))
    return _UpsampleNearest()(x)


class _UpsampleNearest(jt.Function):
    def execute(self, x: jt.Var) -> jt.Var:
        b, c, h, w = x.shape
        source = """
            int64_t width = in0_shape3;
            #pragma omp parallel for
            for (int64_t row = 0; row < in0_shape0 * in0_shape1 * in0_shape2; row++) {
                float* doubled = out0_p + 4 * row * width;
                for (int64_t i = 0; i < 2 * width; i++) doubled[i] = in0_p[row * width + i / 2];
                std::copy_n(doubled, 2 * width, doubled + 2 * width);
            }"""
        return jt.code([b, c, 2 * h, 2 * w], "float32", [x], cpu_header="#include <algorithm>", cpu_src=source)

    def grad(self, grad_y: jt.Var) -> jt.Var:
        b, c, h, w = grad_y.shape
        return grad_y.reshape((b, c, h // 2, 2, w // 2, 2)).sum(dims=[3, 5])


def attention(q: jt.Var, k: jt.Var, v: jt.Var) -> jt.Var:
    """Softmax attention over tokens: q [N,C,Q], k and v [N,C,K] -> [N,C,Q], scale 1/sqrt(C), in chunks of queries.

    Raises ValueError where the shapes do not agree.
    """
    _require(list(q.shape[:2]) == list(k.shape[:2]) and k.shape == v.shape, "attention", q, k, v)
    if jt.flags.use_cuda or not _onednn_include():
        return _attention_plain(q, k, v)
    return _Attention()(q, k, v)


class _Attention(jt.Function):
    def execute(self, q: jt.Var, k: jt.Var, v: jt.Var) -> jt.Var:
        self.saved = [q, k, v]
        return self._code(q.shape, "float32", self.saved, "ldm_attention::forward(shape, in0_p, in1_p, in2_p, out0_p);")

    def grad(self, grad_out: jt.Var) -> tuple[jt.Var, jt.Var, jt.Var]:
        call = "ldm_attention::backward(shape, in0_p, in1_p, in2_p, in3_p, out0_p, out1_p, out2_p);"
        return self._code([var.shape for var in self.saved], ["float32"] * 3, [*self.saved, grad_out], call)

    def _code(self, shape, dtype, inputs: list[jt.Var], call: str):
        chunk = min(ATTENTION_CHUNK, inputs[0].shape[2])
        shape_source = (
            'ldm_attention::Shape shape{in0_shape0, in0_shape1, in0_shape2, in1_shape2, int64_t(data["chunk"])};'
        )
        source = f"{shape_source} {call}"
        return jt.code(
            shape, dtype, inputs, cpu_header=_cpu_header("attention.h"), cpu_src=source, data={"chunk": chunk}
        )


def _attention_plain(q: jt.Var, k: jt.Var, v: jt.Var) -> jt.Var:
    queries = q.transpose(0, 2, 1) / math.sqrt(q.shape[1])
    values = v.transpose(0, 2, 1)
    outputs = []
    for start in range(0, queries.shape[1], ATTENTION_CHUNK):
        scores = jt.matmul(queries[:, start : start + ATTENTION_CHUNK], k)
        outputs.append(jt.matmul(nn.softmax(scores, dim=-1), values))
    return jt.concat(outputs, dim=1).transpose(0, 2, 1)

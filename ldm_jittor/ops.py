"""Convolution, group norm and attention, each in one call and faster than Jittor's own.

Group norm runs on the CPU and on CUDA, the other two on the CPU. On CUDA, and in a Jittor without oneDNN, Jittor's own
operators take the place of those two and compute the same.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
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
            "float32",
            [x, weight] if bias is None else [x, weight, bias],
            f"ldm_conv::forward({_conv_shape('in0', 'in1')}, in0_p, in1_p, {offset}, out0_p);",
        )

    def grad(self, grad_y: jt.Var) -> list[jt.Var | None]:
        x, weight, bias = self.saved
        kind = "_by_sample" if self.by_sample else ""
        to_x = f"ldm_conv::backward_data{kind}({_conv_shape('out0', 'in0')}, in0_p, in1_p, out0_p);"
        grad_x = self._code(x.shape, "float32", [weight, grad_y], to_x)
        to_weights = f"ldm_conv::backward_weight{kind}({_conv_shape('in0', 'out0')}, in0_p, in1_p, out0_p);"
        shapes = [weight.shape]
        if bias is not None:
            to_weights += _sums_of_channels("in1", "out1")
            shapes.append(bias.shape)
        grads = self._code(shapes, ["float32"] * len(shapes), [x, grad_y], to_weights)
        return [grad_x, *grads, *([None] if bias is None else [])]

    def _code(self, shape, dtype, inputs: list[jt.Var], source: str):
        return jt.code(shape, dtype, inputs, cpu_header=_cpu_header("conv2d.h"), cpu_src=source, data=self.data)


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
    call = _sums_of_channels("in0", "out0")
    return jt.code([x.shape[1]], "float32", [x], cpu_header=_cpu_header("channel_sums.h"), cpu_src=call)


def _sums_of_channels(x: str, sums: str) -> str:
    """C++ for the sums of this argument of `jt.code` into that one."""
    return f"ldm_sums::channels({x}_p, {x}_shape0, {x}_shape1, {x}_shape2 * {x}_shape3, {sums}_p);"


def group_norm(
    x: jt.Var,
    num_groups: int,
    gamma: jt.Var,
    beta: jt.Var,
    affine: jt.Var | None = None,
    null: tuple[jt.Var, jt.Var] | None = None,
    eps: float = 1e-5,
    silu: bool = False,
) -> jt.Var:
    """act((norm(x) * gamma + beta) * (1 + scale) + shift) in one pass; x [B,C,H,W] or [B,C,T]; act is SiLU or nothing.

    gamma, beta: [C], or maps [M,C,H,W]. Where M < B, the further samples share one mask: `null` has its gamma and beta,
    [1,C,3,3] each, which hold their corners, edges and middle.
    affine: scale and shift side by side, [B,2C], or [1,2C] for all samples, since one timestep serves a batch. None: 0.
    A sample's result is the same in any batch, to the bit. Raises ValueError where shapes do not agree.
    """
    channels = x.shape[1]
    maps = gamma.ndim > 1
    if maps and null is None and gamma.shape[0] != x.shape[0]:
        raise ValueError(f"{gamma.shape[0]} masks for {x.shape[0]} samples, and no null mask")
    agree = x.ndim in (3, 4) and channels % num_groups == 0 and gamma.shape == beta.shape
    agree &= list(gamma.shape[1:]) == list(x.shape[1:]) if maps else list(gamma.shape) == [channels]
    agree &= affine is None or list(affine.shape) in ([1, 2 * channels], [x.shape[0], 2 * channels])
    _require(agree, "group norm", x, gamma, beta, *([] if affine is None else [affine]))
    return _GroupNorm(num_groups, eps, silu)(x, gamma, beta, affine, *(null or ()))


class _GroupNorm(jt.Function):
    def __init__(self, num_groups: int, eps: float, silu: bool):
        self.data = {"groups": num_groups, "eps": eps, "silu": int(silu)}

    def execute(self, x: jt.Var, gamma: jt.Var, beta: jt.Var, affine: jt.Var | None, *null: jt.Var) -> jt.Var:
        self.saved = x, gamma, beta, affine, *null
        return self._code(x.shape, "float32", f"ldm_norm::forward({self._arguments()}, out0_p);")

    def grad(self, grad_y: jt.Var) -> list[jt.Var]:
        x, gamma, beta, affine, *null = self.saved
        if null:
            raise ValueError("a null mask that several samples share has no gradient")
        maps, (batch, channels) = gamma.ndim > 1, x.shape[:2]
        of_mask = gamma.shape if maps else [batch, channels]
        shapes = [x.shape, of_mask, of_mask, *([] if affine is None else [[batch, 2 * channels]])]
        pointers = ", ".join(f"out{i}_p" for i in range(len(shapes))) + (", nullptr" if affine is None else "")
        call = f"ldm_norm::backward({self._arguments()}, in{len(shapes)}_p, {pointers});"
        grad_x, *grads = self._code(shapes, ["float32"] * len(shapes), call, grad_y)
        if not maps:
            grads[:2] = [grad.sum(0) for grad in grads[:2]]
        if affine is not None and affine.shape[0] < batch:
            grads[2] = grads[2].sum(0, keepdims=True)
        return [grad_x, *grads] if affine is not None else [grad_x, *grads, None]

    def _code(self, shape, dtype, call: str, *more: jt.Var):
        inputs = [values for values in (*self.saved, *more) if values is not None]
        if jt.flags.use_cuda:
            sources = dict(cuda_header=_cuda_header("group_norm.cuh"), cuda_src=call)
        else:
            sources = dict(cpu_header=_cpu_header("group_norm.h"), cpu_src=call)
        return jt.code(shape, dtype, inputs, **sources, data=self.data)

    def _arguments(self) -> str:
        """C++ for the shape and the inputs."""
        x, gamma, _, affine, *null = self.saved
        sides = "in0_shape2, in0_shape3" if x.ndim == 4 else "1, in0_shape2"
        maps, rows = ("in1_shape0" if gamma.ndim > 1 else "0"), ("0" if affine is None else "in3_shape0")
        first_null = 3 if affine is None else 4
        nulls = [f"in{first_null}_p", f"in{first_null + 1}_p"] if null else ["nullptr"] * 2
        pointers = ["in0_p", "in1_p", "in2_p", "nullptr" if affine is None else "in3_p", *nulls]
        return (
            f'ldm_norm::Shape{{in0_shape0, in0_shape1, {sides}, int64_t(data["groups"]), {maps}, {rows}, '
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


def self_attention(qkv: jt.Var) -> jt.Var:
    """`attention` of queries, keys and values that lie in one array: [N,3,C,T] -> [N,C,T].

    Raises ValueError where it does not hold three.
    """
    _require(qkv.ndim == 4 and qkv.shape[1] == 3, "attention", qkv)
    if jt.flags.use_cuda or not _onednn_include():
        return _self_attention_plain(qkv)
    return _Attention()(qkv)


class _Attention(jt.Function):
    """Of q, k and v, or of one array that holds them."""

    def execute(self, *inputs: jt.Var) -> jt.Var:
        self.saved = inputs
        n, *_, c, queries = inputs[0].shape
        return self._code([n, c, queries], "float32", f"ldm_attention::forward(shape, {self._parts('in')}, out0_p);")

    def grad(self, grad_out: jt.Var) -> list[jt.Var]:
        call = f"ldm_attention::backward(shape, {self._parts('in')}, in{len(self.saved)}_p, {self._parts('out')});"
        return self._code([var.shape for var in self.saved], ["float32"] * len(self.saved), call, grad_out)

    def _parts(self, side: str) -> str:
        """C++ for the pointers to q, k and v, or to their gradients."""
        if len(self.saved) == 3:
            return ", ".join(f"{side}{i}_p" for i in range(3))
        return ", ".join(f"{side}0_p + {i} * shape.c * shape.keys" for i in range(3))

    def _code(self, shape, dtype, call: str, *more: jt.Var):
        c, queries = (f"in0_shape{self.saved[0].ndim - i}" for i in (2, 1))
        keys, k_step = ("in1_shape2", "in1_stride0") if len(self.saved) == 3 else (queries, "in0_stride0")
        sides = f'in0_shape0, {c}, {queries}, {keys}, int64_t(data["chunk"]), in0_stride0, {k_step}'
        return jt.code(
            shape,
            dtype,
            [*self.saved, *more],
            cpu_header=_cpu_header("attention.h"),
            cpu_src=f"ldm_attention::Shape shape{{{sides}}}; {call}",
            data={"chunk": min(ATTENTION_CHUNK, self.saved[0].shape[-1])},
        )


def _attention_plain(q: jt.Var, k: jt.Var, v: jt.Var) -> jt.Var:
    queries = q.transpose(0, 2, 1) / math.sqrt(q.shape[1])
    values = v.transpose(0, 2, 1)
    outputs = []
    for start in range(0, queries.shape[1], ATTENTION_CHUNK):
        scores = jt.matmul(queries[:, start : start + ATTENTION_CHUNK], k)
        outputs.append(jt.matmul(nn.softmax(scores, dim=-1), values))
    return jt.concat(outputs, dim=1).transpose(0, 2, 1)


def _self_attention_plain(qkv: jt.Var) -> jt.Var:
    return _attention_plain(qkv[:, 0], qkv[:, 1], qkv[:, 2])

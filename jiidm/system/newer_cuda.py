"""CUDA 13 and cuDNN 9, shown to Jittor 1.3.11 as the CUDA 12 and cuDNN 8 that it was written for.

Jittor's sources use names that newer releases dropped: fields of `cudaDeviceProp` (CUDA 13), iterators and `cub::Max`
(CCCL 3), the old calls for recurrent networks (cuDNN 9). It looks for cuDNN's libraries by the names of version 8. It
makes machine code for compute capability 9.0 at most, which newer GPUs do not run. So it gets a toolkit folder of links
to the real files, with four files of our own in it: three headers that add the missing names, and an `nvcc` that
corrects two flags. Jittor itself stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = ("cudart", "cublas", "cublasLt", "curand", "cufft", "cusparse", "cudnn", "cudnn_ops", "cudnn_cnn")
"""What Jittor links with."""
LOADED_BY_THEM = ("nvJitLink", "nvrtc")
LINKED_BY_NVCC = "libcudadevrt.a"
CUDNN_8 = {f"libcudnn_{part}_{use}.so": f"libcudnn_{part}.so" for part in ("ops", "cnn") for use in ("infer", "train")}
"""Library names of cuDNN 8, and those of cuDNN 9 that hold the same."""

_CUDA_RUNTIME = """\
#if defined(__cplusplus) && CUDART_VERSION >= 13000
struct cudaDeviceProp12 : cudaDeviceProp {
    int clockRate = 1, memoryClockRate = 1, computeMode = 0;
};
#define cudaDeviceProp cudaDeviceProp12
#endif
"""
_CUB = """\
#if CUB_VERSION >= 300000
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
namespace cub {
struct Max {
    template <class T> __host__ __device__ T operator()(const T& a, const T& b) const { return a < b ? b : a; }
};
template <class T, class Offset = ptrdiff_t> using CountingInputIterator = thrust::counting_iterator<T>;
template <class T, class F, class It, class Offset = ptrdiff_t>
using TransformInputIterator = thrust::transform_iterator<F, It, T>;
}  // namespace cub
#endif
"""
_CUDNN = """\
#if defined(__cplusplus) && CUDNN_MAJOR >= 9
#define LDM_DROPPED(name) template <class... A> inline cudnnStatus_t name(A...) { return CUDNN_STATUS_NOT_SUPPORTED; }
LDM_DROPPED(cudnnSetRNNDescriptor_v6) LDM_DROPPED(cudnnGetRNNParamsSize) LDM_DROPPED(cudnnGetRNNWorkspaceSize)
LDM_DROPPED(cudnnGetRNNTrainingReserveSize) LDM_DROPPED(cudnnGetRNNLinLayerMatrixParams)
LDM_DROPPED(cudnnGetRNNLinLayerBiasParams) LDM_DROPPED(cudnnRNNForwardInference) LDM_DROPPED(cudnnRNNForwardTraining)
LDM_DROPPED(cudnnRNNBackwardData) LDM_DROPPED(cudnnRNNBackwardWeights)
#undef LDM_DROPPED
#endif
"""
HEADERS = {"cuda_runtime.h": _CUDA_RUNTIME, "cub/cub.cuh": _CUB, "cudnn.h": _CUDNN}
"""What is added behind these headers of the real toolkit."""

# C++14 is too old for CCCL 3, and -std:c++14 is Jittor's slip. "native" is the capability of the GPU at hand.
_NVCC = """\
#!/bin/sh
for flag; do
    shift
    case $flag in
        -std=c++14 | -std:c++14) flag=-std=c++17 ;;
        -arch=* | -code=*) continue ;;
    esac
    set -- "$@" "$flag"
done
exec {nvcc} -arch=native "$@"
"""


@dataclass(frozen=True)
class Toolkit:
    """A newer CUDA: the real compiler, headers and libraries by the names they get, and the folder to lay them out."""

    compiler: Path
    headers: dict[str, Path]
    libraries: dict[str, Path]
    folder: Path

    @property
    def nvcc(self) -> Path:
        return self.folder / "bin" / "nvcc"


def find(compiler: Path, cache: Path, capability: tuple[int, int]) -> Toolkit | str:
    """Look for cuDNN 9 and the libraries that belong to the `nvcc` at `compiler`; or say what is missing.

    They lie around the compiler, in NVIDIA's Python packages, or in the system's folders.
    cache: the folder that will hold the toolkit's. capability: the GPU's, (0, 0) where it is not known.
    """
    compiler = compiler.resolve()
    if not _knows(compiler, capability):
        return f"{compiler} is too old for the GPU's compute capability {capability[0]}.{capability[1]}"
    roots = [*_roots(compiler.parent.parent), *python_packages(), Path("/usr")]
    libraries = dict(_first(_libraries(root) for root in roots))
    headers = dict(_first(_headers(root) for root in roots[:-1]))
    if "cudnn.h" not in headers and Path("/usr/include/cudnn.h").is_file():
        headers |= {path.name: path for path in Path("/usr/include").glob("cudnn*.h")}
    missing = [name for name in (f"lib{name}.so" for name in LIBRARIES) if name not in libraries]
    missing += [name for name in HEADERS if name not in headers]
    if missing:
        return f"{compiler} is there but not {', '.join(missing)}"
    made_of = [
        str(compiler),
        _NVCC,
        *HEADERS.values(),
        *(str(path) for path in (*headers.values(), *libraries.values())),
    ]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    return Toolkit(compiler, headers, libraries, cache / "newer_cuda" / key)


def lay_out(toolkit: Toolkit) -> None:
    """Make the folder where it is not there yet. Processes that do so at once all end with the same folder."""
    if toolkit.nvcc.is_file():
        return
    toolkit.folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{toolkit.folder.name}-", dir=toolkit.folder.parent))
    try:
        _write(toolkit, made)
        made.chmod(0o755)
        made.rename(toolkit.folder)
    except OSError:
        if not toolkit.nvcc.is_file():  # another process has not made it either
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(toolkit: Toolkit, folder: Path) -> None:
    include, lib64, nvcc = folder / "include", folder / "lib64", folder / "bin" / "nvcc"
    for made in (include, lib64, nvcc.parent):
        made.mkdir()
    for name, path in toolkit.headers.items():
        if name not in HEADERS:
            (include / name).symlink_to(path)
    for name, added in HEADERS.items():
        (include / name).parent.mkdir(exist_ok=True)
        (include / name).write_text(f'#pragma once\n#include "{toolkit.headers[name]}"\n{added}')
    for name, path in toolkit.libraries.items():
        (lib64 / name).symlink_to(path)
        if path.name != name:  # cuDNN loads its parts by the full name, from the folder that it was loaded from
            (lib64 / path.name).symlink_to(path)
    for name, real in CUDNN_8.items():
        (lib64 / name).symlink_to(toolkit.libraries[real])
    nvcc.write_text(_NVCC.format(nvcc=toolkit.compiler))
    nvcc.chmod(0o755)


def _knows(compiler: Path, capability: tuple[int, int]) -> bool:
    """Whether the compiler makes code that the GPU runs: code of its own major capability, and no later one."""
    try:
        told = subprocess.run([compiler, "--list-gpu-code"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        told = ""
    known = [divmod(int(number), 10) for number in re.findall(r"sm_(\d+)$", told, re.MULTILINE)]
    return capability == (0, 0) or any(each[0] == capability[0] and each <= capability for each in known)


def _roots(home: Path) -> list[Path]:
    machine = "x86_64" if platform.machine() in ("x86_64", "AMD64") else "sbsa"
    return [home, home / "targets" / f"{machine}-linux"]


def python_packages() -> list[Path]:
    """Folders of NVIDIA's Python packages, such as nvidia-cudnn-cu13's."""
    return sorted(path for place in dict.fromkeys(sys.path) if place for path in Path(place).glob("nvidia/*"))


def _headers(root: Path) -> Iterator[tuple[str, Path]]:
    """Entries of the include folder. CUB has a folder of its own from CUDA 13 on, which nvcc knows."""
    for path in sorted(root.glob("include/*")):
        if path.name != "cub":
            yield path.name, path
    for cub in ("include/cub/cub.cuh", "include/cccl/cub/cub.cuh"):
        if (root / cub).is_file():
            yield "cub/cub.cuh", root / cub


def _libraries(root: Path) -> Iterator[tuple[str, Path]]:
    """Libraries by their names without a version. The shortest file name is the one that other libraries ask for."""
    for folder in ("lib64", "lib", f"lib/{platform.machine()}-linux-gnu"):
        if (root / folder / LINKED_BY_NVCC).is_file():
            yield LINKED_BY_NVCC, root / folder / LINKED_BY_NVCC
        for path in sorted((root / folder).glob("lib*.so.*"), key=lambda path: len(path.name)):
            name = path.name.split(".so")[0]
            if name[3:] in (*LIBRARIES, *LOADED_BY_THEM) or name.startswith("libcudnn_"):
                yield f"{name}.so", path


def _first(groups: Iterable[Iterator[tuple[str, Path]]]) -> Iterator[tuple[str, Path]]:
    """The first path of each name."""
    seen: set[str] = set()
    for group in groups:
        for name, path in group:
            if name not in seen:
                seen.add(name)
                yield name, path

"""Files that stand for CUDA 13 and cuDNN 9: what Jittor looks for is found, and compiles."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from jiidm.system import newer_cuda

CUDA_13 = "#define CUDART_VERSION 13000\nstruct cudaDeviceProp { int major; };\n"
CUDA_12 = "#define CUDART_VERSION 12040\nstruct cudaDeviceProp { int major, clockRate, computeMode; };\n"
CUDNN_9 = "#define CUDNN_MAJOR 9\nenum cudnnStatus_t { CUDNN_STATUS_SUCCESS, CUDNN_STATUS_NOT_SUPPORTED };\n"
CUDA_FILES = {
    "bin/nvcc": '#!/bin/sh\n[ "$1" = --list-gpu-code ] && printf "sm_75\\nsm_90\\nsm_120\\n" || printf "%s\\n" "$@"\n',
    "include/cuda_runtime.h": CUDA_13,
    "include/cublas.h": "",
    "include/cccl/cub/cub.cuh": "#define CUB_VERSION 200000\n",
    **{f"lib64/lib{name}.so.13": "" for name in ("cudart", "cublas", "cublasLt", "curand", "cufft", "cusparse")},
    "lib64/libcudart.so.13.0.96": "",
    "lib64/libnvblas.so.13": "",
}
CUDNN_FILES = {
    "include/cudnn.h": CUDNN_9,
    **{f"lib/libcudnn{part}.so.9": "" for part in ("", "_ops", "_cnn", "_graph")},
}


@pytest.fixture
def compiler(tmp_path, monkeypatch) -> Path:
    """CUDA 13 in one folder, cuDNN 9 as a Python package in another."""
    write(tmp_path / "cuda", CUDA_FILES)
    write(tmp_path / "site" / "nvidia" / "cudnn", CUDNN_FILES)
    monkeypatch.setattr(newer_cuda.sys, "path", ["", str(tmp_path / "site")])
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.chmod(0o755)
    return nvcc


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def found(compiler: Path) -> newer_cuda.Toolkit:
    toolkit = newer_cuda.find(compiler, compiler.parents[2] / "cache", (9, 0))
    assert isinstance(toolkit, newer_cuda.Toolkit)
    newer_cuda.lay_out(toolkit)
    return toolkit


def compiles(toolkit: newer_cuda.Toolkit, source: str) -> bool:
    command = ["g++", "-fsyntax-only", "-std=c++17", "-x", "c++", "-I", str(toolkit.folder / "include"), "-"]
    return subprocess.run(command, input=source, text=True, capture_output=True).returncode == 0


def test_libraries_are_found_by_the_names_of_cudnn_8(compiler):
    lib64 = found(compiler).folder / "lib64"
    cudnn = compiler.parents[2] / "site" / "nvidia" / "cudnn" / "lib"
    assert (lib64 / "libcudnn_ops_infer.so").resolve() == cudnn / "libcudnn_ops.so.9"
    assert (lib64 / "libcudnn_cnn_train.so").resolve() == cudnn / "libcudnn_cnn.so.9"
    assert (lib64 / "libcudnn_graph.so.9").resolve() == cudnn / "libcudnn_graph.so.9"
    assert (lib64 / "libcudart.so").resolve() == compiler.parents[1] / "lib64" / "libcudart.so.13"
    assert not (lib64 / "libnvblas.so").exists()


@pytest.mark.parametrize("cuda", [CUDA_13, CUDA_12])
def test_what_jittor_asks_of_a_device_compiles(compiler, cuda):
    compiler.parents[1].joinpath("include/cuda_runtime.h").write_text(cuda)
    asked = "int f() { cudaDeviceProp p; return p.computeMode + p.clockRate + p.major; }"
    assert compiles(found(compiler), f"#include <cuda_runtime.h>\n{asked}")


def test_calls_that_cudnn_dropped_compile_and_say_not_supported(compiler):
    asked = "static_assert(sizeof(cudnnRNNForwardTraining(1, 2.0, nullptr)) > 0);"
    assert compiles(found(compiler), f"#include <cudnn.h>\n{asked}")
    assert not compiles(found(compiler), "#include <cudnn.h>\nint x = cudnnConvolutionForward(1);")


def test_headers_of_ours_add_to_the_real_ones_and_others_are_the_real_ones(compiler):
    include = found(compiler).folder / "include"
    assert (include / "cublas.h").resolve() == compiler.parents[1] / "include" / "cublas.h"
    assert str(compiler.parents[1] / "include" / "cccl" / "cub" / "cub.cuh") in (include / "cub/cub.cuh").read_text()


def test_nvcc_gets_a_newer_standard_and_the_gpus_own_capability(compiler):
    flags = ["-std=c++14", "-Xcompiler", "-std:c++14", "-arch=compute_90", "-code=sm_90", "-o", "a b.so"]
    done = subprocess.run([found(compiler).nvcc, *flags], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["-arch=native", "-std=c++17", "-Xcompiler", "-std=c++17", "-o", "a b.so"]


def test_what_is_missing_is_named(compiler):
    compiler.parents[2].joinpath("site/nvidia/cudnn/include/cudnn.h").unlink()
    compiler.parents[1].joinpath("lib64/libcufft.so.13").unlink()
    told = newer_cuda.find(compiler, compiler.parents[2] / "cache", (9, 0))
    assert isinstance(told, str) and "libcufft.so" in told and "cudnn.h" in told and "libcublas.so" not in told


@pytest.mark.parametrize(
    ("capability", "known"),
    [
        ((7, 5), True),
        ((8, 6), False),
        ((9, 0), True),
        ((10, 0), False),
        ((12, 0), True),
        ((12, 1), True),
        ((0, 0), True),
    ],
)
def test_a_compiler_that_does_not_know_the_gpu_is_not_used(compiler, capability, known):
    told = newer_cuda.find(compiler, compiler.parents[2] / "cache", capability)
    assert isinstance(told, newer_cuda.Toolkit) if known else "capability" in str(told)


def test_another_cuda_gets_another_folder_and_the_same_one_the_same(compiler):
    first = found(compiler)
    assert found(compiler) == first
    compiler.parents[2].joinpath("site/nvidia/cudnn/lib/libcudnn_adv.so.9").touch()
    assert found(compiler).folder != first.folder


def test_several_processes_may_lay_out_the_folder_at_once(compiler):
    toolkit = newer_cuda.find(compiler, compiler.parents[2] / "cache", (9, 0))
    threads = [threading.Thread(target=newer_cuda.lay_out, args=(toolkit,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in toolkit.folder.parent.iterdir()] == [toolkit.folder.name]

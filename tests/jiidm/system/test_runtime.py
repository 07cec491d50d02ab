"""The device is chosen by what is there, before Jittor is imported. Libraries and folders are faked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from processes import run_python

from jiidm.errors import InputError
from jiidm.system import ranks, runtime


@pytest.fixture(autouse=True)
def env(monkeypatch, tmp_path):
    """The environment without Jittor's variables, for this test only; the home folder is empty."""
    names = {"nvcc_path", "log_silent", "cache_name", "cc_flags", "python_config_path", "JITTOR_HOME"}
    env = {name: value for name, value in os.environ.items() if name not in names}
    monkeypatch.setattr(os, "environ", env)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return env


def driver(init: int, devices: int):
    def count(pointer):
        pointer._obj.value = devices
        return 0

    return SimpleNamespace(cuInit=lambda flags: init, cuDeviceGetCount=count)


def toolkit(root: Path, *files: str) -> Path:
    """A CUDA folder with nvcc, and `files` in it, libcudart.so being a library that loads."""
    nvcc = root / "bin" / "nvcc"
    for name in ("bin/nvcc", *files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    if "lib64/libcudart.so" in files:
        library = str(root / "lib64" / "libcudart.so")
        subprocess.run(["g++", "-shared", "-x", "c++", "/dev/null", "-o", library], check=True)
    return nvcc


def test_importing_and_preparing_leave_jittor_and_the_environment_alone():
    script = (
        "import os, sys; before = dict(os.environ); from jiidm.system import runtime; "
        "assert before == dict(os.environ); runtime.prepare('cpu'); "
        "assert os.environ['nvcc_path'] == ''; assert 'jittor' not in sys.modules"
    )
    done = run_python(script)
    assert done.returncode == 0, done.stderr


def test_an_unknown_device_is_refused():
    with pytest.raises(InputError, match="tpu"):
        runtime.prepare("tpu")


def test_cpu_turns_cuda_off_without_looking(monkeypatch, env):
    monkeypatch.setattr(runtime, "find_cuda", lambda: pytest.fail("looked for CUDA"))
    assert runtime.prepare("cpu").device == "cpu"
    assert env["nvcc_path"] == ""
    assert env["log_silent"] == "1"


def test_a_users_log_setting_is_kept(env):
    env["log_silent"] = "0"
    runtime.prepare("cpu")
    assert env["log_silent"] == "0"


def test_auto_falls_back_to_the_cpu_and_cuda_refuses(monkeypatch, env):
    monkeypatch.setattr(runtime, "driver_problem", lambda: "the NVIDIA driver shows no GPU")
    chosen = runtime.prepare("auto")
    assert (chosen.device, chosen.note) == ("cpu", "the NVIDIA driver shows no GPU")
    del env["nvcc_path"]
    with pytest.raises(InputError, match="--device cuda: the NVIDIA driver shows no GPU"):
        runtime.prepare("cuda")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_an_nvcc_without_its_toolkit_is_passed_over(monkeypatch, tmp_path, device, env):
    broken, whole = tmp_path / "broken" / "nvcc", tmp_path / "whole" / "nvcc"
    monkeypatch.setattr(runtime, "driver_problem", lambda: "")
    monkeypatch.setattr(runtime, "nvcc_candidates", lambda: [broken, whole])
    monkeypatch.setattr(runtime, "toolkit_problem", lambda nvcc: "no libcudart" if nvcc == broken else "")
    assert runtime.prepare(device).device == "cuda"
    assert env["nvcc_path"] == str(whole)


def test_a_newer_cuda_is_laid_out_for_jittor(monkeypatch, tmp_path, env):
    newer = runtime.newer_cuda.Toolkit(tmp_path / "nvcc", {}, {}, tmp_path / "folder")
    laid_out = []
    monkeypatch.setattr(runtime, "driver_problem", lambda: "")
    monkeypatch.setattr(runtime, "nvcc_candidates", lambda: [newer.compiler])
    monkeypatch.setattr(runtime.newer_cuda, "find", lambda compiler, cache, capability: newer)
    monkeypatch.setattr(runtime.newer_cuda, "lay_out", laid_out.append)
    monkeypatch.setattr(runtime, "compute_capability", lambda: (9, 0))
    assert runtime.find_cuda().nvcc == str(newer.nvcc) and not laid_out
    assert runtime.prepare("cuda").device == "cuda"
    assert env["nvcc_path"] == str(newer.nvcc) and laid_out == [newer]


def test_an_empty_nvcc_path_of_the_user_turns_cuda_off(monkeypatch, env):
    env["nvcc_path"] = ""
    monkeypatch.setattr(runtime, "driver_problem", lambda: "")
    assert "nvcc_path" in runtime.find_cuda().reason


def test_a_gpu_without_nvcc_is_told(monkeypatch):
    monkeypatch.setattr(runtime, "driver_problem", lambda: "")
    monkeypatch.setattr(runtime, "nvcc_candidates", list)
    assert "nvcc was not found" in runtime.find_cuda().reason


@pytest.mark.parametrize(("init", "devices", "reason"), [(0, 2, ""), (100, 0, "cuInit returns 100"), (0, 0, "no GPU")])
def test_driver_problems_are_told(monkeypatch, init, devices, reason):
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name: driver(init, devices))
    problem = runtime.driver_problem()
    assert reason in problem and bool(reason) == bool(problem)


def gpu(major: int, minor: int):
    """A driver that shows one GPU of this compute capability."""

    def attribute(pointer, number, device):
        pointer._obj.value = {75: major, 76: minor}[number]
        return 0

    shown = driver(0, 1)
    return SimpleNamespace(**vars(shown), cuDeviceGet=lambda pointer, number: 0, cuDeviceGetAttribute=attribute)


@pytest.mark.parametrize(
    "capability, toolkit, fits",
    [
        ((7, 5), "12.2", True),
        ((8, 9), "11.5", True),  # sm_86's code runs on it
        ((9, 0), "12.2", True),
        ((9, 0), "11.7", False),
        ((8, 6), "10.2", False),
        ((10, 0), "12.8", False),
        ((12, 0), "12.8", False),
    ],
)
def test_a_gpu_that_jittors_code_does_not_run_on_leaves_the_cpu_and_says_why(
    monkeypatch, tmp_path, capability, toolkit, fits
):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {toolkit}, V{toolkit}.1'\n")
    nvcc.chmod(0o755)
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name: gpu(*capability))
    monkeypatch.setattr(runtime, "nvcc_candidates", lambda: [nvcc])
    monkeypatch.setattr(runtime, "toolkit_problem", lambda nvcc: "")
    if not fits:
        with pytest.raises(InputError, match="--device cuda: the GPU has compute capability"):
            runtime.prepare("cuda")
    chosen = runtime.prepare("auto")
    assert chosen.device == ("cuda" if fits else "cpu")
    assert fits or f"compute capability {capability[0]}.{capability[1]}" in chosen.note


def test_a_missing_driver_is_told(monkeypatch):
    def refuse(name):
        raise OSError(name)

    monkeypatch.setattr(runtime.ctypes, "CDLL", refuse)
    assert "no NVIDIA driver" in runtime.driver_problem()


def test_toolkit_needs_runtime_libraries_and_cudnn_8(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "CUDA_LIBRARIES", ("no_such_cudnn",))
    monkeypatch.setattr(runtime.platform, "machine", lambda: "x86_64")
    assert "libcudart.so does not load" in runtime.toolkit_problem(toolkit(tmp_path))
    nvcc = toolkit(tmp_path, "lib64/libcudart.so")
    assert "not libno_such_cudnn.so" in runtime.toolkit_problem(nvcc)
    toolkit(tmp_path, "targets/x86_64-linux/lib/libno_such_cudnn.so", "include/cudnn.h")
    assert runtime.toolkit_problem(nvcc) == ""


def test_nvcc_in_the_order_of_jittor(monkeypatch, tmp_path, env):
    own = toolkit(tmp_path / ".cache" / "jittor" / "jtcuda" / "cuda12.2_cudnn8_linux")
    on_path = toolkit(tmp_path / "elsewhere")
    monkeypatch.setattr(runtime.shutil, "which", lambda name: str(on_path))
    assert runtime.nvcc_candidates()[:2] == [own, on_path]
    env["nvcc_path"] = "/chosen/nvcc"
    assert runtime.nvcc_candidates() == [Path("/chosen/nvcc")]


def test_cache_follows_jittor_home(tmp_path, env):
    cache = tmp_path / ".cache" / "jittor"
    assert runtime.jittor_cache() == cache
    cache.mkdir(parents=True)
    (cache / "config.json").write_text(json.dumps({"JITTOR_HOME": "/remembered"}))
    assert runtime.jittor_cache() == Path("/remembered/.cache/jittor")
    env["JITTOR_HOME"] = "/set"
    assert runtime.jittor_cache() == Path("/set/.cache/jittor")


def test_onednn_extracted_before_archive_before_none(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    assert runtime.find_onednn() is None
    offline = tmp_path / "jittor_offline"
    offline.mkdir()
    archive = offline / "dnnl_lnx_2.2.0_cpu_gomp.tgz"
    archive.touch()
    monkeypatch.setattr(runtime, "find_spec", lambda name: SimpleNamespace(origin=str(offline / "__init__.py")))
    assert runtime.find_onednn() == archive
    library = tmp_path / ".cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp/lib/libmkldnn.so"
    library.parent.mkdir(parents=True)
    library.touch()
    assert runtime.find_onednn() == library


def test_python_config_of_the_interpreter_behind_a_virtual_environment(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "base"))
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(minor=99))
    assert runtime.python_config() is None
    config = tmp_path / "base" / "bin" / "python3.99-config"
    config.parent.mkdir(parents=True)
    config.touch()
    assert runtime.python_config() == config
    assert runtime.environment(runtime.Cuda("", ""))["python_config_path"] == str(config)


def test_use_device_turns_cuda_on_and_off_and_refuses_it_where_it_lacks(monkeypatch):
    jittor = MagicMock(has_cuda=False)
    monkeypatch.setitem(sys.modules, "jittor", jittor)
    runtime.use_device("cpu")
    assert jittor.flags.use_cuda == 0
    with pytest.raises(InputError, match="without CUDA"):
        runtime.use_device("cuda")
    jittor.has_cuda = True
    runtime.use_device("cuda")
    assert jittor.flags.use_cuda == 1


def test_subnormal_numbers_are_zero_from_the_first_operator_on(monkeypatch):
    """Else it depends on what has been computed before, and a resumed run rounds otherwise."""
    monkeypatch.undo()  # the home folder holds Jittor's cache
    code = """
import sys, threading
import numpy as np
from jiidm.system import runtime
runtime.prepare("cpu")
runtime.use_device("cpu")
products = []
multiply = lambda: products.append(float((np.float32([1e-30]) * np.float32([1e-10]))[0]))
multiply()
thread = threading.Thread(target=multiply)
thread.start()
thread.join()
np.finfo(np.float32), np.finfo(np.float64)
print(products)
"""
    done = run_python(code)
    assert done.stdout.splitlines()[-1] == "[0.0, 0.0]"
    assert "subnormal" not in done.stderr, "numpy warns of zeros"


def test_jittors_idle_compilers_are_ended(monkeypatch):
    import jittor_utils

    pool = MagicMock()
    jittor_utils.p = pool  # which Jittor's own function deletes
    monkeypatch.setattr(jittor_utils, "pool_size", 7)
    runtime._end_idle_compilers()
    assert pool.__exit__.called and jittor_utils.pool_size == 0


def test_what_is_compiled_for_the_cpu_and_for_cuda_lies_apart():
    names = [runtime.environment(runtime.Cuda(nvcc, ""))["cache_name"] for nvcc in ("", "/cuda/bin/nvcc")]
    assert len(set(names)) == 2


def test_mpi_is_on_under_mpirun_only(monkeypatch):
    """Elsewhere Jittor would compile it, and with CUDA download NCCL for it."""
    for started, expected in ((False, "0"), (True, "1")):
        if started:
            monkeypatch.setenv(ranks.SIZE, "2")
        for inherited in ("0", "1"):
            monkeypatch.setenv("use_mpi", inherited)
            assert runtime.environment(runtime.Cuda("", ""))["use_mpi"] == expected


def test_a_child_that_a_signal_ends_does_not_end_its_parent():
    script = (
        "import subprocess; from jiidm.system import runtime; runtime.use_device(runtime.prepare('cpu').device)\n"
        "child = subprocess.Popen(['sleep', '60']); child.kill(); print(child.wait())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1:] == ["-9"], done.stderr

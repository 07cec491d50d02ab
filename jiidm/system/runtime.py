"""Choose the device and set Jittor's environment, before `import jittor`.

While it is imported, Jittor reads environment variables and compiles itself. It raises where it finds a CUDA compiler
without the rest of CUDA. So this module first looks at what is really there.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jiidm.errors import InputError
from jiidm.system import memory, newer_cuda, precompiled, ranks
from jiidm.system.cache import (
    check_home,
    check_working_folder,
    forget_moved_tools,
    jittor_cache,
    wait_for_abandoned_compilers,
)
from jiidm.system.precompiled import CC_FLAGS
from jiidm.system.threads import watch_load
from ldm_jittor.files import naming

logger = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda")
# Jittor's environment variables that a user may have set.
NVCC_PATH, PYTHON_CONFIG_PATH = "nvcc_path", "python_config_path"
SPIN_COUNT = "GOMP_SPINCOUNT"
# What Jittor 1.3.11 links with on CUDA; the "infer" library tells cuDNN 8, which it knows, from cuDNN 9.
CUDA_LIBRARIES = ("cublas", "curand", "cufft", "cusparse", "cudnn", "cudnn_ops_infer")
CAPABILITY_ATTRIBUTES = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
# The latest compute capability that Jittor 1.3.11 compiles for, from a version of the toolkit on.
NEWEST_CAPABILITY = (((11, 8), (9, 0)), ((11, 1), (8, 6)), ((11, 0), (8, 0)), ((0, 0), (7, 5)))
NEWEST_TOOLKIT = NEWEST_CAPABILITY[0][0]

# Shapes of convolutions whose algorithm is remembered. The full U-Net has more than 100 at each batch size; on an H100
# its guided step took half the time that it took with Jittor's own 100.
MOST_CONVOLUTIONS = 100_000


@dataclass(frozen=True)
class Cuda:
    """The CUDA that was found: `nvcc` is the compiler for Jittor; where it is "", `reason` says why.

    newer: what its folder is laid out from, before Jittor is imported, where this is CUDA 13 or cuDNN 9.
    """

    nvcc: str
    reason: str
    newer: newer_cuda.Toolkit | None = None


@dataclass(frozen=True)
class Runtime:
    """The choice of `prepare`: `device` is "cpu" or "cuda"; `note` says why CUDA is not used, if so."""

    device: str
    note: str


def prepare(device: str = "auto") -> Runtime:
    """Choose the device and set Jittor's environment variables. Call this before Jittor is imported.

    device: "cpu", "cuda", or "auto" for CUDA where it works. Raises InputError for another word, for "cuda" where CUDA
    can't be used, and where the working folder, HOME or the memory do not suffice.
    """
    if device not in DEVICES:
        raise InputError(f"--device {device}: not one of {', '.join(DEVICES)}")
    cuda = Cuda("", "the CPU was asked for") if device == "cpu" else find_cuda()
    if device == "cuda" and not cuda.nvcc:
        raise InputError(f"--device cuda: {cuda.reason}")
    check_working_folder()
    check_home()
    memory.require_limits()
    os.environ.update(environment(cuda))
    watch_load()
    return Runtime("cuda" if cuda.nvcc else "cpu", cuda.reason)


def use_device(device: str) -> None:
    """Make Jittor compute on `device` ("cpu" or "cuda"), as `prepare` returned it. Imports Jittor.

    Raises InputError where Jittor was imported without CUDA, or asks for another start.
    """
    jt = _import_jittor()
    _give_signals_back_to_python()
    _end_idle_compilers()
    _flush_subnormals()

    if device == "cuda" and not jt.has_cuda:
        raise InputError("--device cuda: Jittor was imported without CUDA")
    jt.flags.use_cuda = int(device == "cuda")
    if device == "cuda":  # Jittor keeps cuDNN's choices for 100 shapes, and asks again at every call for any other
        jt.compile_extern.cudnn.set_algorithm_cache_size(MOST_CONVOLUTIONS)
    if device == "cuda" and ranks.size() > 1 and jt.compile_extern.nccl is None:
        logger.warning("NCCL is not used, so all ranks of a machine compute on its GPU 0; see docs/distributed.md")


def _import_jittor() -> Any:
    if "jittor" not in sys.modules:
        os.register_at_fork(after_in_child=spare_worker)
        forget_moved_tools()
        wait_for_abandoned_compilers()
        precompiled.write()
    try:
        with naming(jittor_cache()):
            import jittor
    except SystemExit:  # with status 0
        told = "Jittor's tools were of another version or compiler, and are compiled again"
        raise InputError(f"{jittor_cache()}: {told}; give the same command once more") from None
    return jittor


def spare_worker() -> None:
    """Keep one of Jittor's compiling workers alive: Jittor ends them by SIGTERM, and itself where one dies otherwise.

    A terminal that closes sends SIGHUP to a process and its children. Slurm and mpirun do so with SIGUSR1.
    """
    for number in (signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _give_signals_back_to_python() -> None:
    """Jittor's own handlers, installed on import, end the process at once: nothing is saved or cleaned up.

    One does so at Ctrl-C, the other where a signal has ended a child, whoever's it was.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGCHLD):
        handler = signal.getsignal(number)
        if handler is not None:
            signal.signal(number, handler)
            signal.siginterrupt(number, False)  # cut short, Jittor's wait for its cache's lock would be a failure


def _end_idle_compilers() -> None:
    """End the processes that Jittor keeps after it has compiled itself; it makes new ones when it needs some.

    Each is a copy of this process. A SIGTERM for the whole process group, as `timeout` and Slurm send it, would end
    them, and Jittor would then end this process before a state is saved.
    """
    import jittor_utils

    if jittor_utils.pool_size:
        atexit.unregister(jittor_utils.pool_cleanup)
        jittor_utils.pool_cleanup()
        jittor_utils.pool_size = 0


def _flush_subnormals() -> None:
    """Make numbers below 1e-38 count as zero from the first operator on, in this thread and those that it starts.

    Jittor's operators are compiled with -Ofast. Loading one turns this on, for the thread that loads it, which is
    Jittor's helper or this one by chance. A resumed run would then round otherwise than the whole one.
    """
    import jittor as jt
    import numpy as np

    for kind in (np.float16, np.float32, np.float64, np.longdouble):
        np.finfo(kind)  # numpy looks at a type's smallest numbers once, and would warn of zeros later
    with jt.flag_scope(use_parallel_op_compiler=0):
        (jt.ones(1) + 1).sync()


def warm_up(device: str = "auto") -> str:
    """Import Jittor, which compiles it the first time, and run one convolution.

    Returns the folder of Jittor's JIT cache. Raises RuntimeError where the convolution is wrong.
    """
    use_device(prepare(device).device)
    import jittor as jt

    total = jt.nn.conv2d(jt.ones((1, 3, 8, 8)), jt.ones((4, 3, 3, 3))).sum().item()
    expected = 4 * 6 * 6 * 27  # channels, positions, products of ones in each
    if total != expected:
        raise RuntimeError(f"Jittor's convolution of ones gives {total}, expected {expected}")
    return jt.compiler.cache_path


def environment(cuda: Cuda) -> dict[str, str]:
    """Jittor's environment variables for `cuda`, whose folder is laid out if need be; the user's own are kept."""
    if cuda.newer:
        newer_cuda.lay_out(cuda.newer)
    cc_flags = "" if cuda.nvcc else precompiled.flags()
    defaults = {
        "log_silent": "1",
        CC_FLAGS: cc_flags,
        # Jittor names its cache after the git branch that holds .venv: it would compile anew on each branch. In one
        # cache for both it would load what was compiled for the CPU with CUDA, too.
        "cache_name": "cuda" if cuda.nvcc else "cpu" if cc_flags else "default",
        # Jittor's compiling threads read what the main thread has already left: runs crashed while they compiled.
        "use_parallel_op_compiler": "1",
        # With CUDA Jittor downloads CUTLASS on import and never uses it.
        "use_cutlass": "0",
        # Jittor imports PyTorch first where it is installed; nothing here uses both in one process.
        "FIX_TORCH_ERROR": "0",
    }
    if "OMP_WAIT_POLICY" not in os.environ:
        # OpenMP's threads wait busily for some tenths of a millisecond, and not for 5, before they sleep
        defaults[SPIN_COUNT] = "10000"
    config = python_config()
    if config:
        defaults[PYTHON_CONFIG_PATH] = str(config)
    kept = {name: os.environ.get(name, value) for name, value in defaults.items()}
    # Elsewhere MPI would only cost time, and with CUDA Jittor would download NCCL for it.
    return {**kept, "use_mpi": str(int(ranks.started_by_mpi())), NVCC_PATH: cuda.nvcc}


def find_cuda() -> Cuda:
    """Look for a GPU, its driver, and a CUDA toolkit that Jittor can link with. Does not import Jittor."""
    if os.environ.get(NVCC_PATH) == "":
        return Cuda("", 'nvcc_path="" in the environment turns CUDA off')
    reason = driver_problem()
    if reason:
        return Cuda("", reason)
    compilers = nvcc_candidates()
    if not compilers:
        return Cuda("", "a GPU is visible but the CUDA compiler nvcc was not found")
    capability = compute_capability()
    problems = []
    for nvcc in compilers:
        unlinked, limit = toolkit_problem(nvcc), too_new(capability, nvcc_version(nvcc), nvcc)
        if not unlinked and not limit:
            return Cuda(str(nvcc), "")
        newer = newer_cuda.find(nvcc, jittor_cache(), capability)
        if isinstance(newer, newer_cuda.Toolkit):
            return Cuda(str(newer.nvcc), "", newer)
        problems.append(newer if unlinked else limit)
    return Cuda("", problems[0])


def driver_problem() -> str:
    """Why the NVIDIA driver shows no GPU; "" where it shows one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1 does not load)"
    code = driver.cuInit(0)
    if code:
        return f"the NVIDIA driver does not start (cuInit returns {code})"
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        return "the NVIDIA driver shows no GPU"
    return ""


def compute_capability() -> tuple[int, int]:
    """(major, minor) of the first visible GPU, the one that Jittor uses; (0, 0) where the driver does not tell."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0, 0
    device, numbers = ctypes.c_int(), (ctypes.c_int(), ctypes.c_int())
    failed = driver.cuDeviceGet(ctypes.byref(device), 0)
    for number, attribute in zip(numbers, CAPABILITY_ATTRIBUTES):
        failed = failed or driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
    return (0, 0) if failed else (numbers[0].value, numbers[1].value)


def too_new(capability: tuple[int, int], toolkit: tuple[int, int], nvcc: Path) -> str:
    """Why code that Jittor compiles with `nvcc` as it is does not run on a GPU of this capability; "" where it does.

    Jittor writes machine code without PTX, for no later capability than it knows for the version of nvcc. A GPU runs
    machine code of its own major capability only.
    """
    newest = next(capability for version, capability in NEWEST_CAPABILITY if toolkit >= version)
    if capability[0] <= newest[0]:
        return ""
    gpu, limit = (".".join(map(str, each)) for each in (capability, newest))
    made_by = f"{nvcc} of CUDA {toolkit[0]}.{toolkit[1]}"
    return f"the GPU has compute capability {gpu}, and Jittor 1.3 compiles for {limit} at most with {made_by}"


def nvcc_version(nvcc: Path) -> tuple[int, int]:
    """(major, minor) of the toolkit; `NEWEST_TOOLKIT` where nvcc does not tell."""
    try:
        told = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return NEWEST_TOOLKIT
    found = re.search(r"release (\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else NEWEST_TOOLKIT


def nvcc_candidates() -> list[Path]:
    """CUDA compilers: the user's choice, Jittor's own CUDA, PATH, the usual places, NVIDIA's Python packages."""
    chosen = os.environ.get(NVCC_PATH)
    if chosen:
        return [Path(chosen)]
    places = sorted(jittor_cache().glob("jtcuda/*/bin/nvcc"), reverse=True)
    on_path = shutil.which("nvcc")
    if on_path:
        places.append(Path(on_path))
    places += [Path(root) / "bin" / "nvcc" for root in ("/usr/local/cuda", "/usr", "/opt/cuda")]
    places += [package / "bin" / "nvcc" for package in newer_cuda.python_packages()]
    return [place for place in dict.fromkeys(places) if place.is_file()]


def toolkit_problem(nvcc: Path) -> str:
    """Why Jittor 1.3.11 can't use the toolkit around `nvcc` as it is; "" where it can. The places are Jittor's."""
    machine = "x86_64" if platform.machine() in ("x86_64", "AMD64") else "aarch64"
    system = Path(f"/usr/lib/{machine}-linux-gnu")
    home = nvcc.resolve().parent.parent
    runtime_folder = Path("/usr/lib/x86_64-linux-gnu") if str(nvcc) == "/usr/bin/nvcc" else home / "lib64"
    try:
        ctypes.CDLL(str(runtime_folder / "libcudart.so"))
    except OSError:
        return f"{nvcc} is there but {runtime_folder / 'libcudart.so'} does not load"
    target = home / "targets" / f"{machine}-linux"
    folders = (home / "bin", runtime_folder, target / "lib", system, Path("/usr/lib"))
    libraries = [f"lib{name}.so" for name in CUDA_LIBRARIES]
    missing = [name for name in libraries if not any((folder / name).is_file() for folder in folders)]
    if missing:
        return f"{nvcc} is there but not {', '.join(missing)} (Jittor needs cuDNN 8)"
    headers = (home / "include", target / "include", Path("/usr/include"))
    if not any((folder / "cudnn.h").is_file() for folder in headers):
        return f"{nvcc} is there but not cudnn.h (Jittor needs cuDNN 8)"
    return ""


def find_onednn() -> Path | None:
    """The oneDNN library that Jittor has extracted, else the archive in `jittor-offline`, else None.

    Without either Jittor downloads it on import from its own server, and fails where that can't be reached.
    """
    suffix = "_aarch64" if platform.machine() == "aarch64" else ""
    name = f"dnnl_lnx_2.2.0_cpu_gomp{suffix}"
    places = [jittor_cache() / "mkl" / name / "lib" / "libmkldnn.so"]
    offline = find_spec("jittor_offline")
    if offline and offline.origin:
        places.append(Path(offline.origin).parent / f"{name}.tgz")
    return next((place for place in places if place.is_file()), None)


def python_config() -> Path | None:
    """The python3.x-config that names the folder of Python.h, or None.

    Jittor's own places come first. Jittor misses the interpreter that a virtual environment was made from.
    """
    name = f"python3.{sys.version_info.minor}-config"
    folder = Path(sys.executable).parent
    places = (
        os.environ.get(PYTHON_CONFIG_PATH, ""),
        folder / name,
        f"{sys.executable}-config",
        f"/usr/bin/{name}",
        f"/usr/local/bin/{name}",
        folder / "python3-config",
        Path(sys.base_prefix) / "bin" / name,
    )
    return next((Path(place) for place in places if place and Path(place).is_file()), None)

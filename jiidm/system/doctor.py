"""Tell whether this machine can run Jittor: a line per check, and for each problem the command that mends it.

Only the last check needs Jittor, so that the report comes on a broken machine too. The module uses the standard library
only, because the set-up script calls `preflight` before anything is installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jiidm.errors import InputError
from jiidm.system import runtime
from jiidm.system.cache import check_home, jittor_cache
from jiidm.system.jittor_errors import reason
from jiidm.system.precompiled import CC_PATH

GIB = 2**30
FIRST_COMPILE = "1-2 minutes on 2 cores"
SECONDS_COMPILED = 120  # limit for a Jittor that is compiled already
SECONDS_COLD = 1800


@dataclass(frozen=True)
class Check:
    """One finding: `status` is "ok", "warn" or "fail", `remedy` the one command that mends it, or ""."""

    name: str
    status: str
    detail: str
    remedy: str = ""


def run(quick: bool = False) -> int:
    """Print the report and return 1 if a check fails, else 0. `quick` leaves out the check that imports Jittor."""
    checks = machine_checks() + package_checks()
    checks += [check_onednn(), check_cuda(), check_mpi()]
    checks += [check_memory(), check_disk(), check_jit_cache()]
    if not quick:
        print("running a convolution in Jittor ...", file=sys.stderr, flush=True)
        checks.append(check_convolution())
    print(table(checks))
    return int(any(check.status == "fail" for check in checks))


def preflight() -> int:
    """Print a line for everything that would stop the set-up. Returns 1 if anything would, else 0."""
    failed = [check for check in [*machine_checks(), check_disk()] if check.status == "fail"]
    for check in failed:
        print(f"error: {check.name}: {check.detail}; mend it with: {check.remedy}", file=sys.stderr)
    return int(bool(failed))


def machine_checks() -> list[Check]:
    """What has to be there before Python packages are installed."""
    return [check_python(), check_compiler(), check_headers()]


def table(checks: Iterable[Check]) -> str:
    """The checks as aligned columns, the remedy of each under it."""
    checks = list(checks)
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.name:{width}}  {check.status:4}  {check.detail}")
        if check.remedy:
            lines.append(f"{'':{width}}        -> {check.remedy}")
    return "\n".join(lines)


def check_python() -> Check:
    """Python 3.10 to 3.12: numpy 1, which Jittor needs, has no wheels for later ones."""
    detail = f"{platform.python_version()} at {sys.executable}"
    if (3, 10) <= sys.version_info[:2] < (3, 13):
        return Check("python", "ok", detail)
    return Check("python", "fail", f"{detail}: needs 3.10 to 3.12", "PYTHON=python3.12 bash setup_env.sh")


def check_compiler() -> Check:
    """A C++14 compiler with its standard library, found by trying."""
    compiler = os.environ.get(CC_PATH) or ("clang++" if sys.platform == "darwin" else "g++")
    remedy = apt_get("g++")
    if not shutil.which(compiler):
        return Check("compiler", "fail", f"{compiler} not found; Jittor compiles with it", remedy)
    error = compile_error(compiler, "#include <vector>\n")
    if error:
        return Check("compiler", "fail", f"{compiler} does not compile a test: {error}", remedy)
    version = output_of([compiler, "-dumpfullversion", "-dumpversion"])
    return Check("compiler", "ok", f"{Path(compiler).name} {version} at {shutil.which(compiler)}")


def check_headers() -> Check:
    """Python.h, in the folder that python3.x-config names."""
    config = runtime.python_config()
    version = f"python3.{sys.version_info.minor}"
    remedy = apt_get(f"{version}-dev")
    if config is None:
        return Check("python headers", "fail", f"{version}-config not found", remedy)
    flags = shlex.split(output_of([str(config), "--includes"]))
    folders = [flag[2:] for flag in flags if flag.startswith("-I")]
    for folder in folders:
        if (Path(folder) / "Python.h").is_file():
            return Check("python headers", "ok", f"{folder}/Python.h")
    return Check("python headers", "fail", f"no Python.h in {', '.join(folders) or config}", remedy)


def package_checks() -> list[Check]:
    """Each installed package against the range in setup.py, as the kit's own metadata repeats it."""
    try:
        from packaging.requirements import Requirement

        declared = importlib.metadata.requires("jiidm-kit") or []
    except ImportError:  # metadata's PackageNotFoundError is one too
        return [Check("packages", "fail", "the kit is not installed in this Python", "bash setup_env.sh")]
    requirements = [Requirement(line) for line in declared]
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    return [check_package(each.name, each.specifier) for each in needed]


def check_package(name: str, wanted) -> Check:
    """One package: `wanted` is a packaging SpecifierSet, its range of versions."""
    remedy = f"{sys.executable} -m pip install {shlex.quote(f'{name}{wanted}')}"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "fail", f"not installed, needs {wanted}", remedy)
    if not wanted.contains(version, prereleases=True):
        return Check(name, "fail", f"{version}, needs {wanted}", remedy)
    return Check(name, "ok", f"{version} ({wanted})")


def check_onednn() -> Check:
    """The CPU convolution library. Where it is missing, Jittor downloads it on import from a server of its own."""
    place = runtime.find_onednn()
    if place is None:
        detail = "oneDNN is neither extracted nor in jittor-offline"
        return Check("oneDNN", "fail", detail, f"{sys.executable} -m pip install jittor-offline")
    state = "extracted" if place.suffix == ".so" else "archive, extracted on the first import"
    return Check("oneDNN", "ok", f"{place} ({state})")


def check_cuda() -> Check:
    """CUDA and cuDNN. A machine without a GPU is fine; a GPU that can't be used is a problem."""
    cuda = runtime.find_cuda()
    if cuda.nvcc:
        return Check("CUDA", "ok", f"used, with {cuda.nvcc}")
    if os.environ.get(runtime.NVCC_PATH) == "" or runtime.driver_problem():
        return Check("CUDA", "ok", f"not used: {cuda.reason}")
    if "compute capability" in cuda.reason:
        return Check("CUDA", "warn", f"not used: {cuda.reason}", "install CUDA 12.8 or later, with cuDNN 9")
    remedy = f"{sys.executable} -m jittor_utils.install_cuda"
    return Check("CUDA", "warn", f"not used: {cuda.reason}", remedy)


def check_mpi() -> Check:
    """MPI. Only training on several ranks needs it."""
    programs = {name: shutil.which(name) for name in ("mpicc", "mpirun")}
    missing = [name for name, place in programs.items() if not place]
    if not missing:
        return Check("MPI", "ok", ", ".join(map(str, programs.values())))
    detail = f"{', '.join(missing)} not found; only training on several ranks needs it"
    return Check("MPI", "warn", detail, apt_get("libopenmpi-dev", "openmpi-bin"))


def check_memory() -> Check:
    """Memory that is free now, within the limit of a container."""
    free = available_memory() / GIB
    detail = f"{free:.1f} GiB free"
    if free < 2:
        return Check("memory", "fail", f"{detail}; compiling Jittor alone takes 2: close other programs")
    if free < 8:
        remedy = f"{sys.executable} -m jiidm infer --batch-size 1"
        return Check("memory", "warn", f"{detail}; enough for the demo, little for 512x384", remedy)
    return Check("memory", "ok", detail)


def check_disk() -> Check:
    """Space in the folder where Jittor keeps what it compiles."""
    remedy = "export JITTOR_HOME=/a/larger/disk"
    try:
        check_home()
        place = jittor_cache()
    except InputError as error:
        return Check("disk", "fail", str(error), remedy)
    free = shutil.disk_usage(place).free / GIB
    detail = f"{free:.1f} GiB free at {place}"
    if free < 1:
        return Check("disk", "fail", f"{detail}; Jittor's cache takes up to 1", remedy)
    return Check("disk", "ok", detail)


def check_jit_cache() -> Check:
    """Whether Jittor has been compiled for this Python, compiler, machine and folder."""
    place = jit_cache()
    if place is None:
        return Check("JIT cache", "warn", "unknown: Jittor or its compiler is missing", "bash setup_env.sh")
    if not is_compiled(place):
        detail = f"{place}: not compiled yet, the first import takes {FIRST_COMPILE}"
        return Check("JIT cache", "warn", detail, "bash setup_env.sh")
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return Check("JIT cache", "ok", f"{place}: compiled, {size / 2**20:.0f} MiB")


def check_convolution() -> Check:
    """Import Jittor in another process and run one convolution there, on the device it would choose."""
    disk = check_disk()
    if disk.status == "fail":
        return Check("Jittor", "fail", "not tried without a place for its cache", disk.remedy)
    place = jit_cache()
    limit = SECONDS_COMPILED if place and is_compiled(place) else SECONDS_COLD
    start = time.monotonic()
    remedy = f"{sys.executable} -m pip install --force-reinstall 'jittor==1.3.11.*' jittor-offline 'numpy<2'"
    try:
        done = in_python("from jiidm.system import runtime; runtime.warm_up()", limit)
    except subprocess.TimeoutExpired:
        clean = f"{sys.executable} -m jittor_utils.clean_cache core"
        return Check("Jittor", "fail", f"no convolution within {limit} s", clean)
    if done.returncode:
        detail = reason(done.stderr.strip() or f"exit status {done.returncode}")
        return Check("Jittor", "fail", detail, remedy)
    return Check("Jittor", "ok", f"imported and ran a convolution in {time.monotonic() - start:.1f} s")


def jit_cache() -> Path | None:
    """The folder that Jittor compiles into, as it works out itself; None where it can't."""
    try:
        done = in_python("import jittor_utils; print(jittor_utils.cache_path)", SECONDS_COMPILED)
    except subprocess.TimeoutExpired:
        return None
    return Path(done.stdout.split("\n")[-2]) if done.returncode == 0 else None


def is_compiled(cache: Path) -> bool:
    """Whether Jittor's core is compiled in `cache`; with CUDA it lies in a folder below."""
    return any(any(cache.glob(pattern)) for pattern in ("jittor_core*.so", "cu*/jittor_core*.so"))


def available_memory() -> float:
    """Bytes of memory that are free now: the system's, or what a container's limit leaves."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        return min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return free


def apt_get(*packages: str) -> str:
    """The command that installs system packages."""
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install -y {' '.join(packages)}"


def compile_error(compiler: str, source: str) -> str:
    """The compiler's first error on `source` as C++14, "" where it has none."""
    command = [compiler, "-std=c++14", "-fsyntax-only", "-x", "c++", "-"]
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    return "" if done.returncode == 0 else (lines or [f"exit status {done.returncode}"])[0]


def output_of(command: list[str]) -> str:
    """What `command` prints, "" where it can't be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def in_python(script: str, seconds: int) -> subprocess.CompletedProcess[str]:
    """Run `script` in another process with Jittor's environment. Raises subprocess.TimeoutExpired."""
    env = {**os.environ, **runtime.environment(runtime.find_cuda())}
    same_path = f"import sys; sys.path[:] = {sys.path!r}; "  # without the working folder
    command = [sys.executable, "-c", same_path + script]
    return subprocess.run(command, env=env, timeout=seconds, stdin=subprocess.DEVNULL, capture_output=True, text=True)

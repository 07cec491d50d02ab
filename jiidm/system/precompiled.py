"""Jittor's headers, parsed once for all of its files: g++ would read the same ones for each of them again.

g++ takes a precompiled header where its own version, its flags and the processor are those that it was made with. Else
it reads the header itself.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from jiidm.system.cache import jittor_cache

# Jittor's environment variables that a user may have set.
CC_PATH, CC_FLAGS = "cc_path", "cc_flags"

# Jittor compiles itself with -O2, and operators with -Ofast, with debug symbols and as their own half of its headers.
HEADER = """#ifdef __FAST_MATH__
#define JIT 1
#define JIT_cpu 1
#include <cmath>
#include <algorithm>
#include <limits>
#include "var.h"
#include "op.h"
#include "fused_op.h"
#include "executor.h"
#include "ops/op_register.h"
#else
#include "common.h"
#include "op.h"
#include "var_holder.h"
#include "pyjt/py_obj_holder.h"
#include "pyjt/py_converter.h"
#include "pyjt/numpy.h"
#endif
"""
FLAGS = {"jittor": ("-O2",), "operators": ("-fopenmp", "-Ofast", "-g")}


def flags() -> str:
    """Jittor's `cc_flags` for the CPU; "" where g++ is not the compiler, or the user has flags of their own."""
    header = _header()
    ours = f" -include {header}" if header else ""
    return ours if os.environ.get(CC_FLAGS, ours) in ("", ours) else ""


def write() -> None:
    """Write the header that `flags` names, and precompile it, once."""
    header = _header()
    if header is None or header.is_file() or str(header) not in os.environ.get(CC_FLAGS, ""):
        return
    header.parent.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{header.parent.name}.", dir=header.parent.parent))
    folder.chmod(0o755)  # a cache may be shared
    (folder / header.name).write_text(HEADER)
    compiled = folder / f"{header.name}.gch"
    compiled.mkdir()
    running = [
        subprocess.Popen(_command(folder / header.name, compiled / name, own), stderr=subprocess.DEVNULL)
        for name, own in FLAGS.items()
    ]
    for process, name in zip(running, FLAGS):
        if process.wait():  # without Python.h, say; Jittor itself then tells what is wrong
            (compiled / name).unlink(missing_ok=True)
    try:
        folder.rename(header.parent)
    except OSError:  # another process was faster
        shutil.rmtree(folder)


def _header() -> Path | None:
    """The header's place: another for each Jittor, compiler and Python. None where g++ does not compile."""
    compiler, jittor = shutil.which(_compiler()), find_spec("jittor")
    if compiler is None or jittor is None or jittor.origin is None or not re.search(r"\bg\+\+", Path(compiler).name):
        return None
    made_with = (jittor.origin, version("jittor"), os.path.realpath(compiler), _python_headers(), HEADER)
    key = hashlib.sha256("\n".join(made_with).encode()).hexdigest()[:8]
    return jittor_cache() / "headers" / key / "jittor.h"


def _compiler() -> str:
    return os.environ.get(CC_PATH) or "g++"


def _python_headers() -> str:
    return sysconfig.get_path("include")


def _command(header: Path, compiled: Path, own: tuple[str, ...]) -> list[str]:
    """As Jittor 1.3.11 calls g++: other flags than its own would make g++ pass over what it has compiled."""
    spec = find_spec("jittor")
    assert spec and spec.origin, "there is a header only where there is Jittor"
    root = Path(spec.origin).parent
    common = ["-std=c++14", "-fPIC", *(["-march=native"] if platform.machine() in ("x86_64", "AMD64") else [])]
    folders = [f"-I{folder}" for folder in (root / "src", root / "extern", _python_headers())]
    return [_compiler(), *common, *own, *folders, "-x", "c++-header", str(header), "-o", str(compiled)]

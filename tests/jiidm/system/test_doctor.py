"""The doctor's checks on machines that lack something; each problem names its remedy."""

from __future__ import annotations

import subprocess
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.specifiers import SpecifierSet
from processes import program

from jiidm.system import doctor
from jiidm.system.doctor import GIB, Check


def test_table_is_aligned_and_puts_remedies_below():
    text = doctor.table([Check("MPI", "ok", "here"), Check("compiler", "fail", "gone", "apt-get install g++")])
    assert text.splitlines() == [
        "MPI       ok    here",
        "compiler  fail  gone",
        "                -> apt-get install g++",
    ]


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_exit_status_tells_failures(monkeypatch, capsys, status, code):
    monkeypatch.setattr(doctor, "machine_checks", lambda: [Check("compiler", status, "detail")])
    monkeypatch.setattr(doctor, "package_checks", list)
    for name in ("check_onednn", "check_disk", "check_memory"):
        monkeypatch.setattr(doctor, name, lambda: Check("other", "ok", ""))
    monkeypatch.setattr(doctor, "check_convolution", lambda: pytest.fail("not a quick check"))
    assert doctor.run(quick=True) == code
    assert "compiler" in capsys.readouterr().out


def test_preflight_prints_failures_only(monkeypatch, capsys):
    checks = [
        Check("python", "ok", "3.11"),
        Check("compiler", "fail", "g++ not found", "apt-get install g++"),
    ]
    monkeypatch.setattr(doctor, "machine_checks", lambda: checks)
    monkeypatch.setattr(doctor, "check_disk", lambda: Check("disk", "ok", ""))
    assert doctor.preflight() == 1
    expected = "error: compiler: g++ not found; mend it with: apt-get install g++\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(("version", "status"), [((3, 9), "fail"), ((3, 10), "ok"), ((3, 13), "fail")])
def test_python_outside_its_range_fails(monkeypatch, version, status):
    monkeypatch.setattr(doctor.sys, "version_info", version)
    assert doctor.check_python().status == status


def test_compiler_works_here():
    assert doctor.check_compiler().status == "ok"


def test_a_missing_compiler_fails_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.delenv("cc_path", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor.check_compiler()
    assert check.status == "fail" and "g++ not found" in check.detail
    assert "apt-get install -y g++" in check.remedy


def test_a_compiler_without_its_library_fails(monkeypatch, tmp_path):
    monkeypatch.delenv("cc_path", raising=False)
    program(tmp_path, "g++", 'echo "<stdin>:1: fatal error: vector: No such file" >&2; exit 1')
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor.check_compiler()
    assert check.status == "fail" and "vector: No such file" in check.detail


def test_missing_python_headers_fail_and_are_named(monkeypatch, tmp_path):
    program(tmp_path, "config", f"echo -I{tmp_path}/include")
    monkeypatch.setattr(doctor.runtime, "python_config", lambda: tmp_path / "config")
    check = doctor.check_headers()
    assert check.status == "fail" and f"{tmp_path}/include" in check.detail and "-dev" in check.remedy
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    assert doctor.check_headers().status == "ok"
    monkeypatch.setattr(doctor.runtime, "python_config", lambda: None)
    assert "config not found" in doctor.check_headers().detail


def test_a_package_outside_its_range_is_told(monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.1.0")
    check = doctor.check_package("numpy", SpecifierSet(">=1.22,<2"))
    assert check.status == "fail" and "2.1.0" in check.detail
    assert check.remedy.endswith("-m pip install 'numpy<2,>=1.22'")
    assert doctor.check_package("numpy", SpecifierSet(">=2")).status == "ok"


def test_a_missing_package_is_told():
    assert "not installed" in doctor.check_package("jiidm-no-such-package", SpecifierSet(">=1")).detail


def test_packages_leave_extras_out(monkeypatch):
    declared = ["numpy<2", 'pytest; extra == "dev"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: declared)
    assert [check.name for check in doctor.package_checks()] == ["numpy"]


def test_missing_onednn_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr(doctor.runtime, "find_onednn", lambda: None)
    assert "pip install jittor-offline" in doctor.check_onednn().remedy
    monkeypatch.setattr(doctor.runtime, "find_onednn", lambda: Path("/offline/dnnl.tgz"))
    assert doctor.check_onednn().status == "ok"


def test_cuda_is_a_problem_only_where_there_is_a_gpu(monkeypatch):
    monkeypatch.delenv("nvcc_path", raising=False)
    monkeypatch.setattr(doctor.runtime, "driver_problem", lambda: "no NVIDIA driver")
    assert doctor.check_cuda() == Check("CUDA", "ok", "not used: no NVIDIA driver")
    monkeypatch.setattr(doctor.runtime, "driver_problem", lambda: "")
    monkeypatch.setattr(doctor.runtime, "nvcc_candidates", list)
    check = doctor.check_cuda()
    assert check.status == "warn" and "install_cuda" in check.remedy
    monkeypatch.setattr(doctor.runtime, "nvcc_candidates", lambda: [Path("/old/nvcc")])
    monkeypatch.setattr(doctor.runtime, "toolkit_problem", lambda nvcc: "")
    monkeypatch.setattr(doctor.runtime, "compute_capability", lambda: (12, 0))
    check = doctor.check_cuda()
    assert check.status == "warn" and "compute capability 12.0" in check.detail and "cuDNN 9" in check.remedy


def test_half_an_mpi_is_a_warning(monkeypatch, tmp_path):
    program(tmp_path, "mpicc", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor.check_mpi()
    assert check.status == "warn" and check.detail.startswith("mpirun not found")
    program(tmp_path, "mpirun", "")
    assert doctor.check_mpi().status == "ok"


@pytest.mark.parametrize(("gib", "status"), [(1, "fail"), (4, "warn"), (16, "ok")])
def test_little_memory_warns_or_fails(monkeypatch, gib, status):
    monkeypatch.setattr(doctor, "available_memory", lambda: gib * GIB)
    assert doctor.check_memory().status == status


def test_a_full_or_closed_disk_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "there"))
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage(GIB // 2))
    check = doctor.check_disk()
    assert check.status == "fail" and "0.5 GiB free" in check.detail and "JITTOR_HOME" in check.remedy
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage(9 * GIB))
    assert doctor.check_disk().status == "ok"
    (tmp_path / "file").touch()
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "file"))
    check = doctor.check_disk()
    assert check.status == "fail" and str(tmp_path / "file") in check.detail
    assert doctor.check_convolution().remedy == check.remedy


def test_jit_cache_tells_whether_it_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "jit_cache", lambda: tmp_path)
    assert "not compiled yet" in doctor.check_jit_cache().detail
    (tmp_path / "jittor_core.so").write_bytes(bytes(3 * 2**20))
    assert doctor.check_jit_cache().detail == f"{tmp_path}: compiled, 3 MiB"
    monkeypatch.setattr(doctor, "jit_cache", lambda: None)
    assert doctor.check_jit_cache().status == "warn"


def test_convolution_runs_here():
    assert doctor.check_convolution().status == "ok"


def test_a_convolution_that_fails_or_hangs_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "jit_cache", lambda: None)
    failed = SimpleNamespace(returncode=1, stderr="Traceback\nOSError: libgomp.so.1", stdout="")
    monkeypatch.setattr(doctor, "in_python", lambda script, seconds: failed)
    check = doctor.check_convolution()
    assert check.status == "fail" and check.detail == "OSError: libgomp.so.1"

    def hang(script, seconds):
        raise subprocess.TimeoutExpired(script, seconds)

    monkeypatch.setattr(doctor, "in_python", hang)
    assert "no convolution within 1800 s" in doctor.check_convolution().detail

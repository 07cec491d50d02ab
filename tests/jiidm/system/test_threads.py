"""The number of threads on simulated machines: a fair scheduler writes /proc/stat and the control groups' files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from processes import run_python

from jiidm.system import threads

TICK = 0.01


class Machine:
    """CPUs that loops and our threads, which never rest either, share fairly; a group may limit our time."""

    def __init__(self, root: Path, cpus: int, loops: int, quota: float | None = None, version: int = 2):
        self.root, self.cpus, self.loops, self.quota, self.version = root, cpus, loops, quota, version
        self.loops_in_group = 0
        self.number = cpus
        self.now = self.ours = self.used = self.used_in_group = 0.0
        self.run(0)

    def run(self, seconds: float) -> None:
        runnable = self.loops + self.loops_in_group + self.number
        share = min(1.0, self.cpus / runnable)
        inside = (self.number + self.loops_in_group) * share
        factor = 1.0 if self.quota is None else min(1.0, self.quota / inside)
        self.ours += seconds * self.number * share * factor
        self.used_in_group += seconds * inside * factor
        self.used += seconds * (self.loops * share + inside * factor)
        self.now += seconds
        self._write()

    def _write(self) -> None:
        proc, group = self.root / "proc", self.root / "cgroup" / ("" if self.version == 2 else "cpu") / "jobs" / "one"
        for folder in (proc / "self", group):
            folder.mkdir(parents=True, exist_ok=True)
        each = int(self.used / self.cpus / TICK)
        rows = [f"cpu{i} {each // 2} 0 {each - each // 2} 1000 50 0 0 0 0 0" for i in range(self.cpus)]
        (proc / "stat").write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *rows, "intr 1 2 3"]))
        line = "0::/jobs/one" if self.version == 2 else "4:cpuset:/\n3:cpu,cpuacct:/jobs/one\n0::/"
        (proc / "self" / "cgroup").write_text(line + "\n")
        if self.quota is not None and self.version == 2:
            (group / "cpu.max").write_text(f"{int(self.quota * 100000)} 100000\n")
            (group / "cpu.stat").write_text(f"usage_usec {int(self.used_in_group * 1e6)}\nuser_usec 1\n")
            (group.parent / "cpu.max").write_text("max 100000\n")
        if self.quota is not None and self.version == 1:
            (group / "cpu.cfs_quota_us").write_text(f"{int(self.quota * 100000)}\n")
            (group / "cpu.cfs_period_us").write_text("100000\n")
            (group.parent / "cpu.cfs_quota_us").write_text("-1\n")
            accounts = self.root / "cgroup" / "cpuacct" / "jobs" / "one"
            accounts.mkdir(parents=True, exist_ok=True)
            (accounts / "cpuacct.usage").write_text(f"{int(self.used_in_group * 1e9)}\n")


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Starts the kit's part on a machine."""

    def begin(*given, **options) -> Machine:
        machine = Machine(tmp_path, *given, **options)
        monkeypatch.setattr(threads, "PROC", tmp_path / "proc")
        monkeypatch.setattr(threads, "GROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(threads, "_count", None)
        monkeypatch.setattr(threads, "_set_threads", lambda number: setattr(machine, "number", number))
        monkeypatch.setattr(threads.time, "monotonic", lambda: machine.now)
        monkeypatch.setattr(os, "times", lambda: (machine.ours, 0.0, 0.0, 0.0, machine.now))
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(machine.cpus)), raising=False)
        monkeypatch.setattr(os, "sysconf", lambda name: round(1 / TICK))
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        threads.watch_load()
        return machine

    return begin


def settle(machine: Machine, seconds: float = 5) -> list[int]:
    """The number of threads after each step of 0.1 s."""
    numbers = []
    for _ in range(round(seconds / 0.1)):
        machine.run(0.1)
        threads.follow_load()
        numbers.append(machine.number)
    return numbers


@pytest.mark.parametrize(
    ("cpus", "loops", "number"),
    [
        (2, 0, 2),
        (2, 1, 1),
        (2, 2, 1),
        (2, 8, 1),
        (1, 0, 1),
        (1, 3, 1),
        (4, 2, 2),
        (16, 2, 14),
        (16, 1, 15),
        (64, 0, 64),
    ],
)
def test_threads_are_as_many_as_the_cpus_that_others_leave(start, cpus, loops, number):
    machine = start(cpus, loops)
    assert set(settle(machine)[-20:]) == {number}


def test_the_number_changes_within_a_second_of_the_load_and_back(start):
    machine = start(2, 0)
    assert set(settle(machine)) == {2}
    machine.loops = 2
    assert settle(machine, 1)[-1] == 1
    machine.loops = 0
    assert settle(machine, 1.5)[-1] == 2


def test_a_little_of_other_work_changes_nothing(start):
    machine = start(2, 0)
    for _ in range(50):
        machine.run(0.1)
        machine.used += 0.03  # a third of one CPU
        machine._write()
        threads.follow_load()
        assert machine.number == 2


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("quota", "number"), [(2, 2), (1.4, 1), (0.5, 1), (6, 6), (50, 16)])
def test_a_container_has_as_many_cpus_as_its_limit(start, version, quota, number):
    machine = start(16, 0, quota=quota, version=version)
    assert set(settle(machine)[-20:]) == {number}


@pytest.mark.parametrize("version", [1, 2])
def test_load_in_the_same_container_counts_against_its_limit(start, version):
    machine = start(16, 0, quota=2, version=version)
    machine.loops_in_group = 2
    assert set(settle(machine)[-20:]) == {1}


def test_two_calls_at_once_share_the_cpus(start):
    machine = start(4, 4)  # the other call's threads
    for _ in range(10):
        machine.loops = settle(machine, 0.6)[-1]  # it sees what this one sees
    assert 1 <= machine.number <= 2


def test_training_keeps_its_number(start):
    machine = start(16, 16, quota=4)
    settle(machine)
    threads.keep_threads()
    assert machine.number == 4
    assert set(settle(machine)) == {4}


def test_what_the_user_has_set_stays(start, monkeypatch):
    machine = start(2, 2)
    monkeypatch.setattr(threads, "_count", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    threads.watch_load()
    assert set(settle(machine)) == {2}
    threads.keep_threads()
    assert machine.number == 2


@pytest.mark.parametrize("text", [None, "", "cpu 1 2\n", "cpu0 a b c\ncpu1\n", "cpu0 1 2 3 4 5 6 7 8\n"])
def test_without_a_proc_stat_that_knows_the_cpus_nothing_happens(start, monkeypatch, text):
    machine = start(2, 2)
    stat = machine.root / "proc" / "stat"
    machine._write = lambda: None
    stat.unlink() if text is None else stat.write_text(text)
    monkeypatch.setattr(threads, "_count", None)
    threads.watch_load()
    assert set(settle(machine)) == {2}


def test_a_real_machine_can_be_read(monkeypatch):
    before = threads._read()
    sum(range(3_000_000))
    after = threads._read()
    assert after.seconds > before.seconds and after.ours > before.ours
    assert before.cpus[0].number == len(os.sched_getaffinity(0)) and after.cpus[0].used >= before.cpus[0].used


IMAGES = """
import ctypes, hashlib, numpy as np
from jiidm.system import runtime, threads
runtime.prepare("cpu"); runtime.use_device("cpu")
import jittor as jt
from ldm_jittor import ops
normal = lambda *shape: jt.array(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
openmp = ctypes.CDLL(None)
def digest():
    with jt.no_grad():
        maps = [ops.conv2d(normal(1, 256, *size), normal(64, 256, 3, 3), normal(64), stride, 1)
                for size in ((1, 1), (3, 4), (12, 16), (48, 64)) for stride in (1, 2)]
        maps.append(ops.conv2d(normal(2, 128, 48, 64), normal(64, 128, 3, 3), normal(64), 1, 1))
        return hashlib.md5(b"".join(values.numpy().tobytes() for values in maps)).hexdigest()
digests = {digest()}
all_threads = openmp.omp_get_max_threads()
for number in (1, 2, 3, all_threads):
    threads._set_threads(number)
    assert openmp.omp_get_max_threads() == number
    digests.add(digest())
print(all_threads, len(digests))
"""


@pytest.mark.parametrize("number", [2, 4, 16])
def test_convolutions_are_the_same_to_the_bit_on_any_number_of_threads(monkeypatch, number):
    """Unless they are told, oneDNN's sum in another order on another number of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(number))
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")
    done = run_python(IMAGES)
    assert done.stdout.splitlines()[-1] == f"{number} 1"

"""The command line itself; what its commands do is tested beside the modules that do it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import run_python

from jiidm.cli import main as cli
from jiidm.cli import options
from jiidm.config import load as configs
from jiidm.system import doctor

PROJECT = Path(__file__).resolve().parents[3]
COMMANDS = {
    *("train", "train segmenter", "infer", "score", "submit", "compare", "ablate", "sweep", "schedule"),
    *("data check", "data split", "data encode", "data synth", "convert", "average", "export", "doctor"),
}


def jiidm(*arguments, folder=None, **environment):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "jiidm", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), **environment}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("command", ["", "data", *sorted(COMMANDS)])
def test_help_comes_at_once_and_loads_nothing_heavy(command):
    """Measured within the process, so that a busy machine's slow start of Python does not count."""
    code = f"""
import time
start = time.process_time()
import sys
from jiidm.cli.main import main
try:
    main({[*command.split(), "--help"]!r})
except SystemExit as end:
    assert end.code == 0
heavy = {{"jittor", "numpy", "cv2", "PIL", "yaml", "tqdm"}} & sys.modules.keys()
print(f"{{time.process_time() - start}} {{sorted(heavy)}}", file=sys.stderr)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert f"usage: jiidm {command}".rstrip() in done.stdout
    seconds, _, heavy = done.stderr.partition(" ")
    assert float(seconds) < 0.3 and heavy.strip() == "[]"


def test_help_names_every_command_and_exit_status(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    told = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n    {command.split()[0]} " in told
    for status in (0, 1, 2, 130, 143, 141):
        assert f"\n  {status} " in told


def test_version_is_that_of_the_package(capsys):
    import jiidm as package

    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"jiidm {package.__version__}\n"


def test_module_gives_its_status_to_the_shell(tmp_path):
    told, error = jiidm("infer", "nowhere", "refs.json", "out", folder=tmp_path).communicate(timeout=60)
    assert told == b"" and error.count(b"\n") == 1 and b"nowhere" in error
    assert list(tmp_path.iterdir()) == []


def test_shipped_configs_are_those_in_the_folder():
    assert set(options.SHIPPED_CONFIGS) == {path.stem for path in configs.CONFIG_DIR.glob("*.yaml")}
    assert options.DEFAULT_CONFIG in options.SHIPPED_CONFIGS


@pytest.mark.parametrize(
    "arguments, word",
    [([], "COMMAND"), (["draw"], "'draw'"), (["infer", "--steps", "3"], "--steps"), (["submit", "out"], "masks")],
)
def test_wrong_usage_is_refused_in_one_line(arguments, word, refusal):
    line = refusal(arguments)
    assert word in line and "see jiidm" in line and line.endswith("--help")


@pytest.mark.parametrize("text", ["512", "0x384", "512x", "64x-5", "axb", "512x384x3"])
def test_sizes_that_are_none_are_refused(text, refusal):
    assert repr(text) in refusal(["data", "synth", "out", "--size", text])


def test_control_characters_in_messages_are_escaped(tmp_path, refusal):
    name = "a\x1b[31m\n\u202eb\udcff"
    assert r"a\x1b[31m\n\u202eb\udcff.yaml" in refusal(["schedule", tmp_path / f"{name}.yaml"])
    assert r"\x1b" in refusal(["data", "synth", "out", "--count", "\x1b]0;x\x07"])


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_results_name_files_that_stdout_cannot_encode(tmp_path, encoding):
    out = tmp_path / "风景\udcff"
    process = jiidm("data", "synth", out, "--count", 1, "--size", "64x48", PYTHONIOENCODING=encoding)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and rb"\udcff" in told and (out / "imgs").is_dir()


def test_a_file_name_in_chinese_is_told_as_it_is(tmp_path, refusal):
    assert "风景.yaml" in refusal(["schedule", tmp_path / "风景.yaml"])


def test_other_errors_are_not_swallowed(monkeypatch):
    def fail(arguments):
        raise ValueError("a bug")

    monkeypatch.setattr(doctor, "run", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["doctor"])


@pytest.mark.parametrize("start", ["", "options.start_jittor('cpu')", "options.start_jittor_on_cpu()"])
def test_ctrl_c_ends_the_command_after_cleaning_up(start):
    """In a process of its own: once loaded, Jittor would end this one at Ctrl-C."""
    code = f"""
import os, signal, threading, time
from jiidm.cli import main as cli, options
from jiidm.system import doctor

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
def wait(quick):
    {start}
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        time.sleep(20)
    finally:
        print("cleaned up")

doctor.run = wait
raise SystemExit(cli.main(["doctor"]))
"""
    done = run_python(code)
    assert done.returncode == 130, done.stderr
    assert "cleaned up" in done.stdout and "same command" in done.stderr


def test_main_runs_outside_of_the_main_thread(capsys):
    """Where Python sets no signal handlers."""
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(cli.main(["schedule", "absent"])))
    thread.start()
    thread.join()
    assert statuses == [2]


@pytest.mark.parametrize("arguments", [["schedule", "smoke"], ["train", "--help"]])
def test_a_closed_pipe_ends_the_command_quietly(arguments):
    process = jiidm(*arguments, PYTHONUNBUFFERED="")
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(timeout=60) == 141


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_stop_a_command_nor_give_a_file_their_number(closed, tmp_path):
    code = f"""
import os, sys
from jiidm.cli import main as cli
from jiidm.system import doctor
def write(quick):
    with open({str(tmp_path / "file")!r}, "w") as file:
        os.write(1, b"printed by a library")
        file.write("content")
doctor.run = write
sys.exit(cli.main(["doctor"]))
"""
    (tmp_path / "run.py").write_text(code)
    command = f'"{sys.executable}" "{tmp_path / "run.py"}" {closed}'
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    assert subprocess.run(["sh", "-c", command], env=environment, timeout=60).returncode == 0
    assert (tmp_path / "file").read_text() == "content"


def test_the_librarys_log_is_shown_while_a_command_runs(monkeypatch, capsys):
    logger = logging.getLogger("jiidm.somewhere")

    def log(quick):
        logger.info("painted %d\nimages", 3)
        logger.warning("a \x1b bell")
        logger.debug("not this")

    monkeypatch.setattr(doctor, "run", log)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr() == ("painted 3\nimages\n", "warning: a \\x1b bell\n")
    log(False)
    assert capsys.readouterr() == ("", "")


def test_an_unknown_device_is_refused(refusal):
    assert "tpu" in refusal(["train", "--config", "smoke", "--dry-run", "--device", "tpu"])


def test_train_refuses_what_is_wrong_before_it_writes(tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text("sede: 1\n")
    for arguments, word in (
        (["--config", "my.yaml"], "sede"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--config", "smoke", "--set", "seed=x"], "seed=x"),
    ):
        assert word in refusal(["train", *arguments, "--device", "cpu"])
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_train_refuses_data_that_is_not_there(tmp_path, refusal):
    arguments = ["train", tmp_path / "absent", "--config", "smoke", "--run", tmp_path / "run", "--device", "cpu"]
    assert str(tmp_path / "absent") in refusal(arguments)


def test_train_refuses_a_run_folder_with_a_file_in_the_way(landscapes, tmp_path, refusal):
    (tmp_path / "run").write_text("mine")
    arguments = ["train", landscapes, "--config", "smoke", "--run", tmp_path / "run", "--device", "cpu"]
    assert str(tmp_path / "run") in refusal(arguments)
    assert (tmp_path / "run").read_text() == "mine"


def test_train_refuses_an_autoencoder_that_is_none(landscapes, tmp_path, refusal):
    arguments = ["train", landscapes, "--config", "smoke", "--run", tmp_path / "run", "--device", "cpu"]
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    for name in ("text.safetensors", "absent.safetensors"):
        assert name in refusal([*arguments, "--autoencoder", tmp_path / name])


@pytest.mark.parametrize("name, parameters", [("iidm", "501.5 M parameters, 689.8 GFLOP a pass"), ("smoke", "GFLOP")])
def test_train_dry_run_prints_the_models_size_and_trains_nothing(name, parameters, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--config", name, "--dry-run", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert parameters in told and "GiB" in told
    assert list(tmp_path.iterdir()) == []


def test_schedule_prints_every_shipped_config(capsys, refusal):
    assert cli.main(["schedule"]) == 0
    told = capsys.readouterr().out
    assert "2.62e-13" in told and all(name in told for name in options.DIFFUSION_CONFIGS)
    assert "absent" in refusal(["schedule", "absent"])


def test_data_check_names_every_fault(landscapes, tmp_path, capsys, refusal):
    assert cli.main(["data", "check", str(landscapes), "--size", "64x48"]) == 0
    told = capsys.readouterr()
    assert "6 pairs, 0 faults; sizes: 6 of 64x48" in told.out and "sky" in told.out
    assert cli.main(["data", "check", str(landscapes), "--size", "512x384"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 12 and all("64x48" in line and "512x384" in line for line in errors)
    assert "absent" in refusal(["data", "check", tmp_path / "absent"])


def test_data_split_writes_the_lists(landscapes, tmp_path, refusal):
    arguments = ["data", "split", landscapes, tmp_path / "split", "--validation-fraction", "0.4", "--seed", "3"]
    assert cli.main(list(map(str, arguments))) == 0
    lists = {name: (tmp_path / "split" / name).read_text().split() for name in ("train.txt", "val.txt")}
    assert sorted(lists["train.txt"] + lists["val.txt"]) == [f"synth_{i:06d}" for i in range(6)]
    references = json.loads((tmp_path / "split" / "val_references.json").read_text())
    assert sorted(references) == [f"{stem}.png" for stem in lists["val.txt"]]
    assert {Path(name).stem for name in references.values()} <= set(lists["train.txt"])
    assert "1.5" in refusal([*arguments, "--validation-fraction", "1.5"])


def test_data_synth_and_encode(tmp_path, smoke_model, refusal):
    assert cli.main(["data", "synth", str(tmp_path / "data"), "--count", "2", "--size", "64x48"]) == 0
    assert len(list((tmp_path / "data" / "imgs").iterdir())) == 2
    encode = ["data", "encode", str(tmp_path / "data"), str(tmp_path / "cache"), "--device", "cpu"]
    assert cli.main([*encode, "--checkpoint", str(smoke_model)]) == 0
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2
    assert "absent.safetensors" in refusal([*encode, "--checkpoint", "absent.safetensors"])
    assert "count" in refusal(["data", "synth", tmp_path / "none", "--count", "0"])


@pytest.mark.parametrize(
    "error, told",
    [
        (OSError(28, "No space left on device", "a.jpg"), "a.jpg: cannot be written (No space left on device)"),
        (OSError(30, "Read-only file system", "run"), "run: cannot be written (Read-only file system)"),
        (PermissionError(13, "Permission denied", "run"), "run: cannot be used (Permission denied)"),
        (OSError(28, "No space left on device"), "the output: cannot be written (No space left on device)"),
    ],
)
def test_what_the_system_refuses_is_one_line(monkeypatch, refusal, error, told):
    def fail(quick):
        raise error

    monkeypatch.setattr(doctor, "run", fail)
    assert refusal(["doctor"]) == f"error: {told}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "jiidm", "schedule", "smoke"],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (2, b"error: the output: cannot be written (No space left on device)\n")

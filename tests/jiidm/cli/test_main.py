"""The command line itself; what its commands do is tested beside the modules that do it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jiidm.cli import main as cli
from jiidm.config import load as configs

PROJECT = Path(__file__).resolve().parents[3]
COMMANDS = [
    [],
    ["train"],
    ["train", "segmenter"],
    ["infer"],
    ["data"],
    ["data", "check"],
    ["data", "split"],
    ["data", "encode"],
    ["data", "synth"],
    ["convert"],
    ["average"],
    ["schedule"],
    ["doctor"],
]


def python(code, folder=None):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "jiidm")
def test_help_comes_at_once_and_without_jittor(command):
    """Measured within the process, so that a busy machine's slow start of Python does not count."""
    code = f"""
import time
start = time.process_time()
import sys
from jiidm.cli import main as cli
try:
    cli.main({[*command, "--help"]!r})
except SystemExit as end:
    assert end.code == 0
heavy = {{"jittor", "numpy", "cv2", "PIL", "yaml"}} & sys.modules.keys()
print(f"{{time.process_time() - start}} {{sorted(heavy)}}", file=sys.stderr)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert "usage: jiidm" in done.stdout
    seconds, _, heavy = done.stderr.partition(" ")
    assert float(seconds) < 1 and heavy.strip() == "[]"


def test_help_names_every_command():
    done = python("from jiidm.cli import main as cli; cli.main(['--help'])")
    for command in ("train", "infer", "data", "convert", "average", "schedule", "doctor"):
        assert f"\n    {command} " in done.stdout


def test_the_module_runs_and_gives_its_status_to_the_shell(tmp_path):
    command = [sys.executable, "-m", "jiidm", "infer", "nowhere", "refs.json", "out"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "nowhere" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_shipped_configs_are_those_in_the_folder():
    assert set(cli.SHIPPED_CONFIGS) == {path.stem for path in configs.CONFIG_DIR.glob("*.yaml")}
    assert cli.DEFAULT_CONFIG in cli.SHIPPED_CONFIGS


@pytest.mark.parametrize("arguments", [[], ["paint"], ["infer", "--steps", "3"], ["data", "synth", "x", "--size", "6"]])
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: jiidm")


@pytest.mark.parametrize("text", ["512", "0x384", "512x", "64x-5", "axb", "512x384x3"])
def test_sizes_that_are_none(text, capsys):
    with pytest.raises(SystemExit):
        cli.main(["data", "synth", "out", "--size", text])
    assert repr(text) in capsys.readouterr().err


def test_other_errors_are_not_swallowed(monkeypatch):
    def fail(arguments):
        raise ValueError("a bug")

    monkeypatch.setattr(cli.commands, "doctor", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["doctor"])


def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands, "doctor", interrupt)
    assert cli.main(["doctor"]) == 130
    assert "same command" in capsys.readouterr().err


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


@pytest.mark.parametrize("name, parameters", [("iidm", "501.5 M"), ("smoke", "M parameters")])
def test_train_dry_run_prints_the_models_size_and_trains_nothing(name, parameters, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--config", name, "--dry-run", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert parameters in told and "GiB" in told
    assert list(tmp_path.iterdir()) == []


def test_schedule_prints_every_shipped_config(capsys, refusal):
    assert cli.main(["schedule"]) == 0
    told = capsys.readouterr().out
    assert "2.62e-13" in told and all(name in told for name in cli.SHIPPED_CONFIGS)
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

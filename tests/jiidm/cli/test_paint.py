"""What `jiidm paint` refuses before it loads Jittor."""

from __future__ import annotations

import socket

import pytest

from jiidm.painter import worker


@pytest.fixture(autouse=True)
def no_process(monkeypatch):
    monkeypatch.setattr(worker.Worker, "__init__", lambda *_: pytest.fail("loaded the model"))


def test_a_port_that_is_taken_is_named(refusal):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"--port {port}: cannot listen there" in refusal(["paint", "--port", port])


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_named(refusal, port):
    assert f"--port {port}" in refusal(["paint", "--port", port])


def test_an_address_of_another_machine_is_named(refusal):
    assert "--host 192.0.2.1" in refusal(["paint", "--host", "192.0.2.1"])


def test_folders_without_masks_or_photos_are_named(refusal, tmp_path):
    assert str(tmp_path) in refusal(["paint", "--masks", tmp_path])
    assert str(tmp_path / "imgs") in refusal(["paint", "--data", tmp_path])


def test_a_gan_has_no_rounds_to_set(refusal):
    assert "clade" in refusal(["paint", "--config", "clade"])


def test_a_setting_without_effect_is_refused(refusal):
    assert "data.synthetic_count=3" in refusal(["paint", "--set", "data.synthetic_count=3"])

from __future__ import annotations

import pytest

from jiidm.train import forecast


def test_an_epoch_on_more_ranks(smoke, monkeypatch):
    """Batches of 4 in two micro-batches: a pass of two samples takes 2 s here, an update 0.5 s."""
    seconds = {"passes": 2.0, "average_over_ranks": 0.0, "update": 0.5}

    def timed(work):
        work()
        return seconds[work.__name__]

    monkeypatch.setattr(forecast, "_timed", timed)
    monkeypatch.setattr(forecast, "ASSUMED_BANDWIDTH", 1e6)
    told, *lines = forecast.forecast(smoke).splitlines()
    rows = [[float(cell) for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert "measured: 1 s a sample" in told and "0.5 s an update" in told
    assert [row[0] for row in rows] == [1, 2, 4]  # eight do not share a batch of four
    gradients = rows[1][2] * 1e6  # two ranks: each byte goes there once
    from jiidm.model.build import build_unet

    assert gradients == pytest.approx(4 * sum(value.numel() for value in build_unet(smoke).parameters()), rel=1e-3)
    for (ranks, step, all_reduce, hours), share in zip(rows, (0, 1, 1.5)):
        assert all_reduce == pytest.approx(share * gradients / 1e6, rel=1e-3)
        assert step == pytest.approx(4 / ranks * 1.0 + all_reduce + 0.5, rel=1e-3)
        assert hours == pytest.approx(step * 2500 / 3600, rel=1e-3)

import logging

import pytest
import torch

from espnet2_avsep import precision
from espnet2_avsep.precision import bfloat16_pays, usable_dtype


@pytest.fixture(autouse=True)
def forget():
    bfloat16_pays.cache_clear()
    yield
    bfloat16_pays.cache_clear()


@pytest.mark.parametrize("slower", [True, False])
def test_slow_bfloat16_is_noticed_by_measuring(monkeypatch, caplog, slower):
    times = {torch.float32: 1.0, torch.bfloat16: 36.0 if slower else 0.5}
    calls = []
    monkeypatch.setattr(precision, "_seconds", lambda t: calls.append(t) or times[t])
    caplog.set_level(logging.INFO)
    for _ in range(3):
        expected = torch.float32 if slower else torch.bfloat16
        assert usable_dtype("bfloat16", "cpu") == expected
    assert len(calls) == (4 if slower else 8)  # measured once, logged once
    messages = [record.message for record in caplog.records]
    line = "bfloat16 on cpu: it takes 36.0 times as long here; computing in float32"
    assert messages == [line] * slower


@pytest.mark.parametrize("slower", [True, False])
def test_auto_takes_the_faster_one_without_a_word(monkeypatch, caplog, slower):
    times = {torch.float32: 1.0, torch.bfloat16: 2.0 if slower else 0.5}
    monkeypatch.setattr(precision, "_seconds", lambda t: times[t])
    caplog.set_level(logging.INFO)
    expected = torch.float32 if slower else torch.bfloat16
    assert usable_dtype("auto", "cpu") == expected
    assert not caplog.records


def test_float32_is_not_measured(monkeypatch):
    monkeypatch.delattr(precision, "_seconds")
    assert usable_dtype("float32", torch.device("cpu")) == torch.float32


def test_one_slow_moment_does_not_decide(monkeypatch):
    times = {torch.float32: iter([1.0] * 4), torch.bfloat16: iter([9, 0.6, 9, 0.7])}
    monkeypatch.setattr(precision, "_seconds", lambda t: next(times[t]))
    assert bfloat16_pays("cpu")


def test_the_measurement_runs_and_is_short():
    seconds = [precision._seconds(torch.float32) for _ in range(3)]
    assert 0 < min(seconds) < 30  # hundredths, where nothing else runs

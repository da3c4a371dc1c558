"""Epochs that end by CPU time, and the learning rate over it."""

import pytest
import torch

from espnet2_avsep.model import timed_batches
from espnet2_avsep.model.timed_batches import TimedBatches, rate_factor


class Clock:
    """A process's CPU time that moves when told to."""

    now = 100.0

    def process_time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timed_batches, "time", clock)
    return clock


def optimizers(*rates):
    weights = torch.nn.Parameter(torch.zeros(1))
    return [torch.optim.SGD([weights], lr=rate) for rate in rates]


def epoch(clock, batches, step=2.0, **options):
    """Go through an epoch; each batch takes a given time."""
    timed = TimedBatches(range(batches), **{"seconds": 20.0, **options})
    rates = []
    for _ in timed:
        rates.append([o.param_groups[0]["lr"] for o in timed.optimizers])
        clock.now += step
    return timed, rates


def test_rate_factor():
    factors = [rate_factor(share) for share in (0, 0.05, 0.1, 0.55, 1, 1.5)]
    assert factors == pytest.approx([0, 0.5, 1, 0.525, 0.05, 0.05])


def test_an_epoch_ends_with_its_share_of_the_time(clock):
    two = optimizers(1.0, 0.1)
    first, rates = epoch(clock, 99, optimizers=two, epoch_end=9.0, used=0.0)
    assert first.used == 10.0 and not first.ran_out
    # After 0, 2, 4, 6 and 8 of 20 s.
    expected = [rate_factor(n / 10) for n in range(5)]
    assert [a for a, _ in rates] == pytest.approx(expected)
    assert [b for _, b in rates] == pytest.approx([0.1 * f for f in expected])
    clock.now += 1000  # validation
    options = {"optimizers": two, "epoch_end": 20.0, "used": first.used}
    second, rates = epoch(clock, 99, **options)
    assert second.used == 20.0 and len(rates) == 5
    assert rates[-1] == pytest.approx([rate_factor(0.9), 0.1 * rate_factor(0.9)])


def test_an_epoch_has_a_batch_at_least(clock):
    options = {"optimizers": optimizers(1.0), "epoch_end": 10.0, "used": 11.0}
    timed, rates = epoch(clock, 99, **options)
    assert len(rates) == 1 and timed.used == 13.0


def test_an_epoch_ends_with_a_whole_step(clock):
    """Of accumulated gradients: with a part of one, an epoch would have no step."""
    options = {"optimizers": optimizers(1.0), "epoch_end": 1.0, "accum_grad": 3}
    timed, rates = epoch(clock, 99, used=0.0, **options)
    assert len(rates) == 3 and timed.used == 6.0
    timed, rates = epoch(clock, 99, used=0.0, **{**options, "epoch_end": 7.0})
    assert len(rates) == 6 and timed.used == 12.0


def test_batches_that_end_before_the_time(clock):
    options = {"optimizers": optimizers(1.0), "epoch_end": 20.0, "used": 0.0}
    timed, rates = epoch(clock, 3, **options)
    assert len(timed) == len(rates) == 3
    assert timed.used == 6.0 and timed.ran_out

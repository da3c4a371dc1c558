"""Training for a given CPU time: when epochs end, and the learning rate until then."""

import time
from typing import Iterator, Sequence

import torch

WARM_UP = 0.1  # share of the training
LAST_FACTOR = 0.05


def rate_factor(share: float) -> float:
    """Return the factor of the learning rate after a share of the training.

    It rises linearly from 0 to 1 over the first tenth, then falls linearly to 0.05.

    Args:
        share: Used share of the training's time, 0 to 1.
    """
    if share < WARM_UP:
        return share / WARM_UP
    return 1 - (1 - LAST_FACTOR) * min(1.0, (share - WARM_UP) / (1 - WARM_UP))


class TimedBatches:
    """Batches of an epoch, which end when its share of the CPU time is used.

    Of E epochs and S seconds, epoch e ends with the batch in which e S / E seconds of
    training have been used; validation does not count. An epoch has one step or more,
    and no part of a step. Before each batch, the learning rates are set to their
    initial values times rate_factor. The time is that of this process, all its threads
    together, without its data workers.

    Args:
        batches: Iterable with a length, of the epoch's batches at most.
        optimizers: Their learning rates are set.
        seconds: CPU time of the schedule: of the whole training, S, or of a phase of
            it, s.
        epoch_end: CPU time at the end of this epoch, e S / E, s.
        used: CPU time that the epochs before have used, s.
        start: CPU time at which the schedule starts, s.
        accum_grad: Batches of a step.

    Attributes:
        used: CPU time used so far, s.
        ran_out: Whether the batches ended before the time.
    """

    def __init__(
        self,
        batches,
        optimizers: Sequence[torch.optim.Optimizer],
        seconds: float,
        epoch_end: float,
        used: float,
        start: float = 0.0,
        accum_grad: int = 1,
    ):
        self.start, self.accum_grad = start, accum_grad
        self.batches, self.optimizers = batches, optimizers
        self.seconds, self.epoch_end, self.used = seconds, epoch_end, used
        self.ran_out = False
        for group in self._groups():
            # Kept in the optimizer's state, and so in checkpoints.
            group.setdefault("initial_lr", group["lr"])

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator:
        begin = time.process_time() - self.used
        for number, batch in enumerate(self.batches):
            self.used = time.process_time() - begin
            steps, rest = divmod(number, self.accum_grad)
            if steps and not rest and self.used >= self.epoch_end:
                return
            factor = rate_factor(max(self.used - self.start, 0.0) / self.seconds)
            for group in self._groups():
                group["lr"] = group["initial_lr"] * factor
            yield batch
        self.used = time.process_time() - begin
        self.ran_out = self.used < self.epoch_end

    def _groups(self) -> Iterator[dict]:
        for optimizer in self.optimizers:
            yield from optimizer.param_groups

"""The batches of one epoch, for one process of a run."""

import copy
import logging
import shutil
from typing import Any, Iterator, List, Optional, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from espnet2_avsep.data.collate import collate
from espnet2_avsep.errors import InputError, check_integers

SHARED_MEMORY = "/dev/shm"


class _Failure:
    """Why a data worker has no batch; an exception would come with its traceback."""

    def __init__(self, message: str, is_shared_memory: bool = False):
        self.message = message
        self.is_shared_memory = is_shared_memory


class _Batches(Dataset):
    """Whole batches of a data set."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> Any:
        if get_worker_info() is None:
            return collate([self.dataset[index] for index in indices])
        try:
            return collate([self.dataset[index] for index in indices])
        except InputError as error:
            return _Failure(str(error))
        except RuntimeError as error:
            if "shared memory" not in str(error):
                raise
            return _Failure(str(error), is_shared_memory=True)


def _as_it_is(batch: Any) -> Any:
    return batch


class BatchLoader(DataLoader):
    """Batches of an epoch, as (keys, batch).

    Where the shared memory, through which data workers hand over their batches, is too
    small (Docker gives 64 MB), the rest of the epoch is loaded in this process.

    Args:
        dataset: Items that collate() can stack.
        batches: The items of each batch.
        **options: DataLoader's.

    Attributes:
        needs_no_workers: Whether that has happened.

    Raises:
        InputError: in the iteration, where an item cannot be read; without the
            traceback of the worker.
    """

    def __init__(self, dataset: Dataset, batches: List[List[int]], **options: Any):
        super().__init__(
            _Batches(dataset), batch_sampler=batches, collate_fn=_as_it_is, **options
        )
        self.needs_no_workers = False

    def __iter__(self) -> Iterator:
        done = 0
        for batch in super().__iter__():
            if isinstance(batch, _Failure):
                if not batch.is_shared_memory:
                    raise InputError(batch.message)
                self.needs_no_workers = True
                break
            yield batch
            done += 1
        if self.needs_no_workers:
            megabytes = shutil.disk_usage(SHARED_MEMORY).total / 2**20
            logging.warning(
                f"{SHARED_MEMORY} has {megabytes:.0f} MB, too little for "
                f"{self.num_workers} data workers: this process loads the data itself "
                "from here on. For more speed, enlarge it (docker run --shm-size 1g)."
            )
            yield from DataLoader(
                self.dataset,
                batch_sampler=self.batch_sampler[done:],
                collate_fn=_as_it_is,
                pin_memory=self.pin_memory,
            )


def build_loader(
    dataset: Dataset,
    batch_size: int,
    epoch: int,
    seed: int,
    num_batches: Optional[int] = None,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
    shuffle: bool = True,
    drop_last: bool = True,
) -> BatchLoader:
    """Build the loader of an epoch; it yields (keys, batch).

    The batches depend only on (seed, epoch). A batch is shared out over the processes:
    each takes every world_size-th item, so that together they train on the same batches
    as one process would.

    Args:
        dataset: Where it has ``set_epoch``, a copy of it is set to this epoch. Where it
            has ``batch_groups``, a batch holds items of one group only, and batches
            of the groups come mixed; how many there are does not depend on the epoch.
        batch_size: Items of a batch over all processes.
        epoch: Number of the epoch.
        seed: Seed of the order.
        num_batches: Number of batches to take; None takes all.
        rank: This process.
        world_size: Number of processes.
        num_workers: Worker processes of the loader; 0 loads in this process.
        pin_memory: Whether batches are copied to page-locked memory (for GPUs).
        shuffle: Whether the order is drawn; else it is the data set's.
        drop_last: Whether an incomplete last batch (of each group) is left out
            (training). Then fewer batches than num_batches are an error. Without it, a
            last batch with fewer items than processes joins the one before.

    Raises:
        InputError: too few items for one batch, or for num_batches; options out of
            range.
    """
    check_integers(
        1, batch_size=batch_size, world_size=world_size, num_batches=num_batches
    )
    check_integers(0, num_workers=num_workers)
    if batch_size < world_size:
        raise InputError(
            f"batch_size is {batch_size} for {world_size} processes; it counts the "
            "items of all processes together, and each needs one at least."
        )
    groups = np.zeros(len(dataset), dtype=np.int64)
    if hasattr(dataset, "batch_groups"):
        groups = dataset.batch_groups()
    batches = _global_batches(
        groups, batch_size, epoch, seed, world_size, shuffle, drop_last
    )
    if num_batches is not None:
        if drop_last and len(batches) < num_batches:
            raise InputError(
                f"{num_batches} batches of {batch_size} were asked for, the data set's "
                f"{len(dataset)} items make {len(batches)}. Lower num_iters_per_epoch, "
                "or raise dataset_conf.repeat by a factor of "
                f"{-(-num_batches * batch_size // max(len(dataset), 1))}."
            )
        batches = batches[:num_batches]
    if hasattr(dataset, "set_epoch"):
        # Loaders of several epochs may be alive at once.
        dataset = copy.copy(dataset)
        dataset.set_epoch(epoch)
    return BatchLoader(
        dataset,
        [batch[rank::world_size].tolist() for batch in batches],
        num_workers=num_workers,
        pin_memory=pin_memory,
        # Without one, the loader would draw from torch's global generator.
        generator=torch.Generator().manual_seed(0),
    )


def num_items_for(num_batches: int, batch_size: int, num_groups: int = 1) -> int:
    """Items that make at least N whole batches, if the groups share them evenly.

    Args:
        num_batches: Number of batches.
        batch_size: Items of a batch.
        num_groups: Groups that cannot stand in one batch; each may leave a rest.
    """
    rest = num_groups * batch_size if num_groups > 1 else 0
    return num_batches * batch_size + rest


def _global_batches(
    groups: np.ndarray,
    batch_size: int,
    epoch: int,
    seed: int,
    world_size: int,
    shuffle: bool,
    drop_last: bool,
) -> List[np.ndarray]:
    """Return the items of each batch, over all processes."""
    num_items = len(groups)
    order = np.arange(num_items)
    rng = None
    if shuffle:
        seeds = np.random.SeedSequence(seed, spawn_key=(epoch,))
        rng = np.random.Generator(np.random.Philox(seeds))
        order = rng.permutation(num_items)
    kinds = np.unique(groups) if num_items else [0]
    batches: List[np.ndarray] = []
    for kind in kinds:
        own = order[groups[order] == kind]
        if len(own) < (batch_size if drop_last else world_size):
            raise InputError(
                f"the data set has {len(own)} items"
                + (f" of {kind} sources" if len(kinds) > 1 else "")
                + f", too few for one batch of {batch_size}"
                + (f" over {world_size} processes" if world_size > 1 else "")
                + ". Lower batch_size, or add data (training: raise "
                "dataset_conf.repeat)."
            )
        batches += _cut(own, batch_size, world_size, drop_last)
    if rng is not None and len(kinds) > 1:
        batches = [batches[n] for n in rng.permutation(len(batches))]
    return batches


def _cut(
    order: np.ndarray, batch_size: int, world_size: int, drop_last: bool
) -> List[np.ndarray]:
    """Cut a sequence of items into batches."""
    num_items = len(order)
    whole, rest = divmod(num_items, batch_size)
    stops = [batch_size * (n + 1) for n in range(whole)]
    if rest and not drop_last:
        if stops and rest < world_size:
            stops[-1] = num_items
        else:
            stops.append(num_items)
    return [
        order[first:last] for first, last in zip([0, *stops[:-1]], stops, strict=True)
    ]

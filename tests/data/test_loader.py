import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, get_worker_info

from espnet2_avsep.data.loader import build_loader, num_items_for
from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import write_corpus


class Numbers(Dataset):
    """Item i is the number i."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == 13:
            raise InputError("item 13 is bad")
        return f"k{index}", {"x": np.float32(index)}


def numbers(length=10, **options):
    options = {"batch_size": 4, "epoch": 1, "seed": 0, **options}
    loader = build_loader(Numbers(length), **options)
    return [batch["x"].int().tolist() for _, batch in loader]


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    corpus = write_corpus(tmp_path_factory.mktemp("clips"))
    return MixAndSeparateDataset(**corpus.tables(), segment_samples=2048, seed=1)


def batches(dataset, **options):
    options = {"batch_size": 4, "epoch": 3, "seed": 7, **options}
    return list(build_loader(dataset, **options))


def assert_equal(a, b):
    assert len(a) == len(b)
    for (keys_a, batch_a), (keys_b, batch_b) in zip(a, b, strict=True):
        assert keys_a == keys_b
        assert set(batch_a) == set(batch_b)
        assert all(torch.equal(batch_a[name], batch_b[name]) for name in batch_a)


def test_batch_of_mixtures(mixtures):
    loaded = batches(mixtures)
    assert len(loaded) == 3
    keys, batch = loaded[0]
    assert len(keys) == 4
    shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
    assert shapes == {
        "speech_ref1": (4, 2048),
        "speech_ref2": (4, 2048),
        "visual_ref1": (4, 1, 4),
        "visual_ref2": (4, 1, 4),
        "silent_redraws": (4,),
    }
    assert batch["silent_redraws"].dtype == torch.int64
    assert batch["speech_ref2"].dtype == torch.float32


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_do_not_change_the_batches(mixtures, num_workers):
    assert_equal(batches(mixtures), batches(mixtures, num_workers=num_workers))


def test_epochs_and_seeds_differ_and_come_again(mixtures):
    first = batches(mixtures)
    assert_equal(first, batches(mixtures))
    for other in (batches(mixtures, epoch=4), batches(mixtures, seed=8)):
        assert [keys for keys, _ in first] != [keys for keys, _ in other]


def test_loaders_of_two_epochs_may_run_side_by_side(mixtures):
    one = build_loader(mixtures, batch_size=4, epoch=1, seed=0)
    two = build_loader(mixtures, batch_size=4, epoch=2, seed=0)
    pairs = list(zip(one, two, strict=True))
    assert_equal([a for a, _ in pairs], batches(mixtures, epoch=1, seed=0))
    assert_equal([b for _, b in pairs], batches(mixtures, epoch=2, seed=0))
    assert mixtures.epoch == 0


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_out_the_batches_of_one(mixtures, world_size):
    whole = batches(mixtures)
    parts = [
        batches(mixtures, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for n, (keys, batch) in enumerate(whole):
        for rank in range(world_size):
            part_keys, part = parts[rank][n]
            assert part_keys == keys[rank::world_size]
            for name in batch:
                assert torch.equal(part[name], batch[name][rank::world_size])


def counts_of(loaded):
    """The number of sources of each batch."""
    return [sum(name.startswith("speech_ref") for name in b) for _, b in loaded]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """48 mixtures of 2, 3 and 4 sources, 16 of each."""
    corpus = write_corpus(tmp_path_factory.mktemp("clips"))
    return MixAndSeparateDataset(
        **corpus.tables(), segment_samples=64, seed=1, repeat=4, num_sources=[2, 3, 4]
    )


def test_a_batch_has_one_number_of_sources(mixed):
    loaded = batches(mixed)
    counts = counts_of(loaded)
    assert sorted(counts) == 4 * [2] + 4 * [3] + 4 * [4] and counts != sorted(counts)
    keys = [key for own, _ in loaded for key in own]
    assert len(keys) == len(mixed)
    # How many batches there are does not depend on the epoch; their order does.
    other = counts_of(batches(mixed, epoch=4))
    assert sorted(other) == sorted(counts) and other != counts
    # A batch of 5 leaves one item of each number.
    assert sorted(counts_of(batches(mixed, batch_size=5))) == sorted(3 * [2, 3, 4])
    assert len(batches(mixed, batch_size=5, drop_last=False)) == 12


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"num_batches": 12}])
def test_mixed_batches_come_again(mixed, options):
    """In another process, after an interruption: the same batches in the same order."""
    assert_equal(batches(mixed), batches(mixed, **options))


def test_processes_share_out_batches_of_several_numbers(mixed):
    whole = batches(mixed)
    parts = [batches(mixed, rank=rank, world_size=2) for rank in range(2)]
    assert counts_of(whole) == counts_of(parts[0]) == counts_of(parts[1])
    for n, (keys, _) in enumerate(whole):
        assert [parts[rank][n][0] for rank in range(2)] == [keys[0::2], keys[1::2]]


def test_each_number_of_sources_needs_a_batch(mixed):
    with pytest.raises(InputError, match="16 items of 2 sources, too few.*of 17"):
        batches(mixed, batch_size=17)


@pytest.mark.parametrize("num_groups", [1, 2, 3])
@pytest.mark.parametrize("num_batches", [1, 2, 7])
@pytest.mark.parametrize("batch_size", [1, 4, 5])
def test_enough_items_for_the_batches_asked_for(num_batches, batch_size, num_groups):
    class Groups(Numbers):
        def batch_groups(self):
            return np.resize(np.arange(num_groups), self.length)

        def __getitem__(self, index):
            return "k", {"x": np.float32(index)}

    items = Groups(num_items_for(num_batches, batch_size, num_groups))
    assert len(batches(items, batch_size=batch_size)) >= num_batches
    assert len(batches(items, batch_size=batch_size, num_batches=num_batches))


def test_order():
    assert numbers(shuffle=False) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert numbers(shuffle=False, drop_last=False)[-1] == [8, 9]
    drawn = list(itertools.chain(*numbers(drop_last=False)))
    assert sorted(drawn) == list(range(10)) and drawn != list(range(10))
    assert numbers(epoch=1) != numbers(epoch=2)


def test_number_of_batches():
    assert numbers(num_batches=1, shuffle=False) == [[0, 1, 2, 3]]
    assert len(numbers(num_batches=9, drop_last=False)) == 3
    with pytest.raises(InputError, match="9 batches of 4.*make 2.*factor of 4"):
        numbers(num_batches=9)


def test_fewer_items_than_a_batch():
    assert numbers(3, drop_last=False, shuffle=False) == [[0, 1, 2]]
    with pytest.raises(InputError, match="3 items, too few for one batch of 4"):
        numbers(3)
    for length, options in ((0, {}), (1, {"world_size": 2})):
        with pytest.raises(InputError, match="too few"):
            numbers(length, drop_last=False, **options)


def test_no_process_gets_an_empty_batch():
    """9 items in batches of 4 over 2 processes: the single last one is not lost."""
    options = {"drop_last": False, "shuffle": False, "world_size": 2}
    parts = [numbers(9, rank=rank, **options) for rank in range(2)]
    assert parts == [[[0, 2], [4, 6, 8]], [[1, 3], [5, 7]]]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"world_size": 5}, "batch_size is 4 for 5 processes"),
        ({"num_batches": 0}, "num_batches is 0"),
        ({"num_workers": -1}, "num_workers is -1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        numbers(**options)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    numbers(num_workers=1)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_input_error_in_a_worker_is_one_line(workers):
    with pytest.raises(InputError) as error:
        numbers(20, num_workers=workers)
    assert str(error.value) == "item 13 is bad"


class ThreeArguments(InputError):
    """As media.container.ClipError: torch cannot make it again from its message."""

    def __init__(self, clip, what, why):
        super().__init__(f"{clip}: {what}: {why}")


class Failing(Numbers):
    """Numbers of which a worker cannot give some."""

    error: Exception

    def __getitem__(self, index):
        if index >= 5 and get_worker_info() is not None:
            raise self.error
        return super().__getitem__(index)


def test_an_input_error_of_several_arguments(caplog):
    dataset = Failing(10)
    dataset.error = ThreeArguments("a", "b", "c")
    with pytest.raises(InputError, match="^a: b: c$"):
        batches(dataset, shuffle=False, num_workers=1)


def test_another_error_of_a_worker_keeps_its_traceback():
    dataset = Failing(10)
    dataset.error = ZeroDivisionError("x")
    with pytest.raises(ZeroDivisionError, match="Traceback"):
        batches(dataset, shuffle=False, num_workers=1)


def test_too_little_shared_memory(caplog):
    """The same batches, the rest of them from this process, said once an epoch."""
    dataset = Failing(12)
    dataset.error = RuntimeError("unable to allocate shared memory(shm) for file </a>")
    loader = build_loader(dataset, 4, epoch=3, seed=7, shuffle=False, num_workers=2)
    assert_equal(list(loader), batches(Numbers(12), shuffle=False))
    assert loader.needs_no_workers
    assert caplog.text.count("/dev/shm has ") == 1
    assert "--shm-size" in caplog.text

import numpy as np
import pytest

from espnet2_avsep.errors import InputError
from espnet2_avsep.streaming.chunked import (
    WHOLE,
    ChunkedProcess,
    Chunking,
    ChunkPlan,
    plan_chunks,
)

PLAN = ChunkPlan(chunk=96, overlap=32, fade=8, hop=16)


def run(process, plan, samples, sizes):
    """Feed samples in pieces of the given sizes, over and over."""
    chunked, at, number, found = ChunkedProcess(process, plan), 0, 0, []
    while at < samples.shape[-1]:
        size = sizes[number % len(sizes)]
        found += chunked.feed(samples[:, at : at + size])
        at, number = at + size, number + 1
    return np.concatenate([*found, *chunked.finish()], axis=-1)


def noise(length, channels=1):
    rng = np.random.default_rng(length)
    return rng.normal(size=(channels, length)).astype(np.float32)


def moving_sum(reach):
    """A process that looks `reach` samples to both sides, zeros beyond the ends."""

    def process(chunk, start):
        kernel = np.linspace(1, 2, 2 * reach + 1)
        rows = [np.convolve(row, kernel, "same")[: chunk.shape[-1]] for row in chunk]
        return np.stack(rows)[None].astype(np.float32)

    return process


@pytest.mark.parametrize("length", [1, 95, 96, 97, 112, 160, 161, 1000, 1003])
@pytest.mark.parametrize("sizes", [(1,), (7, 300), (64,), (10**6,)])
def test_length_and_content_for_any_length_and_pieces(length, sizes):
    samples = noise(length, 2)
    out = run(lambda chunk, start: chunk[None] * [[[2]], [[3]]], PLAN, samples, sizes)
    np.testing.assert_allclose(out, np.stack([2 * samples, 3 * samples]), rtol=1e-6)


@pytest.mark.parametrize("reach", [3, 12])
def test_enough_context_equals_the_whole_everywhere(reach):
    """The context of PLAN is 12 samples on each side of a fade."""
    assert PLAN.context == 12
    samples = noise(1003)
    whole = run(moving_sum(reach), WHOLE, samples, (1003,))
    chunked = run(moving_sum(reach), PLAN, samples, (50,))
    np.testing.assert_allclose(chunked, whole, atol=1e-5)


def test_too_little_context_is_seen():
    samples = noise(1003)
    whole = run(moving_sum(20), WHOLE, samples, (1003,))
    chunked = run(moving_sum(20), PLAN, samples, (50,))
    wrong = np.abs(chunked - whole).max(axis=(0, 1)) > 1e-3
    assert 0 < wrong.mean() < 0.5
    assert not wrong[: PLAN.step].any()


def test_the_pieces_make_no_difference_at_all():
    samples = noise(777)
    expected = run(moving_sum(20), PLAN, samples, (777,))
    for sizes in ((1,), (13, 200), (96,)):
        np.testing.assert_array_equal(
            run(moving_sum(20), PLAN, samples, sizes), expected
        )


def test_cross_fade_is_smooth_between_chunks_that_differ():
    """Each chunk is a constant: the seams are the fade's raised cosine, no more."""
    out = run(
        lambda chunk, start: np.full((1, 1, chunk.shape[-1]), start / 64.0),
        PLAN,
        noise(96 + 64),
        (1000,),
    )[0, 0]
    begin = 64 + PLAN.context
    assert (out[:begin] == 0).all() and (out[begin + 8 :] == 1).all()
    ramp = np.sin((np.arange(8) + 0.5) / 8 * np.pi / 2) ** 2
    np.testing.assert_allclose(out[begin : begin + 8], ramp, atol=1e-6)


def test_chunks_begin_at_the_hop_and_are_full():
    seen = []

    def process(chunk, start):
        seen.append((start, chunk.shape[-1]))
        return chunk[None]

    run(process, PLAN, noise(300), (41,))
    assert seen == [(0, 96), (64, 96), (128, 96), (192, 108)]
    assert all(start % PLAN.hop == 0 for start, _ in seen)
    seen.clear()
    run(process, PLAN, noise(50), (41,))
    assert seen == [(0, 50)]


def test_memory_is_that_of_three_chunks():
    chunked, most = ChunkedProcess(lambda chunk, start: chunk[None], PLAN), 0
    for _ in range(300):
        list(chunked.feed(noise(40)))
        held = chunked._input.shape[-1]
        most = max(most, held + (0 if chunked._tail is None else PLAN.fade))
    assert most <= 3 * PLAN.chunk


def test_plan_in_seconds():
    plan = plan_chunks(Chunking(), 65280, 11625, 256, 1025)
    assert (plan.chunk, plan.step) == (65280, 128 * 256)
    assert plan.fade == plan.overlap == 65280 - 128 * 256 and plan.context == 0
    plan = plan_chunks(Chunking(4.0, 1.0, 0.5), 65280, 10000, 250, 1025)
    assert (plan.chunk, plan.overlap, plan.fade) == (40000, 10000, 5000)
    assert plan.context == 2500


def test_longer_chunks_share_no_more_than_half_a_segment():
    """Half of every chunk would be computed twice, however long it is."""
    seconds = 2 * 65280 / 11625
    plan = plan_chunks(Chunking(seconds), 65280, 11625, 256, 1025, levels=7)
    assert plan.chunk == 130560 and plan.overlap == plan.fade == 130560 - 3 * 32768
    assert plan_chunks(Chunking(2.0), 10, 8000, 1, 2).overlap == 5


def test_chunks_begin_on_the_network_s_grid_where_the_overlap_allows_it():
    plan = plan_chunks(Chunking(), 65280, 11625, 256, 1025, levels=7)
    assert plan.hop == plan.step == 256 * 2**7
    plan = plan_chunks(Chunking(4.0), 65280, 11625, 256, 1025, levels=7)  # 46500
    assert plan.hop == plan.step == 256 * 2**7 and plan.overlap == 46500 - 32768
    plan = plan_chunks(Chunking(4.0, 0.5), 65280, 11625, 256, 1025, levels=7)
    assert plan.hop == 256 * 2**5 and plan.step == 5 * plan.hop


@pytest.mark.parametrize(
    ("chunking", "message"),
    [
        (Chunking(0.0), "positive number"),
        (Chunking(overlap=float("nan")), "positive number"),
        (Chunking(0.01), "at least 1025"),
        (Chunking(4.0, 2.1), "half a chunk"),
        (Chunking(4.0, 0.0001), "no room"),
    ],
)
def test_plans_that_cannot_be(chunking, message):
    with pytest.raises(InputError, match=message):
        plan_chunks(chunking, 65280, 11625, 256, 1025)


@pytest.mark.parametrize("sizes", [(96, 0, 8, 16), (96, 32, 33, 16), (96, 31, 8, 16)])
def test_plans_in_samples_that_cannot_be(sizes):
    with pytest.raises(InputError, match="chunks of|cross-fade|hop"):
        ChunkPlan(*sizes)

import numpy as np
import pytest

from espnet2_avsep.errors import InputError
from espnet2_avsep.streaming.bandwidth import extension
from espnet2_avsep.streaming.chunked import WHOLE, ChunkPlan
from espnet2_avsep.streaming.resampler import resample_whole
from espnet2_avsep.streaming.tracks import TrackStream

MODEL_FS, FS = 8000, 32000
SECONDS = 4
TURN = 2.0  # the first source plays before it, the second one after it


def sources():
    """Two sources that take turns: white noise, and noise of falling spectrum."""
    rng = np.random.default_rng(0)
    white, noise = rng.normal(size=(2, SECONDS * FS)) / 20
    dark = np.convolve(noise, 0.7 ** np.arange(30), "same")
    first = np.arange(SECONDS * FS) < TURN * FS
    return np.stack([white * first, dark * ~first]).astype(np.float32)


def oracle(refs, rest=0.0):
    """A process that knows the sources, but for a share of them that it misses."""
    low = resample_whole(refs, FS, MODEL_FS) * (1 - rest)

    def process(chunk, start):
        return low[:, None, start : start + chunk.shape[-1]].copy()

    return process


def separate(process, mixture, plan=WHOLE, sizes=(10**6,), fs=FS, **options):
    stream = TrackStream(process, plan, fs, MODEL_FS, **options)
    found, at, number = [], 0, 0
    while at < mixture.shape[-1]:
        size = sizes[number % len(sizes)]
        found += stream.feed(mixture[:, at : at + size])
        at, number = at + size, number + 1
    return np.concatenate([*found, *stream.finish()], axis=-1)


def level(error, signal):
    return 10 * np.log10(np.square(error).sum(-1) / np.square(signal).sum(-1))


def above(signal, hertz=MODEL_FS / 2):
    spectrum = np.fft.rfft(signal)
    spectrum[..., np.fft.rfftfreq(signal.shape[-1], 1 / FS) < hertz] = 0
    return np.fft.irfft(spectrum, signal.shape[-1])


def test_sources_that_take_turns_get_all_of_their_band_back():
    """But for the frames around the turn, 0.1 s of 2 s."""
    refs = sources()
    mixture = refs.sum(axis=0, keepdims=True)
    tracks = separate(oracle(refs), mixture, bandwidth="full")
    assert tracks.shape == refs.shape and tracks.dtype == np.float32
    assert (level(above(tracks - refs), above(refs)) < -15).all()
    model = separate(oracle(refs), mixture)
    assert (level(above(model), above(refs)) < -25).all()
    away = np.abs(np.arange(SECONDS * FS) / FS - TURN) > 0.1
    np.testing.assert_allclose(tracks[:, away], refs[:, away], atol=2e-3)


def test_below_the_edge_nothing_changes():
    refs = sources()
    mixture = refs.sum(axis=0, keepdims=True)
    full = separate(oracle(refs), mixture, bandwidth="full")
    added = full - separate(oracle(refs), mixture)
    below = added - above(added, 0.9 * MODEL_FS / 2)
    assert (level(below, refs) < -40).all()


def test_what_the_model_leaves_keeps_its_share():
    """Tracks of half of each source: a third source as strong as both together."""
    refs = sources()
    mixture = refs.sum(axis=0, keepdims=True)
    tracks = separate(oracle(refs, rest=0.5), mixture, bandwidth="full")
    away = np.abs(np.arange(SECONDS * FS) / FS - TURN) > 0.1
    np.testing.assert_allclose(
        above(tracks)[:, away], 0.5 * above(refs)[:, away], atol=3e-3
    )


@pytest.mark.parametrize("sizes", [(1777,), (1, 70000), (10**6,)])
def test_pieces_and_chunks_equal_the_whole(sizes):
    """Gains look 5 hops to both sides, which is the context of the chunks."""
    refs = sources()
    mixture = refs.sum(axis=0, keepdims=True)
    low = resample_whole(mixture, FS, MODEL_FS)
    padded = np.zeros((2, 1, low.shape[-1] + 10), np.float32)
    padded[:, 0, : low.shape[-1]] = resample_whole(refs, FS, MODEL_FS)

    def process(chunk, start):
        return padded[..., start : start + chunk.shape[-1]].copy()

    whole = extension(FS, MODEL_FS)
    up = resample_whole(
        np.concatenate([padded[:, 0, : low.shape[-1]], low]), MODEL_FS, FS
    )
    rows = np.concatenate([up[:, : mixture.shape[-1]], mixture])[:, None]
    whole._shape = rows.shape[:2]
    expected = whole._extend(rows[:, 0])[:-1, 0]
    plan = ChunkPlan(chunk=4096, overlap=1024, fade=256, hop=256)
    found = separate(process, mixture, plan, sizes, bandwidth="full")
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("channels", ["each", "mean"])
def test_tracks_and_residual_still_add_up_exactly(channels):
    rng = np.random.default_rng(1)
    shape = (2, 50000)
    mixture = (rng.integers(-(2**20), 2**20, size=shape) * 2.0**-23).astype(np.float32)

    def process(chunk, start):
        return np.stack([0.75 * chunk, 0.125 * chunk])

    tracks = separate(
        process, mixture, channels=channels, residual=True, bandwidth="full"
    )
    expected = mixture if channels == "each" else mixture.mean(axis=0)
    assert tracks.shape == (3, *expected.shape)
    assert (tracks.sum(axis=0) == expected).all()


def test_each_channel_keeps_its_place():
    """One gain for all channels: the second is half of the first, also above."""
    left = sources().sum(axis=0)
    stereo = np.stack([left, -0.5 * left])

    def process(chunk, start):
        return np.stack([0.75 * chunk, 0.25 * chunk])

    tracks = separate(process, stereo, channels="each", bandwidth="full")
    np.testing.assert_allclose(tracks[:, 1], -0.5 * tracks[:, 0], atol=1e-6)
    # Amplitudes 3 to 1.
    high = above(tracks[:, 0])
    np.testing.assert_allclose(high[0], 0.75 * above(left), atol=2e-3)


def test_what_a_network_leaves_just_below_the_edge_is_no_other_source():
    """Tracks without the upper third of the band were dark: all above was residual."""
    refs = sources()
    low = resample_whole(refs, FS, MODEL_FS)
    spectrum = np.fft.rfft(low)
    frequency = np.fft.rfftfreq(low.shape[-1], 1 / MODEL_FS)
    spectrum[:, frequency > 0.3 * MODEL_FS] *= 0.2
    low = np.fft.irfft(spectrum, low.shape[-1]).astype(np.float32)

    def process(chunk, start):
        return low[:, None, start : start + chunk.shape[-1]].copy()

    mixture = refs.sum(axis=0, keepdims=True)
    tracks = separate(process, mixture, bandwidth="full")
    assert (level(above(tracks), above(refs)) > -4).all()


def test_large_samples_have_finite_tracks():
    """Squares of float32 overflowed from samples of 1e19 on: tracks were NaN."""
    refs = sources()
    mixture = refs.sum(axis=0, keepdims=True)
    expected = separate(oracle(refs), mixture, bandwidth="full")
    loud = separate(oracle(1e25 * refs), 1e25 * mixture, bandwidth="full")
    np.testing.assert_allclose(loud / 1e25, expected, atol=1e-5)


def test_silence_and_rates_without_more_to_give():
    def process(chunk, start):
        return np.stack([0.75 * chunk])

    silent = np.zeros((1, 40000), np.float32)
    assert not separate(process, silent, bandwidth="full").any()
    noise = sources()[:1]
    for fs in (MODEL_FS, MODEL_FS // 2):
        np.testing.assert_array_equal(
            separate(process, noise, fs=fs, bandwidth="full"),
            separate(process, noise, fs=fs),
        )
    short = separate(process, noise[:, :3], bandwidth="full", residual=True)
    np.testing.assert_allclose(short.sum(axis=0), noise[0, :3], atol=1e-7)


def test_memory_does_not_grow():
    one = extension(FS, MODEL_FS)
    most = 0
    for _ in range(60):
        one.feed(np.zeros((3, 1, 5000), np.float32))
        most = max(most, one._chunked._input.shape[-1])
    assert most <= 3 * one._chunked.plan.chunk


def test_unknown_bandwidth():
    with pytest.raises(
        InputError, match="bandwidth='wide': expected one of model, full"
    ):
        TrackStream(
            lambda chunk, start: chunk[None], WHOLE, FS, MODEL_FS, bandwidth="wide"
        )

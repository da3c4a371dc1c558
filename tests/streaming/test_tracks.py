import numpy as np
import pytest

from espnet2_avsep.errors import InputError
from espnet2_avsep.streaming.chunked import WHOLE, ChunkPlan
from espnet2_avsep.streaming.resampler import Resampler, check_rate, resample_whole
from espnet2_avsep.streaming.tracks import TrackStream, gate

FS = 2000
PLAN = ChunkPlan(chunk=992, overlap=480, fade=480, hop=32)


def halves(chunk, start):
    """Two "tracks": 0.75 and 0.125 of the mixture."""
    return np.stack([0.75 * chunk, 0.125 * chunk]).astype(np.float32)


def separate(samples, fs, sizes, plan=PLAN, **options):
    stream = TrackStream(halves, plan, fs, FS, **options)
    found, at, number = [], 0, 0
    while at < samples.shape[-1]:
        size = sizes[number % len(sizes)]
        found += stream.feed(samples[:, at : at + size])
        at, number = at + size, number + 1
    return np.concatenate([*found, *stream.finish()], axis=-1)


def sine(seconds, fs, hertz=300.0):
    time = np.arange(round(seconds * fs)) / fs
    return 0.5 * np.sin(2 * np.pi * hertz * time).astype(np.float32)[None]


@pytest.mark.parametrize("fs", [2000, 3000, 11025, 44100, 1600])
@pytest.mark.parametrize("sizes", [(10**6,), (1, 999, 5000)])
def test_steady_tone_has_no_seams_at_any_rate(fs, sizes):
    """Null test: what the chunks change of a steady tone is below -70 dB."""
    tone = sine(3.1, fs)
    tracks = separate(tone, fs, sizes)
    assert tracks.shape == (2, tone.shape[-1]) and tracks.dtype == np.float32
    middle = slice(round(0.05 * fs), -round(0.05 * fs))  # the resampler's ends
    np.testing.assert_allclose(
        tracks[:, middle], np.outer([0.75, 0.125], tone[0])[:, middle], atol=2e-4
    )


@pytest.mark.parametrize("length", [600, 991, 1000, 12345])
def test_length_is_kept(length):
    samples = np.random.default_rng(0).normal(size=(1, length)).astype(np.float32)
    for fs in (FS, 3001, 1999):
        assert separate(samples, fs, (777,)).shape == (2, length)


@pytest.mark.parametrize("fs", [FS, 8000])
def test_tracks_and_residual_add_up_exactly(fs):
    """24-bit samples, as they are in a file."""
    rng = np.random.default_rng(0)
    samples = rng.integers(-(2**22), 2**22, size=(1, 9000)) / 2**23
    samples = samples.astype(np.float32)
    tracks = separate(samples, fs, (1000,), residual=True)
    assert tracks.shape == (3, 9000)
    assert (tracks.sum(axis=0) == samples[0]).all()
    if fs == FS:
        np.testing.assert_allclose(tracks[2], samples[0] / 8, atol=2e-7)


def test_each_channel_or_their_mean():
    left = np.random.default_rng(0).normal(size=(1, 5000)).astype(np.float32)
    stereo = np.concatenate([left, -0.5 * left])
    each = separate(stereo, FS, (700,), channels="each", residual=True)
    assert each.shape == (3, 2, 5000)
    np.testing.assert_allclose(each[0], 0.75 * stereo, atol=1e-6)
    np.testing.assert_allclose(each.sum(axis=0), stereo, atol=1e-6)
    mean = separate(stereo, FS, (700,))
    np.testing.assert_allclose(mean[1], left[0] / 4 * 0.125, atol=1e-6)
    with pytest.raises(InputError, match="channels='all'"):
        TrackStream(halves, PLAN, FS, FS, channels="all")
    stream = TrackStream(halves, PLAN, FS, FS)
    list(stream.feed(stereo))
    with pytest.raises(InputError, match="has 1 channels, the first had 2"):
        list(stream.feed(left))


def test_whole_is_one_chunk():
    seen = []

    def process(chunk, start):
        seen.append(chunk.shape)
        return halves(chunk, start)

    stream = TrackStream(process, WHOLE, FS, FS)
    pieces = [*stream.feed(sine(3, FS)), *stream.feed(sine(3, FS)), *stream.finish()]
    assert seen == [(1, 12000)] and pieces[0].shape == (2, 12000)


def test_nothing_fed_nothing_given():
    assert list(TrackStream(halves, PLAN, FS, FS).finish()) == []


def test_resampling_in_pieces_is_that_of_the_whole():
    samples = np.random.default_rng(0).normal(size=(2, 10000)).astype(np.float32)
    whole = resample_whole(samples, 44100, 11625)
    one = Resampler(44100, 11625)
    pieces = [one(samples[:, i : i + 321]) for i in range(0, 10000, 321)]
    pieces.append(one(samples[:, :0], last=True))
    np.testing.assert_array_equal(np.concatenate(pieces, axis=-1), whole)
    assert resample_whole(samples, 8000, 8000) is samples


def test_rates():
    assert check_rate(44100.0, "it") == 44100
    for wrong in (0, -1, 999, 10**7, 44100.5, "44100", None, True, float("nan")):
        with pytest.raises(InputError, match="it: fs="):
            check_rate(wrong, "it")


@pytest.mark.parametrize("sizes", [(10**6,), (701,)])
def test_a_track_with_time_spans_is_silent_outside_them(sizes):
    rng = np.random.default_rng(0)
    samples = (rng.integers(-(2**22), 2**22, size=(1, 9000)) / 2**23).astype("f")
    options = {"residual": True, "plan": PLAN}
    plain = separate(samples, FS, sizes, **options)
    spans = [None, [(0.5, 1.0), (2.0, np.inf)]]
    tracks = separate(samples, FS, sizes, spans=spans, **options)
    np.testing.assert_array_equal(tracks[0], plain[0])
    time = np.arange(9000) / FS
    outside = (time < 0.5) | ((time >= 1.0) & (time < 2.0))
    within = ((time > 0.51) & (time < 0.99)) | (time > 2.01)
    assert not tracks[1][outside].any()
    np.testing.assert_array_equal(tracks[1][within], plain[1][within])
    np.testing.assert_array_equal(tracks.sum(axis=0), samples[0])


def test_gate_is_a_raised_cosine_within_the_span():
    gain = gate([(0.0, 0.1), (0.2, 0.21)], 0, 300, 1000)
    np.testing.assert_allclose(
        gain[[0, 5, 10, 50, 95, 100, 150]], [0, 0.5, 1, 1, 0.5, 0, 0]
    )
    assert gain[205] == 1 and gain[202] == pytest.approx(np.sin(0.2 * np.pi) ** 2)
    np.testing.assert_array_equal(
        gate([(0.0, 0.1), (0.2, 0.21)], 90, 50, 1000), gain[90:140]
    )


@pytest.mark.parametrize(
    "spans",
    [
        [(0.1, 0.3), (0.3, 0.6)],
        [(0.295, 0.6), (0.1, 0.3)],
        [(0.1, 0.6), (0.2, 0.4)],
        [(0.1, 0.3), (0.2, 0.5), (0.45, 0.6)],
    ],
)
def test_spans_that_touch_are_one(spans):
    """A hole of 20 ms was cut where one ended and the next began."""
    expected = gate([(0.1, 0.6)], 0, 700, 1000)
    np.testing.assert_array_equal(gate(spans, 0, 700, 1000), expected)
    assert expected[120:580].min() == 1

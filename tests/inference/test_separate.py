import doctest
import sys
import threading

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import espnet2_avsep
from espnet2_avsep import Chunking, During, Mean, SeparateAV, Text
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts import PROMPT_TYPES, span
from espnet2_avsep.inference.separate import load_weights
from tests.support.tiny_corpus import DIM, FS, SEGMENT
from tests.support.trained_model import make_trained_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_trained_folder(tmp_path_factory.mktemp("exp"))


@pytest.fixture(scope="module")
def separate(folder):
    return SeparateAV.from_pretrained(folder)


def prompts(n=2):
    return list(np.random.default_rng(0).normal(size=(n, DIM)).astype(np.float32))


def mixture(samples=SEGMENT):
    return np.random.default_rng(1).normal(size=samples).astype(np.float32) / 10


def test_tracks(separate):
    tracks = separate(mixture(), prompts(3))
    assert tracks.shape == (3, SEGMENT) and tracks.dtype == np.float32
    swapped = separate(mixture(), prompts(3)[::-1])
    np.testing.assert_allclose(swapped, tracks[::-1], atol=1e-5)


def test_the_track_of_a_prompt_does_not_depend_on_the_others(separate):
    """One prompt alone, or among four: the same track (the network runs as trained)."""
    four = separate(mixture(), prompts(4))
    for n in (1, 2, 3):
        np.testing.assert_allclose(
            separate(mixture(), prompts(4)[:n]), four[:n], atol=1e-5
        )


def test_equals_the_model(separate):
    x, e = torch.from_numpy(mixture())[None], torch.from_numpy(np.stack(prompts()))
    expected, _ = separate.model.separate(x, e[None, :, None])
    np.testing.assert_allclose(separate(mixture(), prompts()), expected[0], atol=1e-6)


def test_channels_are_averaged_and_frames_too(separate):
    stereo = np.stack([mixture(), -0.5 * mixture()])
    frames = [np.stack([p - 1, p + 1]) for p in prompts()]
    np.testing.assert_allclose(
        separate(stereo, frames), separate(mixture() / 4, prompts()), atol=1e-5
    )


@pytest.mark.parametrize("samples", [4 * SEGMENT, 4 * SEGMENT + 3])
def test_other_sampling_rate_keeps_rate_and_length(separate, samples):
    time = np.arange(samples) / (4 * FS)
    tone = np.sin(2 * np.pi * 300 * time).astype(np.float32)
    tracks = separate(tone, prompts(), fs=4 * FS)
    assert tracks.shape == (2, samples)
    spectrum = np.abs(np.fft.rfft(tracks[0]))
    peak = np.fft.rfftfreq(samples, 1 / (4 * FS))[spectrum.argmax()]
    assert abs(peak - 300) < 5


def test_float32_where_bfloat16_is_slow(folder, separate, slow_bfloat16):
    half = SeparateAV.from_pretrained(folder, dtype="bfloat16")
    given = mixture(), prompts()
    np.testing.assert_array_equal(half(*given), separate(*given))


def test_bfloat16(folder, separate, fast_bfloat16):
    tracks = SeparateAV.from_pretrained(folder, dtype="bfloat16")(mixture(), prompts())
    error = tracks - separate(mixture(), prompts())
    assert np.sqrt((error**2).mean()) < 0.02 * np.abs(tracks).max()


def test_pictures(folder, tmp_path):
    class Encoder:
        def encode(self, images):
            return np.stack([np.full(DIM, image.mean() / 255) for image in images])

    separate = SeparateAV.from_pretrained(folder, image_encoder=Encoder())
    picture = np.full((8, 6, 3), 51, np.uint8)
    Image.fromarray(picture).save(tmp_path / "p.png")
    expected = separate(mixture(), [np.full(DIM, 0.2, np.float32)])
    for prompt in (picture, Image.fromarray(picture), tmp_path / "p.png"):
        np.testing.assert_allclose(separate(mixture(), [prompt]), expected, atol=1e-5)
    with pytest.raises(InputError, match="no.png"):
        separate(mixture(), [tmp_path / "no.png"])
    with pytest.raises(InputError, match="uint8"):
        separate(mixture(), [np.zeros((4, 4, 5), np.uint8)])


def test_words(folder):
    class Encoder:
        def encode(self, texts):
            return np.stack([np.full(DIM, len(t) / 10, np.float32) for t in texts])

    separate = SeparateAV.from_pretrained(folder, text_encoder=Encoder())
    tracks = separate(mixture(), [Text("violin"), Text("tuba", template="{}!")])
    lengths = [len("a photo of violin"), len("tuba!")]
    expected = [np.full(DIM, n / 10, np.float32) for n in lengths]
    np.testing.assert_array_equal(tracks, separate(mixture(), expected))
    with pytest.raises(InputError, match="prompt 1 is an empty text"):
        separate(mixture(), [Text(" ")])
    with pytest.raises(InputError, match=r"Text\('violin'\)"):
        separate(mixture(), ["violin"])
    with pytest.raises(InputError, match="visual_info.yaml"):
        SeparateAV.from_pretrained(folder)(mixture(), [Text("violin")])


def test_picture_without_visual_info(separate):
    with pytest.raises(InputError, match="visual_info.yaml"):
        separate(mixture(), [np.zeros((4, 4, 3), np.uint8)])


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (np.array([], np.float32), "not empty"),
        (np.full(SEGMENT, np.nan, np.float32), "NaN"),
        (np.zeros(SEGMENT, np.int16), "32768"),
        (np.zeros((1, 2, SEGMENT), np.float32), "channels"),
        (np.zeros((SEGMENT, 2), np.float32), "transpose"),
        (np.full(SEGMENT, 1e300), "infinite"),
        ("wav", "the mixture is a name, 'wav'"),
        (np.zeros(100, np.float32), "analysis window"),
    ],
)
def test_bad_mixture(separate, wav, message):
    with pytest.raises(InputError, match=message):
        separate(wav, prompts())


def long_mixture(seconds=20):
    """Noise whose level and colour change; long against a segment (0.5 s)."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=seconds * FS)
    time = np.arange(len(noise)) / FS
    tones = np.sin(2 * np.pi * 300 * time) * (np.sin(time) > 0)
    return (0.05 * noise + 0.2 * tones).astype(np.float32)


def test_stream_is_the_chunked_call_whatever_the_pieces(separate):
    wav, chunking = long_mixture(5), Chunking()
    expected = separate(wav, prompts(), chunking=chunking)
    for size in (100, 4000, len(wav)):
        pieces = np.split(wav, range(size, len(wav), size))
        tracks = list(separate.stream(pieces, prompts()))
        np.testing.assert_array_equal(np.concatenate(tracks, axis=-1), expected)
    lengths = [t.shape[-1] for t in separate.stream(np.split(wav, 100), prompts())]
    assert len(lengths) > 10 and max(lengths) < 2 * SEGMENT
    with pytest.raises(InputError, match="no piece held any sample"):
        list(separate.stream([], prompts()))


def level(error, tracks):
    return 10 * np.log10((error**2).sum() / (tracks**2).sum())


def test_chunks_are_close_to_one_pass(folder):
    """The network's up-sampling aligns corners, so it is not quite shift-invariant.

    What a frame gets depends a little on where in its chunk, or in the recording, it
    lies, and no context makes up for that. What cutting and joining do is exact, see
    tests/streaming.
    """
    separate = SeparateAV.from_pretrained(folder)
    with torch.no_grad():
        separate.model.separator.late_scale.mul_(8)  # masks from 0 to 1
    wav = long_mixture()
    whole = separate(wav, prompts(), chunking="whole")
    assert 0.05 < np.abs(whole).mean() / np.abs(wav).mean() < 0.95
    for seconds in (None, 1.0, 3.0, 8.0):
        tracks = separate(wav, prompts(), chunking=Chunking(seconds))
        assert tracks.shape == whole.shape
        assert level(tracks - whole, whole) < -29
    one = separate(wav, prompts(), chunking=Chunking(25.0))
    np.testing.assert_array_equal(one, whole)


def test_long_recordings_are_chunked_by_themselves(separate):
    wav = np.tile(long_mixture(), 2)[: 31 * FS]
    chunked = separate(wav, prompts(), chunking=Chunking())
    np.testing.assert_array_equal(separate(wav, prompts()), chunked)
    short = wav[: 30 * FS]
    whole = separate(short, prompts(), chunking="whole")
    np.testing.assert_array_equal(separate(short, prompts()), whole)
    with pytest.raises(InputError, match="chunking='long'"):
        separate(wav, prompts(), chunking="long")


def test_every_channel_gets_the_mask_of_their_mean(separate):
    wav = long_mixture(2)
    stereo = np.stack([wav, 0.5 * wav])
    each = separate(stereo, prompts(), channels="each")
    mean = separate(stereo, prompts())
    assert each.shape == (2, 2, len(wav))
    np.testing.assert_allclose(each.mean(axis=1), mean, atol=1e-6)
    np.testing.assert_allclose(each[:, 1], 0.5 * each[:, 0], atol=1e-6)


def test_full_bandwidth_adds_what_is_above_the_band(separate):
    """Noise at four times the model's rate; called whole, and streamed in pieces."""
    wav = np.random.default_rng(0).normal(size=16 * FS).astype(np.float32) / 10
    given = {"fs": 4 * FS, "residual": True, "chunking": Chunking()}
    model = separate(wav, prompts(), **given)
    full = separate(wav, prompts(), bandwidth="full", **given)
    np.testing.assert_allclose(full.sum(axis=0), wav, atol=1e-6)

    def energy(signal, low, high):
        spectrum = np.abs(np.fft.rfft(signal)) ** 2
        at = np.fft.rfftfreq(signal.shape[-1], 1 / 4)  # in units of the model's rate
        return spectrum[..., (at >= low) & (at < high)].sum(axis=-1)

    # In the model's band, and above it.
    below, above = (0, 0.4), (0.55, 2)
    change = np.abs(energy(full[:2], *below) / energy(model[:2], *below) - 1)
    assert (change < 3e-3).all()
    assert (energy(model[:2], *above) < 1e-4 * energy(model[:2], *below)).all()
    assert energy(full[:2], *above).sum() > energy(full[:2], *below).sum()
    pieces = np.split(wav, range(1001, len(wav), 1001))
    parts = list(separate.stream(pieces, prompts(), bandwidth="full", **given))
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), full)


def test_residual(separate):
    wav = np.rint(long_mixture(2) * 2**15).astype(np.float32) / 2**15
    for fs in (FS, 4 * FS):
        tracks = separate(wav, prompts(3), fs=fs, residual=True)
        assert tracks.shape == (4, len(wav))
        assert (tracks.sum(axis=0) == wav).all()


def test_prompt_that_changes_over_time(separate):
    """Each chunk is separated by the prompt of its own stretch."""
    first, second = prompts(2)
    asked = []

    def prompt(begin, end):
        asked.append((begin, end))
        return first if begin < 2.0 else second

    wav = long_mixture(6)
    tracks = separate(wav, [prompt], chunking=Chunking(1.0))
    assert asked[0] == (0.0, 1.0) and asked[-1][1] == 6.0
    apart = [separate(wav, [p], chunking=Chunking(1.0)) for p in (first, second)]
    early, late = slice(0, round(1.9 * FS)), slice(3 * FS, 6 * FS)
    np.testing.assert_array_equal(tracks[:, early], apart[0][:, early])
    np.testing.assert_array_equal(tracks[:, late], apart[1][:, late])
    assert np.abs(apart[0] - apart[1]).max() > 1e-3


def test_prompts_are_asked_for_times_of_the_recording(separate):
    """Not of the model's rate: the recording has four times as many samples."""
    asked = []

    def prompt(begin, end):
        asked.append((begin, end))
        return prompts()[0]

    wav, chunking = mixture(4 * 3 * FS), Chunking(1.0)
    separate(wav, [prompt], fs=4 * FS, chunking=chunking)
    called = asked.copy()
    assert called[0] == (0.0, 1.0) and len(called) > 2
    assert called[-1][1] == pytest.approx(3.0, abs=1e-3)
    asked.clear()
    list(separate.stream([wav], [prompt], fs=4 * FS, chunking=chunking))
    assert asked == called
    asked.clear()
    separate.batch([wav], [[prompt]], fs=4 * FS)
    assert asked == [(0.0, 3.0)]


def test_batch_is_one_at_a_time(separate):
    lengths = [SEGMENT, SEGMENT + 5, SEGMENT, SEGMENT, 33 * FS]
    wavs = [np.tile(long_mixture(), 2)[i : i + n] for i, n in enumerate(lengths)]
    sources = [prompts(2), prompts(2), prompts(3), prompts(2)[::-1], prompts(1)]
    for fs in (FS, 3000):
        found = separate.batch(wavs, sources, fs=fs, batch_size=2)
        for tracks, wav, own in zip(found, wavs, sources, strict=True):
            expected = separate(wav, own, fs=fs)
            assert tracks.shape == expected.shape
            np.testing.assert_allclose(tracks, expected, atol=1e-5)
    with pytest.raises(InputError, match="2 mixtures but 1 lists"):
        separate.batch(wavs[:2], sources[:1])
    with pytest.raises(InputError, match="batch_size=0"):
        separate.batch(wavs[:1], sources[:1], batch_size=0)


def test_threads_get_what_one_gets(separate):
    jobs = [(long_mixture(3)[i:], prompts(2 + i % 2)) for i in range(8)]
    expected = [separate(*job) for job in jobs]
    found = [None] * len(jobs)

    def work(index):
        for _ in range(3):
            found[index] = separate(*jobs[index])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_examples_in_the_docstrings_run(folder):
    found = 0
    modules = [sys.modules[cls.__module__] for cls in PROMPT_TYPES.values()]
    for module in (espnet2_avsep.inference.separate, span, *modules):
        names = {"folder": folder, "np": np}
        for test in doctest.DocTestFinder().find(module, extraglobs=names):
            runner = doctest.DocTestRunner()
            found += runner.run(test).attempted
            assert runner.failures == 0, test.name
    assert found > 10


def test_bad_prompts(separate):
    for wrong in (5, None, "flute.jpg", Text("violin")):
        with pytest.raises(InputError, match="expected a list"):
            separate(mixture(), wrong)
    with pytest.raises(InputError, match="no prompt"):
        separate(mixture(), [])
    with pytest.raises(InputError, match="prompt 2.*D = 4"):
        separate(mixture(), [prompts()[0], np.zeros(5, np.float32)])
    with pytest.raises(InputError, match="prompt 1.*NaN"):
        separate(mixture(), [np.full(DIM, np.inf, np.float32)])


@pytest.mark.parametrize("channels", [1, 2])
def test_what_becomes_nan_is_no_silence(separate, channels, monkeypatch):
    """Files of whole numbers hold NaN as zero."""
    wav = np.stack([mixture()] * channels)
    for method in ("separate", "separate_channels"):
        right = getattr(separate.model, method)

        def broken(*args, right=right, **options):
            found = right(*args, **options)
            tracks = found[0] if isinstance(found, tuple) else found
            tracks[..., 7] = np.nan
            return found

        monkeypatch.setattr(separate.model, method, broken)
    for run in (separate.batch, lambda wavs, sources: separate(wavs[0], sources[0])):
        with pytest.raises(InputError, match="gives NaN or infinite samples"):
            run([wav], [prompts()])
    with pytest.raises(InputError, match="gives NaN or infinite samples"):
        separate(wav, prompts(), channels="each")


def test_missing_folder_and_files(tmp_path, folder):
    with pytest.raises(InputError, match="no such file or folder"):
        SeparateAV.from_pretrained(tmp_path / "none")
    with pytest.raises(InputError, match=r"config\.yaml"):
        SeparateAV.from_pretrained(tmp_path)
    (tmp_path / "config.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match="separator"):
        SeparateAV.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="Train first"):
        SeparateAV(folder / "config.yaml", tmp_path / "none.pth")


def test_checkpoint_that_does_not_fit(tmp_path, folder):
    other = make_trained_folder(tmp_path / "other")
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["separator_conf"]["fusion"] = "late"
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="unexpected: separator.middle_projection"):
        SeparateAV.from_pretrained(other)


def test_damaged_and_hostile_checkpoints(tmp_path, folder, separate):
    data = (folder / "valid.si_sdr_i.best.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="incomplete"):
        load_weights(separate.model, tmp_path / "half.pth")

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(separate.model, tmp_path / "evil.pth")
    assert not (tmp_path / "written").exists()


def test_weights_are_reported(folder, separate, caplog):
    caplog.set_level("INFO")
    digest = load_weights(separate.model, folder / "valid.si_sdr_i.best.pth")
    assert len(digest) == 64 and digest[:16] in caplog.text
    count = len(separate.model.state_dict())
    assert f"{count} tensors" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype='float16': expected one of float32"),
        ({"picture_dtype": "float16"}, "picture_dtype='float16': expected auto"),
        ({"threshold": 2.0}, "threshold=2.0: expected a value in"),
        ({"device": "cuda"}, "no CUDA device is available"),
        ({"device": "tpu"}, "device='tpu': expected 'cpu', 'cuda'"),
    ],
)
def test_bad_options(folder, options, message):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("a CUDA device is present")
    with pytest.raises(InputError, match=message):
        SeparateAV.from_pretrained(folder, **options)


@pytest.mark.parametrize("align", ["whole", "segment"])
def test_long_recordings_with_motion_come_in_chunks(tmp_path, align):
    """One pass over 10 minutes has attention of 100,000 places: it must not happen."""
    conf = {"visual_dim": DIM, "channels": 8, "layers": 4, "width": 8, "heads": 2}
    conf.update(middle_level=2, dim=16, feedforward_dim=16, queries="label_free")
    conf.update(attention_groups=4, motion_dim=2, num_queries=3)
    data = {"segment_samples": SEGMENT, "motion_steps": 4, "motion_align": align}
    folder = make_trained_folder(
        tmp_path / "exp", separator="query", separator_conf=conf, dataset_conf=data
    )
    separate = SeparateAV.from_pretrained(folder)
    seen = []
    separate.model.separator.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["motion"]), with_kwargs=True
    )
    rows = np.repeat(np.arange(10, dtype=np.float32)[:, None], 2, axis=1)
    chunks = Chunking(overlap=SEGMENT / FS / 10)
    for ratio in (1, 2):  # of the recording's rate to the model's
        seen.clear()
        tracks = separate(
            mixture(ratio * 4 * SEGMENT),
            prompts(),
            fs=ratio * FS,
            motion=[rows, -rows],
            chunking=chunks,
        )
        assert tracks.shape == (2, ratio * 4 * SEGMENT) and np.isfinite(tracks).all()
        found = [m[0, 0, :, 0].tolist() for m in seen]
        assert all(torch.equal(m[:, 1], -m[:, 0]) for m in seen)
        assert len(found) >= 4
        if align == "whole":  # 4 of 10 rows, evenly spread
            assert found == [[1, 3, 6, 8]] * len(found)
        else:
            assert max(map(len, found)) <= 4
            assert found[0][0] == 0 and found[-1][-1] == 9
            assert sorted({row for part in found for row in part}) == list(range(10))


def test_no_step_of_optical_flow_is_left_out(tmp_path):
    """Paths are sums of all steps; of more than 160, some were missing."""
    conf = {"visual_dim": DIM, "channels": 4, "layers": 3, "places": 1}
    conf.update(motion_dim=9, motion_channels=4)
    data = {"segment_samples": SEGMENT, "motion_align": "segment"}
    changes = {"separator": "sound_of_motions", "separator_conf": conf}
    folder = make_trained_folder(tmp_path / "exp", **changes, dataset_conf=data)
    separate = SeparateAV.from_pretrained(folder)
    seen = []
    separate.model.separator.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["motion"]), with_kwargs=True
    )
    flow = np.zeros((240, 9), np.float32)
    flow[:, 0] = np.arange(240)
    separate(mixture(2 * SEGMENT), prompts(), motion=[flow, flow])
    assert [m[0, 0, :, 0].tolist() for m in seen] == [list(range(240))]


def test_time_spans_of_prompts_in_every_call(separate):
    first, second = prompts()
    asked = [During(first, [(1, 2)]), second]
    wav = mixture(4 * SEGMENT)
    time = np.arange(len(wav)) / FS
    outside, within = (time < 1) | (time >= 2), (time > 1.01) & (time < 1.99)
    expected = separate(wav, [first, second])
    called, (batched,) = separate(wav, asked), separate.batch([wav], [asked])
    for found in (called, batched):
        assert not found[0][outside].any()
        np.testing.assert_allclose(found[0][within], expected[0][within], atol=1e-5)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


def test_mean_of_prompts(separate):
    first, second = prompts()
    expected = separate(mixture(), [(first + second) / 2])
    found = separate(mixture(), [Mean([first, second])])
    np.testing.assert_allclose(found, expected, atol=1e-6)

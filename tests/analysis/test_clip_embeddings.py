import numpy as np
import pytest
import soundfile
import torch

from espnet2_avsep.analysis.clip_embeddings import (
    BOTTLENECK,
    PROJECTED,
    VISUAL,
    centre_segments,
    embed_separator,
    embed_teacher,
    random_segments,
)
from espnet2_avsep.data.segment_reader import read_matrix
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.separate import SeparateAV
from tests.support.tiny_corpus import FS, SEGMENT
from tests.support.tone_clips import make_tone_clips
from tests.support.trained_model import make_trained_folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_tone_clips(tmp_path_factory.mktemp("clips"), takes=[0, 5])


@pytest.fixture(scope="module")
def separate(tmp_path_factory):
    return SeparateAV.from_pretrained(make_trained_folder(tmp_path_factory.mktemp("e")))


def test_centre_segments(clips):
    one = centre_segments(clips, FS, SEGMENT)
    assert one.starts["low-0"] == [SEGMENT] and one.starts["low-5"] == [SEGMENT + 2]
    assert one.keys == sorted(one.keys) and len(one.keys) == 8
    assert one.categories[:2] == ["high", "high"]
    three = centre_segments(clips, FS, SEGMENT, 3)
    assert three.starts["low-0"] == [0, SEGMENT, 2 * SEGMENT]
    wide = centre_segments(clips, FS, 2 * SEGMENT, 3)
    assert wide.starts["low-0"] == [0, SEGMENT // 2, SEGMENT]


def test_random_segments(clips):
    one = random_segments(clips, FS, SEGMENT, seed=1)
    assert one.starts == random_segments(clips, FS, SEGMENT, seed=1).starts
    assert one.starts != random_segments(clips, FS, SEGMENT, seed=2).starts
    assert all(0 <= s[0] <= 2 * SEGMENT + 5 for s in one.starts.values())
    # A clip's segment does not depend on the others.
    whole = random_segments(clips, FS, 3 * SEGMENT, seed=1)
    assert whole.starts["low-0"] == [0]


def test_short_clips_are_named(clips):
    with pytest.raises(InputError, match="8 of 8 clips are shorter"):
        centre_segments(clips, FS, 4 * SEGMENT)


def test_bottleneck_and_visual_input(clips, separate):
    segments = centre_segments(clips, FS, SEGMENT)
    found = embed_separator(separate, segments, batch_size=3)
    assert set(found) == {BOTTLENECK, VISUAL}
    wav, _ = soundfile.read(clips / "wavs" / "low-5.wav", dtype="float32")
    wav = torch.from_numpy(wav[SEGMENT + 2 :][:SEGMENT])
    model = separate.model
    feature = model.warp(
        torch.stft(
            wav, 128, 32, window=torch.hann_window(128), return_complex=True
        ).abs()
    )
    with torch.inference_mode():
        maps = model.separator.encoder((feature + model.log_eps).log()[None, None])[-1]
    n = segments.keys.index("low-5")
    np.testing.assert_allclose(
        found[BOTTLENECK][n], maps.mean(dim=(-2, -1))[0], atol=1e-4
    )
    middle = read_matrix(segments.clips.visual["low-5"])[1]
    np.testing.assert_allclose(found[VISUAL][n], middle, atol=1e-6)


def test_visual_input_does_not_change_the_bottleneck(separate):
    wav = torch.randn(2, SEGMENT, generator=torch.Generator().manual_seed(0))
    one = separate.model.embed(wav, torch.zeros(2, 1, 1, 4))
    two = separate.model.embed(wav, torch.ones(2, 2, 3, 4))
    torch.testing.assert_close(one, two)


def test_segments_are_averaged(clips, separate):
    tables = [
        embed_separator(separate, segments)[BOTTLENECK]
        for segments in (
            centre_segments(clips, FS, SEGMENT, 3),
            *(
                centre_segments(clips, FS, SEGMENT)._replace(
                    starts=dict.fromkeys(sorted(set(_keys(clips))), [start])
                )
                for start in (0, SEGMENT, 2 * SEGMENT)
            ),
        )
    ]
    row = _keys(clips).index("top-0")
    mean = np.mean([table[row] for table in tables[1:]], axis=0)
    np.testing.assert_allclose(tables[0][row], mean, atol=1e-5)


def _keys(clips):
    return centre_segments(clips, FS, SEGMENT).keys


def test_projection_of_the_alignment_loss(clips, tmp_path):
    criterions = [
        {"name": "spectrogram_l1"},
        {"name": "alignment", "conf": {"teacher_dim": 6}},
    ]
    folder = make_trained_folder(tmp_path, criterions=criterions)
    separate = SeparateAV.from_pretrained(folder)
    found = embed_separator(separate, centre_segments(clips, FS, SEGMENT))
    layer = separate.model.criterions["alignment"].projection
    expected = found[BOTTLENECK] @ layer.weight.detach().double().T.numpy()
    expected = expected + layer.bias.detach().numpy()
    np.testing.assert_allclose(found[PROJECTED], expected, atol=1e-5)
    # Where the sizes are equal nothing lies between them.
    criterions[1]["conf"]["teacher_dim"] = separate.model.separator.bottleneck_dim
    folder = make_trained_folder(tmp_path / "equal", criterions=criterions)
    separate = SeparateAV.from_pretrained(folder)
    assert PROJECTED not in embed_separator(separate, centre_segments(clips, FS, 500))


def test_waveform_separators_have_a_bottleneck_too(clips, tmp_path):
    folder = make_trained_folder(
        tmp_path,
        separator="wave_unet",
        separator_conf={"visual_dim": 4, "channels": 4, "layers": 2},
        criterions=[{"name": "wave_l1"}],
    )
    separate = SeparateAV.from_pretrained(folder)
    deepest = []
    separate.model.separator.bottom.register_forward_hook(
        lambda module, args, out: deepest.append(out)
    )
    found = embed_separator(separate, centre_segments(clips, FS, SEGMENT), batch_size=3)
    assert [len(out) for out in deepest] == [3, 3, 2]
    np.testing.assert_allclose(
        found[BOTTLENECK], torch.cat(deepest).mean(dim=-1), atol=1e-6
    )


def test_diverged_training_is_named(clips, tmp_path):
    separate = SeparateAV.from_pretrained(make_trained_folder(tmp_path))
    with torch.no_grad():
        next(separate.model.separator.encoder.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="high-0 holds NaN"):
        embed_separator(separate, centre_segments(clips, FS, SEGMENT))


def test_teacher(clips):
    def teacher(wav, fs):
        assert fs == FS
        return torch.stack([wav.square().mean(dim=1), wav[:, 0]], dim=1)

    segments = centre_segments(clips, FS, SEGMENT, 3)
    found = embed_teacher(teacher, segments, batch_size=5)
    for row, key in zip(found, segments.keys, strict=True):
        wav, _ = soundfile.read(clips / "wavs" / f"{key}.wav", dtype="float32")
        parts = [wav[s : s + SEGMENT] for s in segments.starts[key]]
        expected = [np.mean([p @ p for p in parts]) / SEGMENT]
        expected.append(np.mean([p[0] for p in parts]))
        np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_separators_that_ask_for_motion_and_classes(clips, tmp_path):
    """z_a does not depend on them: what stands in for them makes no difference."""
    sizes = {"visual_dim": 4, "channels": 8, "layers": 3, "middle_level": 2}
    sizes |= {"width": 8, "dim": 16, "heads": 2, "feedforward_dim": 32}
    conf = {**sizes, "num_queries": 5, "motion_dim": 7, "attention_groups": 4}
    folder = make_trained_folder(tmp_path, separator="query", separator_conf=conf)
    separate = SeparateAV.from_pretrained(folder)
    segments = centre_segments(clips, FS, SEGMENT)
    found = embed_separator(separate, segments)[BOTTLENECK][0]
    key = segments.keys[0]
    wav, _ = soundfile.read(clips / "wavs" / f"{key}.wav", dtype="float32")
    start = segments.starts[key][0]
    z = separate.model.embed(
        torch.from_numpy(wav[None, start : start + SEGMENT]),
        torch.ones(1, 2, 1, 4),
        motion=torch.ones(1, 2, 3, 7),
        labels=torch.tensor([[1, 4]]),
    )
    np.testing.assert_allclose(found, z[0], atol=1e-5)

"""Values that each stage computes from fixed input, for each version of its code.

Where a value here has changed, finished work of users is of the version before: raise
the stage's number in ``made_from.VERSIONS`` and note the new values under it, so that
the work is made again. Other tests say whether the values are right.
"""

from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from espnet2_avsep.data.audio.audio_io import load_audio
from espnet2_avsep.data.mixing.mixture_draw import draw_groups
from espnet2_avsep.data.records import made_from
from espnet2_avsep.data.records.journal import Journal
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.separate import SeparateAV
from espnet2_avsep.inference.untrained import UntrainedAV
from espnet2_avsep.metrics.bss_eval import bss_eval_sources
from espnet2_avsep.metrics.si_sdr import si_sdr
from espnet2_avsep.teacher.clap_teacher import ClapTeacher
from espnet2_avsep.visual.extract import clip_pictures
from espnet2_avsep.visual.frame_packer import FramePacker
from tests.support.tiny_corpus import DIM, FS, SEGMENT, tone
from tests.support.trained_model import make_trained_folder


def pictures(folder):
    """Stage 2: means of red of the pictures of a clip, every second one."""
    folder.mkdir()
    for number in range(5):
        row = np.linspace(0, 50 * (number + 1), 30).astype(np.uint8)
        image = np.repeat(np.repeat(row[None, :, None], 20, 0), 3, 2)
        Image.fromarray(image).save(folder / f"{number:06d}.png")
    args = str(folder), "", Fraction(1), 2, FramePacker(8)
    return [image[..., 0].mean() for image in clip_pictures(*args)]


def sound(folder):
    """Stage 3: samples of a stereo file at another rate."""
    folder.mkdir()
    time = np.arange(4000) / 16000
    channels = [np.sin(2 * np.pi * f * time) / 4 for f in (440, 1000)]
    soundfile.write(folder / "a.wav", np.stack(channels, 1), 16000, subtype="FLOAT")
    samples = load_audio(str(folder / "a.wav"), 11025)
    return [len(samples), *samples[[0, 7, 1000, 2700]]]


def draw(folder):
    """Stage 4: the first mixtures of a list, as numbers of clips."""
    category = {f"{n:02d}": "abc"[n % 3] for n in range(9)}
    groups = draw_groups(category, 6, 2, True, seed=3)[:3]
    videos = {clip: str(int(clip) // 2) for clip in category}
    for different_class in (False, True):
        groups += draw_groups(category, 9, 3, different_class, 3, videos)[:3]
    return [int(clip) for group in groups for clip in group]


def tracks(folder):
    """Stage 7: SI-SDR of what a network and an ideal mask make of two tones."""
    sources = np.stack([tone("low", SEGMENT), tone("top", SEGMENT)]) / 2
    mixture, references = torch.tensor(sources.sum(0)), torch.tensor(sources)
    separate = SeparateAV.from_pretrained(make_trained_folder(folder / "model"))
    for n, weights in enumerate(separate.model.separator.parameters()):
        with torch.no_grad():  # those of torch's random numbers may change
            wave = torch.sin(torch.arange(weights.numel()) * 0.7 + n)
            weights.copy_(0.3 * wave.view_as(weights))
    visual = torch.eye(DIM)[None, :2, None]
    values = list(si_sdr(sources, separate.separate_batch(mixture[None], visual)[0]))
    stft = "{n_fft: 128, hop_length: 32}"
    (folder / "ideal.yaml").write_text(
        f"trained: false\nbaseline: ideal_ratio_mask\nsample_rate: {FS}\n"
        f"encoder_conf: {stft}\ndecoder_conf: {stft}\nmodel_conf: {{num_log_bins: 48}}"
    )
    system = UntrainedAV(folder / "ideal.yaml")
    ideal = system.separate_batch(mixture[None], references[None])
    return [*values, *si_sdr(sources, ideal[0])]


def scores(folder):
    """Stage 8: SDR, SIR, SAR and SI-SDR of noisy and of exact estimates."""
    rng = np.random.default_rng(0)
    references = rng.standard_normal((1, 2, 1200))
    noise = 0.1 * rng.standard_normal((1, 2, 1200))
    noisy = references + 0.1 * references[:, ::-1] + noise
    exact = bss_eval_sources(references, references)
    found = bss_eval_sources(references, noisy)
    values = [value[0, 0] for value in (*found[:3], exact.sir)]
    return [*values, si_sdr(references, noisy)[0, 0], si_sdr(noisy, noisy)[0, 0]]


def teacher(folder):
    """Embeddings of the teacher, first values, of sounds of two lengths."""
    size = {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
    clap = ClapTeacher("random", htsat_conf=size)
    for n, (name, weights) in enumerate(clap.named_parameters()):
        if weights.dim() > 1:  # those of torch's random numbers may change
            wave = torch.sin(torch.arange(weights.numel()) * 0.7 + n).view_as(weights)
            weights.copy_(wave * (2 / weights[0].numel()) ** 0.5)
        elif name.endswith("bias"):
            weights.zero_()
    time = torch.arange(200000) / 16000
    sound = 0.3 * torch.sin(2 * torch.pi * 440 * time * (1 + time))
    short, long = clap(sound[None, :40000], 16000), clap(sound[None], 16000)
    return [1000 * float(value) for value in (*short[0, :3], *long[0, :3])]


# stage -> the function, and version -> its values
MADE = {
    2: (pictures, {1: [24.5, 74.5, 124.5]}),
    3: (sound, {1: [2756, 0.00694, 0.02853, -0.18702, -0.19971]}),
    4: (
        draw,
        {1: [8, 4, 3, 7, 0, 5, 8, 4, 7, 7, 2, 1, 3, 7, 5, 1, 2, 6, 8, 6, 4, 7, 8, 3]},
    ),
    7: (tracks, {1: [1.02876, -0.91817, 34.69097, 35.01405]}),
    8: (scores, {2: [18.52888, 19.7846, 24.57596, 313.0712, 16.7958, 313.0712]}),
    made_from.TEACHER: (
        teacher,
        {1: [-62.07, -61.68, -57.21, -53.80, -60.11, -62.44]},
    ),
}


@pytest.mark.parametrize("stage", MADE)
def test_another_result_has_another_version(tmp_path, stage):
    make, values = MADE[stage]
    version = made_from.VERSIONS[stage]
    assert list(values)[-1] == version, f"note the values of version {version}"
    found = np.asarray(make(tmp_path / "made"), dtype=float)
    message = f"{make.__doc__} Raise VERSIONS[{stage}]"
    assert found == pytest.approx(values[version], rel=1e-3, abs=1e-3), message


def test_a_result_of_an_earlier_version_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "scored").mkdir()
    record = made_from.make_record(8, {}, {}, {})
    made_from.write_record(tmp_path / "scored", made_from.with_outputs(record, []))
    made_from.check_current(tmp_path / "scored")
    assert made_from.is_finished(tmp_path / "scored", record)
    monkeypatch.setitem(made_from.VERSIONS, 8, 3)
    with pytest.raises(InputError, match="version 2 of stage 8.*Run stage 8 again"):
        made_from.check_current(tmp_path / "scored")
    now = made_from.make_record(8, {}, {}, {})
    assert not made_from.is_finished(tmp_path / "scored", now)


@pytest.mark.parametrize("version", [1, 2])
def test_finished_work_of_another_version_is_made_again(tmp_path, version):
    settings = {"fs": 8000}
    with Journal(tmp_path / "journal", settings) as journal:
        journal.add("a", bytes=1)
    with Journal(tmp_path / "journal", settings, version) as journal:
        assert list(journal.entries) == (["a"] if version == 1 else [])

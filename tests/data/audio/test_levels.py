import math

import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.audio.levels import Level, measure, read_levels, write_levels
from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import FS, write_corpus, write_stages


def measured(path, samples, subtype="PCM_16"):
    soundfile.write(path, samples, FS, subtype=subtype)
    with soundfile.SoundFile(path) as f:
        return measure(f)


def test_a_sine_has_its_analytic_level(tmp_path):
    time = np.arange(4 * FS) / FS
    sine = 0.5 * np.sin(2 * np.pi * 100 * time)
    num_read, level = measured(tmp_path / "a.wav", sine)
    assert num_read == 4 * FS and level.full_scale == 0
    assert level.rms_dbfs == pytest.approx(
        20 * math.log10(0.5 / math.sqrt(2)), abs=0.01
    )
    assert level.peak_dbfs == pytest.approx(20 * math.log10(0.5), abs=0.01)


def test_samples_at_either_full_scale_count(tmp_path):
    samples = np.zeros(600_000, np.int16)  # three blocks
    samples[[0, 5, 300_000, 599_999]] = [32767, -32768, 32767, -32767]
    samples[7] = 32766
    assert measured(tmp_path / "a.wav", samples)[1].full_scale == 4


def test_silence_and_nan(tmp_path):
    silence = measured(tmp_path / "a.wav", np.zeros(100))
    assert silence == (100, Level(-math.inf, -math.inf, 0))
    broken = np.array([0.0, np.nan, 0.0], np.float32)
    assert measured(tmp_path / "b.wav", broken, "FLOAT")[1] is None


def test_table_round_trip(tmp_path):
    levels = {"b": Level(-20.126, -3.0, 7), "a": Level(-math.inf, -math.inf, 0)}
    write_levels(tmp_path / "levels.tsv", levels)
    found = read_levels(tmp_path / "levels.tsv")
    assert found == {"a": levels["a"], "b": Level(-20.13, -3.0, 7)}
    assert list(found) == ["a", "b"]
    (tmp_path / "levels.tsv").write_text("a\t1\t2\n")
    with pytest.raises(InputError, match="first line must name the columns clip"):
        read_levels(tmp_path / "levels.tsv")
    with pytest.raises(InputError, match="stage 4|Stage 4"):
        read_levels(tmp_path / "none.tsv")


def test_the_filter_writes_the_levels_of_silent_clips_too(tmp_path):
    corpus = write_corpus(tmp_path / "clips")
    quiet = next(iter(corpus.audio))
    zeros = np.zeros(corpus.num_samples[quiet])
    soundfile.write(corpus.audio[quiet], zeros, FS, subtype="PCM_16")
    stages = write_stages(tmp_path / "stages", corpus)
    filter_clips(**stages, output_dir=tmp_path / "out", limits=Limits(FS, 8000))
    levels = read_levels(tmp_path / "out" / "levels.tsv")
    assert set(levels) == set(corpus.audio)
    assert levels[quiet].rms_dbfs == -math.inf
    assert all(-25 < v.rms_dbfs < -20 for k, v in levels.items() if k != quiet)

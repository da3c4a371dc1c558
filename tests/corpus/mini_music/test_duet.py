"""The duet that the demo leaves to be tried."""

from dataclasses import replace

import av
import numpy as np
import pytest
import soxr
from PIL import Image

from espnet2_avsep.corpus.mini_music import corpus
from espnet2_avsep.corpus.mini_music.duet import write_duet
from espnet2_avsep.errors import InputError

PARAMETERS = corpus.Parameters(duration=1.0, instruments=("cello", "flute"))


def test_duet_shows_and_sounds_both_players(tmp_path):
    video, left, right = write_duet(tmp_path, "flute", "cello", PARAMETERS)
    with av.open(str(video)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    with av.open(str(video)) as container:
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert len(frames) == 12 and frames[0].shape == (240, 640, 3)
    for path, half in ((left, np.s_[:, :320]), (right, np.s_[:, 320:])):
        picture = np.asarray(Image.open(path)).astype(float)
        assert abs(picture - frames[6][half]).mean() < 6
    mixture = 0
    for take in corpus.plan(PARAMETERS):
        if take.set == "test" and take.index == 0:
            mono = corpus.sound(take, PARAMETERS).mean(axis=0)
            mixture = mixture + soxr.resample(mono, take.sampling_rate, 44100) / 2
    length = min(len(heard), len(mixture))
    assert np.corrcoef(heard[:length], mixture[:length])[0, 1] > 0.97


def test_instrument_that_the_corpus_lacks(tmp_path):
    with pytest.raises(InputError, match="kazoo: the corpus has no such instrument"):
        write_duet(tmp_path / "x", "kazoo", "cello", PARAMETERS)
    assert not (tmp_path / "x").exists()


def test_two_of_one_instrument_are_two_takes(tmp_path):
    """Both sides were the same take: there was nothing to separate."""
    parameters = replace(PARAMETERS, duration=1.0, test_takes=2)
    _, left, right = write_duet(tmp_path, "flute", "flute", parameters)
    assert left.read_bytes() != right.read_bytes()
    single = replace(parameters, test_takes=1)
    with pytest.raises(InputError, match="flute on both sides: .* two are needed"):
        write_duet(tmp_path / "x", "flute", "flute", single)


def test_a_duration_without_a_note_is_an_input_error(tmp_path):
    """It was a traceback from the drawing of the pictures."""
    with pytest.raises(InputError, match="--duration 0.3: must be between 1 and 600"):
        write_duet(tmp_path, "flute", "cello", replace(PARAMETERS, duration=0.3))

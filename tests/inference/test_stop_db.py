"""stop_db of SeparateAV: what is not taken is silent, and stays in the residual."""

import numpy as np
import pytest

from espnet2_avsep import SeparateAV
from espnet2_avsep.errors import InputError
from tests.support.tiny_corpus import DIM, SEGMENT
from tests.support.trained_model import make_trained_folder

CONF = {"visual_dim": DIM, "channels": 4, "layers": 3, "width": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_trained_folder(
        tmp_path_factory.mktemp("exp"),
        separator="mp_net",
        separator_conf={**CONF, "mask": "ratio"},
        criterions=[{"name": "recursive_mask"}],
    )


def test_sources_that_are_not_taken_are_silent(folder):
    """Each step of a random network takes half of the rest: 6 dB, to say it roughly."""
    rng = np.random.default_rng(1)
    mixture = rng.normal(size=SEGMENT).astype(np.float32) / 10
    prompts = list(rng.normal(size=(4, DIM)).astype(np.float32))
    heard = []
    for stop_db in (None, -60, -7, -1e-6):
        separate = SeparateAV.from_pretrained(folder, stop_db=stop_db)
        tracks = separate(mixture, prompts, residual=True)
        np.testing.assert_allclose(tracks.sum(axis=0), mixture, atol=1e-6)
        energy = np.square(tracks[:-1]).sum(axis=1)
        heard.append(int((energy > 0).sum()))
    assert heard[0] == heard[1] == 4 > heard[2] > heard[3] == 1


@pytest.mark.parametrize(
    "changes, stop_db, message",
    [
        ({}, 3, "stop_db=3: expected a level below 0 dB"),
        (
            {"separator": "hfra"},
            -20,
            "stop_db=-20: this model takes all sources at once",
        ),
    ],
)
def test_levels_and_models_that_cannot_stop(
    tmp_path, folder, changes, stop_db, message
):
    if changes:
        folder = make_trained_folder(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        SeparateAV.from_pretrained(folder, stop_db=stop_db)

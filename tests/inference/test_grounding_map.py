"""What sounds in a file, and where in the picture of a video."""

import numpy as np
import pytest
import torch
from PIL import Image

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference import grounding_map
from espnet2_avsep.inference.prompts import During
from espnet2_avsep.inference.separate import SeparateAV
from tests.support.media_fixtures import tone, write_video
from tests.support.tiny_corpus import DIM
from tests.support.trained_model import make_trained_folder

RATE = 8000
CCOL = {
    "separator": "ccol",
    "separator_conf": {
        "visual_dim": DIM,
        "maps": 3,
        "channels": 4,
        "layers": 3,
        "grounding_channels": 2,
    },
    "criterions": [{"name": "co_learning"}],
}


class Encoder:
    """Embeds a picture by its mean colour."""

    def encode(self, images):
        rows = [[i[..., c].mean() / 255 for c in range(3)] + [1] for i in images]
        return np.array(rows, np.float32)[:, :DIM]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_trained_folder(tmp_path_factory.mktemp("ccol") / "model", **CCOL)


@pytest.fixture
def separate(model):
    return SeparateAV.from_pretrained(model, image_encoder=Encoder())


def follow_red(separate, monkeypatch):
    """Let the model say: as probable as the picture is red."""

    def ground_each(sounds, visual):
        red = visual[:, :, 0, 0].clamp(0, 1)
        return red[:, None].expand(-1, sounds.size(1), -1)

    monkeypatch.setattr(separate.model, "ground_each", ground_each)


def test_probabilities_are_the_networks_own(separate):
    torch.manual_seed(1)
    model = separate.model
    wave, visual = torch.randn(2, 6000) / 10, torch.randn(2, 3, 1, DIM)
    found = model.ground(wave, visual)
    assert found.shape == (2, 3)
    magnitude = model.warp(model._spectrum(wave[:, None]).abs())
    feature = model._compress(magnitude)
    network = model.separator.grounding
    for b in range(2):
        audio = network.embed(feature[b][None])
        for n in range(3):
            logits = network(audio[None], visual[b, n, :1][None])[0, 0, 0]
            expected = logits.exp()[0] / logits.exp().sum()
            assert found[b, n].item() == pytest.approx(expected.item(), abs=1e-6)
    each = model.ground_each(torch.stack([wave, 0 * wave], dim=1), visual)
    torch.testing.assert_close(each[:, 0], found)
    assert not each[:, 1].any()  # nothing sounds in silence


def test_stretches_of_a_recording(separate):
    """Each is heard by itself, the last one with what precedes it."""
    rate, segment = separate.sample_rate, separate.segment
    wave = np.random.default_rng(0).normal(size=2 * segment + 50).astype(np.float32)
    prompts = np.eye(DIM, dtype=np.float32)[:2]
    pieces = np.array_split(wave / 10, 7)
    found = list(separate.ground(pieces, prompts))
    ends = [segment / rate, 2 * segment / rate, len(wave) / rate]
    assert [end for _, end, _ in found] == pytest.approx(ends)
    visual = torch.from_numpy(prompts)[None, :, None]
    for (_, _, probability), first in zip(
        found, (0, segment, segment + 50), strict=True
    ):
        part = torch.from_numpy(wave[None, first : first + segment] / 10)
        expected = separate.model.ground(part, visual)[0]
        np.testing.assert_allclose(probability, expected, atol=1e-5)


def test_what_cannot_be_grounded(separate, tmp_path):
    prompts = np.eye(DIM, dtype=np.float32)[:1]
    with pytest.raises(InputError, match="empty"):
        list(separate.ground([], prompts))
    with pytest.raises(InputError, match="time spans"):
        list(separate.ground([np.ones(9000)], [During(prompts[0], [(0, 1)])]))
    other = SeparateAV.from_pretrained(make_trained_folder(tmp_path / "hfra"))
    with pytest.raises(InputError, match="separator hfra cannot tell"):
        list(other.ground([np.ones(9000)], prompts))
    with pytest.raises(InputError, match="grid=1"):
        grounding_map.ground_picture(separate, "x.mp4", grid=1)


def test_windows_cover_the_picture():
    boxes = grounding_map.windows(4)
    assert len(boxes) == 16 and boxes[0][:2] == (0, 0)
    assert boxes[-1] == pytest.approx((0.6, 0.6, 1, 1))
    assert (grounding_map.heat_map(boxes, np.ones(16), (30, 50)) == 1).all()


def test_heat_map_averages_the_windows_over_a_pixel():
    boxes = [(0, 0, 0.5, 1), (0.25, 0, 1, 1)]
    found = grounding_map.heat_map(boxes, [1.0, 0.2], (2, 4))
    np.testing.assert_allclose(found, [[1, 0.6, 0.2, 0.2]] * 2)


def half_red(number):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32, 0] = 255
    return picture


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "red.mp4"
    sound = tone(3, RATE, 300)[None]
    write_video(path, 30, 10, sound, RATE, paint=half_red, pixels="yuv444p")
    return path


def test_map_of_a_video(separate, video, monkeypatch, tmp_path):
    follow_red(separate, monkeypatch)
    heat = grounding_map.ground_picture(separate, video, grid=5)
    assert heat.shape == (48, 64)
    assert heat[:, :6].min() > 0.9 and heat[:, -6:].max() < 0.1
    assert (np.diff(heat[24]) <= 1e-6).all()

    picture = grounding_map.middle_picture(video)
    path = tmp_path / "heat.png"
    grounding_map.write_heat_map(path, picture, heat)
    shown = np.asarray(Image.open(path)).astype(int)
    share = 0.7 * heat[..., None]
    expected = (1 - share) * picture + share * np.array((255, 32, 0))
    assert np.abs(shown - expected).max() <= 1


def test_the_frame_of_a_box_of_less_than_a_pixel_is_drawn(tmp_path):
    """Such a query ended in an error of the drawing library, after all the work."""
    black, path = np.zeros((54, 96, 3), np.uint8), tmp_path / "heat.png"
    box = (0.5, 0.5, 0.505, 0.75)
    grounding_map.write_heat_map(path, black, np.zeros((54, 96)), [box], [""])
    rows, columns = np.nonzero(np.asarray(Image.open(path)).any(axis=2))
    assert set(columns) == {48}
    assert set(rows) == set(range(27, 40))


def test_file_of_queries(separate, video, monkeypatch):
    follow_red(separate, monkeypatch)
    rows = np.zeros((2, DIM), np.float32)
    rows[:, 0] = 0.25, 0.75
    found = grounding_map.ground_file(separate, video, list(rows))
    np.testing.assert_allclose(found.mean, [0.25, 0.75])
    assert found.begins[0] == 0 and found.ends[-1] == pytest.approx(3, abs=0.15)  # AAC
    assert (found.begins[1:] == found.ends[:-1]).all()

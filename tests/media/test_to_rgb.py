"""Decoded frames come out as a player shows them."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from espnet2_avsep.media.orientation import _MATRICES
from espnet2_avsep.media.picture import GROUND, Resize
from espnet2_avsep.media.to_rgb import ToRGB
from espnet2_avsep.visual.frames import video_frames
from tests.support.media_fixtures import set_matrix, write_video


def yuv_frame(luma, width=1280, height=720, pixels="yuv420p", full=False):
    """A grey frame in BT.709."""
    frame = av.VideoFrame(width, height, pixels)
    for number, plane in enumerate(frame.planes):
        plane.update(bytes([128 if number else luma]) * plane.buffer_size)
    frame.colorspace, frame.color_range = 1, 2 if full else 1
    return frame


@pytest.mark.parametrize(
    "resize", [None, Resize(), Resize((225, 225)), Resize((90,) * 2)]
)
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p"])
def test_scaled_frames_are_not_darker(resize, pixels):
    to_rgb = ToRGB(resize)
    for luma in range(16, 236, 9):
        expected = (luma - 16) * 255 / 219
        found = to_rgb(yuv_frame(luma, 640, 360, pixels))
        assert abs(found.mean() - expected) <= 0.51
        assert found.max() - found.min() <= 1
    full = to_rgb(yuv_frame(100, 640, 360, pixels, full=True))
    assert abs(full.mean() - 100) <= 0.51


def test_frames_equal_pil_s_scaling_of_the_picture():
    """To half a level on average, of a picture in colour."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (9, 16, 3), np.uint8))
    image = small.resize((640, 360), Image.BICUBIC)
    frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
    expected = np.asarray(image.resize((398, 224), Image.BICUBIC)).astype(float)
    for pixels, limit in (("rgb24", 0.5), ("yuv444p", 1), ("yuv420p", 1.5)):
        found = ToRGB(Resize())(frame.reformat(format=pixels))
        difference = found - expected
        assert np.abs(difference).mean() < limit
        assert abs(difference.mean()) < 0.5


@pytest.mark.parametrize("orientation", _MATRICES)
def test_frames_are_turned_by_the_whole_matrix(tmp_path, orientation):
    """A mirrored picture is no turned one; FFmpeg's angle of both is -180."""
    stored = np.zeros((64, 96, 3), np.uint8)
    stored[:24, :40] = 255
    path = write_video(tmp_path / "a.mp4", 2, paint=lambda _: stored)
    set_matrix(path, _MATRICES[orientation])
    a, b, c, d = _MATRICES[orientation]
    height, width = stored.shape[:2]
    # Where the middles of the stored pixels are shown, about the picture's centre.
    y, x = np.mgrid[:height, :width] + 0.5
    y, x = y - height / 2, x - width / 2
    across, down = a * x + c * y, b * x + d * y
    shown = (height, width) if a else (width, height)
    expected = np.zeros((*shown, 3), np.uint8)
    rows = np.floor(down + shown[0] / 2).astype(int)
    columns = np.floor(across + shown[1] / 2).astype(int)
    expected[rows, columns] = stored
    (_, image), *_ = video_frames(path, [Fraction(0)])
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 4


def test_pixels_that_are_not_square(tmp_path):
    """PAL for 16:9: 720 x 576 pixels, 64:45 wide, are shown as 1024 x 576."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 180, 144, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        image = np.zeros((144, 180, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    (_, image), *_ = video_frames(path, [Fraction(0)])
    assert image.shape == (144, 256, 3)
    (_, image), *_ = video_frames(path, [Fraction(0)], Resize((72, 72)))
    assert image.shape == (72, 128, 3)
    set_matrix(path, _MATRICES[6])
    (_, image), *_ = video_frames(path, [Fraction(0)], Resize((72, 72)))
    assert image.shape == (128, 72, 3)


def test_transparent_parts_of_a_video_show_the_ground(tmp_path):
    image = np.zeros((32, 48, 4), np.uint8)
    image[..., 0] = 255
    image[:, 24:, 3] = 255
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgba")))
        container.mux(stream.encode())
    for resize in (None, Resize((16, 16))):
        (_, found), *_ = video_frames(tmp_path / "a.mov", [Fraction(0)], resize)
        half = found.shape[1] // 2
        assert (found[:, : half - 2] == GROUND).all()
        assert (found[:, half + 2 :] == (255, 0, 0)).all()


def test_a_very_long_frame_is_not_scaled(tmp_path):
    frame = av.VideoFrame.from_ndarray(np.zeros((2, 9000, 3), np.uint8), format="rgb24")
    assert ToRGB(Resize())(frame).shape == (2, 9000, 3)

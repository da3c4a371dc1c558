"""Videos written again show what the source shows, at the same times."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from espnet2_avsep.data.audio.video_writer import write_video
from espnet2_avsep.media.orientation import _MATRICES
from espnet2_avsep.media.picture import GROUND
from espnet2_avsep.media.timed_frames import timed_frames
from espnet2_avsep.media.to_rgb import ToRGB, pixel_aspect
from espnet2_avsep.media.video_encoder import VideoEncoder
from tests.support.media_fixtures import (
    paint_number,
    read_number,
    set_matrix,
    tone,
    write_wav,
)
from tests.support.media_fixtures import write_video as make_video


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_wav(tmp_path_factory.mktemp("sound") / "s.wav", tone(2, 16000), 16000)


def shown(path):
    """(time in s, number) of each picture that a player shows."""
    with av.open(str(path)) as container:
        return [
            (round(float(frame.pts * frame.time_base), 4), read_number(image))
            for frame in container.decode(video=0)
            for image in [frame.to_ndarray(format="rgb24")]
        ]


def first_picture(path):
    """The first picture as a player shows it, and its frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        return ToRGB(None, pixel_aspect(stream))(frame), frame, stream


# Codec, pixel format and container; none of these codecs is copied to an mp4.
AGAIN = {
    "a.webm": ("libvpx", "yuv420p"),
    "a.flv": ("flv1", "yuv420p"),
    "a.mov": ("prores_ks", "yuv422p10le"),
}


@pytest.mark.parametrize("name", AGAIN)
def test_uneven_times_stay(tmp_path, sound, name):
    codec, pixels = AGAIN[name]
    times = [0, 20, 40, 290, 300, 1000, 1021, 1040, 1500, 1501]  # ms
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 64, pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(paint_number(number), format="rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    source = shown(tmp_path / name)
    assert [number for _, number in source] == list(range(10))
    assert write_video(tmp_path / name, sound, tmp_path / "out.mp4", 0.0) is False
    assert shown(tmp_path / "out.mp4") == source


@pytest.mark.parametrize("orientation", _MATRICES)
def test_orientation_of_a_video_that_is_encoded_again(tmp_path, sound, orientation):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:24, :40] = (255, 128, 0)
    video = make_video(
        tmp_path / "a.mov",
        2,
        codec="prores_ks",
        pixels="yuv422p10le",
        paint=lambda _: image,
    )
    set_matrix(video, _MATRICES[orientation])
    assert write_video(video, sound, tmp_path / "out.mp4", 0.0) is False
    expected, *_ = first_picture(video)
    found, *_ = first_picture(tmp_path / "out.mp4")
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("orientation", _MATRICES)
def test_orientation_of_a_video_that_is_copied(tmp_path, sound, orientation):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:24, :40] = (255, 128, 0)
    video = make_video(tmp_path / "a.mp4", 2, paint=lambda _: image)
    set_matrix(video, _MATRICES[orientation])
    assert write_video(video, sound, tmp_path / "out.mp4", 0.0) is True
    np.testing.assert_array_equal(
        first_picture(tmp_path / "out.mp4")[0], first_picture(video)[0]
    )


def write_tagged(path, codec, pixels, tags, aspect=Fraction(64, 45)):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 64, pixels
        encoder = stream.codec_context
        encoder.sample_aspect_ratio = aspect
        for name, value in tags.items():
            setattr(encoder, name, value)
        image = np.full((64, 160, 3), (180, 60, 30), np.uint8)
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format=pixels,
                dst_colorspace=tags.get("colorspace"),
                dst_color_range=tags.get("color_range"),
            )
            for name, value in tags.items():
                setattr(frame, name, value)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("orientation", [1, 6])
def test_shape_of_the_pixels_stays(tmp_path, sound, orientation):
    video = write_tagged(tmp_path / "a.mov", "prores_ks", "yuv422p10le", {})
    set_matrix(video, _MATRICES[orientation])
    assert write_video(video, sound, tmp_path / "out.mp4", 0.0) is False
    expected, _, stream = first_picture(video)
    assert stream.sample_aspect_ratio == Fraction(64, 45)
    found, _, stream = first_picture(tmp_path / "out.mp4")
    kept = Fraction(64, 45) if orientation == 1 else Fraction(45, 64)
    assert stream.sample_aspect_ratio == kept
    ratios = [image.shape[1] / image.shape[0] for image in (found, expected)]
    assert abs(ratios[0] / ratios[1] - 1) < 0.02


BT709 = {"colorspace": 1, "color_primaries": 1, "color_trc": 1}


@pytest.mark.parametrize(
    "codec, pixels, tags",
    [
        ("prores_ks", "yuv422p10le", {**BT709, "color_range": 1}),
        ("libvpx", "yuv420p", {}),
        ("rawvideo", "bgr24", {}),
    ],
)
def test_colours_and_their_tags_stay(tmp_path, sound, codec, pixels, tags):
    ending = {"rawvideo": "avi", "prores_ks": "mov"}.get(codec, "mkv")
    video = write_tagged(tmp_path / f"a.{ending}", codec, pixels, tags)
    assert write_video(video, sound, tmp_path / "out.mp4", 0.0) is False
    expected, before, _ = first_picture(video)
    found, after, _ = first_picture(tmp_path / "out.mp4")
    assert np.abs(found.mean((0, 1)) - expected.mean((0, 1))).max() < 3
    for name, value in tags.items():
        assert getattr(after, name) == getattr(before, name) == value, name


def test_full_range_stays(tmp_path):
    tags = {"color_range": 2}
    video = write_tagged(tmp_path / "a.avi", "mjpeg", "yuvj420p", tags)
    with (
        av.open(str(video)) as source,
        av.open(str(tmp_path / "out.mp4"), "w") as target,
    ):
        stream = source.streams.video[0]
        frames = list(timed_frames(source.demux(stream), stream))
        encoder = VideoEncoder(target, stream, frames[0][1])
        for time, frame in frames:
            target.mux(encoder.encode(time, frame))
        target.mux(encoder.flush())
    expected, *_ = first_picture(video)
    found, frame, _ = first_picture(tmp_path / "out.mp4")
    assert frame.color_range == 2
    assert np.abs(found.mean((0, 1)) - expected.mean((0, 1))).max() < 3


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_transparent_parts_show_the_ground(tmp_path, sound, orientation):
    image = np.zeros((64, 96, 4), np.uint8)
    image[..., 0] = 255
    image[:32, 48:, 3] = 255
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "argb"
        frame = av.VideoFrame.from_ndarray(image, format="rgba")
        container.mux(stream.encode(frame.reformat(format="argb")))
        container.mux(stream.encode())
    set_matrix(tmp_path / "a.mov", _MATRICES[orientation])
    write_video(tmp_path / "a.mov", sound, tmp_path / "out.mp4", 0.0)
    expected, *_ = first_picture(tmp_path / "a.mov")
    assert (expected == GROUND).mean() > 0.7
    found, *_ = first_picture(tmp_path / "out.mp4")
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4


def test_av1_is_copied(tmp_path, sound, av1_encoder):
    image = np.full((64, 96, 3), 90, np.uint8)
    video = make_video(tmp_path / "a.mp4", 5, codec=av1_encoder, paint=lambda _: image)
    set_matrix(video, _MATRICES[6])
    assert write_video(video, sound, tmp_path / "out.mp4", 0.0) is True
    assert first_picture(tmp_path / "out.mp4")[1].rotation == -90


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "3"}])
def test_no_picture_after_the_end_of_a_trimmed_file(tmp_path, sound, options):
    """An edit list shows the first second of two."""
    video = make_video(tmp_path / "a.mp4", 50, options=options)
    content = bytearray(video.read_bytes())
    at = content.index(b"elst") + 12
    assert struct.unpack(">I", content[at : at + 4]) == (2000,)
    content[at : at + 4] = struct.pack(">I", 1000)
    video.write_bytes(content)
    expected = [(round(n / 25, 4), n) for n in range(25)]
    assert shown(video) == expected
    write_video(video, sound, tmp_path / "out.mp4", 0.0)
    assert shown(tmp_path / "out.mp4") == expected


def test_a_video_that_an_edit_list_cuts_in_the_middle(tmp_path, sound):
    """Pictures 0-9 and 30-39 of 50: packets cannot be copied."""
    video = make_video(tmp_path / "a.mp4", 50, options={"bf": "0"})
    content = bytearray(video.read_bytes())
    # A second edit needs 12 bytes more in elst, edts, trak and moov; moov comes last.
    at = content.index(b"elst")
    assert content.index(b"moov") > content.index(b"mdat")
    for box in (b"elst", b"edts", b"trak", b"moov"):
        place = content.index(box) - 4
        size = struct.unpack(">I", content[place : place + 4])[0]
        content[place : place + 4] = struct.pack(">I", size + 12)
    start = struct.unpack(">i", content[at + 16 : at + 20])[0]
    edits = struct.pack(">IIiI", 2, 400, start, 1 << 16)
    edits += struct.pack(">IiI", 400, start + 30 * 512, 1 << 16)
    content[at + 8 : at + 24] = edits
    video.write_bytes(content)
    source = shown(video)
    assert [number for _, number in source] == [*range(10), *range(30, 40)]
    assert write_video(video, sound, tmp_path / "out.mp4", 0.0) is False
    assert shown(tmp_path / "out.mp4") == source


@pytest.mark.parametrize("codec, copied", [("libx264", True), ("mpeg1video", None)])
def test_joined_mpeg_ts(tmp_path, sound, codec, copied):
    """Time stamps that start anew go on after what was before."""
    parts = [
        make_video(
            tmp_path / f"{n}.ts",
            25,
            codec=codec,
            options={"bf": "0", "b": "2M"},
            audio=tone(1, 48000),
            rate=48000,
            paint=lambda i, n=n: paint_number(i + 25 * n),
        )
        for n in (0, 1)
    ]
    video = tmp_path / "joined.ts"
    video.write_bytes(b"".join(part.read_bytes() for part in parts))
    found = write_video(video, sound, tmp_path / "out.mp4", 0.0)
    assert copied is None or found is copied
    times, numbers = zip(*shown(tmp_path / "out.mp4"), strict=True)
    assert numbers == tuple(range(50))
    assert np.abs(np.diff(times) - 0.04).max() < 0.06  # the sound's end rules the join
    assert np.diff(times).min() > 0


def test_odd_sizes(tmp_path, sound):
    image = np.full((65, 161, 3), 120, np.uint8)
    video = make_video(
        tmp_path / "a.avi", 9, codec="rawvideo", pixels="bgr24", paint=lambda _: image
    )
    write_video(video, sound, tmp_path / "out.mp4", 0.0)
    found, *_ = first_picture(tmp_path / "out.mp4")
    assert found.shape == (64, 160, 3)
    assert abs(found.mean() - 120) < 3


def test_packets_that_cannot_be_decoded_are_left_out(tmp_path):
    video = make_video(tmp_path / "a.avi", 9, codec="mpeg4", gop=1)

    class Damaged:
        stream_index = 0

        def decode(self):
            raise av.error.InvalidDataError(1, "damaged")

    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        packets = list(container.demux(stream))
        packets[3:5] = [Damaged(), Damaged()]
        found = list(timed_frames(packets, stream, skip_damaged=True))
    numbers = [read_number(frame.to_ndarray(format="rgb24")) for _, frame in found]
    assert numbers == [0, 1, 2, 5, 6, 7, 8]
    assert [time for time, _ in found] == [Fraction(n, 25) for n in numbers]

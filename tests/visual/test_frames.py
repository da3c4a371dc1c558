import math
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from espnet2_avsep.corpus.tree import count_images
from espnet2_avsep.data.segment_reader import nearest_row, rows_in_segment
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.visual import frames as frames_module
from espnet2_avsep.visual.frames import (
    Resize,
    exact,
    folder_frames,
    sample_times,
    video_frames,
)
from tests.support.media_fixtures import (
    blank_out,
    paint_number,
    read_number,
    rotate,
    tone,
    truncate,
    write_clip,
    write_video,
)


def numbers(path, times, **options):
    return [read_number(image) for _, image in video_frames(path, times, **options)]


def no_full_decoding(*_):
    raise AssertionError("the time stamps were to be enough")


@pytest.mark.parametrize(
    "duration, rate, count",
    [(10.0, 1, 10), (10.01, 1, 11), (0.3, 1, 1), (2.0, 8, 16), (0.0, 1, 1)],
)
def test_sample_times_are_the_middles_of_equal_parts(duration, rate, count):
    times = sample_times(duration, rate)
    part = Fraction(str(duration)) / count
    assert times == [part * i + part / 2 for i in range(count)]


def test_durations_that_binary_numbers_round_up_have_no_row_more():
    """1.1 s at 10 pictures a second are 11 rows; there were 12."""
    for count in range(1, 300):
        assert len(sample_times(count * 44100 // 25 / 44100, 25)) == count
        assert len(sample_times(count / 10, 10)) == count
        assert len(sample_times(float(10 * count), 0.1)) == count
    assert len(sample_times(1.1 + 1 / 44100, 10)) == 12  # one sample more


def test_the_fraction_that_was_rounded_to_a_float():
    assert exact(65281 / 11625) == Fraction(65281, 11625)
    assert exact(29.97) == Fraction(2997, 100)
    assert exact(1e-9) > 0
    third = Fraction(1, 3 * 10**9)
    assert exact(third) == third


@pytest.mark.parametrize("duration", [10.0, 9.2, 10.01, 0.3])
@pytest.mark.parametrize("rate", [1, 8])
def test_rows_are_read_at_the_times_they_were_taken(duration, rate):
    """Extraction took row i at i / rate, the reader put it at (i + 1/2) / n."""
    fs = 1000
    num_samples = round(duration * fs)
    times = sample_times(num_samples / fs, rate)
    for row, time in enumerate(times):
        at = int(time * fs)
        # A segment of one sample around the time has only this row, in its middle.
        assert nearest_row(at, 1, num_samples, len(times)) == row
        assert rows_in_segment(at, 2, num_samples, len(times)) == (row, row + 1)


# Files whose pictures refer to later ones, start late or have coarse time stamps.
KINDS = {
    "b frames": ("a.mp4", "libx264", {"bf": "3"}),
    "open gop": ("a.mp4", "libx264", {"x264-params": "open-gop=1:bframes=4"}),
    "milliseconds": ("a.mkv", "libx264", {}),
    "late start": ("a.ts", "libx264", {}),
    "no time stamps": ("a.avi", "libx264", {"bf": "3"}),
    "avi": ("b.avi", "mpeg4", {}),
    "hevc": ("a.mp4", "libx265", {"x265-params": "log-level=0"}),
    "vp9": ("a.webm", "libvpx-vp9", {"speed": "8", "b": "2M"}),
    "mpeg2": ("a.mpg", "mpeg2video", {"bf": "2"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [1, Fraction(25, 8), 7, 60])
def test_the_picture_on_show_at_each_time(tmp_path, kind, rate, monkeypatch):
    name, codec, options = KINDS[kind]
    path = write_video(tmp_path / name, frames=60, codec=codec, options=options)
    if not name.endswith(".avi"):
        monkeypatch.setattr(frames_module, "_all_frames", no_full_decoding)
    start = {"a.ts": 2 / 25, "a.mpg": 0.54}.get(name, 0)
    times = sample_times(Fraction(11, 5), rate)
    expected = [math.floor(time * 25) for time in times]
    assert (
        numbers(path, times, start=Fraction(start).limit_denominator(100)) == expected
    )


def test_full_decoding_takes_the_same_pictures(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", frames=60, options={"bf": "3"})
    times = sample_times(4.0, 7)
    short = list(video_frames(path, times, Resize((32, 32))))
    monkeypatch.setattr(frames_module, "_read_index", lambda *_: None)
    full = list(video_frames(path, times, Resize((32, 32))))
    assert [time for time, _ in short] == [time for time, _ in full]
    for (_, a), (_, b) in zip(short, full, strict=True):
        np.testing.assert_array_equal(a, b)


def test_times_come_back_as_asked_for(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=50)
    times = sample_times(2.0, Fraction(8, 3))
    assert [time for time, _ in video_frames(path, times)] == [float(t) for t in times]


def test_last_picture_is_held_where_the_sound_goes_on(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=30, audio=tone(3.0, 22050))
    assert numbers(path, sample_times(3.0, 2)) == [6, 18, 29, 29, 29, 29]


def test_pictures_after_the_sound_are_not_taken(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=75, audio=tone(1.0, 22050))
    assert numbers(path, sample_times(1.0, 2)) == [6, 18]


def test_first_picture_stands_in_where_the_picture_begins_late(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=25)
    assert numbers(path, sample_times(1.0, 5), start=-0.5) == [0, 0, 0, 5, 10]


def test_stretches_without_a_wanted_picture_are_not_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", frames=100, gop=10)
    decoded = []
    decode = frames_module._decode_packets

    def counting(*arguments):
        for frame in decode(*arguments):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(frames_module, "_decode_packets", counting)
    assert numbers(path, [Fraction(0), Fraction(72, 25)]) == [0, 72]
    assert len(decoded) <= 10  # of 100


def test_key_frames_of_an_intra_refresh_are_no_beginning(tmp_path):
    """The last pictures were broken: FFmpeg gave what was not yet repaired."""
    path, rng = tmp_path / "a.mkv", np.random.default_rng(1)
    noise = rng.integers(0, 255, (64, 96, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.max_b_frames = 0
        stream.options = {"g": "30", "x264-params": "intra-refresh=1:keyint=20"}
        for n in range(90):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * n, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    times = [Fraction(n, 25) for n in range(80, 90)]
    expected = list(frames_module._all_frames(path, times, None))
    for time, image in zip(times, expected, strict=True):
        ((_, found),) = video_frames(path, [time])
        assert np.array_equal(found, image)


@pytest.mark.parametrize(
    "mode, height, width, target",
    [
        ("shortest", 360, 640, (224, 398)),
        ("shortest", 640, 360, (398, 224)),
        ("squash", 360, 640, (224, 224)),
        ("longest", 360, 640, (126, 224)),
    ],
)
def test_target_sizes(mode, height, width, target):
    assert Resize((224, 224), mode).target(height, width) == target


def test_pictures_are_scaled_while_converted(tmp_path):
    path = write_video(
        tmp_path / "a.mp4", paint=lambda i: paint_number(i, height=90, width=160)
    )
    (_, image), *_ = video_frames(path, [Fraction(1)], Resize((45, 45)))
    assert (image.shape, image.dtype) == ((45, 80, 3), np.uint8)
    assert read_number(image) == 25


def test_colours_are_right(tmp_path):
    colours = {0: (200, 30, 30), 1: (30, 200, 30), 2: (30, 30, 200), 3: (128, 128, 128)}
    path = write_video(
        tmp_path / "a.mp4",
        frames=4,
        fps=1,
        paint=lambda i: np.full((64, 64, 3), colours[i], np.uint8),
    )
    for time, image in video_frames(path, sample_times(4, 1), Resize((32, 32))):
        expected = np.array(colours[int(time)])
        assert np.abs(image.astype(int) - expected).max() <= 4


def test_a_turned_video_is_shown_upright(tmp_path):
    def paint(_):
        image = np.zeros((64, 128, 3), np.uint8)
        image[:32, :64] = 255  # top left
        return image

    path = rotate(write_video(tmp_path / "a.mp4", frames=5, paint=paint), 1)
    (_, image), *_ = video_frames(path, [Fraction(0)], Resize((32, 32)))
    assert image.shape == (64, 32, 3)
    bright = image.mean(axis=-1) > 127
    assert bright[4:28, 20:].all()  # top right
    assert not bright[36:, :].any()
    assert not bright[:, :12].any()


def test_truncated_video(tmp_path):
    whole = write_clip(
        tmp_path / "a.mp4", 4.0, container_options={"movflags": "faststart"}
    )
    cut = truncate(whole, 0.5, tmp_path / "cut.mp4")
    with pytest.raises(ClipError, match="truncated") as error:
        numbers(cut, sample_times(4, 1))
    assert error.value.reason.startswith("truncated")


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_truncated_video_in_other_containers(tmp_path, name):
    path = write_video(tmp_path / name, frames=100, codec="mpeg4")
    with pytest.raises(ClipError, match="truncated"):
        numbers(truncate(path, 0.5), sample_times(4, 1))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.webm"])
@pytest.mark.parametrize("full", [False, True])
def test_few_pictures_are_not_taken_for_a_cut_file(tmp_path, name, full, monkeypatch):
    codec = "libvpx" if name == "a.webm" else "mpeg4"
    path = write_video(tmp_path / name, frames=3, fps=1, codec=codec)
    if full:
        monkeypatch.setattr(frames_module, "_read_index", lambda *_: None)
    assert numbers(path, sample_times(3, 1)) == [0, 1, 2]


def test_a_fault_in_the_middle_counts_as_truncated(tmp_path):
    path = blank_out(write_clip(tmp_path / "a.mp4", 4.0), 0.4, 0.5)
    with pytest.raises(ClipError, match="truncated .decode error"):
        numbers(path, sample_times(4, 8))


def test_a_file_cut_at_its_very_end_is_used(tmp_path):
    whole = write_clip(
        tmp_path / "a.mp4", 4.0, container_options={"movflags": "faststart"}
    )
    cut = truncate(whole, 0.97, tmp_path / "cut.mp4")
    assert numbers(cut, sample_times(4, 1)) == [12, 37, 62, 87]


def test_a_file_without_picture(tmp_path):
    path = write_video(tmp_path / "a.m4a", frames=0, audio=tone(1, 22050))
    with pytest.raises(ClipError, match="no video stream"):
        numbers(path, sample_times(1, 1))


def write_images(folder, count, ending="png", width=160):
    folder.mkdir(parents=True)
    for i in range(count):
        image = Image.fromarray(paint_number(i, width=width))
        image.save(folder / f"{i + 1:06d}.{ending}")
    return folder


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_every_kth_image_of_a_folder(tmp_path, ending):
    folder = write_images(tmp_path / "frames", 20, ending)
    found = list(folder_frames(folder, 8, Resize((32, 32))))
    assert [number for number, _ in found] == [3, 10, 16]  # middles of 3 parts
    assert [read_number(image) for _, image in found] == [3, 10, 16]
    assert found[0][1].shape == (32, 80, 3)


@pytest.mark.parametrize("name", ["frame", "²"])  # a digit that is no number
def test_images_are_ordered_by_number(tmp_path, name):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in (9, 10, 100):
        Image.fromarray(paint_number(i)).save(folder / f"{name}{i}.png")
    (folder / "notes.txt").write_text("no picture")
    assert [read_number(image) for _, image in folder_frames(folder)] == [9, 10, 100]


def test_folders_that_are_called_like_images_are_passed_over(tmp_path):
    folder = write_images(tmp_path / "frames", 3)
    (folder / "000002.jpg").mkdir()
    assert len(list(folder_frames(folder))) == count_images(folder) == 3


def test_images_are_scaled_as_pil_does(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8))
    (tmp_path / "f").mkdir()
    image.save(tmp_path / "f" / "1.png")
    (_, found), *_ = folder_frames(tmp_path / "f", 1, Resize((30, 30)))
    expected = image.resize((45, 30), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_unusable_folders(tmp_path):
    with pytest.raises(ClipError, match="not found"):
        list(folder_frames(tmp_path / "nowhere"))
    with pytest.raises(ClipError, match="no images"):
        list(folder_frames(tmp_path))
    folder = write_images(tmp_path / "frames", 2)
    truncate(folder / "000002.png", 0.5)
    with pytest.raises(ClipError, match="unreadable image"):
        list(folder_frames(folder))

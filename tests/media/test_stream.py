"""What a file's streams last, and on which clock."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.audio.audio_format import format_audio
from espnet2_avsep.data.audio.audio_io import audio_span, read_audio
from espnet2_avsep.data.tables.scp import read_scp, read_skipped, write_scp
from espnet2_avsep.inference.prompts import Region
from espnet2_avsep.inference.region_reader import _pictures_of
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.picture import Resize
from espnet2_avsep.media.stream import measure, probe
from espnet2_avsep.visual.extract import extract_visual
from espnet2_avsep.visual.frames import video_frames
from espnet2_avsep.visual.visual_options import VisualOptions
from tests.media import clock_files
from tests.media.clock_files import CLICK, FLASH, FPS, SECONDS, write_clocked
from tests.support.media_fixtures import paint_number, read_number, tone, write_clip


@pytest.mark.parametrize(
    "container, second",
    [
        *(("ts", "the same"), ("ts 2", "the same"), ("mpg", "the same")),
        *(("ts", "an hour later"), ("mpg", "an hour later"), ("ogg", "the same")),
    ],
)
def test_joined_files_play_one_after_the_other(
    tmp_path, monkeypatch, container, second
):
    av.logging.set_level(av.logging.FATAL)
    first = write_clocked(tmp_path, container, "plain").path
    content = first.read_bytes()
    if second == "an hour later":
        monkeypatch.setattr(clock_files, "CLOCK", 3600.0)
        content = write_clocked(
            tmp_path, container, "clock from 10 s"
        ).path.read_bytes()
    path = tmp_path / f"joined{first.suffix}"
    path.write_bytes(first.read_bytes() + content)
    audio, rate = read_audio(str(path))
    assert len(audio) / rate == pytest.approx(2 * SECONDS, abs=0.1)
    loud = np.flatnonzero(np.abs(audio) > 0.4) / rate
    clicks = [loud[0], loud[loud > SECONDS][0]]
    assert clicks == pytest.approx([CLICK, SECONDS + CLICK], abs=0.05)
    if container == "ogg":
        return
    info = measure(path)
    assert info.audio_duration == pytest.approx(2 * SECONDS, abs=0.1)
    assert info.video_duration == pytest.approx(2 * SECONDS, abs=0.1)
    times = [Fraction(i, FPS) for i in range(int(2 * SECONDS * FPS))]
    flashes = [
        time
        for time, image in video_frames(path, times, Resize((16, 16)), info.zero)
        if image.mean() > 180
    ]
    assert flashes == pytest.approx([FLASH, SECONDS + FLASH], abs=0.05)


def test_nothing_but_the_file_tells_how_long_a_live_file_is(tmp_path):
    file = write_clocked(tmp_path, "webm", "unknown duration")
    info = probe(file.path)
    assert (info.audio_end, info.video_end, info.samples) == (None, None, None)
    info = measure(file.path)
    assert info.samples == pytest.approx(SECONDS * 48000, abs=960)
    assert info.pictures == SECONDS * FPS


def test_a_picture_does_not_last_as_long_as_the_sound(tmp_path):
    info = measure(write_clocked(tmp_path, "ts", "one picture").path)
    assert info.video_duration == pytest.approx(1 / FPS, abs=0.01)
    assert info.audio_duration == pytest.approx(SECONDS, abs=0.06)


def test_the_tag_of_matroska_is_an_end(tmp_path):
    path = write_clocked(tmp_path, "mkv", "late sound").path
    duration, start = audio_span(str(path))
    assert (duration, start) == (
        pytest.approx(4.0, abs=0.01),
        pytest.approx(0.72, 0.01),
    )


@pytest.mark.parametrize("share", [0.5, 0.97])
@pytest.mark.parametrize("container", ["avi", "flv", "mkv", "mov"])
def test_cut_files(tmp_path, container, share):
    path = write_clocked(tmp_path, container, "plain").path
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    if share == 0.5 or container == "mov":  # whose index is at its end
        with pytest.raises(ClipError, match="truncated|unreadable"):
            read_audio(str(path))
    else:
        audio, rate = read_audio(str(path))
        assert 0.9 * SECONDS < len(audio) / rate < SECONDS + 0.1


def test_left_out_pictures_at_the_end_of_an_avi(tmp_path):
    """The last picture of an AVI is held for 2 s by chunks without content."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=FPS)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        video.codec_context.time_base = Fraction(1, FPS)
        for pts in [*range(25), 75]:
            pixels = np.full((48, 64, 3), pts * 3, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = pts, Fraction(1, FPS)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    images = [
        round(float(image.mean()) / 3)
        for _, image in video_frames(path, [Fraction(t, 2) for t in range(7)])
    ]
    assert images == pytest.approx([0, 12, 24, 24, 24, 24, 75], abs=1)


def unknown_picture(path: Path) -> Path:
    """Give the picture of an mp4 a codec that nobody knows."""
    content = bytearray(path.read_bytes())
    at = content.index(b"avc1", content.index(b"stsd"))
    content[at : at + 4] = b"zzzz"
    path.write_bytes(content)
    return path


def test_a_picture_of_no_known_kind_costs_only_its_clip(tmp_path):
    good = write_clip(tmp_path / "good.mp4", 1.0)
    bad = unknown_picture(write_clip(tmp_path / "bad.mp4", 1.0))
    assert probe(bad).has_video
    with pytest.raises(ClipError, match="its picture is of no known kind"):
        next(video_frames(bad, [Fraction(0)]))
    write_scp(tmp_path / "video.scp", {"a": bad, "b": good})
    where = {"video_scp": [tmp_path / "video.scp"], "output_dir": [tmp_path / "out"]}
    extract_visual(VisualOptions(**where, visual_encoder="frames", visual_size=32))
    assert list(read_scp(tmp_path / "out" / "visual.scp")) == ["b"]
    (row,) = read_skipped(tmp_path / "out" / "visual_skipped.tsv")
    assert (row.key, row.reason) == ("a", "its picture is of no known kind")
    audio, rate = read_audio(str(bad))
    assert len(audio) / rate == pytest.approx(1.0, abs=0.05)


def test_stage_3_takes_the_audio_stream_that_was_asked_for(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        streams = [
            output.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in "ab"
        ]
        for level, stream in enumerate(streams, 1):
            samples = np.full((1, 4000), 1000 * level, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = 8000, Fraction(1, 8000)
            frame.pts = 0
            output.mux(stream.encode(frame))
    write_scp(tmp_path / "wav.scp", {"a": path})
    for number, level in ((None, 1000), (2, 2000), (1, 1000), (3, None)):
        options = {"audio_stream": number, "allow_empty": True}
        format_audio(tmp_path / "wav.scp", tmp_path / "out", 8000, **options)
        if level is None:
            (row,) = read_skipped(tmp_path / "out" / "skipped.tsv")
            assert row.reason == "has no audio stream 3"
        else:
            found, _ = read_audio(str(tmp_path / "out" / "data" / "a.wav"))
            assert set(found) == {np.float32(level / 32768)}


def test_regions_count_from_the_audio_stream_that_is_separated(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=FPS)
        video.height, video.width, video.pix_fmt = 64, 160, "yuv420p"
        starts = (0, 8000)  # the second one begins after a second
        sounds = [
            output.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in "ab"
        ]
        packets = []
        for number in range(75):
            picture = av.VideoFrame.from_ndarray(paint_number(number), format="rgb24")
            packets += video.encode(picture)
        packets += video.encode(None)
        for start, sound in zip(starts, sounds, strict=True):
            samples = np.full((1, 16000), 1000, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = 8000, Fraction(1, 8000)
            frame.pts = start
            packets += sound.encode(frame)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            output.mux(packet)
    for stream, first in ((None, 12), (1, 12), (2, 37)):
        _, image = next(_pictures_of(Region(path, every=1.0, audio_stream=stream)))
        assert abs(read_number(image) - first) <= 1
        assert probe(path, stream).audio_start == (stream == 2)


@pytest.mark.parametrize("name", ["a.mp4", "a.wav", "a.aiff", "a.mkv"])
def test_a_cut_file_lasts_as_long_as_it_can_be_read(tmp_path, name):
    """Rows of pictures are spread over the samples that stage 3 writes."""
    path = tmp_path / name
    if name.endswith(("mp4", "mkv")):
        options = {"movflags": "faststart"} if name == "a.mp4" else {}
        with av.open(str(path), "w", options=options) as out:
            stream = out.add_stream("aac", rate=44100, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                tone(10.0, 44100)[None], format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 44100, 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    else:
        soundfile.write(path, tone(10.0, 44100), 44100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 95 // 100])
    audio, rate = read_audio(str(path))
    seconds = len(audio) / rate
    assert 9.0 < seconds < 9.7
    assert audio_span(str(path))[0] == pytest.approx(seconds, abs=0.001)
    assert measure(path).audio_duration == pytest.approx(seconds, abs=0.001)

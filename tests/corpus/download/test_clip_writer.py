"""Sections cut out of videos, and pictures and sound put together."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from espnet2_avsep.corpus.download.clip_writer import write_clip
from espnet2_avsep.corpus.download.verify import verify
from espnet2_avsep.corpus.download.video_error import VideoError
from espnet2_avsep.data.audio.audio_io import read_audio
from tests.support.media_fixtures import read_number, rotate, truncate, write_video

RATE, FPS, SECONDS = 44100, 25, 16
PACKET = 1024  # samples of AAC


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """One file with both, and the two apart; key frames 10 s apart."""
    folder = tmp_path_factory.mktemp("source")
    # A rising tone: AAC decodes noise at random, and each moment must be told apart.
    time = np.arange(SECONDS * RATE) / RATE
    rising = (0.3 * np.sin(2 * np.pi * (200 + 60 * time) * time)).astype("f")
    picture = {"frames": SECONDS * FPS, "gop": 10 * FPS}
    return {
        "both": [write_video(folder / "both.mp4", audio=rising, rate=RATE, **picture)],
        "apart": [
            write_video(folder / "picture.mp4", **picture),
            write_video(folder / "sound.m4a", frames=0, audio=rising, rate=RATE),
        ],
        "webm": [
            write_video(folder / "picture.webm", codec="libvpx-vp9", **picture),
            write_video(
                folder / "sound.webm",
                frames=0,
                audio=np.repeat(rising, 2)[: SECONDS * 48000],
                rate=48000,
                audio_codec="libopus",
            ),
        ],
    }


def numbers(path):
    with av.open(str(path)) as container:
        return [
            (read_number(frame.to_ndarray(format="rgb24")), frame.time)
            for frame in container.decode(video=0)
        ]


def pictures(path):
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def packets(path, kind):
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(**{kind: 0}) if p.size]


@pytest.mark.parametrize("name", ["both", "apart"])
@pytest.mark.parametrize("start", [0.0, 3.0, 5.92])
def test_section_begins_where_it_should(source, tmp_path, name, start):
    write_clip(source[name], tmp_path / "clip.mp4", start, 10.0)
    shown = numbers(tmp_path / "clip.mp4")
    first = round(start * FPS)
    assert [number for number, _ in shown] == list(range(first, first + 10 * FPS))
    np.testing.assert_allclose([t for _, t in shown], np.arange(250) / FPS, atol=1e-3)

    whole, _ = read_audio(str(source[name][-1]))
    clip, rate = read_audio(str(tmp_path / "clip.mp4"))
    assert rate == RATE
    assert abs(len(clip) - 10 * RATE) <= PACKET
    # Where the clip's sound stands in the whole: to half a packet, and the same samples
    # but for the first packet, which lacks the one before it.
    middle = clip[5 * PACKET : 15 * PACKET]
    expected = round(start * RATE) + 5 * PACKET
    lags = np.arange(-PACKET, PACKET + 1)
    errors = [
        np.abs(whole[expected + lag :][: len(middle)] - middle).max() for lag in lags
    ]
    assert abs(lags[int(np.argmin(errors))]) <= PACKET // 2 + 1
    assert min(errors) < 1e-3


def test_whole_videos_are_copied_bit_for_bit(source, tmp_path):
    write_clip(source["apart"], tmp_path / "whole.mp4")
    for kind, part in (("video", 0), ("audio", 1)):
        assert packets(tmp_path / "whole.mp4", kind) == packets(
            source["apart"][part], kind
        )
    fields = verify(tmp_path / "whole.mp4", stated=16)
    assert fields["duration"] == pytest.approx(16, abs=0.05)
    assert (fields["fps"], fields["sample_rate"]) == (25.0, RATE)


def test_one_mp4_is_taken_as_it_is(source, tmp_path):
    content = source["both"][0].read_bytes()
    (tmp_path / "given.mp4").write_bytes(content)
    write_clip([tmp_path / "given.mp4"], tmp_path / "whole.mp4")
    assert (tmp_path / "whole.mp4").read_bytes() == content


def test_vp9_and_opus(source, tmp_path):
    write_clip(source["webm"], tmp_path / "whole.mp4")
    assert verify(tmp_path / "whole.mp4", stated=16)["sample_rate"] == 48000
    write_clip(source["webm"], tmp_path / "clip.mp4", 3.0)
    assert [number for number, _ in numbers(tmp_path / "clip.mp4")][:2] == [75, 76]
    assert verify(tmp_path / "clip.mp4", section=10)["duration"] == pytest.approx(
        10, abs=0.03
    )


def test_a_section_is_turned_as_the_video_is(source, tmp_path):
    turned = rotate(Path(shutil.copy(source["both"][0], tmp_path / "turned.mp4")), 1)
    write_clip([turned], tmp_path / "clip.mp4", 2.0)
    with av.open(str(turned)) as before, av.open(str(tmp_path / "clip.mp4")) as after:
        first, frame = next(before.decode(video=0)), next(after.decode(video=0))
    assert first.rotation == -90 and frame.rotation == 0
    assert (frame.width, frame.height) == (first.height, first.width)


def test_av1_is_kept(source, tmp_path, av1_encoder):
    picture = write_video(tmp_path / "v.mp4", frames=50, codec=av1_encoder)
    sound = write_video(tmp_path / "a.m4a", frames=0, audio=np.zeros(2 * RATE, "f"))
    write_clip([picture, sound], tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "libdav1d"
        assert len(list(container.decode(video=0))) == 50


def test_same_clip_twice_has_the_same_pictures_and_sound(source, tmp_path):
    # Not the same bytes: x264 with threads may code the invisible rows and columns,
    # which fill up the last macroblocks, in another way each time.
    for name in "ab":
        write_clip(source["apart"], tmp_path / f"{name}.mp4", 2.0)
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    assert packets(first, "audio") == packets(second, "audio")
    assert numbers(first) == numbers(second)
    for one, other in zip(pictures(first), pictures(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_cut(source, tmp_path):
    def kind(parts, *section):
        with pytest.raises(VideoError) as caught:
            write_clip(parts, tmp_path / "clip.mp4", *section)
        return caught.value.kind

    assert kind(source["apart"], 16.5) == "section beyond the end"
    assert kind(source["apart"][:1]) == "no audio"
    assert kind(source["apart"][1:]) == "no video"
    broken = truncate(source["apart"][0], 0.5, tmp_path / "broken.mp4")
    assert kind([broken, source["apart"][1]]) == "unreadable"


def test_verify_finds_what_is_wrong(source, tmp_path):
    def kind(path, **expected):
        with pytest.raises(VideoError) as caught:
            verify(path, **expected)
        return caught.value.kind

    both = source["both"][0]
    assert verify(both, stated=15)["bytes"] == both.stat().st_size
    assert kind(both, stated=19) == "truncated"
    assert kind(both, stated=13) == "wrong duration"
    assert kind(both, section=18) == "section beyond the end"
    assert kind(source["apart"][0]) == "no audio"
    assert kind(source["apart"][1]) == "no video"
    # The header is whole and says 16 s.
    front = write_video(
        tmp_path / "front.mp4",
        frames=400,
        audio=np.zeros(16 * RATE, "f"),
        rate=RATE,
        container_options={"movflags": "faststart"},
    )
    assert kind(truncate(front, 0.6)) == "truncated"
    (tmp_path / "page.mp4").write_text("<html>blocked</html>")
    assert kind(tmp_path / "page.mp4") == "unreadable"

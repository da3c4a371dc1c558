import os
import shutil

import pytest

from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
from espnet2_avsep.media.container import ClipError, open_media
from espnet2_avsep.media.stream import measure, probe
from tests.support.media_fixtures import (
    tone,
    truncate,
    write_clip,
    write_video,
    write_wav,
)


def test_probe_states_what_is_in_the_file(tmp_path):
    path = write_video(
        tmp_path / "a.mp4",
        frames=75,
        fps=30,
        audio=[tone(2.0, 44100), tone(2.0, 44100)],
        rate=44100,
    )
    info = probe(path)
    assert (info.has_audio, info.has_video) == (True, True)
    assert info.video_duration == pytest.approx(2.5)
    assert info.audio_duration == pytest.approx(2.0, abs=0.03)  # AAC blocks
    assert (info.fps, info.sample_rate, info.channels) == (30, 44100, 2)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_unequal_durations_are_kept_apart(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    info = measure(write_video(path, frames=25, audio=tone(3.0, 22050)))
    assert info.video_duration == pytest.approx(1.0, abs=0.05)
    assert info.audio_duration == pytest.approx(3.0, abs=0.06)


def test_audio_only_and_video_only(tmp_path):
    info = probe(write_video(tmp_path / "a.m4a", frames=0, audio=tone(1, 22050)))
    assert (info.has_audio, info.has_video, info.fps) == (True, False, None)
    info = probe(write_video(tmp_path / "v.mp4"))
    assert (info.has_audio, info.has_video, info.audio_duration) == (False, True, None)
    info = probe(write_wav(tmp_path / "w.wav", tone(1.5, 8000), 8000))
    assert (info.audio_duration, info.sample_rate) == (1.5, 8000)


@pytest.mark.parametrize(
    "content, reason",
    [
        (None, "file not found"),
        (b"", "zero-length file"),
        (b"\x07\x12" * 5000, "unreadable"),
        ("folder", "is a folder"),
    ],
)
def test_unusable_files_say_why(tmp_path, content, reason):
    path = tmp_path / "x.mp4"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ClipError, match=reason) as error:
        probe(path)
    assert str(path) in str(error.value)
    assert error.value.reason.startswith(reason)


def test_a_cut_mp4_without_its_index_is_unreadable(tmp_path):
    path = truncate(write_clip(tmp_path / "a.mp4"), 0.5)
    with pytest.raises(ClipError, match="unreadable"), open_media(path):
        pass


@pytest.mark.parametrize("name", ["12:30.mp4", "take:1.wav", "-x.mp4", "a [1:2]|.mp4"])
def test_relative_names_are_files_and_never_urls(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.move(write_video(tmp_path / "v.mp4", audio=tone(1, 22050)), tmp_path / name)
    assert probe(name).video_duration == pytest.approx(2.0)


@pytest.mark.parametrize(
    "name, content",
    [
        ("list.mp4", "ffconcat version 1.0\nfile a.ts\n"),
        (
            "list.m3u8",
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n",
        ),
        (
            "list.sdp",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            "m=audio 49170 RTP/AVP 0\n",
        ),
    ],
)
def test_lists_of_other_files_are_refused(tmp_path, name, content):
    write_video(tmp_path / "a.ts", audio=tone(1, 22050))
    (tmp_path / name).write_text(content)
    with (
        pytest.raises(ClipError, match="no supported media file"),
        open_media(tmp_path / name),
    ):
        pass


def test_names_of_pipes_and_no_names_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name, reason in ((tmp_path / "pipe.wav", "is a pipe"), ("a\0b.wav", "unread")):
        for read in (probe, lambda path: AudioBlocks(path)):
            with pytest.raises(ClipError, match=reason):
                read(name)

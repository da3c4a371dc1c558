import av
import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.audio import video_writer
from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
from espnet2_avsep.data.audio.video_writer import write_video
from espnet2_avsep.errors import InputError
from tests.media import clock_files
from tests.support.media_fixtures import read_number, tone, write_wav
from tests.support.media_fixtures import write_video as make_video


def packets(path):
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(video=0) if p.size]


@pytest.mark.parametrize("rate", [11625, 44100])
def test_picture_is_copied_and_sound_replaced(tmp_path, rate):
    video = make_video(tmp_path / "in.mp4", audio=tone(2, 22050, 440))
    sound = write_wav(tmp_path / "new.wav", tone(2, rate, 1000, 0.3), rate)
    assert write_video(video, sound, tmp_path / "out.mp4") is True
    assert packets(tmp_path / "out.mp4") == packets(video)
    blocks = AudioBlocks(tmp_path / "out.mp4")
    heard = np.concatenate(list(blocks), axis=-1)[0]
    spectrum = np.abs(np.fft.rfft(heard))
    assert abs(np.fft.rfftfreq(len(heard), 1 / blocks.fs)[spectrum.argmax()] - 1000) < 2
    assert abs(len(heard) / blocks.fs - 2) < 0.1
    assert blocks.fs == {11625: 12000, 44100: 44100}[rate]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "in.mp4",
        "new.wav",
        "out.mp4",
    ]


def test_sound_begins_where_the_video_s_did(tmp_path):
    """A click one second into the track is one second into the picture's clock too."""
    video = make_video(tmp_path / "in.mkv", audio=tone(2, 22050))
    click = np.zeros(44100, np.float32)
    click[22050:22060] = 1
    sound = write_wav(tmp_path / "click.wav", click, 22050)
    write_video(video, sound, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray()[0])
            if samples.max() > 0.3:
                at = frame.time + samples.argmax() / frame.sample_rate
                break
    assert abs(at - 1.0) < 0.01


# Container, codecs and whether the picture is copied. The sound begins late where a
# container can say so.
CONTAINERS = {
    "a.mp4": ("libx264", "yuv420p", "aac", True),
    "b.mov": ("prores_ks", "yuv422p10le", "pcm_s16le", False),
    "c.mkv": ("libx264", "yuv420p", "aac", True),
    "d.webm": ("libvpx", "yuv420p", "libopus", False),
    "e.ts": ("mpeg2video", "yuv420p", "aac", True),
    "f.avi": ("mpeg4", "yuv420p", "pcm_s16le", True),
    "g.flv": ("flv1", "yuv420p", "aac", False),
    "h.mpg": ("mpeg2video", "yuv420p", "mp2", True),
    "i.webm": ("libvpx-vp9", "yuv420p", "libopus", True),
}


def flash_and_click(path):
    """Times in s of the one bright picture and of the one click of a file."""
    with av.open(str(path)) as container:
        bright = [
            float(frame.pts * frame.time_base)
            for frame in container.decode(video=0)
            if frame.to_ndarray(format="gray").mean() > 128
        ]
    blocks = AudioBlocks(path)
    heard = np.abs(np.concatenate(list(blocks), axis=-1)[0])
    click = blocks.start + heard.argmax() / blocks.fs
    return bright[0], click


@pytest.mark.parametrize("name", CONTAINERS)
def test_sound_and_picture_stay_together(tmp_path, name):
    """To 1 ms, measured before and after."""
    codec, pixels, audio_codec, is_copied = CONTAINERS[name]
    sound = np.zeros(3 * 48000, np.float32)
    sound[48000 : 48000 + 24] = 0.9
    video = make_video(
        tmp_path / name,
        75,
        audio=sound,
        rate=48000,
        codec=codec,
        audio_codec=audio_codec,
        pixels=pixels,
        paint=lambda i: np.full((64, 96, 3), 255 * (i == 25), np.uint8),
    )
    flash, click = flash_and_click(video)
    blocks = AudioBlocks(video)
    track = np.concatenate(list(blocks), axis=-1)
    write_wav(tmp_path / "track.wav", track, blocks.fs)
    copied = write_video(
        video, tmp_path / "track.wav", tmp_path / "o.mp4", blocks.start
    )
    assert copied is is_copied
    found = flash_and_click(tmp_path / "o.mp4")
    assert abs((found[1] - found[0]) - (click - flash)) < 0.001
    assert abs(click - flash) < 0.03  # so it was made


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("container", ["ts 2", "mpg"])
def test_a_video_with_a_clock_of_its_own_begins_at_zero(
    tmp_path, monkeypatch, container, copied
):
    """Tracks of a broadcast that was cut began with hours of nothing."""
    monkeypatch.setattr(clock_files, "CLOCK", 3600.0)
    source = clock_files.write_clocked(tmp_path, container, "clock from 10 s")
    blocks = AudioBlocks(source.path)
    track = np.concatenate(list(blocks), axis=-1)
    write_wav(tmp_path / "track.wav", track, blocks.fs)
    if not copied:
        monkeypatch.setattr(video_writer, "_copied", refuse)
    path = tmp_path / "o.mp4"
    found = write_video(source.path, tmp_path / "track.wav", path, blocks.start)
    assert found is copied
    flash, click = flash_and_click(path)
    assert abs((flash - click) - (source.flash - source.click)) < 0.005
    assert abs(flash - clock_files.FLASH) < 0.1
    with av.open(str(path)) as opened:
        assert opened.start_time < 100_000  # in microseconds
        assert abs(opened.duration / 1e6 - clock_files.SECONDS) < 0.2


def refuse(*_):
    raise ValueError("not copied")


def test_pictures_of_an_avi_that_are_decoded_out_of_order(tmp_path):
    """AVI has no time stamps for them: copied, all would come two pictures late."""
    video = make_video(
        tmp_path / "a.avi", 30, options={"bf": "2"}, audio=tone(1, 22050)
    )
    sound = write_wav(tmp_path / "new.wav", tone(1, 22050), 22050)
    assert write_video(video, sound, tmp_path / "out.mp4", 0.0) is False
    with av.open(str(tmp_path / "out.mp4")) as container:
        found = [
            (float(f.pts * f.time_base), read_number(f.to_ndarray(format="rgb24")))
            for f in container.decode(video=0)
        ]
    assert found == [(n / 25, n) for n in range(30)]


def test_picture_that_no_mp4_holds_is_encoded_again(tmp_path):
    video = make_video(
        tmp_path / "in.avi",
        codec="rawvideo",
        pixels="bgr24",
        audio=tone(2, 22050),
        audio_codec="pcm_s16le",
    )
    sound = write_wav(tmp_path / "new.wav", np.stack([tone(2, 22050)] * 2), 22050)
    assert write_video(video, sound, tmp_path / "out.mp4") is False
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = list(container.decode(video=0))
        assert container.streams.audio[0].codec_context.channels == 2
    assert [read_number(f.to_ndarray(format="rgb24")) for f in frames] == list(
        range(50)
    )


def test_without_a_picture(tmp_path):
    sound = write_wav(tmp_path / "x.wav", tone(1, 8000), 8000)
    with pytest.raises(InputError, match="has no picture"):
        write_video(sound, sound, tmp_path / "out.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]


def test_long_sound_on_a_short_picture(tmp_path):
    video = make_video(tmp_path / "in.mp4", frames=5, audio=tone(1, 22050))
    soundfile.write(tmp_path / "long.wav", tone(3, 22050), 22050)
    write_video(video, tmp_path / "long.wav", tmp_path / "out.mp4")
    heard = np.concatenate(list(AudioBlocks(tmp_path / "out.mp4")), axis=-1)
    assert abs(heard.shape[-1] / 22050 - 3) < 0.1


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6])
def test_no_channel_of_a_track_is_missing_in_its_video(tmp_path, channels):
    """Of six channels the first two were written: no centre, no surround."""
    video = make_video(tmp_path / "in.mp4", frames=10, audio=tone(0.4, 22050))
    hertz = [30 if n == 3 and channels == 6 else 300 + 200 * n for n in range(channels)]
    track = np.stack([tone(0.5, 44100, h, 0.2) for h in hertz])
    sound = write_wav(tmp_path / "t.wav", track, 44100)
    write_video(video, sound, tmp_path / "out.mp4")
    heard = np.concatenate(list(AudioBlocks(tmp_path / "out.mp4")), axis=-1)
    assert heard.shape[0] == channels
    np.testing.assert_allclose(heard[:, 8820:13230], track[:, 8820:13230], atol=0.02)


def test_of_many_channels_a_video_has_the_mean(tmp_path):
    video = make_video(tmp_path / "in.mp4", frames=10, audio=tone(0.4, 22050))
    track = np.zeros((9, 22050), np.float32)
    track[8] = tone(0.5, 44100, 500, 0.9)
    sound = write_wav(tmp_path / "t.wav", track, 44100)
    write_video(video, sound, tmp_path / "out.mp4")
    heard = np.concatenate(list(AudioBlocks(tmp_path / "out.mp4")), axis=-1)
    assert heard.shape[0] == 1
    np.testing.assert_allclose(
        heard[0, 8820:13230], track[8, 8820:13230] / 9, atol=0.01
    )

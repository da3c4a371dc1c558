import av
import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.audio_blocks import AudioBlocks
from espnet2_avsep.data.video_writer import has_picture, write_video
from espnet2_avsep.errors import InputError
from tests.media_fixtures import read_number, tone, write_wav
from tests.media_fixtures import write_video as make_video


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
    assert has_picture(sound) is None
    with pytest.raises(InputError, match="has no picture"):
        write_video(sound, sound, tmp_path / "out.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]


def test_long_sound_on_a_short_picture(tmp_path):
    video = make_video(tmp_path / "in.mp4", frames=5, audio=tone(1, 22050))
    soundfile.write(tmp_path / "long.wav", tone(3, 22050), 22050)
    write_video(video, tmp_path / "long.wav", tmp_path / "out.mp4")
    heard = np.concatenate(list(AudioBlocks(tmp_path / "out.mp4")), axis=-1)
    assert abs(heard.shape[-1] / 22050 - 3) < 0.1

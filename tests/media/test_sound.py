"""Sound is placed by its time stamps, of the right stream, without what is damaged."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Sequence, Tuple

import av
import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.audio import audio_blocks
from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
from espnet2_avsep.data.audio.audio_io import load_audio, read_audio
from espnet2_avsep.media import sound
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.sound import DownMix, find_sound
from tests.support.media_fixtures import tone, write_clip

RATE, PACKET = 16000, 320


def write_packets(path: Path, starts: Sequence[int], clicks: Sequence[int]) -> Path:
    """Write PCM packets of 20 ms at these times in samples; some begin with a click."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number, start in enumerate(starts):
            samples = np.full((1, PACKET), 1000, np.int16)
            if number in clicks:
                samples[0, 0] = 30000
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            frame.time_base = Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def click_places(path: Path) -> list:
    return np.flatnonzero(read_audio(str(path))[0] > 0.8).tolist()


def test_holes_become_silence_and_are_reported(tmp_path, caplog):
    starts = [0, 320, 640, 4640, 4960, 8960]  # two holes of 0.23 s
    path = write_packets(tmp_path / "a.mkv", starts, [0, 3, 5])
    assert click_places(path) == [0, 4640, 8960]
    audio, _ = read_audio(str(path))
    assert len(audio) == 8960 + PACKET
    assert not audio[960:4640].any() and audio[640:960].all()
    assert "filled with silence: 2 holes in the time stamps of its sound, 0.460 s" in (
        caplog.text
    )
    assert "the first at 0.06 s" in caplog.text


def test_overlaps_are_cut(tmp_path, caplog):
    starts = [0, 320, 640, 704, 1024]  # 704 is 16 ms too early
    path = write_packets(tmp_path / "a.mkv", starts, [4])
    assert click_places(path) == [1024]
    assert len(read_audio(str(path))[0]) == 1344
    assert "cut: 1 overlap in the time stamps of its sound, 0.016 s" in caplog.text


def test_jitter_is_no_hole(tmp_path, caplog):
    starts = [n * PACKET + (-1) ** n * 80 for n in range(20)]  # 5 ms each way
    path = write_packets(tmp_path / "a.mkv", starts, [19])
    assert click_places(path) == [19 * PACKET]
    assert not caplog.text


def test_times_that_leap_by_hours_are_an_error(tmp_path):
    path = write_packets(tmp_path / "a.mkv", [0, 320, RATE * 4000], [])
    with pytest.raises(ClipError, match="time stamps of its sound jump by 4000 s"):
        read_audio(str(path))


def write_streams(path: Path, *streams: Tuple[float, str]) -> Path:
    """Write tones of these frequencies in Hz, each in an audio stream of a codec."""
    with av.open(str(path), "w") as output:
        opened = [
            (output.add_stream(codec, rate=RATE, layout="mono"), hertz)
            for hertz, codec in streams
        ]
        for stream, hertz in opened:
            part = tone(1.0, RATE, hertz)[None]
            if stream.codec_context.name.startswith("pcm"):
                part = (part * 32767).astype(np.int16)
            kind = "s16" if part.dtype == np.int16 else "fltp"
            frame = av.AudioFrame.from_ndarray(part, format=kind, layout="mono")
            frame.sample_rate, frame.pts = RATE, 0
            frame.time_base = Fraction(1, RATE)
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


def pitch(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio))
    return round(float(spectrum.argmax()) * RATE / len(audio), -1)


def set_default(path: Path, number: int) -> Path:
    """Write a Matroska file again with another default track."""
    from av.stream import Disposition

    copy = path.with_name(f"default_{path.name}")
    with av.open(str(path)) as source, av.open(str(copy), "w") as output:
        outs = {}
        for n, stream in enumerate(source.streams.audio):
            out = outs[stream.index] = output.add_stream_from_template(stream)
            out.disposition = Disposition.default if n == number else Disposition(0)
        for packet in source.demux():
            if packet.size:
                packet.stream = outs[packet.stream_index]
                output.mux(packet)
    return copy


def test_the_default_track_is_read(tmp_path, caplog):
    path = write_streams(tmp_path / "a.mkv", (440, "pcm_s16le"), (880, "pcm_s16le"))
    assert pitch(read_audio(str(set_default(path, 0)))[0]) == 440
    assert "audio stream 1 of 2 is read" in caplog.text
    path = set_default(path, 1)
    assert pitch(read_audio(str(path))[0]) == 880
    assert "audio stream 2 of 2 is read" in caplog.text
    assert "--audio_stream N chooses another" in caplog.text
    for number, hertz in ((1, 440), (2, 880)):
        assert pitch(load_audio(str(path), RATE, audio_stream=number)) == hertz
        blocks = np.concatenate(list(AudioBlocks(path, number)), axis=-1)
        assert pitch(blocks[0]) == hertz
    with pytest.raises(ClipError, match="has no audio stream 3. It has 2;"):
        read_audio(str(path), audio_stream=3)


def unknown_codec(path: Path, number: int = 0) -> Path:
    """Give the mp4 track of a number a codec that nobody knows."""
    content = bytearray(path.read_bytes())
    at = content.index(b"stsd")
    for _ in range(number):
        at = content.index(b"stsd", at + 4)
    for name in (b"mp4a", b"esds"):
        place = content.index(name, at)
        content[place : place + 4] = b"zzzz"
    path.write_bytes(content)
    return path


def test_a_track_of_no_known_kind_is_passed_over(tmp_path, caplog):
    path = write_streams(tmp_path / "a.mp4", (440, "aac"), (880, "aac"))
    assert pitch(read_audio(str(unknown_codec(path)))[0]) == 880
    assert "stream 1: its sound is of no known kind" in caplog.text
    with pytest.raises(ClipError, match="its sound is of no known kind"):
        read_audio(str(path), audio_stream=1)
    unknown_codec(path, 1)
    with pytest.raises(ClipError, match="no audio stream can be decoded"):
        find_sound(path)


def test_a_track_whose_packets_are_garbage_is_passed_over(tmp_path):
    path = write_streams(tmp_path / "a.mkv", (440, "libmp3lame"), (880, "pcm_s16le"))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as source:
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                at = content.index(bytes(packet))
                content[at : at + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    assert pitch(read_audio(str(path))[0]) == 880


@pytest.fixture
def mp3(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(3.0, 44100), 44100)
    return path


def test_joined_mp3s_are_read_to_the_end(mp3):
    content = mp3.read_bytes()
    mp3.write_bytes(content + content)
    assert len(read_audio(str(mp3))[0]) / 44100 == pytest.approx(6.0, abs=0.1)
    mp3.write_bytes(content[: len(content) // 2] + bytes(700) + content[-20000:])
    assert len(read_audio(str(mp3))[0]) > 44100


def test_a_cut_mp3_is_truncated(mp3, caplog):
    """Its encoder's tag tells how long it was."""
    content = mp3.read_bytes()
    tags = b"ID3\x03\0\0\0\0\x02\0" + bytes(256)
    mp3.write_bytes(tags + content[: len(content) // 2])
    with pytest.raises(ClipError, match="truncated .* of 3.00 s of audio"):
        read_audio(str(mp3))
    mp3.write_bytes(tags + content[: len(content) * 15 // 16])
    assert len(read_audio(str(mp3))[0]) > 2.7 * 44100
    assert ", 3.00 s are stated" in caplog.text


def test_an_ogg_with_damaged_pages_before_its_end_is_truncated(tmp_path):
    """FFmpeg leaves out pages whose checksum is wrong."""
    path = tmp_path / "a.ogg"
    soundfile.write(path, tone(4.0, 48000), 48000, format="OGG", subtype="OPUS")
    assert len(read_audio(str(path))[0]) == 4 * 48000
    content = bytearray(path.read_bytes())
    pages = [match.start() for match in re.finditer(b"OggS", content)]
    for at in pages[len(pages) // 2 : -1]:
        content[at + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(ClipError, match="truncated .* of 4.0. s of audio"):
        read_audio(str(path))


def test_too_much_that_cannot_be_decoded_is_an_error(tmp_path, monkeypatch, caplog):
    path = write_clip(tmp_path / "a.mp4", 4.0)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as source:
        places = [(p.pos, p.size) for p in source.demux(audio=0) if p.size]
    for place, size in places[5:15]:
        content[place : place + size] = b"\xff" * size
    path.write_bytes(content)
    with pytest.raises(ClipError, match=r"\d+ of 88 packets of its sound cannot be"):
        read_audio(str(path))
    monkeypatch.setattr(sound, "MAX_LOST_SHARE", 0.2)
    audio, rate = read_audio(str(path))
    assert len(audio) / rate == pytest.approx(4.0, abs=0.06)
    assert re.search("left out: [0-9]+ packets of its sound that cannot", caplog.text)


def test_mono_and_stereo_in_one_stream(tmp_path):
    """MP3s that were joined: the channels of the first count."""
    for number, channels in enumerate((1, 2)):
        samples = np.stack([tone(1.0, 44100)] * channels, axis=1)
        soundfile.write(tmp_path / f"{number}.mp3", samples, 44100)
    parts = [(tmp_path / f"{n}.mp3").read_bytes() for n in (0, 1)]
    for name, joined in (("ms", parts), ("sm", parts[::-1])):
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(b"".join(joined))
        audio, rate = read_audio(str(path))
        assert len(audio) / rate == pytest.approx(2.0, abs=0.1)
        assert np.abs(audio[-rate // 2 : -rate // 4]).max() == pytest.approx(0.5, 0.1)


@pytest.mark.parametrize(
    "right, warned", [(-1.0, True), (-0.8, True), (1.0, False), (0.0, False)]
)
def test_channels_that_cancel_are_reported(tmp_path, caplog, right, warned):
    left = tone(1.0, 8000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right * left], 1), 8000)
    read_audio(str(tmp_path / "a.wav"))
    assert ("its 2 channels are of opposite phase" in caplog.text) == warned


def test_independent_channels_do_not_cancel():
    rng = np.random.default_rng(0)
    for channels in (2, 8, 32):
        mix = DownMix()
        mix(rng.normal(size=(channels, 20000)).astype(np.float32))
        assert mix.note() == ""
    mix = DownMix()
    mix(np.zeros((2, 100), np.float32))
    assert mix.note() == ""


def test_parts_that_cancel_are_reported():
    mix = DownMix()
    left = tone(1.0, 8000)
    mix(np.stack([left, left]))
    mix(np.stack([left, -left]))
    assert "cancel in their mean in parts with 50% of its energy" in mix.note()
    mix = DownMix()
    mix(np.stack([left, left]))
    mix(np.stack([left, -left]) / 10)  # quiet
    assert mix.note() == ""


def test_a_long_hole_takes_no_memory(tmp_path):
    path = write_packets(tmp_path / "a.mkv", [0, 3000 * RATE], [1])
    blocks = AudioBlocks(path)
    sizes = [block.shape[-1] for block in blocks]
    assert sum(sizes) == 3000 * RATE + PACKET
    assert max(sizes) < 2 * audio_blocks.BLOCK

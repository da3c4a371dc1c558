"""Sounds whose notes are known, of which copies can be told from others."""

import io

import av
import numpy as np

RATE = 11625


def melody(seed: int, seconds: float = 10.0, rate: int = RATE) -> np.ndarray:
    """Return decaying notes of a tempered scale, four a second, (L,), float32."""
    rng = np.random.default_rng(seed)
    audio = np.zeros(int(seconds * rate))
    for start in np.sort(rng.uniform(0, seconds - 0.3, int(4 * seconds))):
        at = int(start * rate)
        time = np.arange(min(rate, len(audio) - at)) / rate
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        for harmonic in range(1, 6):
            level = rng.uniform(0.3, 1) / harmonic
            wave = np.sin(2 * np.pi * harmonic * pitch * time + rng.uniform(0, 6))
            audio[at : at + len(time)] += level * wave * np.exp(-4 * time)
    audio += 1e-4 * rng.standard_normal(len(audio))
    return (0.3 * audio / np.abs(audio).max()).astype(np.float32)


def coded(audio: np.ndarray, codec: str, bit_rate: int, rate: int) -> np.ndarray:
    """Return a sound after a lossy codec ("aac" or "libmp3lame") at another rate."""
    import soxr

    content = io.BytesIO()
    audio = soxr.resample(audio, RATE, rate).astype(np.float32)
    kind = {"aac": "mp4", "libmp3lame": "mp3"}[codec]
    with av.open(content, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        for begin in range(0, len(audio), 1024):
            piece = np.ascontiguousarray(audio[None, begin : begin + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content.seek(0)
    with av.open(content) as container:
        pieces = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return soxr.resample(np.concatenate(pieces), rate, RATE).astype(np.float32)

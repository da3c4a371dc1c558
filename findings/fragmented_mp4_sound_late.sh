#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1.2): AAC in a fragmented mp4 comes 1024 samples late.
#
# What happens: the AAC encoder puts 1024 samples of its own before the sound. An
# ordinary mp4, and Matroska, tell readers to skip them. With
# `movflags=frag_keyframe+empty_moov`, the usual way to write an mp4 to a pipe or for
# browsers, the header is written before the encoder's delay is known, and nothing is
# skipped: time stamps and samples both say that the sound begins 1024 samples later.
# `+delay_moov` repairs it. ADTS (.aac), FLV and MPEG-TS cannot tell the delay at all.
#
# Why it matters: 1024 samples are 23 ms at 44.1 kHz but 93 ms at 11,025 Hz, this
# field's usual rate: more than two pictures of video between a sound and what makes it.
# Converting "without loss" to .aac shifts stems against their mixture likewise.
#
# Seen (a click at 1 s):
#   44100 Hz mp4      -                                    0.0 ms late
#   44100 Hz mp4      frag_keyframe+empty_moov            23.2 ms late
#   44100 Hz mp4      frag_keyframe+empty_moov+delay_moov  0.0 ms late
#   44100 Hz matroska -                                    0.0 ms late
#   44100 Hz adts     -                                   23.2 ms late
#   11025 Hz mp4      -                                    0.1 ms late
#   11025 Hz mp4      frag_keyframe+empty_moov            93.0 ms late
#   11025 Hz mp4      frag_keyframe+empty_moov+delay_moov  0.1 ms late
#   11025 Hz matroska -                                    0.1 ms late
#   11025 Hz adts     -                                   93.0 ms late
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$tmp"
venv/bin/python - <<'END'
import sys
from fractions import Fraction

import av
import numpy as np

late = {}
for rate in (44100, 11025):
    sound = np.zeros(2 * rate, np.float32)
    sound[rate : rate + 60] = 0.9 * np.sign(np.sin(0.7 * np.arange(60)))
    for container, flags in (
        ("mp4", ""),
        ("mp4", "frag_keyframe+empty_moov"),
        ("mp4", "frag_keyframe+empty_moov+delay_moov"),
        ("matroska", ""),
        ("adts", ""),
    ):
        options = {"movflags": flags} if flags else {}
        with av.open("in", "w", format=container, options=options) as file:
            stream = file.add_stream("aac", rate=rate, layout="mono")
            for start in range(0, len(sound), 1024):
                block = sound[None, start : start + 1024]
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = rate, start
                frame.time_base = Fraction(1, rate)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        with av.open("in") as file:
            frames = list(file.decode(audio=0))
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        click = frames[0].time + np.argmax(np.abs(decoded) > 0.35) / rate
        late[rate, container, flags] = round((click - 1) * rate)
        late_ms = 1000 * (click - 1)
        print(f"{rate:5} Hz {container:8} {flags or '-':35} {late_ms:4.1f} ms late")
for (_, container, flags), samples in late.items():
    shifted = container == "adts" or flags.endswith("empty_moov")
    if abs(samples - 1024 * shifted) > 20:
        sys.exit("changed: expected 1024 samples for empty_moov and adts only")
END

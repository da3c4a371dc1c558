"""Single clips of tones as stage 4 leaves them, for what looks at embeddings."""

from pathlib import Path
from typing import Sequence

import kaldiio
import numpy as np
import soundfile

from espnet2_avsep.data.tables.scp import write_scp
from tests.support.tiny_corpus import FS, SEGMENT, TONES, embedding, tone


def make_tone_clips(
    folder: Path, takes: Sequence[int], names: Sequence[str] = tuple(TONES)
) -> Path:
    """Write wav.scp, visual_spk1.scp, utt2spk; takes differ in phase and in noise."""
    tables = {"wav": {}, "utt2spk": {}}
    rows = {}
    (folder / "wavs").mkdir(parents=True)
    for name in names:
        for take in takes:
            key = f"{name}-{take}"
            rng = np.random.default_rng(take)
            samples = 3 * SEGMENT + take
            wave = tone(name, samples, take) + 0.01 * rng.standard_normal(samples)
            path = folder / "wavs" / f"{key}.wav"
            soundfile.write(path, wave, FS, subtype="FLOAT")
            tables["wav"][key], tables["utt2spk"][key] = path, name
            noise = 0.1 * rng.standard_normal((3, len(TONES)))
            rows[key] = (embedding(name) + noise).astype(np.float32)
    write_scp(folder / "wav.scp", tables["wav"])
    write_scp(folder / "utt2spk", tables["utt2spk"])
    kaldiio.save_ark(
        str(folder / "visual.ark"), rows, scp=str(folder / "visual_spk1.scp")
    )
    return folder

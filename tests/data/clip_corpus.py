"""A small corpus of clips for the tests of the data side."""

from pathlib import Path
from typing import Dict, NamedTuple, Sequence

import kaldiio
import numpy as np
import soundfile

FS = 8000


class Corpus(NamedTuple):
    audio: Dict[str, str]
    visual: Dict[str, str]
    num_samples: Dict[str, int]
    num_rows: Dict[str, int]
    category: Dict[str, str]

    def tables(self) -> dict:
        return self._asdict()


def ramp(key_number: int, num_samples: int) -> np.ndarray:
    """16 bit samples from which the clip and the position can be read back.

    The first sample of a run of 64 gives the run's number, the others the clip's.
    """
    samples = np.full(num_samples, 2000 + key_number, np.int16)
    samples[::64] = np.arange(len(samples[::64]))
    return samples


def write_corpus(
    folder: Path,
    categories: Sequence[str] = ("flute", "tuba", "piano"),
    per_category: int = 4,
    num_samples: int = 16000,
    num_rows: int = 10,
    dim: int = 4,
) -> Corpus:
    """Clip number n: samples ramp(n), visual rows (n, row, 0, 0, ...)."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = Corpus({}, {}, {}, {}, {})
    matrices = {}
    for c, category in enumerate(categories):
        for i in range(per_category):
            number = c * per_category + i
            key = f"{category}-video{i}"
            path = folder / f"{key}.wav"
            # Clips differ in length, so that positions differ too.
            length = num_samples + 128 * number
            soundfile.write(path, ramp(number, length), FS, subtype="PCM_16")
            matrix = np.zeros((num_rows, dim), np.float32)
            matrix[:, 0] = number
            matrix[:, 1] = np.arange(num_rows)
            matrices[key] = matrix
            corpus.audio[key] = str(path)
            corpus.num_samples[key] = length
            corpus.num_rows[key] = num_rows
            corpus.category[key] = category
    write_ark(folder / "visual", matrices)
    with (folder / "visual.scp").open() as f:
        corpus.visual.update(line.split() for line in f)
    return corpus


def write_sinusoids(folder: Path, step: int) -> Corpus:
    """Clip number n is a sinusoid of 300 + ``step`` n Hz with amplitude 0.5."""
    corpus = write_corpus(folder)
    for n, (key, path) in enumerate(corpus.audio.items()):
        time = np.arange(corpus.num_samples[key]) / FS
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * (300 + step * n) * time), FS)
    return corpus


def write_ark(base: Path, matrices: Dict[str, np.ndarray]) -> None:
    with kaldiio.WriteHelper(f"ark,scp:{base}.ark,{base}.scp") as writer:
        for key, matrix in matrices.items():
            writer[key] = matrix


def write_stages(folder: Path, corpus: Corpus) -> dict:
    """The tables that stages 1 to 3 leave behind for a corpus."""
    stages = {
        "data_dir": folder / "data",
        "wav_dir": folder / "org",
        "visual_dir": folder / "dump",
    }
    for path in stages.values():
        path.mkdir(parents=True)
    write_table(stages["data_dir"] / "utt2spk", corpus.category)
    write_table(stages["wav_dir"] / "wav.scp", corpus.audio)
    write_table(stages["wav_dir"] / "utt2num_samples", corpus.num_samples)
    write_table(stages["visual_dir"] / "visual.scp", corpus.visual)
    for path in (
        stages["data_dir"] / "skipped.tsv",
        stages["wav_dir"] / "skipped.tsv",
        stages["visual_dir"] / "visual_skipped.tsv",
    ):
        path.write_text("")
    return stages


def write_table(path: Path, table: dict) -> None:
    path.write_text("".join(f"{k} {v}\n" for k, v in sorted(table.items())))

#!/usr/bin/env python3
"""Data loading: only the crop, against whole files with the STFT in the worker.

Generates a small corpus, then loads batches of two-source mixtures in turn with

  ours            MixAndSeparateDataset: the crop of each wav through soundfile, one
                  visual row, waveforms to the model
  whole 44.1 kHz  the counterpart on the corpus' own 44.1 kHz files: librosa.load of the
                  whole file at the training rate, crop, STFT magnitudes, visual matrix
                  read whole
  whole 11625 Hz  the same counterpart on the files that ours reads: no resampling

once in this process (items/s of one core) and once with a DataLoader of two workers.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

# One thread each, for all: set before numpy and torch are imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import kaldiio  # noqa: E402
import librosa  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from espnet2_avsep.data.collate import collate  # noqa: E402
from espnet2_avsep.data.loader import build_loader  # noqa: E402
from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset  # noqa: E402
from tests.benchmarks.common import (  # noqa: E402
    Row,
    build_parser,
    circumstances,
    prepare,
    report,
)

FS = 11625
SEGMENT = 65280
N_FFT, HOP = 1024, 256
BATCH = 32
WHOLE_44, WHOLE_11 = "whole 44.1 kHz files", "whole 11,625 Hz files"
GOAL_ITEMS_PER_SECOND = 1000
GOAL_RATIO = 10


class WholeFileDataset(Dataset):
    """The counterpart: whole files, STFT of mixture and sources in the worker.

    Args:
        audio: Clip -> audio file at any rate.
        visual: Clip -> Kaldi matrix.
        num_items: Length of the data set.
    """

    def __init__(self, audio: Dict[str, str], visual: Dict[str, str], num_items: int):
        self.audio = audio
        self.visual = visual
        self.keys = sorted(audio)
        self.num_items = num_items

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, index: int) -> Tuple[str, dict]:
        rng = np.random.default_rng(index)
        data = {}
        clips = rng.choice(len(self.keys), 2, replace=False)
        for n, clip in enumerate(clips, 1):
            key = self.keys[clip]
            samples, _ = librosa.load(self.audio[key], sr=FS, mono=True)
            start = rng.integers(len(samples) - SEGMENT + 1)
            data[f"speech_ref{n}"] = samples[start : start + SEGMENT] / 2
            rows = kaldiio.load_mat(self.visual[key])
            data[f"visual_ref{n}"] = rows[rng.integers(len(rows))][None].copy()
        data["speech_mix"] = data["speech_ref1"] + data["speech_ref2"]
        for name in ("speech_mix", "speech_ref1", "speech_ref2"):
            spectrum = librosa.stft(data[name], n_fft=N_FFT, hop_length=HOP)
            data[f"{name}_magnitude"] = np.abs(spectrum)
        return str(index), data


def generate(folder: Path, num_clips: int, seconds: float) -> Tuple[dict, dict, dict]:
    """Write clips of noise at 44.1 kHz and at FS, and their visual matrices."""
    rng = np.random.default_rng(0)
    original, formatted = {}, {}
    base = folder / "visual"
    with kaldiio.WriteHelper(f"ark,scp:{base}.ark,{base}.scp") as writer:
        for n in range(num_clips):
            key = f"c-{n:03d}"
            for rate, table in ((44100, original), (FS, formatted)):
                table[key] = str(folder / f"{key}-{rate}.wav")
                samples = rng.normal(0, 0.1, int(seconds * rate)).clip(-1, 1)
                soundfile.write(table[key], samples, rate, subtype="PCM_16")
            writer[key] = rng.normal(size=(int(seconds), 512)).astype(np.float32)
    with open(f"{base}.scp") as f:
        visual = dict(line.split() for line in f)
    return original, formatted, visual


def rate_of_one_core(dataset: Dataset, num_batches: int) -> float:
    """Return items/s from disk to batch in this process."""
    begin = time.perf_counter()
    for b in range(num_batches):
        collate([dataset[b * BATCH + i] for i in range(BATCH)])
    return num_batches * BATCH / (time.perf_counter() - begin)


def rate_of_loader(loader: DataLoader) -> float:
    """Return items/s of a loader, after the first batch has come (workers started)."""
    batches = iter(loader)
    next(batches)
    num_items = 0
    begin = time.perf_counter()
    for keys, _ in batches:
        num_items += len(keys)
    return num_items / (time.perf_counter() - begin)


def interleaved_rates(
    measures: Dict[str, Callable[[], float]], rounds: int
) -> Dict[str, float]:
    """Measure each in turn after one round that does not count; return the medians."""
    results: Dict[str, List[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            value = measure()
            if number:
                results[name].append(value)
    return {name: statistics.median(values) for name, values in results.items()}


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__, threads=1)
    parser.add_argument("--clips", type=int, default=48, help="clips of the corpus")
    parser.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        help="of each clip: 10 as in VGGSound, the least favourable; MUSIC: minutes",
    )
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a goal is missed."""
    args = get_parser().parse_args(argv)
    prepare(args)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        original, formatted, visual = generate(Path(folder), args.clips, args.seconds)
        samples = dict.fromkeys(formatted, int(args.seconds * FS))
        rows = dict.fromkeys(formatted, int(args.seconds))
        fast_batches, slow_batches = 40, 4
        ours = MixAndSeparateDataset(
            formatted,
            visual,
            samples,
            rows,
            segment_samples=SEGMENT,
            repeat=-(-(fast_batches + 1) * BATCH // args.clips),
        )
        slow_items = (slow_batches + 1) * BATCH
        whole = {
            name: WholeFileDataset(table, visual, slow_items)
            for name, table in ((WHOLE_44, original), (WHOLE_11, formatted))
        }
        print(circumstances(args))
        print(
            f"{args.clips} clips of {args.seconds:g} s, batches of {BATCH}, files in "
            "the page cache"
        )
        single = interleaved_rates(
            {
                "ours": lambda: rate_of_one_core(ours, 8),
                **{
                    name: lambda dataset=dataset: rate_of_one_core(dataset, 1)
                    for name, dataset in whole.items()
                },
            },
            args.rounds,
        )
        loaders = interleaved_rates(
            {
                "ours": lambda: rate_of_loader(
                    build_loader(
                        ours,
                        BATCH,
                        epoch=1,
                        seed=0,
                        num_batches=fast_batches + 1,
                        num_workers=args.workers,
                    )
                ),
                **{
                    name: lambda dataset=dataset: rate_of_loader(
                        DataLoader(
                            dataset,
                            BATCH,
                            num_workers=args.workers,
                            collate_fn=collate,
                        )
                    )
                    for name, dataset in whole.items()
                },
            },
            args.rounds,
        )
    table = []
    for what, rates, goal in (
        ("disk to batch, one process", single, None),
        (f"disk to batch, {args.workers} workers", loaders, GOAL_RATIO),
    ):
        for name in (WHOLE_44, WHOLE_11):
            least = goal if name == WHOLE_44 else None
            table.append(
                Row(what, rates["ours"], rates[name], "items/s", name, goal=least)
            )
    missed = report(table, args)
    return missed or int(single["ours"] < GOAL_ITEMS_PER_SECOND)


if __name__ == "__main__":
    sys.exit(main())

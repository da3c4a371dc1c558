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
Medians of interleaved rounds; the files are in the page cache for all.
"""

import argparse
import ctypes
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

import kaldiio  # noqa: E402
import librosa  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from espnet2_avsep.data.collate import collate  # noqa: E402
from espnet2_avsep.data.loader import build_loader  # noqa: E402
from espnet2_avsep.data.mix_dataset import MixAndSeparateDataset  # noqa: E402

FS = 11625
SEGMENT = 65280
N_FFT, HOP = 1024, 256
BATCH = 32
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
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


def rate_of_one_core(
    dataset: Dataset, num_batches: int, clock: Callable[[], float]
) -> float:
    """Return items/s from disk to batch in this process, by a clock."""
    begin = clock()
    for b in range(num_batches):
        collate([dataset[b * BATCH + i] for i in range(BATCH)])
    return num_batches * BATCH / (clock() - begin)


def rate_of_loader(loader: DataLoader) -> float:
    """Return items/s of a loader, after the first batch has come (workers started)."""
    batches = iter(loader)
    next(batches)
    num_items = 0
    begin = time.perf_counter()
    for keys, _ in batches:
        num_items += len(keys)
    return num_items / (time.perf_counter() - begin)


def interleave(
    measures: Dict[str, Callable[[], float]], rounds: int
) -> Dict[str, List[float]]:
    """Measure each in turn, ``rounds`` times, after one round that does not count."""
    results: Dict[str, List[float]] = {name: [] for name in measures}
    for r in range(rounds + 1):
        for name, measure in measures.items():
            value = measure()
            if r:
                results[name].append(value)
    return results


def report(title: str, results: Dict[str, List[float]]) -> float:
    """Print medians and ranges; return the ratio of ours to the first counterpart."""
    medians = {name: statistics.median(values) for name, values in results.items()}
    ours = medians["ours"]
    print(title)
    for name, values in results.items():
        print(
            f"  {name:15s} {medians[name]:8.0f} items/s   "
            f"({min(values):.0f} to {max(values):.0f})   "
            f"{1000 / medians[name]:7.2f} ms an item   "
            f"ours is {ours / medians[name]:.1f}x"
        )
    return ours / medians["whole 44.1 kHz"]


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take medians")
    parser.add_argument("--clips", type=int, default=48, help="clips of the corpus")
    parser.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        help="of each clip: 10 as in VGGSound, the least favourable; MUSIC: minutes",
    )
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument(
        "--malloc",
        choices=("default", "keep"),
        default="default",
        help="keep: mallopt(M_MMAP_MAX=0, M_TRIM_THRESHOLD=2^31-1), for all",
    )
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a goal is missed."""
    args = get_parser().parse_args(argv)
    torch.set_num_threads(1)
    if args.malloc == "keep":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
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
            "whole 44.1 kHz": WholeFileDataset(original, visual, slow_items),
            "whole 11625 Hz": WholeFileDataset(formatted, visual, slow_items),
        }
        print(
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, 1 thread a "
            f"process, malloc: {args.malloc}, torch {torch.__version__}; {args.clips} "
            f"clips of {args.seconds:g} s, batches of {BATCH}; medians of "
            f"{args.rounds} interleaved rounds"
        )
        # Last by CPU time, which is what "a core" means where others use the cores too.
        for title, clock in (
            ("one process, disk to batch:", time.perf_counter),
            ("one process, disk to batch, by its CPU time:", time.process_time),
        ):
            single = interleave(
                {
                    "ours": lambda clock=clock: rate_of_one_core(ours, 8, clock),
                    **{
                        name: lambda dataset=dataset, clock=clock: rate_of_one_core(
                            dataset, 1, clock
                        )
                        for name, dataset in whole.items()
                    },
                },
                args.rounds,
            )
            report(title, single)
        loaders = interleave(
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
        ratio = report(f"DataLoader, {args.workers} workers:", loaders)
    rate = statistics.median(single["ours"])
    print(
        f"goals: {rate:.0f} of at least {GOAL_ITEMS_PER_SECOND} items/s a core; "
        f"{ratio:.1f}x of at least {GOAL_RATIO}x with {args.workers} workers"
    )
    return int(rate < GOAL_ITEMS_PER_SECOND or ratio < GOAL_RATIO)


if __name__ == "__main__":
    sys.exit(main())

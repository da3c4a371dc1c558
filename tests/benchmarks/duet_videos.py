#!/usr/bin/env python3
"""What separation of one's own video gives, beside stage 8 on the same sounds.

    cd egs2/mini_music
    python ../../tests/benchmarks/duet_videos.py exp/avsep_train_avsep_mini_raw

Of each of the first test mixtures an mp4 is made: the two clips side by side, their
mixture at 44.1 kHz, AAC. ``avsep separate`` gets it, prompted by its left and right
half, and by a picture of each source. The tracks are brought to the model's rate and
scored against the mixture's sources by the scorer of stage 8; stage 8's own scores are
read from scores.tsv. Its prompts (one row of each clip) are not these: scores may
differ.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import soxr  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from espnet2_avsep.bin import avsep  # noqa: E402
from espnet2_avsep.data.tables.scp import read_scp  # noqa: E402
from espnet2_avsep.metrics.bss_eval import bss_eval_sources  # noqa: E402
from espnet2_avsep.visual.frames import video_frames  # noqa: E402
from tests.support.media_fixtures import write_video  # noqa: E402

RATE, FPS, HEIGHT, WIDTH = 44100, 25, 240, 320


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path, help="exp/avsep_<tag>, scored")
    parser.add_argument("--set", default="test", help="name of the set")
    parser.add_argument("--dump", type=Path, default=Path("dump/raw"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument(
        "--mixtures", type=int, default=8, help="number of mixtures, the first ones"
    )
    return parser


def read_rows(path: Path) -> List[Dict[str, str]]:
    """Read a table with a header."""
    with path.open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def pictures(video: str, start: float, seconds: float) -> List[np.ndarray]:
    """Look at a clip from a second on, FPS times a second: (HEIGHT, WIDTH, 3) each."""
    times = [start + n / FPS for n in range(int(seconds * FPS))]
    return [
        np.asarray(Image.fromarray(image).resize((WIDTH, HEIGHT)))
        for _, image in video_frames(video, times)
    ]


def separate(command: List[object], fs: int, out: Path) -> torch.Tensor:
    """Run avsep separate; return the tracks of two sources at fs, (1, 2, L)."""
    status = avsep.main(["separate", *map(str, command), "--out", str(out)])
    if status:
        raise SystemExit(status)
    tracks = []
    for path in sorted(p for p in out.glob("*.wav") if "residual" not in p.name):
        track, rate = soundfile.read(path)
        tracks.append(soxr.resample(track, rate, fs))
    return torch.from_numpy(np.stack(tracks))[None]


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the comparison."""
    args = get_parser().parse_args(argv)
    folder = args.dump / args.set
    videos = read_scp(args.data / args.set / "video.scp")
    sounds = [read_scp(folder / f"spk{n}.scp") for n in (1, 2)]
    scores = {
        (row["mix_id"], row["source"]): float(row["sdr"])
        for row in read_rows(args.experiment / f"scored_{args.set}" / "scores.tsv")
        if row["status"] == "ok"
    }
    common = ["--model", args.experiment, "--mp4", "false", "--page", "false"]
    common += ["--log_level", "ERROR"]
    print("| mixture | sources | stage 8 | halves of the video | pictures |")
    print("|---|---|---|---|---|")
    every: List[List[float]] = []
    for row in read_rows(folder / "mixtures.tsv")[: args.mixtures]:
        key = row["mix_id"]
        sources, fs = [], 0
        for table in sounds:
            wave, fs = soundfile.read(table[key], dtype="float32")
            sources.append(wave)
        reference = np.stack(sources)
        seconds = reference.shape[1] / fs
        sides = [
            pictures(videos[row[f"clip{n}"]], int(row[f"start{n}"]) / fs, seconds)
            for n in (1, 2)
        ]
        count = min(map(len, sides))
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            video = write_video(
                work / "duet.mp4",
                frames=count,
                fps=FPS,
                audio=soxr.resample(reference.sum(axis=0), fs, RATE),
                rate=RATE,
                paint=lambda k, s=sides: np.concatenate([s[0][k], s[1][k]], axis=1),
            )
            prompts: List[object] = []
            for n, side in enumerate(sides):
                Image.fromarray(side[count // 2]).save(work / f"source{n}.png")
                prompts += ["--query", work / f"source{n}.png"]
            columns = [[scores[key, str(n)] for n in (1, 2)]]
            for how in (["--sources", "left-right"], prompts):
                tracks = separate(
                    [video, *how, *common], fs, work / "out" / str(how[0])
                )
                length = min(tracks.shape[-1], reference.shape[1])
                found = bss_eval_sources(
                    torch.from_numpy(reference[None, :, :length]).double(),
                    tracks[..., :length].double(),
                )
                columns.append(found.sdr[0].tolist())
        every.append([float(np.mean(column)) for column in columns])
        cells = [" / ".join(f"{x:.2f}" for x in column) for column in columns]
        print(f"| {key} | {row['spk1']}, {row['spk2']} | {' | '.join(cells)} |")
    means = [f"{x:.2f}" for x in np.mean(every, axis=0)]
    print(f"| mean of {2 * len(every)} sources | | {' | '.join(means)} |")


if __name__ == "__main__":
    main()

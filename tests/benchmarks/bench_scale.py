#!/usr/bin/env python3
"""How the steps that handle lists grow with the corpus: CPU seconds and peak memory.

Generates corpora of tiny entries (one wav file and one ark shared by all of them, 300
classes, a tenth of the clips left out) and runs on each, as separate processes, the
steps of the recipe that handle lists. Of each step: CPU seconds and peak memory for
every size, and what the last step in size adds for an entry.

A goal is missed if doubling the entries more than doubles what a step takes beyond its
start-up, with some slack for noise; a step that takes next to nothing passes.
"""

import argparse
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

FS, SEGMENT, SAMPLES, ROWS, DIM, CLASSES, JOBS = 8000, 64, 256, 3, 4, 300, 8
# Twice the entries may take so much more CPU time beyond start-up: n^2 takes 4 times.
GOAL_GROWTH = 2.8
# CPU seconds for 2 n entries.
NEXT_TO_NOTHING = 0.5
# Of the CPU time of start-up: two runs of the same command differ by so much.
START_UP_NOISE = 0.1


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--entries", type=int, nargs="+", default=[100, 20000, 40000], help="sizes"
    )
    return parser


# A process begins with the memory of the one that starts it, so a small one does.
_MEASURE = """
import resource, subprocess, sys
with open(sys.argv[1], "wb") as log:
    status = subprocess.run(sys.argv[2:], stdout=log, stderr=log).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""


class Cost(NamedTuple):
    """What a step took.

    Attributes:
        seconds: Of the CPU, user and system, children included.
        mebibytes: Most memory in use at a time.
    """

    seconds: float
    mebibytes: float


def write_corpus(root: Path, entries: int) -> None:
    """Write what stages 1 to 3 would leave for a number of clips."""
    import numpy as np
    import soundfile

    from espnet2_avsep.metrics.score_table import COLUMNS

    wav, ark = root / "clip.wav", root / "visual.ark"
    root.mkdir(parents=True)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, SAMPLES)
    soundfile.write(wav, noise, FS, subtype="PCM_16")
    matrix = np.arange(ROWS * DIM, dtype="<f4").reshape(ROWS, DIM)
    header = b"\0BFM " + struct.pack("<bibi", 4, ROWS, 4, DIM)
    ark.write_bytes(b"clip " + header + matrix.tobytes())
    names = [f"c{n % CLASSES:03d}" for n in range(entries)]
    category = {f"{name}-{n:08d}": name for n, name in enumerate(names)}
    keys = sorted(category)
    good = [key for n, key in enumerate(keys) if n % 10]
    bad = [key for n, key in enumerate(keys) if not n % 10]

    def save(path: str, lines: Sequence[str]) -> None:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines))

    for name in ("wav.scp", "video.scp"):
        save(f"data/{name}", [f"{key} {wav}" for key in keys])
    save("data/utt2spk", [f"{key} {category[key]}" for key in keys])
    save("data/utt2clip", [f"{key} {key.replace('-', '/')}" for key in keys])
    members: Dict[str, List[str]] = {}
    for key in keys:
        members.setdefault(category[key], []).append(key)
    save("data/spk2utt", [f"{spk} {' '.join(utts)}" for spk, utts in members.items()])
    save("data/skipped.tsv", [])
    tables = {
        "wav.scp": [f"{key} {wav}" for key in good],
        "utt2num_samples": [f"{key} {SAMPLES}" for key in good],
        "skipped.tsv": [f"{key}\taudio\ttruncated ({key} s)" for key in bad],
    }
    step = -(-entries // JOBS)
    for name, lines in tables.items():
        save(f"org/{name}", lines)
    for job in range(JOBS):
        of_job = keys[job * step : (job + 1) * step]
        save(f"keys.{job + 1}.scp", [f"{key} x" for key in of_job])
        for name, lines in tables.items():
            mine = set(of_job)
            save(
                f"jobs/{job + 1}/{name}",
                [line for line in lines if line.split()[0] in mine],
            )
    save("visual/visual.scp", [f"{key} {ark}:5" for key in keys])
    save("visual/visual_skipped.tsv", [])
    # The layout that the health report reads.
    (root / "recipe/data").mkdir(parents=True)
    (root / "recipe/data/train").symlink_to(root / "data")
    (root / "recipe/dump/org").mkdir(parents=True)
    (root / "recipe/dump/train").symlink_to(root / "visual")
    (root / "recipe/dump/org/train").symlink_to(root / "org")
    scores = ["\t".join(COLUMNS)]
    for n, key in enumerate(keys):
        for source in (1, 2):
            values = "\t".join(str((n + i) % 17) for i in range(10))
            row = f"mix{n:05d}\t{source}\t{key}\t{category[key]}\t{values}\tok\t"
            scores.append(row)
    save("scores.tsv", scores)


def steps(root: Path) -> Dict[str, List[str]]:
    """Return the commands, in an order in which they can be run."""
    utils, python = ROOT / "utils", sys.executable
    module = [python, "-m"]
    clips = root / "clips"
    draw = (
        "import sys; from espnet2_avsep.data.tables.scp import read_scp\n"
        "from espnet2_avsep.data.mixing.mixture_draw import draw_groups\n"
        "spk = read_scp(sys.argv[1])\n"
        "for different in (False, True):\n"
        "    assert len(draw_groups(spk, len(spk), 2, different, 0)) == len(spk)\n"
    )
    dataset = (
        "import sys; from pathlib import Path\n"
        "from espnet2_avsep.data.tables.scp import read_scp\n"
        "from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset\n"
        "clips, stats = map(Path, sys.argv[1:])\n"
        "first = lambda p: {k: int(v.split(',')[0]) for k, v in read_scp(p).items()}\n"
        "data = MixAndSeparateDataset(read_scp(clips / 'spk1.scp'),\n"
        "    read_scp(clips / 'visual_spk1.scp'), first(stats / 'speech_ref1_shape'),\n"
        "    first(stats / 'visual_ref1_shape'), read_scp(clips / 'utt2spk'),\n"
        f"    segment_samples={SEGMENT}, different_class=True, silence_dbfs=-90)\n"
        "data.set_epoch(1); [data[i] for i in range(20)]\n"
    )
    results = (
        "import sys; from pathlib import Path\n"
        "from espnet2_avsep.scoring.score_files import read_scores\n"
        "from espnet2_avsep.metrics.score_table import *\n"
        "summary = summarise(read_scores(Path(sys.argv[1])), resamples=50)\n"
        "print(len(score_table(summary) + instrument_table(summary)))\n"
    )
    return {
        "split_jobs": [
            *("bash", "-c", f'. {utils / "jobs.sh"}; split_jobs "$@"', "split_jobs"),
            *(str(root / "data/video.scp"), str(root / "split.JOB.scp"), str(JOBS)),
        ],
        "merge_scp.py": [
            *(python, str(utils / "merge_scp.py"), str(JOBS)),
            *(str(root / "keys.JOB.scp"), str(root / "jobs/JOB"), str(root / "merged")),
            *("skipped.tsv", "utt2num_samples", "wav.scp", "once:wav.scp,skipped.tsv"),
        ],
        "fix_data_dir.sh": ["bash", str(utils / "fix_data_dir.sh"), str(root / "data")],
        "validate_data_dir.sh": [
            *("bash", str(utils / "validate_data_dir.sh")),
            *("--no-feats", "--no-text", str(root / "data")),
        ],
        "avsep_filter_clips": [
            *(*module, "espnet2_avsep.bin.avsep_filter_clips"),
            *("--data_dir", str(root / "data"), "--wav_dir", str(root / "org")),
            *("--visual_dir", str(root / "visual"), "--output_dir", str(clips)),
            *("--fs", str(FS), "--segment_samples", str(SEGMENT)),
        ],
        "avsep_make_mixtures": [
            *(*module, "espnet2_avsep.bin.avsep_make_mixtures"),
            *("--clips_dir", str(clips), "--output_dir", str(root / "mixtures")),
            *("--fs", str(FS), "--segment_samples", str(SEGMENT)),
            *("--num_mixtures", "10"),
        ],
        "draw, a mixture a clip": [python, "-c", draw, str(clips / "utt2spk")],
        "avsep_collect_stats": [
            *(*module, "espnet2_avsep.bin.avsep_collect_stats"),
            *("--data_path_and_name_and_type", f"{clips}/spk1.scp,speech_ref1,sound"),
            "--data_path_and_name_and_type",
            f"{clips}/visual_spk1.scp,visual_ref1,kaldi_ark",
            *("--output_dir", str(root / "stats")),
        ],
        "training data set": [python, "-c", dataset, str(clips), str(root / "stats")],
        "tables of results": [python, "-c", results, str(root / "scores.tsv")],
        "avsep_health_report": [
            *(*module, "espnet2_avsep.bin.avsep_health_report", "--sets", "train"),
            *("--data_dir", str(root / "recipe/data"), "--fs", str(FS)),
            *("--dump_dir", str(root / "recipe/dump"), "--max_videos", "0"),
            *("--output_dir", str(root / "report")),
        ],
    }


def run(command: Sequence[str], root: Path) -> Cost:
    """Run a command; raise with what it printed if it fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURE, str(root / "log"), *command],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    status, seconds, kibibytes = map(float, done.stdout.split())
    if status:
        raise RuntimeError(f"{command}: {(root / 'log').read_text()[-3000:]}")
    return Cost(seconds, kibibytes / 1024)


def measure(
    root: Path, sizes: Sequence[int], only: Optional[Sequence[str]] = None
) -> Dict[str, List[Cost]]:
    """Run all steps for corpora of several sizes.

    Args:
        root: Gets the corpora.
        sizes: Numbers of entries.
        only: The steps to return (None: all); all are run, for one needs another.

    Returns:
        Step -> what it took for each size.
    """
    costs: Dict[str, List[Cost]] = {}
    for size in sizes:
        corpus = root / str(size)
        write_corpus(corpus, size)
        for name, command in steps(corpus).items():
            costs.setdefault(name, []).append(run(command, corpus))
    return {k: v for k, v in costs.items() if only is None or k in only}


def growth(costs: Sequence[Cost]) -> float:
    """Return by what factor the CPU time beyond start-up grew from n to 2 n entries.

    Args:
        costs: For next to no entries, n and 2 n.

    Returns:
        The least factor that agrees with the noise of start-up; 0 where the time for
        2 n is next to nothing.
    """
    none, once, twice = (cost.seconds for cost in costs)
    if twice - none < NEXT_TO_NOTHING:
        return 0.0
    noise = START_UP_NOISE * none
    return (twice - none - noise) / max(once - none + noise, 1e-3)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a goal is missed."""
    args = get_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(Path(folder), args.entries)
    print(f"{'':24s}" + "".join(f"{n:>22d}" for n in args.entries) + "   more an entry")
    missed = []
    for name, found in costs.items():
        text = "".join(f"{c.seconds:10.2f} s {c.mebibytes:6.0f} MiB" for c in found)
        more = found[-1].mebibytes - found[-2].mebibytes
        more *= 1024 / (args.entries[-1] - args.entries[-2])
        print(f"{name:24s}{text}   {more:8.2f} KiB")
        if len(found) == 3 and growth(found) > GOAL_GROWTH:
            missed.append(f"{name} ({growth(found):.1f})")
    words = ", ".join(missed) or "none"
    print(f"goal: growth of at most {GOAL_GROWTH}; missed by: {words}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

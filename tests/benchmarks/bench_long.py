#!/usr/bin/env python3
"""Long recordings, file to file: real-time factor and peak memory.

A recording of noise and tones is generated, block by block, and separated by two held
prompts with separate_file() in a fresh process: once with the mini recipe's network, an
hour, and once with the paper's, some minutes. Weights are random: time and memory do
not depend on them. Peak memory is that of the whole process, Python and torch included.
The real-time factor is seconds of computing per second of sound, resampling, reading
and writing included.

With --model and --data, the folder of a training and of a fixed set (dump/raw/test),
mixtures are repeated until they are long instead, and separated in chunks and in one
pass: how much the two differ, SI-SDR against the truth, and the time of computing
(CPU seconds) in units of that of one pass.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.common import build_parser, circumstances, prepare, resident

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = {"mini": "train_avsep_mini.yaml", "paper": "train_avsep_hfra.yaml"}
BLOCK = 1 << 18
LIMIT_MIB = 1536


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__, rounds=1)
    parser.add_argument("--minutes", type=float, default=60, help="with mini's network")
    parser.add_argument(
        "--paper_minutes", type=float, default=5, help="with the paper's network"
    )
    parser.add_argument("--fs", type=int, default=44100, help="of the recording")
    parser.add_argument(
        "--model", help="folder of a training, to compare with one pass"
    )
    parser.add_argument("--data", help="folder of a fixed set, with --model")
    parser.add_argument("--repeat", type=int, default=12, help="of each, with --data")
    parser.add_argument("--limit", type=int, default=8, help="mixtures, with --data")
    parser.add_argument(
        "--shift_invariant", action="store_true", help="as of SeparateAV, with --model"
    )
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    return parser


def write_recording(path: Path, minutes: float, fs: int) -> None:
    """Write 16-bit mono noise and a tone that comes and goes."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    total = round(minutes * 60 * fs)
    with soundfile.SoundFile(path, "w", fs, 1, "PCM_16") as f:
        for begin in range(0, total, BLOCK):
            at = np.arange(begin, min(begin + BLOCK, total)) / fs
            tone = 0.2 * np.sin(2 * np.pi * 440 * at) * (np.sin(at) > 0)
            f.write(tone + 0.05 * rng.normal(size=len(at)))


def write_model(folder: Path, network: str) -> None:
    """Write a training's folder with random weights."""
    import torch
    import yaml

    from espnet2_avsep.data.tables.base_config import read_config
    from espnet2_avsep.inference.separate import load_config
    from espnet2_avsep.tasks.choices import build_model

    config = {
        "separator": "hfra",
        "separator_conf": {},
        "visual_adapter_conf": {},
        **read_config(ROOT / "conf" / "tuning" / NETWORKS[network]),
        "teacher": None,
        "teacher_conf": {},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    model = build_model(load_config(folder / "config.yaml"), with_teacher=False)
    torch.save(model.state_dict(), folder / "valid.si_sdr_i.best.pth")


def child(model: str, recording: str, output_dir: str) -> None:
    """Separate in this process, and print what it took."""
    import numpy as np

    from espnet2_avsep import SeparateAV, separate_file

    separate = SeparateAV.from_pretrained(model)
    prompts = list(np.eye(separate.prompt_dim, dtype=np.float32)[:2])
    begin = time.perf_counter()
    found = separate_file(separate, recording, prompts, output_dir)
    seconds = time.perf_counter() - begin
    print(
        json.dumps(
            {
                "seconds": seconds,
                "duration": found.samples / found.fs,
                "peak": resident("VmHWM"),
                "parameters": sum(p.numel() for p in separate.model.parameters()),
            }
        )
    )


def measure(args, network: str, minutes: float, folder: Path) -> dict:
    """Generate, separate in a fresh process, return what it took."""
    model = folder / network
    model.mkdir()
    write_model(model, network)
    write_recording(folder / "in.wav", minutes, args.fs)
    result = subprocess.run(
        [sys.executable, __file__, f"--threads={args.threads}"]
        + [f"--malloc={args.malloc}", "--child"]
        + [str(model), str(folder / "in.wav"), str(folder / f"{network}_out")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


def compare_with_one_pass(args) -> None:
    """Print the difference of chunks to one pass, and both against the truth."""
    import kaldiio
    import numpy as np
    import soundfile
    import torch

    from espnet2_avsep import Chunking, SeparateAV
    from espnet2_avsep.data.tables.scp import read_scp
    from espnet2_avsep.metrics.si_sdr import si_sdr

    separate = SeparateAV.from_pretrained(
        args.model, shift_invariant=args.shift_invariant
    )
    data = Path(args.data)
    tables = {
        name: read_scp(data / f"{name}.scp")
        for name in ("spk1", "spk2", "visual_spk1", "visual_spk2")
    }
    found = []
    for key in sorted(tables["spk1"])[: args.limit]:
        refs = np.stack(
            [soundfile.read(tables[f"spk{n}"][key], dtype="float32")[0] for n in (1, 2)]
        )
        refs = np.tile(refs, args.repeat)
        prompts = [
            kaldiio.load_mat(tables[f"visual_spk{n}"][key]).mean(axis=0) for n in (1, 2)
        ]
        found.append((refs, refs.sum(axis=0), prompts))

    def score(refs, tracks) -> float:
        return float(si_sdr(torch.from_numpy(refs), torch.from_numpy(tracks)).mean())

    separate(found[0][1], found[0][2], chunking="whole")  # its time does not count
    begin = time.process_time()
    wholes = [separate(mix, p, chunking="whole") for _, mix, p in found]
    one_pass = time.process_time() - begin
    mean = np.mean([score(r, w) for (r, _, _), w in zip(found, wholes, strict=True)])
    seconds = found[0][1].size / separate.sample_rate
    print(f"{len(found)} recordings of {seconds:.0f} s; one pass: SI-SDR {mean:.2f} dB")
    print(f"one pass: {one_pass:.2f} s of computing")
    print("| chunk s | overlap | fade | difference to one pass | SI-SDR | computing |")
    print("|---|---|---|---|---|---|")
    segment = separate.segment / separate.sample_rate
    for chunk, overlap, fade in (
        *((0.5, 0.5, 1.0), (1.0, 0.125, 1.0), (1.0, 0.25, 0.25), (1.0, 0.25, 1.0)),
        *((1.0, 0.5, 0.25), (1.0, 0.5, 1.0), (2.0, 0.125, 1.0), (2.0, 0.25, 0.5)),
        *((2.0, 0.25, 1.0), (2.0, 0.5, 1.0), (3.0, 1 / 6, 1.0), (4.0, 0.5, 1.0)),
        *((4.0, 0.25, 0.1), (4.0, 0.5, 0.1)),
    ):
        size = chunk * segment
        chunking = Chunking(size, overlap * size, fade * overlap * size)
        errors, scores, seconds = [], [], 0.0
        for (refs, mix, prompts), whole in zip(found, wholes, strict=True):
            begin = time.process_time()
            tracks = separate(mix, prompts, chunking=chunking)
            seconds += time.process_time() - begin
            error = np.square(tracks - whole).sum() / np.square(whole).sum()
            errors.append(10 * np.log10(error))
            scores.append(score(refs, tracks))
        print(
            f"| {size:.1f} | {overlap:g} | {fade:g} | {np.mean(errors):.1f} dB | "
            f"{np.mean(scores):.2f} | {seconds / one_pass:.2f} |",
            flush=True,
        )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a peak is above the limit."""
    args = get_parser().parse_args(argv)
    prepare(args)
    import torch

    torch.set_num_threads(args.threads)
    if args.child:
        child(*args.child)
        return 0
    print(circumstances(args))
    if args.model:
        compare_with_one_pass(args)
        return 0
    print("| network | sound | computing | real-time factor | peak MiB | an hour |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for network, minutes in (("mini", args.minutes), ("paper", args.paper_minutes)):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(args, network, minutes, Path(folder))
        factor = found["seconds"] / found["duration"]
        worst = max(worst, found["peak"])
        print(
            f"| {network}, {found['parameters'] / 1e6:.1f} M | "
            f"{found['duration'] / 60:.1f} min | {found['seconds']:.0f} s | "
            f"{factor:.3f} | {found['peak']:.0f} | {factor * 60:.1f} min |",
            flush=True,
        )
    return int(worst > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())

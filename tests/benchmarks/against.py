#!/usr/bin/env python3
"""Another build beside this one: CPU and wall seconds of commands and training steps.

    python -m tests.benchmarks.against --build 8384a0b
    python -m tests.benchmarks.against --build v0.1 --only separate info step_hfra

The other commit is checked out in a temporary folder. Both builds run with this Python
and its packages, in turn (A B A B ...), on the same inputs; the table has the medians.
Commands run as fresh processes, and their times hold all that they start. A training
step runs in a process that stays, after one step that does not count. Weights are
random, of networks that the other build has made.
"""

import argparse
import contextlib
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from tests.benchmarks.common import MALLOCS, circumstances, prepare

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("hfra", "iquery", "dgfnet", "sound_of_pixels", "clipsep_late")
COMMANDS = {
    "help": "`avsep --help`",
    "info": "`avsep info`",
    "score": "`avsep score`, 2 sources of 10 s",
    "features": "`avsep features`, 10-s video",
    "separate": "`avsep separate`, 10-s video, 2 regions",
    "separate_long": "`avsep separate`, 10-min video, 2 regions",
    "train_start": "`avsep_train`, start and one step",
}
RECIPE = {
    "again": "stages 1 to 8 with nothing to do, 32 clips",
    "wrong_tag": "stage 2, weights that do not exist, 8 jobs",
}
SECTIONS = (*COMMANDS, *RECIPE, *(f"step_{name}" for name in STEPS))
# They take long, and are measured only when they are asked for.
ON_DEMAND = ("separate_long", *RECIPE)
HEADER = (
    "| work | other, CPU s | this, CPU s | ratio | other, wall s | this, wall s | "
    "ratio | peak MiB |\n|---|---|---|---|---|---|---|---|"
)
# Reads a word a line; makes a step for each, and prints what it took.
STEPPER = """
import resource, sys, time
from tests.benchmarks.bench_systems import steps_of
import torch
torch.set_num_threads(int(sys.argv[3]))
step = steps_of(sys.argv[1], int(sys.argv[2]))[0]
for _ in sys.stdin:
    before, begin = time.process_time(), time.perf_counter()
    step()
    wall, cpu = time.perf_counter() - begin, time.process_time() - before
    print(cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
"""
# A process begins with the memory of the one that starts it, so a small one does.
MEASURE = """
import resource, subprocess, sys
with open(sys.argv[1], "wb") as log:
    status = subprocess.run(sys.argv[2:], stdout=log, stderr=log).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""
WRITE_MODEL = """
import sys
from pathlib import Path
from tests.benchmarks.bench_long import write_model
write_model(Path(sys.argv[1]), "mini")
"""
VISUAL_INFO = """\
encoder: open_clip
model: ViT-B-32
pretrained: random
weights: random, seed 0
seed: 0
dim: 512
dtype: float32
fps: 8
every: 8
"""


class Cost(NamedTuple):
    """What a run took: CPU and wall seconds, and most memory at a time in MiB."""

    cpu: float
    wall: float
    mebibytes: float


@dataclasses.dataclass
class Build:
    """A checkout that runs with this Python.

    Attributes:
        name: For messages.
        root: Its folder.
        scratch: Where it writes.
        environment: Of its processes.
    """

    name: str
    root: Path
    scratch: Path
    environment: Dict[str, str]

    def run(self, *words: object, cwd: Optional[Path] = None, status: int = 0) -> Cost:
        """Run a command of this build.

        Args:
            *words: A Python command line without the interpreter, or a program that
                begins with "./".
            cwd: Where it runs (None: in the build's folder).
            status: The exit status that it should have.

        Raises:
            RuntimeError: it has another one.
        """
        command = list(map(str, words))
        if not command[0].startswith("./"):
            command.insert(0, sys.executable)
        log = self.scratch / "log"
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, log, *command],
            cwd=cwd or self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        wall = time.perf_counter() - begin
        found, cpu, kibibytes = map(float, done.stdout.split())
        if (found == 0) != (status == 0):
            tail = log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {found:g}\n{tail}")
        return Cost(cpu, wall, kibibytes / 1024)


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.against",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--build", required=True, help="commit, branch or tag")
    parser.add_argument("--rounds", type=int, default=5, help="for the medians")
    parser.add_argument("--threads", type=int, default=2, help="of each process")
    parser.add_argument("--batch_size", type=int, default=2, help="of a training step")
    parser.add_argument("--malloc", choices=MALLOCS, default="keep", help="for both")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        nargs="+",
        help=f"sections: {', '.join(SECTIONS)} (default: all but "
        f"{', '.join(ON_DEMAND)}, which take minutes each)",
    )
    return parser


@contextlib.contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out beside this one, and remove it afterwards."""
    git = ["git", "-C", str(ROOT), "worktree"]
    path = folder / "build"
    subprocess.run([*git, "add", "--detach", "--quiet", path, commit], check=True)
    try:
        yield path
    finally:
        subprocess.run([*git, "remove", "--force", path], check=True)


def compare(ways: Sequence[Callable[[], Cost]], rounds: int) -> List[Cost]:
    """Run each way in turn; return the median cost of each."""
    found: List[List[Cost]] = [[] for _ in ways]
    for _ in range(rounds):
        for costs, way in zip(found, ways, strict=True):
            costs.append(way())
    return [
        Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))
        for costs in found
    ]


def format_line(what: str, other: Cost, this: Cost) -> str:
    """Write a line of the table that HEADER begins."""
    return (
        f"| {what} | {other.cpu:.2f} | {this.cpu:.2f} | {other.cpu / this.cpu:.1f}x | "
        f"{other.wall:.2f} | {this.wall:.2f} | {other.wall / this.wall:.1f}x | "
        f"{other.mebibytes:,.0f} / {this.mebibytes:,.0f} |"
    )


def write_inputs(other: Build, this: Build, folder: Path) -> None:
    """Write the inputs of the commands: a model, videos, sounds, a tiny corpus."""
    import soundfile
    import yaml

    from tests.support.tiny_corpus import MODEL_OPTIONS, make_tiny_corpus

    model = folder / "model"
    model.mkdir()
    other.run("-c", WRITE_MODEL, model)
    (model / "visual_info.yaml").write_text(VISUAL_INFO)
    this.run("local/make_duet.py", "--output_dir", folder, "--duration", 10)
    rng = np.random.default_rng(0)
    for n in (1, 2):
        noise = 0.1 * rng.standard_normal(10 * 44100)
        soundfile.write(folder / f"reference{n}.wav", noise, 44100)
        soundfile.write(folder / f"estimate{n}.wav", noise + 0.01 * n, 44100)
    make_tiny_corpus(folder / "corpus")
    drawn = {"num_att_plot": 2, "use_matplotlib": True, "use_tensorboard": True}
    steps = {"max_epoch": 1, "num_iters_per_epoch": 1}
    text = yaml.safe_dump({**MODEL_OPTIONS, **drawn, **steps})
    (folder / "train.yaml").write_text(text)


def lengthen(video: Path, seconds: float, target: Path) -> None:
    """Repeat a video's packets until it is so long."""
    import av

    with av.open(str(target), "w") as out:
        streams, at = {}, {}
        while not at or min(at.values()) < seconds:
            with av.open(str(video)) as source:
                for stream in source.streams:
                    if stream.index not in streams:
                        copy = out.add_stream_from_template(stream)
                        streams[stream.index], at[stream.index] = copy, 0.0
                # Packets of sound may begin before 0, with the encoder's delay.
                begin = max(at.values()) + 0.1
                for packet in source.demux():
                    if packet.dts is None:
                        continue
                    index, base = packet.stream.index, packet.time_base
                    packet.pts += round(begin / base)
                    packet.dts += round(begin / base)
                    end = float((packet.pts + (packet.duration or 0)) * base)
                    at[index] = max(at[index], end)
                    packet.stream = streams[index]
                    out.mux(packet)


def command_of(name: str, inputs: Path, build: Build) -> Callable[[], Cost]:
    """Return what runs a command of COMMANDS once."""
    avsep = ("-m", "espnet2_avsep.bin.avsep")
    out = build.scratch / name
    references = [inputs / f"reference{n}.wav" for n in (1, 2)]
    estimates = [inputs / f"estimate{n}.wav" for n in (1, 2)]
    video = inputs / ("long.mp4" if name == "separate_long" else "duet.mp4")
    words: Dict[str, Sequence[object]] = {
        "help": ("--help",),
        "info": ("info", inputs / "model"),
        "score": ("score", "--reference", *references, "--estimate", *estimates),
        "features": (
            *("features", video, "--out", out),
            *("--visual_pretrained", "random"),
        ),
        "separate": (
            *("separate", video, "--sources", "left-right", "--out", out),
            *("--model", inputs / "model"),
        ),
    }
    words["separate_long"] = words["separate"]

    def run() -> Cost:
        shutil.rmtree(out, ignore_errors=True)
        if name == "train_start":
            from tests.support.tiny_corpus import train_command

            argv = train_command(inputs / "corpus", inputs / "train.yaml", out)
            return build.run("-m", "espnet2_avsep.bin.avsep_train", *argv)
        return build.run(*avsep, *words[name])

    return run


class Recipe:
    """The mini recipe of a build, run once with few and short clips."""

    def __init__(self, build: Build):
        self.build = build
        self.folder = build.scratch / "egs2" / "mini_music"
        self.folder.mkdir(parents=True)
        for path in sorted((build.root / "egs2" / "mini_music").iterdir()):
            subprocess.run(["cp", "-rL", path, self.folder], check=True)
        self.again()

    def stages(self, first: int, last: int, *more: object, status: int = 0) -> Cost:
        """Run stages of the recipe."""
        few = "--train_takes 2 --valid_takes 1 --test_takes 1 --duration 6"
        return self.build.run(
            *("./run.sh", "--stage", first, "--stop_stage", last),
            *("--local_data_opts", few, "--python", sys.executable),
            *("--valid_num_mixtures", 4, "--test_num_mixtures", 6),
            *("--avsep_args", "--max_epoch 1 --num_iters_per_epoch 2 --batch_size 4"),
            *more,
            cwd=self.folder,
            status=status,
        )

    def again(self) -> Cost:
        """Run all stages."""
        return self.stages(1, 8)

    def wrong_tag(self) -> Cost:
        """Run stage 2 with weights that do not exist."""
        more = ("--visual_pretrained", "no_such", "--nj", 8, "--dumpdir", "wrong")
        return self.stages(2, 2, *more, status=1)


class Stepper:
    """A process of a build that makes training steps of a system.

    Args:
        build: The build.
        system: conf/tuning/train_avsep_<system>.yaml.
        batch_size: Mixtures a step.
        threads: Of the process.
    """

    def __init__(self, build: Build, system: str, batch_size: int, threads: int):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", STEPPER]
            + [system, str(batch_size), str(threads)],
            cwd=build.root,
            env=build.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.step()  # does not count

    def step(self) -> Cost:
        """Make a step."""
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        cpu, wall, kibibytes = map(float, self.process.stdout.readline().split())
        return Cost(cpu, wall, kibibytes / 1024)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def sections(args: argparse.Namespace) -> List[str]:
    """Return the sections that are asked for, in the table's order."""
    if args.only is None:
        return [name for name in SECTIONS if name not in ON_DEMAND]
    wanted = [name for names in args.only for name in names]
    unknown = sorted(set(wanted) - set(SECTIONS))
    if unknown:
        expected = ", ".join(SECTIONS)
        raise SystemExit(f"--only {', '.join(unknown)}: expected some of {expected}")
    return [name for name in SECTIONS if name in wanted]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the comparison."""
    args = get_parser().parse_args(argv)
    wanted = sections(args)
    prepare(args)
    print(f"{args.build} beside this build; {circumstances(args)}\n\n{HEADER}")
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        roots = {args.build: stack.enter_context(checkout(args.build, temporary))}
        roots["this build"] = ROOT
        builds = []
        for number, (name, root) in enumerate(roots.items()):
            scratch = temporary / f"scratch{number}"
            scratch.mkdir()
            environment = {
                **os.environ,
                "PYTHONPATH": str(root),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HF_HUB_OFFLINE": "1",
            }
            # As for a user: a module is compiled once, not at every start.
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            if args.malloc == "keep":
                environment["MALLOC_MMAP_MAX_"] = "0"
                environment["MALLOC_TRIM_THRESHOLD_"] = "2147483647"
            builds.append(Build(name, root, scratch, environment))
        inputs = temporary / "inputs"
        inputs.mkdir()
        if set(wanted) & set(COMMANDS) - {"help"}:
            other, this = builds
            write_inputs(other, this, inputs)
        if "separate_long" in wanted:
            lengthen(inputs / "duet.mp4", 600.0, inputs / "long.mp4")
        recipes: List[Recipe] = []
        for name in wanted:
            if name in COMMANDS:
                ways = [command_of(name, inputs, build) for build in builds]
                what = COMMANDS[name]
            elif name in RECIPE:
                recipes = recipes or [Recipe(build) for build in builds]
                ways = [getattr(recipe, name) for recipe in recipes]
                what = RECIPE[name]
            else:
                system = name.removeprefix("step_")
                options = (system, args.batch_size, args.threads)
                steppers = [Stepper(build, *options) for build in builds]
                ways = [stepper.step for stepper in steppers]
                what = f"training step {system}, batch {args.batch_size}"
            costs = compare(ways, args.rounds)
            if name.startswith("step_"):
                for stepper in steppers:
                    stepper.close()
            print(format_line(what, *costs), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

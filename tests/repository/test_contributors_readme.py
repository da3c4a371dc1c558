"""espnet2_avsep/README.md followed literally, in a copy of the repository.

The files that the guide shows are written where it says, and its commands are run: the
tests of all separators and prompts must find what is new by themselves.
"""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "espnet2_avsep" / "README.md"
# "1. `path`..." and, before the next item, an indented block.
FILE = re.compile(
    r"^\d\. `([\w./]+)`(?:(?!^\d\. |^##).)*?^   ```(?:python|yaml)\n(.*?)^   ```$",
    re.S | re.M,
)
COMMANDS = re.compile(r"^ *```sh\n(.*?)^ *```$", re.S | re.M)


def section(title: str) -> str:
    text = GUIDE.read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def shown_files(title: str) -> dict:
    return {path: textwrap.dedent(code) for path, code in FILE.findall(section(title))}


def commands(title: str) -> list:
    blocks = COMMANDS.findall(section(title))
    return [line.strip() for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what is under version control, but for the media of recipes."""
    root = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("figures", "exp", "dump", "data", "downloads")
    for name in ("conf", "egs2", "local", "utils"):
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=ignore)
    for name in ("espnet2_avsep", "tests"):
        shutil.copytree(ROOT / name, root / name)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, root)
    return root


def add(checkout: Path, title: str) -> dict:
    """Write the files that a section shows; return them."""
    files = shown_files(title)
    for path, code in files.items():
        (checkout / path).write_text(code, encoding="utf-8")
    return files


def follow(checkout: Path, command: str) -> str:
    """Run a command of the guide; return what it prints."""
    kept = {"HOME", "LANG", "OMP_NUM_THREADS", "TMPDIR"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env={
            **{key: value for key, value in os.environ.items() if key in kept},
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(checkout),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (
        f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    )
    return done.stdout


def in_one_run(title: str) -> str:
    """The pytest commands of a section as one, which imports torch once.

    Options -k are of one word and hold for all; a file without -k is run whole.
    """
    words = [c.removeprefix("python -m pytest -q ").split() for c in commands(title)]
    assert all(c.startswith("python -m pytest -q tests/") for c in commands(title))
    chosen = {w[2] for w in words if len(w) == 3 and w[1] == "-k"}
    assert len(chosen) == 1 and all(len(w) in (1, 3) for w in words)
    whole = [w[0] for w in words if len(w) == 1]
    keys = [chosen.pop(), *(Path(path).stem for path in whole)]
    paths = " ".join(w[0] for w in words)
    return f"python -m pytest -q -p no:cacheprovider {paths} -k '{' or '.join(keys)}'"


def test_a_separator(checkout):
    files = add(checkout, "Add a separator")
    assert list(files) == [
        "espnet2_avsep/separator/film_separator.py",
        "conf/tuning/train_avsep_film.yaml",
    ]
    out = follow(checkout, in_one_run("Add a separator"))
    assert int(re.search(r"(\d+) passed", out)[1]) > 25
    listed = follow(checkout, "python -m espnet2_avsep.bin.avsep train --help")
    assert "film" in listed.split("--separator NAME")[1].split("--visual_adapter")[0]
    system = "conf/tuning/train_avsep_film.yaml"
    needs = follow(checkout, f"python -m espnet2_avsep.bin.avsep_config {system}")
    assert needs == f"{system} true clip any\n"
    plan = 'cd egs2/mini_music && ./table.sh --systems "hfra_late film" --dry_run true'
    assert "--avsep_tag film_seed0" in follow(checkout, plan)


# Stages 4, 6 and 7 with the condition that the guide adds.
CONDITION = """
import numpy as np

from espnet2_avsep.bin.prepare.filter_clips import main as filter_clips
from espnet2_avsep.bin.prepare.make_mixtures import main as make_mixtures
from espnet2_avsep.data.collate import collate
from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.tasks.choices import build_model
from espnet2_avsep.inference.separate import load_config
from tests.data.clip_corpus import FS, write_ark, write_corpus, write_stages
from tests.support.trained_model import make_trained_folder


def test_rows_reach_the_separator(tmp_path):
    corpus = write_corpus(tmp_path / "clips")
    folders = write_stages(tmp_path, corpus)
    keys, folder = list(corpus.audio), folders["visual_dir"]
    rows = {key: np.full((3 + n, 2), n, np.float32) for n, key in enumerate(keys[1:])}
    write_ark(folder / "depth", rows)
    (folder / "depth_skipped.tsv").write_text(f"{keys[0]}\\tdepth\\tno depth\\n")
    (folder / "depth_info.yaml").write_text("encoder: mine\\n")
    kept, made = tmp_path / "kept", tmp_path / "made"
    words = [f"--{name}={path}" for name, path in folders.items()]
    words += ["--condition_dir", f"depth:{folder}", "--fs", str(FS)]
    words += ["--segment_samples", "8000", "--output_dir", str(kept)]
    assert filter_clips(words) == 0
    assert list(read_scp(kept / "wav.scp")) == sorted(keys[1:])
    assert (kept / "depth_info.yaml").read_text() == "encoder: mine\\n"
    words = [f"--clips_dir={kept}", f"--output_dir={made}", "--fs", str(FS)]
    assert make_mixtures([*words, "--segment_samples", "8000"]) == 0
    names = {"wav": "speech_mix"}
    for n in (1, 2):
        names.update({f"{k}_spk{n}": f"{k}_ref{n}" for k in ("visual", "depth")})
    tables = {name: read_scp(made / f"{stem}.scp") for stem, name in names.items()}
    dataset = FixedMixtureDataset(tables)
    mixtures = [dataset[i] for i in range(4)]
    for _, data in mixtures:
        for n in (1, 2):  # the clip's number, of both tables
            assert data[f"depth_ref{n}"][0, 0] == data[f"visual_ref{n}"][0, 0] - 1
    model_folder = make_trained_folder(tmp_path / "model")
    model = build_model(load_config(model_folder / "config.yaml"), with_teacher=False)
    model.separator.needs_depth = True
    _, given = model.source_inputs(collate(mixtures)[1])
    lengths = [[len(data[f"depth_ref{n}"]) for n in (1, 2)] for _, data in mixtures]
    assert given["depth_lengths"].tolist() == lengths
    assert given["depth"].shape == (4, 2, max(map(max, lengths)), 2)
"""


def test_a_condition(checkout):
    (entry,) = re.findall(
        r"^```python\n(.*?)^```$", section("Add a condition"), re.S | re.M
    )
    path = checkout / "espnet2_avsep/data/conditions.py"
    text = path.read_text()
    before = "CONDITIONS = (MOTION, LABELS)"
    assert before in text
    after = f"{entry}CONDITIONS = (MOTION, LABELS, DEPTH)"
    path.write_text(text.replace(before, after))
    (checkout / "tests/data/test_depth.py").write_text(CONDITION)
    follow(checkout, "python -m pytest -q -p no:cacheprovider tests/data/test_depth.py")


def test_a_corpus(checkout):
    setup, run = commands("Add a corpus")
    follow(checkout, setup)
    assert list(add(checkout, "Add a corpus")) == ["local/prepare_toys.py"]
    videos = checkout / "egs2" / "toys" / "downloads" / "toys"
    videos.mkdir(parents=True)
    for name in ("car", "drum"):
        for number in range(20):
            (videos / f"{name}_{number}.mp4").touch()
    follow(checkout, run)
    keys = set()
    for name in ("train", "valid", "test"):
        path = checkout / "egs2" / "toys" / "data" / name / "video.scp"
        keys |= {line.split()[0] for line in path.read_text().splitlines()}
    assert keys == {f"{name}-{n}" for name in ("car", "drum") for n in range(20)}


def test_a_prompt_type(checkout):
    files = add(checkout, "Add a prompt type")
    assert list(files) == [
        "espnet2_avsep/inference/prompts/frame.py",
        "tests/inference/test_frame.py",
    ]
    out = follow(checkout, in_one_run("Add a prompt type"))
    assert int(re.search(r"(\d+) passed", out)[1]) > 10
    text = follow(checkout, "python -m espnet2_avsep.bin.avsep separate --help")
    assert "  frame:TIME    the whole picture of the input video at that time" in text

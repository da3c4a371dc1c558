"""A tiny trained experiment, and packs of it made without ESPnet's packer."""

import shutil
import zipfile
from pathlib import Path

import yaml

from tests.support.tiny_corpus import DIM
from tests.support.trained_model import make_trained_folder

RESULTS = """\
# RESULTS of avsep_tiny

**Tones, not music.**

## Scores

| set | n | SDR |
|---|---|---|
| test | 8 | 1.23 |

## Environment

* python: 3

## test

* mixtures: 4
* SHA-256 of mixtures.tsv: 00ff

| a | b |
|---|---|

## Corpus

* test: 9 of 10 listed clips are there

## Clips left out before scoring

| set | left out |
|---|---|
| test | 1 |

## Command

avsep_tiny/run.sh:

```sh
## Scores of a comment
./avsep.sh
```
"""
VISUAL = {
    "encoder": "open_clip",
    "model": "ViT-B-32",
    "pretrained": "/home/somebody/clip.pt",
    "weights": "sha256 0123",
    "dim": DIM,
}


def make_experiment(folder: Path, **changes) -> Path:
    make_trained_folder(folder, **changes)
    (folder / "visual_info.yaml").write_text(yaml.safe_dump(VISUAL))
    (folder / "RESULTS.md").write_text(RESULTS)
    return folder


def make_packed_folder(exp: Path, folder: Path) -> Path:
    """The files of a pack, as a folder."""
    folder.mkdir(parents=True)
    for name in ("config.yaml", "valid.si_sdr_i.best.pth", "visual_info.yaml"):
        shutil.copy(exp / name, folder)
    meta = {
        "files": {"model_file": "valid.si_sdr_i.best.pth"},
        "yaml_files": {"train_config": "config.yaml"},
    }
    (folder / "meta.yaml").write_text(yaml.safe_dump(meta))
    return folder


def zip_folder(folder: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as z:
        for file in sorted(folder.rglob("*")):
            z.write(file, file.relative_to(folder))
    return path

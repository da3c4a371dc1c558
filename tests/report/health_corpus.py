"""The tables and files of stages 1 to 4, small, with known faults."""

from pathlib import Path
from typing import Dict

import numpy as np
from PIL import Image

from espnet2_avsep.data.audio.levels import Level, write_levels
from espnet2_avsep.data.tables.scp import Skipped, write_scp, write_skipped

FS = 8000
# Clip -> seconds, of the training set; the class is what stands before the "-".
SECONDS = {"cello-a": 9.0, "cello-b": 11.0, "cello-<c>": 10.0, "tuba-a": 10.5}


def write_pictures(folder: Path, pictures: np.ndarray) -> None:
    """Write a folder of pictures, (n, H, W, 3)."""
    folder.mkdir(parents=True)
    for n, picture in enumerate(pictures):
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{n:06d}.png")


def pictures_of(kind: str) -> np.ndarray:
    """Four pictures (4, 45, 80, 3)."""
    ramp = np.broadcast_to(np.linspace(0, 255, 80)[None, None, :, None], (4, 45, 80, 3))
    if kind == "black":
        return np.zeros_like(ramp)
    if kind == "one colour":
        return np.full_like(ramp, 120)
    moving = ramp.copy()
    if kind == "ok":  # only a small part moves
        for n in range(4):
            moving[n, 10:25, 20:35] = 60 * n
    return moving


def write_health_corpus(root: Path) -> Dict[str, Path]:
    """Write data/ and dump/ of a set "train" and a set "test"; return their folders."""
    data, dump = root / "data", root / "dump"
    kinds = dict(zip(SECONDS, ("ok", "black", "frozen", "one colour"), strict=True))
    for key, kind in kinds.items():
        write_pictures(root / "videos" / key, pictures_of(kind))
    for dset, keys in (("train", list(SECONDS)), ("test", ["tuba-a"])):
        clips = dump / "train" if dset == "train" else dump / "org" / f"{dset}_clips"
        category = {key: key.split("-")[0] for key in keys}
        write_scp(data / dset / "utt2spk", category)
        videos = {key: root / "videos" / key for key in keys}
        write_scp(data / dset / "video.scp", videos)
        write_scp(dump / dset / "visual.scp", videos)
        samples = {key: int(FS * SECONDS[key]) for key in keys}
        write_scp(dump / "org" / dset / "utt2num_samples", samples)
        levels = {key: Level(-20.0, -3.0, 0) for key in keys}
        if dset == "train":
            levels["cello-a"] = Level(-9.0, 0.0, 720)
            levels["cello-b"] = Level(-80.0, -70.0, 0)
        write_levels(clips / "levels.tsv", levels)
        (dump / dset / "counts.yaml").write_text("listed: 1\n")
    gone = [Skipped(f"oboe-{n}", "prepare", f"no file ({n} seen)") for n in range(5)]
    gone.append(Skipped("cello-b", "filter", "silent: RMS -80.0 dB, -60 dB needed"))
    write_skipped(data / "train" / "skipped.tsv", gone[:5])
    write_skipped(dump / "train" / "skipped.tsv", gone)
    write_skipped(dump / "test" / "skipped.tsv", [])
    return {"data_dir": data, "dump_dir": dump, "output_dir": dump / "report"}

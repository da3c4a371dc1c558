"""Encode pictures, or those of videos, as a model, or an encoder by name, sees them.

Writes to --out <input>.npy for each input, (frames, D) floats, which avsep separate
takes as --query; and what avsep_extract_visual writes for a table of clips: visual.ark,
visual.scp, visual_shape, visual_skipped.tsv and visual_info.yaml.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.cli.shared_options import Device, Json, QuietLog
from espnet2_avsep.errors import InputError
from espnet2_avsep.lean_imports import import_lean_torch

WRITTEN = ("inputs.scp", "visual.ark", "visual.scp", "visual_shape")
WRITTEN += ("visual_skipped.tsv", "visual_info.yaml")
# A few pictures: the last batch is padded to this number (see FrameEncoder).
BATCH_SIZE = 8
ENCODER_OPTIONS = ("visual_encoder", "visual_model", "visual_pretrained")


@dataclass(kw_only=True)
class Options(Device, Json, QuietLog):
    """The options of the command."""

    inputs: List[str] = option(
        ..., "pictures, videos, or folders of frames", positional=True
    )
    out: str = option(..., "folder of what is written")
    overwrite: bool = option(
        False, "replace tables in --out that this command did not write", flag=True
    )
    model: Optional[str] = option(
        None, "folder of a training: the encoder that it was trained with"
    )
    visual_encoder: Optional[str] = option(
        None, "without --model", choices=("open_clip", "resnet18")
    )
    visual_model: Optional[str] = option(
        None, "a model name of open_clip (default: ViT-B-32)"
    )
    visual_pretrained: Optional[str] = option(
        None, "tag, path or 'random' (default: openai)"
    )
    fps: float = option(8, "pictures a second")
    every: int = option(8, "encode every n-th picture")


@with_options(Options)
def main(args: Options) -> int:
    """Run the command."""
    out = Path(args.out)
    if "\0" in args.out or (out.exists() and not out.is_dir()):
        raise InputError(f"--out {args.out!r}: is no folder; choose another name.")
    from espnet2_avsep.data.tables.clip_id import file_stem, nfc

    table = {}
    for text in args.inputs:
        path = Path(text)
        try:
            there = bool(text.strip()) and path.exists()
        except (OSError, ValueError):  # no name that a file can have
            there = False
        if not there:
            raise InputError(f"{text!r:.200}: no such file or folder.")
        if path.resolve().as_posix() != " ".join(path.resolve().as_posix().split()):
            raise InputError(
                f"{text!r}: has white space that a table cannot hold; rename it."
            )
        _check_picture(path)
        key = nfc(path.stem).replace(" ", "_") or "input"
        while key in table:
            key += "_"
        table[key] = path.resolve()
    import_lean_torch()
    encoder = _encoder(args)

    import numpy as np

    from espnet2_avsep.data.records.output_folder import OutputFolder
    from espnet2_avsep.data.tables.scp import (
        atomic_write,
        read_scp,
        read_skipped,
        write_scp,
    )
    from espnet2_avsep.data.tables.table_entry import load_matrix
    from espnet2_avsep.visual.extract import extract_visual

    outputs = OutputFolder(out, "features", table.values(), args.overwrite)
    arrays = {key: f"{file_stem(key)}.npy" for key in table}
    if not outputs.is_own:  # of its own, a run that was cut off goes on
        outputs.check(WRITTEN)
    outputs.check(list(arrays.values()))
    out.mkdir(parents=True, exist_ok=True)
    write_scp(out / "inputs.scp", table)
    outputs.add("inputs.scp")
    extract_visual(
        out / "inputs.scp",
        out,
        fps=args.fps,
        every=args.every,
        device=args.device,
        batch_size=BATCH_SIZE,
        **encoder,
    )
    rows = read_scp(out / "visual.scp")
    for key, entry in rows.items():
        with atomic_write(out / arrays[key], "wb") as f:
            np.save(f, load_matrix(entry))
        outputs.add(arrays[key])
    found = {
        "queries": {key: str(out / arrays[key]) for key in rows},
        "shapes": read_scp(out / "visual_shape"),
        "skipped": {
            row.key: row.reason for row in read_skipped(out / "visual_skipped.tsv")
        },
        "scp": str(out / "visual.scp"),
    }
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for key, shape in found["shapes"].items():
        print(f"{key}: {shape}, {found['queries'][key]}")
    for key, reason in found["skipped"].items():
        print(f"{key}: left out, {reason}")
    print(f"wrote {found['scp']}")
    return 0


def _check_picture(path: Path) -> None:
    from espnet2_avsep.media.file_name import is_image_name
    from espnet2_avsep.media.stream import probe

    if path.is_dir() or is_image_name(path.name):
        return
    if not probe(path).has_video:
        raise InputError(
            f"{path}: has no picture. Give a picture, a video, or a folder of numbered "
            "pictures."
        )


def _encoder(args: Options) -> Dict[str, Any]:
    """Return the encoder's arguments: the model's, or those given."""
    given = [name for name in ENCODER_OPTIONS if getattr(args, name) is not None]
    if args.model is None:
        return {
            "encoder": args.visual_encoder or "open_clip",
            "model": args.visual_model or "ViT-B-32",
            "pretrained": args.visual_pretrained,
        }
    if given:
        raise InputError(f"--model and --{given[0]}: give one of the two.")
    from espnet2_avsep.sharing.source import find_model
    from espnet2_avsep.visual.encoder_info import ENCODERS, read_info

    info = read_info(find_model(args.model).config.parent / "visual_info.yaml")
    if info.get("encoder") not in ENCODERS:
        raise InputError(
            f"{args.model}: was trained on {info.get('encoder')!r}, not on embeddings "
            f"of an encoder ({', '.join(ENCODERS)})."
        )
    return {
        "encoder": info["encoder"],
        "model": info.get("model", "ViT-B-32"),
        "pretrained": info.get("pretrained"),
        "seed": info.get("seed", 0),
        "dtype": info.get("dtype", "float32"),
    }

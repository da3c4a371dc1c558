"""Encode pictures, or those of videos, as a model, or an encoder by name, sees them.

Writes to --out <input>.npy for each input, (frames, D) floats, which avsep separate
takes as --query; and what avsep_extract_visual writes for a table of clips: visual.ark,
visual.scp, visual_shape, visual_skipped.tsv and visual_info.yaml.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.cli.shared_options import Device, Json, QuietLog
from espnet2_avsep.errors import InputError
from espnet2_avsep.lean_imports import import_lean_torch
from espnet2_avsep.sharing.default_model import MODEL_HELP, default_model
from espnet2_avsep.visual.visual_options import ENCODERS, Sampling

ENCODER_OPTIONS = ("visual_encoder", "visual_model", "visual_pretrained")


@dataclass(kw_only=True)
class Options(Sampling, Device, Json, QuietLog):
    """The options of the command."""

    inputs: List[str] = option(
        ..., "pictures, videos, or folders of frames", positional=True
    )
    out: str = option(..., "folder of what is written")
    overwrite: bool = option(
        False, "replace tables in --out that this command did not write", flag=True
    )
    model: Optional[str] = option(
        None,
        f"the encoder that this model was trained with: {MODEL_HELP}; where there is "
        "none, CLIP ViT-B-32",
    )
    visual_encoder: Optional[str] = option(
        None, "an encoder by name, instead of a model's", choices=ENCODERS
    )
    visual_model: Optional[str] = option(
        None, "likewise: a model name of open_clip (default: ViT-B-32)"
    )
    visual_pretrained: Optional[str] = option(
        None, "likewise: tag, path or 'random' (default: openai)"
    )


@with_options(Options)
def main(args: Options) -> int:
    """Run the command."""
    out = Path(args.out)
    if "\0" in args.out or (out.exists() and not out.is_dir()):
        raise InputError(f"--out {args.out!r}: is no folder; choose another name.")
    from espnet2_avsep.visual.encode_inputs import encode_inputs, input_table

    table = input_table(args.inputs)
    import_lean_torch()
    encoder = _encoder(args)
    from espnet2_avsep.data.records.output_folder import OutputFolder

    outputs = OutputFolder(out, "features", table.values(), args.overwrite)
    sampling = {"fps": args.fps, "every": args.every, "device": args.device}
    found = encode_inputs(table, outputs, **sampling, **encoder)
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for key, shape in found["shapes"].items():
        print(f"{key}: {shape}, {found['queries'][key]}")
    for key, reason in found["skipped"].items():
        print(f"{key}: left out, {reason}")
    print(f"wrote {found['scp']}")
    return 0


def _encoder(args: Options) -> Dict[str, Any]:
    """Return the encoder's arguments: those given, or the model's."""
    given = [name for name in ENCODER_OPTIONS if getattr(args, name) is not None]
    if given and args.model is not None:
        raise InputError(f"--model and --{given[0]}: give one of the two.")
    model, reason = args.model, ""
    if not given and model is None:
        model, reason = default_model() or (None, "")
    if model is None:
        return {
            "visual_encoder": args.visual_encoder or "open_clip",
            "visual_model": args.visual_model or "ViT-B-32",
            "visual_pretrained": args.visual_pretrained,
        }
    if reason and not args.json:
        print(f"encoder of the model {model} ({reason})", file=sys.stderr, flush=True)
    from espnet2_avsep.sharing.source import find_model
    from espnet2_avsep.visual.encoder_info import read_info

    info = read_info(find_model(model).config.parent / "visual_info.yaml")
    if info.get("encoder") not in ENCODERS:
        raise InputError(
            f"{model}: was trained on {info.get('encoder')!r}, not on embeddings of an "
            f"encoder ({', '.join(ENCODERS)}). Name another model, or an encoder "
            "(--visual_encoder)."
        )
    return {
        "visual_encoder": info["encoder"],
        "visual_model": info.get("model", "ViT-B-32"),
        "visual_pretrained": info.get("pretrained"),
        "seed": info.get("seed", 0),
        "squeezed": "boxes" in info,  # as build.encoder_from_info has it
        "dtype": info.get("dtype", "float32"),
    }

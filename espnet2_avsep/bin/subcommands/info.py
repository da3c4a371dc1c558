"""Tell what a trained model is, and what it can be asked.

Reads the folder of a training: its system, sampling rate, size, the checksum of its
weights, and which prompts it takes.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Dict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the sub-command."""
    parser.add_argument(
        "model",
        help="folder of a training (exp/avsep_<tag>), packed model (zip), or user/name "
        "on the Hugging Face hub",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run the sub-command."""
    from espnet2_avsep.separate import SeparateAV

    separate = SeparateAV.from_pretrained(args.model)
    config = separate.config
    found: Dict[str, Any] = {
        "model": str(args.model),
        "system": getattr(config, "system", None),
        "separator": config.separator,
        "parameters": sum(p.numel() for p in separate.model.parameters()),
        "sample_rate": separate.sample_rate,
        "segment_seconds": round(separate.segment / separate.sample_rate, 3),
        "weights_sha256": separate.weights_sha256,
        "prompt_dim": separate.prompt_dim,
        "prompts": _prompts(separate),
    }
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for key, value in found.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, text in value.items():
                print(f"  {name}: {text}")
        else:
            print(f"{key}: {value}")
    return 0


def _prompts(separate: Any) -> Dict[str, str]:
    """Say which prompts the model takes, and why not the others."""
    from espnet2_avsep.errors import InputError
    from espnet2_avsep.visual.build import read_info, text_refusal

    path = Path(separate.train_config).parent / "visual_info.yaml"
    try:
        info = read_info(path)
    except InputError as error:
        return {"embedding": "yes", "picture": f"no: {error}", "text": f"no: {error}"}
    encoder = " ".join(
        str(info[key]) for key in ("encoder", "model", "weights") if key in info
    )
    refusal = text_refusal(path, info)
    pictures_only = separate.prompt_dim is None
    return {
        "picture": f"yes, encoded by {encoder}",
        "region": "yes, of a video or a picture",
        "embedding": "no: the model takes pictures" if pictures_only else "yes",
        "text": f"no: {refusal}" if refusal else "yes",
    }

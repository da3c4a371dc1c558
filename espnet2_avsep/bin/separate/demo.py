#!/usr/bin/env python3
"""Serve a page in the browser that separates what is uploaded (extra: demo)."""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence

from espnet2_avsep.bin.separate import info
from espnet2_avsep.bin.separate.separate import separate_one
from espnet2_avsep.cli.command import command, setup_logging
from espnet2_avsep.device import check_device, choose_device
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.markdown import plain
from espnet2_avsep.sharing.default_model import MODEL_HELP, choose_model

if TYPE_CHECKING:
    from espnet2_avsep.inference.separate import SeparateAV


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Serve a page in the browser over a trained separator: upload a "
        "video or a sound, say what to separate, look at and listen to the tracks. It "
        "needs gradio: pip install 'espnet2_avsep[demo]'.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", help=MODEL_HELP)
    add("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda:1")
    add(
        "--example",
        type=Path,
        help="a video that the page begins with (default: the duet that make demo "
        "wrote, downloads/duet/duet.mp4 in the recipe's folder, if it is there)",
    )
    add("--host", default="127.0.0.1", help="address to serve at; 0.0.0.0: to all")
    add("--port", type=int, default=7860)
    add(
        "--max_seconds",
        type=float,
        default=600.0,
        help="longer recordings are refused",
    )
    add("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    if args.max_seconds <= 0:
        raise InputError(f"--max_seconds {args.max_seconds:g}: expected more than 0.")
    if not 1 <= args.port <= 65535:
        raise InputError(f"--port {args.port}: expected 1 to 65535.")
    if importlib.util.find_spec("gradio") is None:
        raise InputError(
            "gradio is not installed; pip install 'espnet2_avsep[demo]' brings it."
        )
    check_device(args.device)
    if args.example is not None and not args.example.is_file():
        raise InputError(f"--example {args.example}: no such file.")
    source, _ = choose_model(args.model)
    example = args.example or _duet(Path(source))
    from espnet2_avsep.demo.app import start
    from espnet2_avsep.inference.separate import SeparateAV

    device = str(choose_device(args.device))
    separate = SeparateAV.from_pretrained(source, device=device)
    app = app_of(separate, source, args.max_seconds, example)
    start(app, args.host, args.port)


def app_of(
    separate: "SeparateAV", source: str, max_seconds: float, example: Optional[Path]
) -> Any:
    """Return the app over a model, which does what ``avsep separate`` does.

    Args:
        separate: The model.
        source: What it was made from.
        max_seconds: Longer recordings are refused.
        example: A video that the page begins with.
    """
    from espnet2_avsep.demo.app import build_app

    says = info.about(separate)
    takes = [kind for kind, word in says["prompts"].items() if word.startswith("yes")]
    classes = says["classes"]
    lines = [f"Model: {Path(source).name}."]
    if isinstance(classes, list):
        lines.append(f"It was trained or tested on: {', '.join(classes)}.")
    if says.get("note"):
        lines.append(f"{says['note']}")
    return build_app(
        lambda words, progress: separate_one(
            separate, [*words, "--model", source], progress, max_seconds
        ),
        takes,
        " ".join(map(plain, lines)),
        example,
    )


def _duet(source: Path) -> Optional[Path]:
    """Return the duet of ``make demo``, of this folder or the model's recipe."""
    for folder in (Path(), source.parent.parent):
        path = folder / "downloads" / "duet" / "duet.mp4"
        if path.is_file():
            return path
    return None


if __name__ == "__main__":
    sys.exit(main())

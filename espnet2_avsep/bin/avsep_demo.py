#!/usr/bin/env python3
"""Serve a page in the browser that separates what is uploaded (extra: demo)."""

import argparse
import importlib.util
import sys
from typing import Optional, Sequence

from espnet2_avsep.bin.cli import command, setup_logging
from espnet2_avsep.errors import InputError


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Serve a page in the browser over a trained separator: upload a "
        "video or a sound, mark regions, type names or give pictures, hear the tracks. "
        "Wants gradio: pip install 'espnet2_avsep[demo]'.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="folder of a training, exp/avsep_<tag>, a packed model, user/name on the "
        "Hugging Face hub, or zoo:tag",
    )
    add("--device", default="cpu", help="cpu, cuda or cuda:N")
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
    from espnet2_avsep.demo.app import build_app, start
    from espnet2_avsep.separate import SeparateAV

    separate = SeparateAV.from_pretrained(args.model, device=args.device)
    app = build_app(separate, args.max_seconds)
    start(app, args.host, args.port)


if __name__ == "__main__":
    sys.exit(main())

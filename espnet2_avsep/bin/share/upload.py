#!/usr/bin/env python3
"""Publish a packed model on the Hugging Face hub (stage 10)."""

import argparse
import logging
import shutil
import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging, str2bool
from espnet2_avsep.data.records.made_from import check_current
from espnet2_avsep.data.tables.scp import atomic_write
from espnet2_avsep.errors import InputError


def get_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Publish a packed model on the Hugging Face hub, with a page made "
        "from its RESULTS.md. The token is that of 'hf auth login', or HF_TOKEN.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--packed_model", required=True, help="the zip file that stage 9 wrote"
    )
    parser.add_argument("--hf_repo", required=True, help="repository, user/name")
    parser.add_argument(
        "--output_dir", required=True, help="where to write the folder that is uploaded"
    )
    parser.add_argument(
        "--license",
        default="",
        help="licence of the weights as the hub names it, e.g. cc-by-4.0; without it "
        "the page says that there is none",
    )
    parser.add_argument(
        "--private",
        type=str2bool,
        default=False,
        help="true: a new repository is private",
    )
    parser.add_argument(
        "--dry_run", type=str2bool, default=False, help="true: write the folder only"
    )
    parser.add_argument("--log_level", default="INFO", help="verbosity of the log")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.sharing import hub

    hub.check_repo_id(args.hf_repo)
    folder = Path(args.output_dir)
    write_folder(Path(args.packed_model), folder, args.hf_repo, args.license)
    for path in sorted(folder.rglob("*")):
        logging.info(f"{path}: {path.stat().st_size} bytes")
    if args.dry_run:
        logging.info(f"--dry_run true: {folder} is what would be uploaded")
        print(folder)
        return
    message = f"Upload {Path(args.packed_model).name}"
    print(hub.publish(folder, args.hf_repo, args.private, message))


def write_folder(packed: Path, folder: Path, repo_id: str, licence: str) -> None:
    """Write what the repository is to hold: the packed model and its page."""
    from espnet2_avsep.data.tables.yaml_file import read_mapping
    from espnet2_avsep.sharing.archive import unpack
    from espnet2_avsep.sharing.card import model_card
    from espnet2_avsep.sharing.source import META, PACK_INFO

    if not packed.is_file():
        raise InputError(f"{packed}: no such file; stage 9 writes it.")
    check_current(packed)
    if folder.exists() and any(folder.iterdir()) and not (folder / META).is_file():
        raise InputError(
            f"{folder}: holds other things than a packed model; give another folder."
        )
    shutil.rmtree(folder, ignore_errors=True)
    unpack(packed, folder)
    results = folder / "RESULTS.md"
    card = model_card(
        repo_id,
        read_mapping(folder / PACK_INFO),
        read_mapping(folder / "config.yaml"),
        results.read_text(encoding="utf-8") if results.is_file() else None,
        licence,
    )
    with atomic_write(folder / "README.md") as f:
        f.write(card)


if __name__ == "__main__":
    sys.exit(main())

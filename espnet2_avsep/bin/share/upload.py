"""Publish a packed model on the Hugging Face hub (stage 10).

Its page is made from RESULTS.md. The token is that of 'hf auth login', or HF_TOKEN.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.data.records.made_from import check_current
from espnet2_avsep.data.tables.scp import write_file
from espnet2_avsep.errors import InputError


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    packed_model: str = option(..., "the zip file that stage 9 wrote")
    hf_repo: str = option(..., "repository, user/name")
    output_dir: str = option(..., "where to write the folder that is uploaded")
    license: str = option(
        "",
        "licence of the weights as the hub names it, e.g. cc-by-4.0; without it the "
        "page says that there is none",
    )
    private: bool = option(False, "true: a new repository is private")
    dry_run: bool = option(False, "true: write the folder only")


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
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
    write_file(folder / "README.md", card)

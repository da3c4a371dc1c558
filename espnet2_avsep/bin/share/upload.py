"""Publish a packed model on the Hugging Face hub (stage 10).

Its page is made from RESULTS.md. The token is that of 'hf auth login', or HF_TOKEN.
"""

import json
import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.records.made_from import check_current
from espnet2_avsep.data.tables.scp import write_file, write_json
from espnet2_avsep.errors import InputError

PAGE = "README.md"


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
    """Write what the repository is to hold: the packed model and its page.

    The folder is replaced in one step. A page that the user has changed stays, as long
    as the model is the same.

    Raises:
        InputError: the folder holds other things, or a changed page of another model.
    """
    from espnet2_avsep.data.tables.yaml_file import read_mapping
    from espnet2_avsep.sharing.archive import unpack
    from espnet2_avsep.sharing.card import model_card
    from espnet2_avsep.sharing.source import META, PACK_INFO, packed_digests

    if not packed.is_file():
        raise InputError(f"{packed}: no such file; stage 9 writes it.")
    check_current(packed)
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not found <= {*packed_digests(folder), META, PACK_INFO, PAGE}:
        raise InputError(
            f"{folder}: holds other things than a packed model; give another folder."
        )
    page, record = folder / PAGE, folder.with_name(f"{folder.name}.written.json")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        new = temporary / "new"
        unpack(packed, new)
        if _is_changed(page, record):
            infos = [path / PACK_INFO for path in (folder, new)]
            if len({info.is_file() and info.read_bytes() for info in infos}) > 1:
                raise InputError(
                    f"{page}: was changed, and is of another model than {packed}. Move "
                    "it out of the folder, run this again, and put into the new page "
                    "what is yours."
                )
            logging.info(f"{page}: stays as you have changed it; no option changes it")
            return
        results = new / "RESULTS.md"
        card = model_card(
            repo_id,
            read_mapping(new / PACK_INFO),
            read_mapping(new / "config.yaml"),
            results.read_text(encoding="utf-8") if results.is_file() else None,
            licence,
        )
        write_file(new / PAGE, card)
        # Both, whichever is there if this is stopped now.
        pages = [file_sha256(path) for path in (page, new / PAGE) if path.is_file()]
        write_json(record, {"pages": pages})
        if folder.exists():
            folder.rename(temporary / "former")
        new.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_changed(page: Path, record: Path) -> bool:
    """Whether there is a page that is none of those that this command has written."""
    try:
        pages = json.loads(record.read_text(encoding="utf-8"))["pages"]
        return page.is_file() and file_sha256(page) not in list(pages)
    except (OSError, ValueError, KeyError, TypeError):  # no record: not known
        return False

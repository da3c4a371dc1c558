"""Put a published or packed model where stages 7 and 8 look for a trained one.

Writes its config.yaml, weights and visual_info.yaml into the folder of an experiment.
The last line printed is the name of its weights there.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.records.encoder_check import check_encoder
from espnet2_avsep.data.records.output_folder import protect
from espnet2_avsep.data.tables.scp import atomic_write, write_file
from espnet2_avsep.errors import InputError


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    model: str = option(
        ...,
        "folder or zip file of a packed model, folder of a training, user/name on the "
        "Hugging Face hub, or zoo:<tag> of espnet_model_zoo",
    )
    revision: Optional[str] = option(None, "branch, tag or commit, on the hub")
    output_dir: str = option(..., "folder of the experiment")
    made_by: List[str] = option(
        [],
        "visual_info.yaml or motion_info.yaml of features that are to be given to the "
        "model; an error if another encoder made them; repeat",
        repeat=True,
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.data.tables.yaml_file import read_mapping
    from espnet2_avsep.sharing.source import (
        FETCHED_FROM,
        PACK_INFO,
        default_weights,
        find_model,
    )

    files = find_model(args.model, args.revision)
    weights = files.weights or default_weights(files.config.parent)
    folder = files.config.parent
    for path in args.made_by:
        info = read_mapping(folder / Path(path).name)
        check_encoder(info, read_mapping(Path(path)), path, args.model)

    output = Path(args.output_dir)
    origin = output / FETCHED_FROM
    trained = (output / "config.yaml").exists() and not origin.exists()
    if trained or (output / "checkpoint.pth").exists():
        raise InputError(
            f"{output}: holds an experiment that was trained here; give the fetched "
            "model its own --avsep_tag."
        )
    read_mapping(files.config)
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; the model is not complete.")
    read_mapping(folder / "visual_info.yaml")
    infos = [p for p in folder.glob("*_info.yaml") if p.name != PACK_INFO]
    wanted = {path.name: path for path in (*infos, weights)}
    wanted["config.yaml"] = files.config
    earlier = _files_of(origin)
    names = sorted({*earlier, *wanted})
    write_file(origin, "\n".join([files.origin, *names]) + "\n")
    if not _is_there(output, wanted, earlier):
        _copy(output, wanted, earlier)
    print(weights.name)


def _files_of(origin: Path) -> List[str]:
    """Return the files that earlier runs have written, which are after the origin."""
    if not origin.is_file():
        return []
    names = origin.read_text(encoding="utf-8").splitlines()[1:]
    return [name for name in names if name == Path(name).name]


def _is_there(output: Path, wanted: Dict[str, Path], earlier: List[str]) -> bool:
    """Whether a folder has these files, and none of another model."""
    others = set(earlier) - set(wanted)
    return not any((output / name).exists() for name in others) and all(
        (output / name).is_file() and file_sha256(output / name) == file_sha256(path)
        for name, path in wanted.items()
    )


def _copy(output: Path, wanted: Dict[str, Path], earlier: List[str]) -> None:
    """Copy a model into a folder that may hold an earlier one, or a part of one.

    The config comes last: without it, a folder is no model.
    """
    protect([output / name for name in wanted], wanted.values())
    for name in ("config.yaml", *earlier):
        (output / name).unlink(missing_ok=True)
    for name, path in wanted.items():
        with path.open("rb") as f, atomic_write(output / name, "wb") as g:
            shutil.copyfileobj(f, g)

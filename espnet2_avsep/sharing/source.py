"""From what a user calls a model to its files: folder, zip, hub, model zoo."""

import logging
import shutil
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

from espnet2_avsep.data.cache import cache_dir as package_cache_dir
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.yaml_file import read_mapping
from espnet2_avsep.errors import InputError
from espnet2_avsep.registry import check_no_code
from espnet2_avsep.sharing import hub
from espnet2_avsep.sharing.archive import WEIGHTS, unpack

META = "meta.yaml"  # ESPnet's: the names of a packed model's files
PACK_INFO = "pack_info.yaml"  # ours: checksums, encoder, teacher
# Weights of a training that are used where none are named: chosen by the validation's
# SI-SDR improvement; by its loss, which was the only choice before version 0.2.
DEFAULT_WEIGHTS = ("valid.si_sdr_i.best.pth", "valid.loss.best.pth")
FETCHED_FROM = "fetched_from"  # avsep fetch-model: where the model comes from
ARCHIVE = ".zip"
HUB, ZOO = "hf:", "zoo:"
_FILE_SUFFIXES = (ARCHIVE, ".yaml", ".yml", *WEIGHTS)
_OTHER_ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tbz2", ".txz", ".7z", ".rar")


class ModelFiles(NamedTuple):
    """The files of a trained model.

    Attributes:
        config: config.yaml of the training; visual_info.yaml stands beside it.
        weights: The weights; None: those that the training calls its best.
        origin: What it is, for logs and result files.
    """

    config: Path
    weights: Optional[Path]
    origin: str


def find_model(
    source: PathLike,
    revision: Optional[str] = None,
    cache_dir: Optional[PathLike] = None,
) -> ModelFiles:
    """Find a model by path or name, fetching and unpacking it where that is needed.

    Args:
        source: The folder of a training or its config.yaml; the folder or the zip file
            of a packed model; ``user/name`` or ``hf:user/name`` on the Hugging Face
            hub; ``zoo:tag``, a name in espnet_model_zoo's table.
        revision: Branch, tag or commit, for models on the hub.
        cache_dir: Where fetched and unpacked models are kept; default: the hub's and
            the zoo's own, and ``$ESPNET2_AVSEP_CACHE/models``.

    Raises:
        InputError: there is no such model, it cannot be had, or it is refused.
    """
    name = str(source)
    if name.startswith(ZOO):
        return _in_archive(_from_zoo(name[len(ZOO) :], cache_dir), cache_dir, name)
    if name.startswith(HUB):
        repo = name[len(HUB) :]
        return _in_folder(hub.fetch(repo, revision, cache_dir), name)
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path, name)
    if path.is_file() and path.name == META:
        return _in_folder(path.parent, name)
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return ModelFiles(path, None, name)
    if path.is_file() and path.suffix in WEIGHTS:
        raise InputError(
            f"{path}: is a file of weights, which is a model together with the "
            f"config.yaml beside it: give the folder, {path.parent}."
        )
    if path.is_file() and not path.name.endswith(_OTHER_ARCHIVES):
        return _in_archive(path, cache_dir, name)
    if path.is_file():
        raise InputError(
            f"{path}: only zip archives are read. Unpack it yourself if you trust it, "
            "and give the folder."
        )
    if not hub.REPO_ID.fullmatch(name) or _is_path(path):
        raise InputError(
            f"{source}: no such file or folder. Give the folder that training wrote "
            "(exp/avsep_<tag>), the zip file of stage 9, a repository on the Hugging "
            f"Face hub ({HUB}user/name), or a name in ESPnet's model zoo ({ZOO}<tag>)."
        )
    try:
        folder = hub.fetch(name, revision, cache_dir)
    except InputError as error:
        raise InputError(f"there is no folder {name} here, and {error}") from error
    return _in_folder(folder, HUB + name)


def _is_path(path: Path) -> bool:
    """Tell a path that was mistyped from the name of a repository, which looks alike.

    Example:
        >>> [_is_path(Path(name)) for name in ("exp/avsep_x", "x/y.zip", "user/name")]
        [True, True, False]
    """
    nearby = path.parent != Path() and path.parent.is_dir()
    local = path.parts[0] == "exp" or path.suffix.lower() in _FILE_SUFFIXES
    return nearby or local


def _in_archive(path: Path, cache_dir: Optional[PathLike], origin: str) -> ModelFiles:
    """Unpack a packed model once, into a folder named after its SHA-256."""
    root = Path(cache_dir) if cache_dir else package_cache_dir("models")
    folder = root.expanduser() / file_sha256(path)
    if folder.is_dir():
        try:
            return _unpacked(path, folder, origin)
        except InputError as error:  # somebody has changed it, or the archive is bad
            logging.info("unpacked again: %s", error)
            shutil.rmtree(folder, ignore_errors=True)
    return _unpacked(path, folder, origin)


def _unpacked(path: Path, folder: Path, origin: str) -> ModelFiles:
    """Unpack an archive into a folder that is not there yet; find its files."""
    try:
        unpack(path, folder)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be unpacked to {folder}: {error}. Set the environment "
            "variable ESPNET2_AVSEP_CACHE to a folder that can be written."
        ) from error
    # Its files, or the folder of a packed model.
    found = [path.parent for path in (*folder.glob(META), *folder.glob(f"*/{META}"))]
    if len(found) != 1:
        raise InputError(
            f"{path}: holds {len(found) or 'no'} {META}; expected the zip file that "
            "stage 9 writes."
        )
    return _in_folder(found[0], origin)


def default_weights(folder: PathLike) -> Path:
    """Return the path of the weights to use where a training's user names none.

    A folder of avsep fetch-model holds the only weights of the packed model.

    Raises:
        InputError: the folder holds none of DEFAULT_WEIGHTS.
    """
    folder = Path(folder)
    for name in DEFAULT_WEIGHTS:
        if (folder / name).is_file():
            if name != DEFAULT_WEIGHTS[0]:
                logging.info("%s: no %s; using %s", folder, DEFAULT_WEIGHTS[0], name)
            return folder / name
    found = [*folder.glob("*.pth"), *folder.glob("*.safetensors")]
    found = sorted(path for path in found if path.is_file())
    if len(found) == 1 and (folder / FETCHED_FROM).is_file():
        return found[0]
    others = ", ".join(path.name for path in found)
    raise InputError(
        f"{folder / DEFAULT_WEIGHTS[0]}: no such file, and no {DEFAULT_WEIGHTS[1]}. "
        + (
            f"Name one of the weights that are there: {others}."
            if others
            else "Train first (stage 6), or name the file of the weights."
        )
    )


def _in_folder(folder: Path, origin: str) -> ModelFiles:
    """Find the files of a training's folder, or of a packed model's.

    Raises:
        InputError: there is no config.yaml, the packed model's meta.yaml names no file
            within the folder, or a file has another checksum than was recorded.
    """
    if not (folder / META).is_file():
        config = folder / "config.yaml"
        if not config.is_file():
            raise InputError(
                f"{config}: no such file. Expected the config.yaml that training "
                "writes: give the folder of a training or of a packed model."
            )
        return ModelFiles(config, None, origin)
    meta = read_mapping(folder / META)
    config = _named(folder, meta, "yaml_files", "train_config")
    weights = _named(folder, meta, "files", "model_file")
    recorded = packed_digests(folder)
    safe = weights.with_suffix(".safetensors")
    if safe.is_file() and (safe.name in recorded or weights.name not in recorded):
        weights = safe
    infos = [folder / name for name in recorded if name.endswith("_info.yaml")]
    for file in (config, weights, *infos):
        expected = recorded.get(file.name)
        found = file_sha256(file) if file.is_file() else "of no file"
        if expected not in (None, found):
            raise InputError(
                f"{file}: is not the file that was packed (SHA-256 {found}, "
                f"{PACK_INFO} says {expected}). Fetch the model again, or remove "
                f"{PACK_INFO} if the change is yours."
            )
    check_no_code(read_mapping(config), str(config))
    logging.info("model %s: %s", origin, weights)
    return ModelFiles(config, weights, origin)


def packed_digests(folder: Path) -> Dict[str, str]:
    """Return file -> SHA-256 of a packed model, as pack_info.yaml states them.

    Raises:
        InputError: it states something else there.
    """
    if not (folder / PACK_INFO).is_file():
        return {}
    found = read_mapping(folder / PACK_INFO).get("sha256") or {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(
            f"{folder / PACK_INFO}: sha256 is {found!r:.80}; expected files and their "
            "checksums, as stage 9 writes them."
        )
    return {name: str(digest) for name, digest in found.items()}


def _named(folder: Path, meta: Dict[str, Any], group: str, key: str) -> Path:
    """Return the file that meta.yaml names; it must be one within the folder."""
    table = meta.get(group)
    name = table.get(key) if isinstance(table, dict) else None
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{folder / META}: {group}.{key} names no file. Expected the meta.yaml of "
            "a model packed by 'espnet2.bin.pack enh' (stage 9)."
        )
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts or not (folder / name).is_file():
        raise InputError(
            f"{folder / META}: {group}.{key} is {name!r}; there is no such file within "
            f"{folder}."
        )
    return folder / name


def _from_zoo(tag: str, cache_dir: Optional[PathLike]) -> Path:
    """Fetch the archive of a name in espnet_model_zoo's table."""
    try:
        from espnet_model_zoo.downloader import ModelDownloader
    except ImportError as error:
        raise InputError(
            f"{ZOO}{tag}: wants the package espnet_model_zoo, which cannot be imported "
            f"({error}): pip install espnet_model_zoo. Models on the Hugging Face hub "
            "need no further package: user/name."
        ) from error
    try:
        downloader = ModelDownloader(cache_dir)
        # Its table has addresses; for any other name it would ask the hub.
        if not downloader.query(key="name", name=tag):
            raise InputError(
                f"{ZOO}{tag}: is not in espnet_model_zoo's table; a model on the "
                f"Hugging Face hub is given as {HUB}user/name."
            )
        return Path(downloader.download(tag, quiet=True))
    except InputError:
        raise
    except Exception as error:  # requests', pandas' and its own
        raise InputError(f"{ZOO}{tag}: cannot be fetched: {error}") from error

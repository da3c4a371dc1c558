"""Pack a trained model: the separator's weights and what is needed to use them.

The archive is one of ``espnet2.bin.pack enh``, so that ESPnet's tools read it, too. The
pretrained networks that made embeddings (CLIP) or taught (CLAP) are not in it: their
names and checksums are, in visual_info.yaml and pack_info.yaml.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, Dict, List, Optional

from espnet2_avsep import __version__
from espnet2_avsep.data.cache import cache_dir
from espnet2_avsep.data.records.content import file_digest
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.records.made_from import (
    check_current,
    make_record,
    read_record,
    write_record,
)
from espnet2_avsep.data.records.output_folder import protect
from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.data.tables.yaml_file import parse_yaml, read_mapping
from espnet2_avsep.errors import InputError
from espnet2_avsep.sharing.archive import WEIGHTS
from espnet2_avsep.sharing.source import META, PACK_INFO, default_weights
from espnet2_avsep.weights import (
    SAFETENSORS,
    read_state,
    write_safetensors,
)

# The parts of a model whose weights are packed: what training made, and buffers.
PARTS = ("separator.", "visual_adapter.", "criterions.", "encoder.", "decoder.")
# Zip files know no earlier time, and no time zone.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(
    exp: PathLike,
    outpath: PathLike,
    model_file: Optional[str] = None,
    results: Optional[PathLike] = None,
) -> Dict[str, Any]:
    """Pack the experiment of a training; the same experiment gives the same bytes.

    In the archive: config.yaml (paths of this machine cut down to file names), the
    weights as training wrote them and as .safetensors, *_info.yaml, RESULTS.md,
    pack_info.yaml (checksums, encoder, teacher) and ESPnet's meta.yaml, whose timestamp
    is SOURCE_DATE_EPOCH, or else the time at which the weights were written.

    Args:
        exp: Folder of the experiment.
        outpath: The zip file to write.
        model_file: The weights, within ``exp``; None: see source.default_weights.
        results: RESULTS.md; None takes that of ``exp``, if there is one.

    Returns:
        What pack_info.yaml says.

    Raises:
        InputError: the experiment has not been trained, a file is missing, the weights
            hold other things than the model's, or the results are not this model's.
    """
    import yaml

    exp, outpath = Path(exp), Path(outpath)
    config = read_mapping(exp / "config.yaml")
    if config.get("trained") is False:
        raise InputError(f"{exp}: is a system without training; there are no weights.")
    weights = exp / model_file if model_file else default_weights(exp)
    if weights.suffix not in WEIGHTS:
        raise InputError(
            f"{weights}: a packed model has weights in a file that ends in "
            f"{', '.join(WEIGHTS)}; give the file such a name."
        )
    state = read_state(weights)
    strange = sorted({k.split(".")[0] for k in state if not k.startswith(PARTS)})
    if strange:
        raise InputError(
            f"{weights}: holds weights of {', '.join(strange)}; only the separator's "
            f"are packed ({', '.join(PARTS)})."
        )
    # What made its inputs: visual_info.yaml, and that of other features it may have.
    infos = {
        path.name: without_folders(read_mapping(path))
        for path in sorted(exp.glob("*_info.yaml"))
        if path.name != PACK_INFO
    }
    if "visual_info.yaml" not in infos:
        raise InputError(
            f"{exp / 'visual_info.yaml'}: no such file. Stage 6 copies it from the "
            "training set's features; without it nobody knows which pictures or "
            "embeddings the model takes."
        )
    if results is None and (exp / "RESULTS.md").is_file():
        results = exp / "RESULTS.md"
    if results is None:
        logging.warning(f"{exp}: no RESULTS.md (stage 8); packed without scores")
    else:
        _check_results(results, weights)
    protect([outpath], [weights, exp / "config.yaml", *([results] if results else [])])

    with tempfile.TemporaryDirectory(prefix="avsep_pack_") as temporary:
        folder = Path(temporary) / "pack"
        folder.mkdir()
        name = weights.name
        shutil.copyfile(weights, folder / name)
        safe = Path(name).with_suffix(SAFETENSORS).name
        write_safetensors(folder / safe, state)
        _dump(folder / "config.yaml", without_folders(config))
        for file, made_by in infos.items():
            _dump(folder / file, made_by)
        files = ["config.yaml", name, safe, *infos]
        if results is not None:
            shutil.copyfile(results, folder / "RESULTS.md")
            files.append("RESULTS.md")
        info = {
            "packed_by": f"espnet2_avsep {__version__}",
            "experiment": exp.resolve().name.removeprefix("avsep_"),
            "parameters": sum(v.numel() for v in state.values()),
            "sha256": {file: file_sha256(folder / file) for file in sorted(files)},
            "visual_encoder": infos["visual_info.yaml"],
            "teacher": teacher_info(config),
        }
        _dump(folder / PACK_INFO, info)
        packed = Path(temporary) / "packed.zip"
        _espnet_pack(folder, name, sorted({*files, PACK_INFO}), packed)
        written = int(
            os.environ.get("SOURCE_DATE_EPOCH") or weights.resolve().stat().st_mtime
        )
        with zipfile.ZipFile(packed) as z:
            members = {entry: z.read(entry) for entry in z.namelist()}
    meta = parse_yaml(members[META].decode(), META)
    meta["timestamp"] = float(written)
    members[META] = yaml.safe_dump(meta).encode()
    _write_zip(outpath, members, written)
    inputs = {"config": exp / "config.yaml", "weights": weights}
    inputs.update({file: exp / file for file in infos})
    if results is not None:
        inputs["results"] = results
    write_record(outpath, make_record(9, {}, inputs, {}))
    logging.info(f"{outpath}: {outpath.stat().st_size} bytes, {len(members)} files")
    return info


def _check_results(results: PathLike, weights: Path) -> None:
    """Check that a table of results is of these weights, and of what is there now."""
    check_current(results)
    record = read_record(results)
    model = record["inputs"].get("model") if record is not None else None
    if model is not None and model["digest"] != file_digest(weights):
        raise InputError(
            f"{results}: has the scores of {model['path']}, which does not hold the "
            f"weights of {weights}. Run stages 7 and 8 with --inference_model "
            f"{weights.name}, or pack the model that was scored."
        )


def without_folders(value: Any) -> Any:
    """Cut absolute paths within a config down to the names of their files."""
    if isinstance(value, dict):
        return {key: without_folders(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(entry) for entry in value]
    if isinstance(value, str) and value.startswith("/"):
        # Triples of data: path,name,type.
        first, *rest = value.split(",")
        return ",".join([PurePosixPath(first).name or first, *rest])
    return value


def teacher_info(config: Dict[str, Any]) -> Dict[str, Any]:
    """Return name and checksum of the teacher that a config names."""
    teacher = config.get("teacher")
    if not teacher:
        return {"teacher": None}
    conf = config.get("teacher_conf") or {}
    info: Dict[str, Any] = {"teacher": teacher, **without_folders(conf)}
    if teacher == "precomputed":
        made = Path(str(conf.get("scp"))).parent / "teacher_info.yaml"
        if made.is_file():
            info["embeddings"] = without_folders(read_mapping(made))
        return info
    checkpoint = str(conf.get("checkpoint"))
    places = [Path(checkpoint).expanduser()]
    places.append(Path(conf.get("cache_dir") or cache_dir("clap")) / checkpoint)
    found = [place for place in places if place.is_file()]
    if conf.get("checksum"):
        info["sha256"] = str(conf["checksum"]).lower()
    elif found:
        info["sha256"] = file_sha256(found[0])
    elif checkpoint != "random":
        info["sha256"] = "not known: the file was not there when the model was packed"
    return info


def _dump(path: Path, content: Dict[str, Any]) -> None:
    import yaml

    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _espnet_pack(folder: Path, model: str, files: List[str], outpath: Path) -> None:
    """Run ``espnet2.bin.pack enh`` on the files of a folder."""
    command = [sys.executable, "-m", "espnet2.bin.pack", "enh"]
    command += ["--train_config", "config.yaml", "--model_file", model]
    for file in files:
        if file not in ("config.yaml", model):
            command += ["--option", file]
    command += ["--outpath", str(outpath)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{run.stdout}{run.stderr}")


def _write_zip(path: Path, members: Dict[str, bytes], timestamp: int) -> None:
    """Write a zip file whose bytes follow from what it holds; meta.yaml comes first."""
    date = max(time.gmtime(timestamp)[:6], _ZIP_EPOCH)
    names = sorted(members, key=lambda name: (name != META, name))
    with atomic_write(path, "wb") as f, zipfile.ZipFile(f, "w") as z:
        for name in names:
            info = zipfile.ZipInfo(name, date)
            info.create_system = 3  # Unix
            info.external_attr = 0o100644 << 16
            z.writestr(info, members[name])

"""What a training is made from; a checkpoint of another training is not continued.

ESPnet continues from any checkpoint that fits the network: with other data, with the
optimizer's old learning rate, or, where all epochs are done, not at all. Here the
words of the command line are compared with those of the training before, ahead of
everything that writes into the experiment's folder.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import espnet2_avsep
from espnet2_avsep.data.records.content import ends_digest
from espnet2_avsep.data.records.journal import signature
from espnet2_avsep.data.records.lock import lock_folder
from espnet2_avsep.data.records.made_from import (
    Record,
    check_folder,
    check_sets,
    differences,
    make_record,
    read_record,
    record_path,
    write_record,
)
from espnet2_avsep.data.shape_files import shape_readers
from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.data.tables.scp import PathLike, read_scp, write_file, write_json
from espnet2_avsep.data.tables.yaml_file import parse_yaml, read_yaml
from espnet2_avsep.errors import InputError

# What may change when a training continues: how long it lasts, how much is kept and
# shown, where it runs. All else decides what the weights become.
MAY_CHANGE = {
    *("max_epoch", "patience", "keep_nbest_models", "nbest_averaging_interval"),
    *("num_workers", "ngpu", "num_att_plot", "picture_interval", "log_interval"),
    # The trainer checks that the epochs before have the criterion.
    "best_model_criterion",
    *("log_level", "use_tensorboard", "use_matplotlib", "system", "published"),
    *("config", "output_dir", "resume", "multiprocessing_distributed"),
}
MAY_CHANGE_PREFIXES = ("dist_", "wandb_", "use_wandb", "train_data_", "valid_data_")
# Written when a training has ended.
FINISHED = "finished.json"
# The record of a training without --resume, until it removes the checkpoints of the one
# before: should it end earlier, these are still there, and so is their record.
PENDING = "made_from.next.json"


def start_training(argv: Sequence[str]) -> bool:
    """Check that a training may begin or continue, and write its record.

    Returns:
        Whether it has ended already, see :func:`is_finished`.

    Raises:
        InputError: see :func:`hold_training`.
    """
    with hold_training(argv):
        return is_finished(argv)


@contextlib.contextmanager
def hold_training(argv: Sequence[str]) -> Iterator[None]:
    """Check that a training may begin or continue; hold its folder until it has ended.

    The record is written under the same lock as the training's files: of two trainings
    that start at once, the one that is refused leaves no trace.

    Args:
        argv: Command line of avsep_train.

    Raises:
        InputError: the folder holds the checkpoint of another training, another
            training is at work there, or the shape files are of other data. Nothing
            has been written then.
    """
    words = _options(argv)
    for name in ("config", "output_dir", "resume"):
        if words.get(name) == []:
            raise InputError(f"--{name}: expected a value after it.")
    output_dir = Path(words.get("output_dir", [""])[-1])
    if "output_dir" not in words or "print_config" in words:
        yield
        return
    if words["output_dir"][-1] == "":
        raise InputError(
            "--output_dir '': expected the folder of the training; . is the current "
            "folder."
        )
    check_folder(output_dir, 6)
    record = _record(argv)
    _check_shapes(words, record)
    with lock_folder(output_dir, "a training"):
        if not _resumes(words) and _has_weights(output_dir):
            write_json(output_dir / PENDING, record, sort_keys=True)
        else:
            if _resumes(words):
                _check_same_training(output_dir, record)
            (output_dir / PENDING).unlink(missing_ok=True)
            write_record(output_dir, record)
        yield


def note_begun_anew(folder: PathLike) -> None:
    """Replace the record of the training before, whose checkpoints are gone."""
    pending = Path(folder) / PENDING
    if pending.is_file():
        os.replace(pending, record_path(folder))


@contextlib.contextmanager
def keep_config(folder: PathLike) -> Iterator[None]:
    """Restore config.yaml if the training that is to continue is refused.

    ESPnet writes it before it looks at the checkpoint; without the right one the
    trained model cannot be loaded. So is it, after any error, while a training that
    begins anew has not removed the checkpoints of the one before.

    Args:
        folder: Of the experiment.
    """
    path, pending = Path(folder) / "config.yaml", Path(folder) / PENDING
    before = path.read_bytes() if path.is_file() else None
    is_anew = pending.is_file()
    try:
        yield
    except BaseException as error:
        is_of_before = pending.is_file() if is_anew else isinstance(error, InputError)
        if is_of_before and before is not None and path.read_bytes() != before:
            write_file(path, before)
        raise


def is_finished(argv: Sequence[str]) -> bool:
    """Whether a training with this very command line has ended, and nothing changed.

    Its folder must be held, see :func:`hold_training`.

    Args:
        argv: Command line of avsep_train.
    """
    words = _options(argv)
    if "output_dir" not in words or not _resumes(words):
        return False
    try:
        path = Path(words["output_dir"][-1]) / FINISHED
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return known == _finished(argv, words)


def note_finished(argv: Sequence[str]) -> None:
    """Note that a training has ended, for :func:`is_finished`."""
    words = _options(argv)
    if "output_dir" not in words or "print_config" in words:
        return
    write_json(Path(words["output_dir"][-1]) / FINISHED, _finished(argv, words))


def _finished(argv: Sequence[str], words: Mapping[str, List[str]]) -> Dict[str, Any]:
    """Describe a training's command and the files that it has left, as they are now.

    What it is made from is in its record, which hold_training compares.
    """
    folder = Path(words["output_dir"][-1])
    files = [folder / "config.yaml", *folder.glob("*.pth"), *folder.glob("images/*")]
    return {
        "version": espnet2_avsep.__version__,
        "command": list(argv),
        "config": [repr(read_config(path)) for path in words.get("config", [])],
        "files": [signature(str(path)) for path in sorted(files)],
    }


def _given(argv: Sequence[str]) -> List[Tuple[str, List[str]]]:
    """Return the options of a command line in their order, each with its values."""
    found: List[Tuple[str, List[str]]] = []
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found.append((name, [value] if equals else []))
        elif found:
            found[-1][1].append(word)
    return found


def _options(argv: Sequence[str]) -> Dict[str, List[str]]:
    """Return option -> all of its values, of repeated ones too."""
    found: Dict[str, List[str]] = {}
    for name, values in _given(argv):
        found.setdefault(name, []).extend(values)
    return found


def _resumes(words: Mapping[str, List[str]]) -> bool:
    return words.get("resume", ["false"])[-1].lower() in ("true", "1", "yes")


def _record(argv: Sequence[str]) -> Record:
    """Describe what a training is made from."""
    words = _options(argv)
    options: Dict[str, Any] = {}
    if "config" in words:
        options.update(_flatten(read_config(words["config"][-1])))
    for name, values in _given(argv):
        whole = []
        for value in values:
            key, equals, setting = value.partition("=")
            if equals and key.replace(".", "").isidentifier():
                options[f"{name}.{key}"] = _value(setting)
            else:
                whole.append(_value(value))
        if whole:  # of an option that is given twice, the last one counts
            options[name] = whole if len(whole) > 1 else whole[0]
    options = {
        name: value
        for name, value in options.items()
        if name.split(".")[0] not in MAY_CHANGE
        and not name.startswith(MAY_CHANGE_PREFIXES)
        and not name.endswith("_shape_file")
    }
    tables, files = {}, {}
    for part in ("train", "valid"):
        for triple in words.get(f"{part}_data_path_and_name_and_type", []):
            if triple.count(",") != 2:
                raise InputError(
                    f"--{part}_data_path_and_name_and_type {triple}: expected "
                    "PATH,NAME,TYPE, and no ',' in the path: rename the folder."
                )
            path, name, _ = triple.split(",")
            tables[f"{part} {name}"] = path
            for beside in ("utt2spk", "utt2video", "mixtures.tsv"):
                file = Path(path).with_name(beside)
                if file.is_file():
                    files[f"{part} {beside}"] = str(file)
    for name, value in list(options.items()):
        path = str(value).split(":")[0]
        if path.endswith(".scp") and os.path.isfile(path):
            del options[name]
            tables[name] = path
            continue
        contents = [
            _content(v) for v in (value if isinstance(value, list) else [value])
        ]
        if contents and None not in contents:
            # Where they lie does not matter.
            del options[name]
            options[f"content of {name}"] = "; ".join(contents)
    check_sets(tables.values())
    return make_record(6, tables, files, options)


def _content(value: Any) -> Optional[str]:
    """Describe a file of weights, which may be large, and which of them are taken.

    Args:
        value: <file>, or <file>:<which>, as of init_param; None is returned of others.
    """
    path, colon, which = str(value).partition(":")
    if not os.path.isfile(path):
        return None
    return f"{os.path.getsize(path)} bytes, {ends_digest(path)}{colon}{which}"


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("checkpoint*.pth")) or any(folder.glob("*epoch.pth"))


def _check_same_training(folder: Path, record: Record) -> None:
    """Raise where the folder holds a checkpoint of another training."""
    if not _has_weights(folder):
        return
    config = _flatten(read_yaml(folder / "config.yaml"))
    before = read_record(folder)
    if before is None:
        # Trained by an earlier version: only the configuration is known.
        known = {k: config[k] for k in record["options"] if k in config}
        before = {**record, "options": {**record["options"], **known}}
    # A default that is now given is no change.
    given = {
        name: value
        for name, value in record["options"].items()
        if name in before["options"] or _differs(config.get(name), value)
    }
    found = differences(_comparable(before), _comparable({**record, "options": given}))
    if found:
        other_data = _changed_inputs(before, record)
        what = "on other data" if other_data else "with other options"
        raise InputError(
            f"{folder} was trained {what}: {'; '.join(found)}. Its checkpoint would be "
            "continued as if nothing had changed. Give this training its own "
            f"--avsep_tag (or --output_dir), or move {folder} away."
        )


def _changed_inputs(before: Record, now: Record) -> bool:
    return any(
        before["inputs"].get(name, {}).get("digest")
        != now["inputs"].get(name, {}).get("digest")
        for name in {*before["inputs"], *now["inputs"]}
    )


def _comparable(record: Record) -> Record:
    """Write numbers that are equal alike: ESPnet reads "1e-3" of YAML as words."""
    options = {name: _number(value) for name, value in record["options"].items()}
    return {**record, "options": options}


def _differs(a: Any, b: Any) -> bool:
    return _number(a) != _number(b)


def _number(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]  # as the command line has a list of one
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return float(value) if type(value) is int else value


def _check_shapes(words: Mapping[str, List[str]], record: Record) -> None:
    """Check that the shape files are those of the data."""
    for part in ("train", "valid"):
        files = {Path(f).name: Path(f) for f in words.get(f"{part}_shape_file", [])}
        for triple in words.get(f"{part}_data_path_and_name_and_type", []):
            path, name, kind = triple.split(",")
            file = files.get(f"{name}_shape")
            if file is None:
                continue
            stats = read_record(file.parent)
            if stats is not None:
                known = stats["inputs"].get(name, {}).get("digest")
                same = known == record["inputs"][f"{part} {name}"]["digest"]
            else:
                same = _has_shapes(file, path, kind)
            if not same:
                raise InputError(
                    f"{file}: holds the sizes of other data than {path} has now. Run "
                    "stage 5 again."
                )


def _has_shapes(file: Path, scp: PathLike, kind: str) -> bool:
    """Compare a shape file without a record with the headers of the data."""
    read, table = shape_readers().get(kind), read_scp(scp)
    shapes = read_scp(file)
    if read is None:
        return shapes.keys() == table.keys()
    return shapes.keys() == table.keys() and all(
        ",".join(map(str, read(value))) == shapes[key] for key, value in table.items()
    )


def _flatten(value: Any, prefix: str = "") -> Dict[str, Any]:
    """Return nested settings as {"a.b": value}."""
    if isinstance(value, dict) and (value or not prefix):
        found: Dict[str, Any] = {}
        for key, entry in value.items():
            found.update(_flatten(entry, f"{prefix}{key}."))
        return found
    return {prefix[:-1]: value}


def _value(text: str) -> Any:
    """Read a word of a command line as YAML does."""
    try:
        return parse_yaml(text, "option")
    except InputError:
        return text

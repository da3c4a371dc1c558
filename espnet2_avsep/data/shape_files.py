"""The shapes of a set's data as ESPnet's trainer reads them."""

import logging
from pathlib import Path
from typing import Callable, Dict, Sequence, Tuple

from espnet2_avsep.data.records.made_from import (
    check_folder,
    check_sets,
    make_record,
    record_path,
    write_record,
)
from espnet2_avsep.data.segment_reader import audio_info, matrix_shape
from espnet2_avsep.data.tables.key_check import check_same_keys
from espnet2_avsep.data.tables.scp import read_scp, write_file, write_scp
from espnet2_avsep.errors import InputError


def shape_readers() -> Dict[str, Callable[[str], Tuple[int, ...]]]:
    """Return type -> function from a table's value to the shape."""
    return {"sound": lambda path: audio_info(path)[:1], "kaldi_ark": matrix_shape}


def collect_shapes(triples: Sequence[str], output_dir: str) -> None:
    """Write the shape files of one set.

    Args:
        triples: "path,name,type" each.
        output_dir: Gets ``<name>_shape``, ``batch_keys`` (the names), ``stats_keys``
            (empty: no statistics are gathered) and, last, made_from.json.

    Raises:
        InputError: a triple that cannot be read, tables that disagree, a set of other
            clips than there are now.
    """
    readers = shape_readers()
    tables, types, paths = {}, {}, {}
    for triple in triples:
        parts = [part.strip() for part in triple.split(",")]
        if len(parts) != 3 or parts[2] not in readers or not parts[1].isidentifier():
            raise InputError(
                f"--data_path_and_name_and_type {triple}: expected PATH,NAME,TYPE with "
                f"the type {' or '.join(readers)}."
            )
        path, name, kind = parts
        if name in tables:
            raise InputError(
                f"--data_path_and_name_and_type {triple}: the name {name} comes twice."
            )
        tables[name], types[name], paths[name] = read_scp(path), kind, path
    check_sets(paths.values())
    check_same_keys({paths[name]: table for name, table in tables.items()})
    folder = Path(output_dir)
    check_folder(folder, 5)
    record_path(folder).unlink(missing_ok=True)
    for name, table in tables.items():
        read = readers[types[name]]
        shapes = {
            key: ",".join(str(size) for size in read(value))
            for key, value in table.items()
        }
        write_scp(folder / f"{name}_shape", shapes)
        logging.info(f"{folder / name}_shape: {len(shapes)} items")
    write_file(folder / "batch_keys", "\n".join(tables) + "\n")
    write_file(folder / "stats_keys", "\n")
    write_record(folder, make_record(5, paths, {}, {}))

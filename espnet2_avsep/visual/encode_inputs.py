"""Embeddings of some pictures or videos that a user names, with tables of them."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from espnet2_avsep.data.records.output_folder import OutputFolder
from espnet2_avsep.data.tables.clip_id import file_stem, nfc
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.file_name import is_image_name
from espnet2_avsep.media.stream import probe

# Of tables; a few pictures: the last batch is padded to this number (FrameEncoder).
BATCH_SIZE = 8
_WRITTEN = ("inputs.scp", "visual.ark", "visual.scp", "visual_shape")
_WRITTEN += ("visual_skipped.tsv", "visual_info.yaml")


def input_table(inputs: Sequence[str]) -> Dict[str, Path]:
    """Return key -> absolute path of pictures, videos and folders of frames.

    Raises:
        InputError: one is not there, has no picture, or a name that no table can hold.
    """
    table: Dict[str, Path] = {}
    for text in inputs:
        path = Path(text)
        try:
            there = bool(text.strip()) and path.exists()
        except (OSError, ValueError):  # no name that a file can have
            there = False
        if not there:
            raise InputError(f"{text!r:.200}: no such file or folder.")
        absolute = path.resolve().as_posix()
        if absolute != " ".join(absolute.split()):
            raise InputError(
                f"{text!r}: has white space that a table cannot hold; rename it."
            )
        is_picture = path.is_dir() or is_image_name(path.name)
        if not is_picture and not probe(path).has_video:
            raise InputError(
                f"{path}: has no picture. Give a picture, a video, or a folder of "
                "numbered pictures."
            )
        key = nfc(path.stem).replace(" ", "_") or "input"
        while key in table:
            key += "_"
        table[key] = path.resolve()
    return table


def encode_inputs(
    table: Mapping[str, Path],
    outputs: OutputFolder,
    squeezed: bool = False,
    **options: Any,
) -> Dict[str, Any]:
    """Write <key>.npy, (frames, D) floats, and the tables of extract_visual.

    Args:
        table: See :func:`input_table`.
        outputs: The folder of what is written.
        squeezed: See extract.extract_visual.
        **options: Of VisualOptions.

    Returns:
        queries: key -> file. shapes: key -> "frames,D". skipped: key -> reason. scp:
        the table of embeddings.

    Raises:
        InputError: see extract.extract_visual; a file of the user would be lost.
    """
    import numpy as np

    from espnet2_avsep.data.tables.scp import (
        atomic_write,
        read_scp,
        read_skipped,
        write_scp,
    )
    from espnet2_avsep.data.tables.table_entry import load_matrix
    from espnet2_avsep.visual.extract import extract_visual
    from espnet2_avsep.visual.visual_options import VisualOptions

    out = outputs.folder
    arrays = {key: f"{file_stem(key)}.npy" for key in table}
    if not outputs.is_own:  # of its own, a run that was cut off goes on
        outputs.check(_WRITTEN)
    outputs.check(list(arrays.values()))
    out.mkdir(parents=True, exist_ok=True)
    write_scp(out / "inputs.scp", table)
    outputs.add("inputs.scp")
    where = {"video_scp": [str(out / "inputs.scp")], "output_dir": [str(out)]}
    made = VisualOptions(**where, batch_size=BATCH_SIZE, **options)
    extract_visual(made, squeezed)
    rows = read_scp(out / "visual.scp")
    for key, entry in rows.items():
        with atomic_write(out / arrays[key], "wb") as f:
            np.save(f, load_matrix(entry))
        outputs.add(arrays[key])
    skipped: List[Any] = read_skipped(out / "visual_skipped.tsv")
    return {
        "queries": {key: str(out / arrays[key]) for key in rows},
        "shapes": read_scp(out / "visual_shape"),
        "skipped": {row.key: row.reason for row in skipped},
        "scp": str(out / "visual.scp"),
    }

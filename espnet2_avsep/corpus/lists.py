"""Lists of clips in their usual forms: category/id, ids, CSV with paths, AVE's."""

import csv
from pathlib import Path
from typing import List, NamedTuple, Optional

from espnet2_avsep.data.tables.clip_id import SOUND_SUFFIXES, check_id, split_name
from espnet2_avsep.errors import InputError

AVE_COLUMNS = "Category&VideoID&Quality&StartTime&EndTime"
# Folders of a corpus in which its lists lie.
LIST_FOLDERS = (".", "AVE_Dataset", "metadata", "solo", "duet", "data")
CSV_FORM = "audio/<category>/<id>.wav,frames/<category>/<id>,<n_frames>[,<category>]"


class Row(NamedTuple):
    """A line of a list.

    Attributes:
        number: Of the line in the file, from 1.
        category: The clip's class; None in a list of ids.
        stem: Its name.
        cells: The columns of a CSV row, else empty.
    """

    number: int
    category: Optional[str]
    stem: str
    cells: List[str]


def find_list(root: Path, name: str) -> Optional[Path]:
    """Return the list of this name in a corpus' folder; None: there is none."""
    paths = (root / folder / name for folder in LIST_FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def read_text(path: Path) -> str:
    """Read a list or table.

    Raises:
        InputError: it cannot be read as UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); a list in UTF-8 was expected."
        ) from error


def read_list(path: Path, ave: bool = False) -> List[Row]:
    """Read a list; which form it has shows in its first line.

    The forms are: category/id; only video ids; rows of CSV files with paths
    (audio path, folder of frames, number of frames, perhaps the category and more);
    AVE's Category&VideoID&Quality&StartTime&EndTime.

    Args:
        path: The file.
        ave: Whether it must have AVE's form.

    Returns:
        Its rows; categories and names are in NFC.

    Raises:
        InputError: a line has another form than the first one, or a name that cannot
            be an id.
    """
    lines = [(n, x.strip()) for n, x in enumerate(read_text(path).splitlines(), 1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    if not lines:
        return []
    if path.suffix.lower() == ".csv":
        return _csv_rows(path)
    if ave or lines[0][1].count("&") == AVE_COLUMNS.count("&"):
        return _ave_rows(path, lines)
    ids = not any("/" in line for _, line in lines)
    rows = []
    for number, line in lines:
        if ids:
            rows.append(_row(path, number, None, split_name(line)[-1:], []))
            continue
        if line.count("/") != 1 or line.startswith("/") or line.endswith("/"):
            raise InputError(
                f"{path}, line {number}: {line!r}; expected category/id, or only ids "
                "in all lines."
            )
        category, stem = line.split("/")
        rows.append(_row(path, number, category, [stem], []))
    return rows


def _row(
    path: Path, number: int, category: Optional[str], stem: List[str], cells: List[str]
) -> Row:
    """Return a row whose names can be ids; ``stem`` is empty where there is no name."""
    where = f"{path}, line {number}"
    if category is not None:
        category = check_id(where, category)
    return Row(number, category, check_id(where, stem[0] if stem else ""), cells)


def is_pair_list(path: Path) -> bool:
    """Whether a CSV file lists mixtures: its first row holds names of sounds only."""
    for row in csv.reader(read_text(path).splitlines()):
        cells = [cell.strip() for cell in row]
        if any(cells):
            return len(cells) > 1 and all(
                Path(cell).suffix.lower() in SOUND_SUFFIXES for cell in cells
            )
    return False


def _csv_rows(path: Path) -> List[Row]:
    rows, first = [], True
    reader = csv.reader(read_text(path).splitlines(), skipinitialspace=True)
    for number, line in enumerate(reader, 1):
        cells = [cell.strip() for cell in line]
        if not any(cells) or cells[0].startswith("#"):
            continue
        parts = split_name(cells[0])
        is_first, first = first, False
        if is_first and len(cells) > 2 and len(parts) < 2 and not cells[2].isdecimal():
            continue  # a header
        fits = len(cells) >= 3 and cells[2].isdecimal() and len(parts) >= 2
        if len(cells) == 1 and len(parts) in (1, 2):  # ids, or category/id
            category = parts[0] if len(parts) == 2 else None
            rows.append(_row(path, number, category, parts[-1:], []))
            continue
        # Words in the fourth column are the class; numbers there are rate and duration.
        label = cells[3] if fits and len(cells) > 3 else ""
        if not fits or (label and not _is_word(label) and len(cells) == 4):
            raise InputError(
                f"{path}, line {number}: {','.join(line)!r}; expected {CSV_FORM}."
            )
        category = label if _is_word(label) else parts[-2]
        rows.append(_row(path, number, category, parts[-1:], cells))
    return rows


def _ave_rows(path: Path, lines: List) -> List[Row]:
    rows = []
    for number, line in lines:
        if line == AVE_COLUMNS:
            continue
        cells = line.split("&")
        if len(cells) != 5 or not all(cells[:2]):
            raise InputError(f"{path}, line {number}: {line!r}; expected {AVE_COLUMNS}")
        category = cells[0].strip().replace("/", " ")
        rows.append(_row(path, number, category, [cells[1].strip()], []))
    return rows


def _is_word(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return bool(text)
    return False

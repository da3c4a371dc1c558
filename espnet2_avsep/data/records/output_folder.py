"""Files that a command writes into a user's folder; nothing of the user's is lost."""

import json
import os
from pathlib import Path
from typing import Dict, Iterable, List, Sequence

from espnet2_avsep.data.tables.scp import PathLike, write_json
from espnet2_avsep.errors import InputError


class OutputFolder:
    """The output folder of a command.

    A stamp file in it lists what former runs of the command wrote, with size and time
    of change. Only these files are replaced, as long as nobody changed them.

    Args:
        folder: The folder; it need not exist.
        command: Name of the command.
        inputs: What the command reads: files that are never replaced.
        overwrite: Whether other files are replaced, too.
    """

    def __init__(
        self,
        folder: PathLike,
        command: str,
        inputs: Iterable[PathLike] = (),
        overwrite: bool = False,
    ):
        self.folder = Path(folder)
        self._command = command
        self._inputs = list(inputs)
        self._overwrite = overwrite
        self._stamp = self.folder / f".avsep_{command}.json"
        self._written = self._read_stamp()

    def check(self, names: Sequence[str]) -> None:
        """Raise where a file cannot be written without a loss.

        Args:
            names: Of the files that the command will write.

        Raises:
            InputError: an input would be overwritten, or a file that no former run of
                the command wrote.
        """
        protect([self.folder / name for name in names], self._inputs)
        others = [name for name in names if self._is_foreign(name)]
        folders = [name for name in others if (self.folder / name).is_dir()]
        if folders:
            raise InputError(
                f"{self.folder / folders[0]}: is a folder where a file is to be "
                "written; choose another --out."
            )
        if others and not self._overwrite:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            raise InputError(
                f"{self.folder / others[0]}{more}: exists, and no former run of "
                f"'avsep {self._command}' wrote it as it is now. Choose another --out, "
                "or replace it with --overwrite."
            )

    @property
    def is_own(self) -> bool:
        """Whether a former run of the command has written into the folder."""
        return bool(self._written)

    def discard(self, names: Iterable[str]) -> None:
        """Remove what former runs wrote and nobody changed: it is out of date."""
        for name in names:
            if name in self._written and not self._is_foreign(name):
                (self.folder / name).unlink(missing_ok=True)

    def left_over(self, names: Iterable[str]) -> List[str]:
        """Return the files of former runs that are there and none of ``names``."""
        others = sorted(self._written.keys() - set(names))
        return [name for name in others if (self.folder / name).is_file()]

    def add(self, *names: str) -> None:
        """Note files that were written just now."""
        for name in names:
            self._written[name] = _signature(self.folder / name)
        write_json(self._stamp, {"files": self._written})

    def _is_foreign(self, name: str) -> bool:
        path = self.folder / name
        if not os.path.lexists(path):
            return False
        return path.is_symlink() or self._written.get(name) != _signature(path)

    def _read_stamp(self) -> Dict[str, List[int]]:
        try:
            written = json.loads(self._stamp.read_text(encoding="utf-8"))["files"]
            return dict(written)
        except (OSError, ValueError, KeyError, TypeError):  # none, or damaged
            return {}


def protect(outputs: Iterable[PathLike], inputs: Iterable[PathLike]) -> None:
    """Raise where an input would be overwritten.

    Args:
        outputs: Files that are going to be written.
        inputs: Files that are read; what is no file does no harm.

    Raises:
        InputError: two are the same file, by whatever names.
    """
    inputs = list(inputs)
    for output in outputs:
        for given in inputs:
            if _same(output, given):
                raise InputError(
                    f"{given}: is an input, and would be overwritten by {output}. "
                    "Choose another place for what is written (--out)."
                )


def refuse_foreign(path: PathLike, writer: str) -> None:
    """Raise where a file that a stage would replace is there, and is not its own.

    Args:
        path: The file; the caller knows that the stage has not written it.
        writer: What the stage's files are written by, for the message.

    Raises:
        InputError: the file exists.
    """
    if Path(path).exists():
        raise InputError(
            f"{path}: is there, and was not written {writer}; it would be replaced. "
            "Give another --output_dir, or move it away."
        )


def _same(one: PathLike, other: PathLike) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one of them does not exist
        return False


def _signature(path: Path) -> List[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]

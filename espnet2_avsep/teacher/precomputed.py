"""Teacher embeddings that were computed beforehand, for fixed sets of mixtures."""

from pathlib import Path
from typing import Optional, Sequence, Union

import numpy as np
import torch

from espnet2_avsep.data.records.made_from import TEACHER, VERSIONS, check_current
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.data.tables.table_entry import load_matrix
from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError
from espnet2_avsep.teacher.abs_teacher import AbsTeacher


class PrecomputedTeacher(AbsTeacher):
    """Looks embeddings up by utterance id instead of computing them.

    Good for fixed sets only (valid, test): mixtures that are drawn on the fly have no
    embedding on disk. ``avsep_extract_teacher`` writes the tables.

    Args:
        scp: A Kaldi scp, ``utt -> (D,) or (1, D)``; the widths must agree.

    Raises:
        InputError: the table is missing or empty, or its first entry cannot be used;
            avsep_extract_teacher made it from other sound than is there now, or by
            another version of the teacher.
    """

    def __init__(self, scp: Union[str, Path]):
        super().__init__()
        self._scp = Path(scp)
        self._table = read_scp(self._scp)
        check_current(self._scp)
        self._check_version()
        self._output_dim: Optional[int] = None
        self._output_dim = len(self._load(next(iter(self._table))))

    @property
    def output_dim(self) -> int:
        """Width of the embeddings in the table."""
        return self._output_dim

    def forward(
        self, wav: torch.Tensor, fs: int, keys: Optional[Sequence[str]] = None
    ) -> torch.Tensor:
        """Return the embeddings of ``keys`` on the device of ``wav``.

        Args:
            wav: (B, L), looked at for its device and B only.
            fs: Not used.
            keys: The B utterance ids.

        Raises:
            InputError: no keys were given, or not B, or one is not in the table.
        """
        if keys is None or len(keys) != len(wav):
            given = "no" if keys is None else str(len(keys))
            raise InputError(
                f"{self._scp}: precomputed teacher embeddings were asked for with "
                f"{given} utterance ids for {len(wav)} mixtures. They exist for fixed "
                "sets only: where mixtures are drawn on the fly use the teacher 'clap'."
            )
        return self.lookup(keys).to(wav.device)

    def lookup(self, keys: Sequence[str]) -> torch.Tensor:
        """Return the (B, D) float32 embeddings of ``keys``, on the CPU.

        Raises:
            InputError: a key is not in the table, or its entry cannot be used.
        """
        missing = [key for key in keys if key not in self._table]
        if missing:
            raise InputError(
                f"{self._scp}: {len(missing)} of {len(keys)} utterance ids are not in "
                f"this table, the first {missing[0]!r}. The table must be that of the "
                "set in use: run avsep_extract_teacher on the set's wav.scp."
            )
        return torch.from_numpy(np.stack([self._load(key) for key in keys]))

    def _check_version(self) -> None:
        """Check the version of embeddings that were made before there were records."""
        info = self._scp.with_name("teacher_info.yaml")
        known = read_yaml(info).get("version", 1) if info.is_file() else None
        if known not in (None, VERSIONS[TEACHER]):
            raise InputError(
                f"{self._scp}: was made by version {known} of {TEACHER}, which is now "
                f"{VERSIONS[TEACHER]} and gives other embeddings. Run {TEACHER} again."
            )

    def _load(self, key: str) -> np.ndarray:
        value = self._table[key]
        try:
            array = load_matrix(value)
        except InputError as error:
            raise InputError(
                f"{self._scp}: the entry of {key!r}, {value}, cannot be read: {error}. "
                "Run avsep_extract_teacher again."
            ) from error
        width = array.shape[-1] if array.ndim else 0
        if array.shape not in ((width,), (1, width)) or width == 0:
            raise InputError(
                f"{self._scp}: the entry of {key!r} has the shape {array.shape}; "
                "expected (D,) or (1, D), one embedding a mixture."
            )
        if self._output_dim not in (None, width):
            raise InputError(
                f"{self._scp}: the entry of {key!r} is {width} wide, the first entry "
                f"{self._output_dim}; all must be as wide as each other."
            )
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise InputError(
                f"{self._scp}: the entry of {key!r} holds NaN or infinite values. Look "
                "at the audio it was computed from, then run avsep_extract_teacher "
                "again."
            )
        return array.reshape(width).astype(np.float32)

"""Listed mixtures: the same ones in every epoch."""

import re
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

from torch.utils.data import Dataset

from espnet2_avsep.data.conditions import CONDITIONS, LABELS, condition_of
from espnet2_avsep.data.segment_reader import audio_info, read_matrix, read_segment
from espnet2_avsep.data.tables.key_check import check_same_keys, check_sources
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.errors import InputError


class FixedMixtureDataset(Dataset):
    """Mixtures of a list (validation, test), read whole, in the order of its keys.

    Args:
        tables: Name -> scp file, or its content as a mapping. Names are ``speech_mix``,
            ``speech_ref{n}`` (mono audio), ``visual_ref{n}`` (Kaldi matrices), and
            those of conditions: of ``motion_ref{n}`` Kaldi matrices, of
            ``label_ref{n}`` (only as mappings) numbers.
        labels: Mixture -> number of the class of each source; deprecated, give
            ``label_ref{n}`` among the tables.
        motion_steps: Most rows of a condition that are read; see read_motion.

    Raises:
        InputError: an unknown name, numbers of sources with a gap, tables that
            disagree, mixtures of different length.
    """

    def __init__(
        self,
        tables: Mapping[str, Union[str, Path, Mapping[str, Any]]],
        labels: Optional[Mapping[str, Sequence[int]]] = None,
        motion_steps: int = 160,
    ):
        self.tables: Dict[str, Mapping[str, Any]] = {}
        for name, table in {**tables, **LABELS.tables(labels or {})}.items():
            if not _is_known(name):
                known = ", ".join(f"{each.stem}_ref{{n}}" for each in CONDITIONS)
                raise InputError(
                    f"the data name {name!r} is not known; expected speech_mix, "
                    f"speech_ref{{n}}, visual_ref{{n}}, {known} with n = 1, 2, ..."
                )
            condition = condition_of(name)
            if isinstance(table, Mapping):
                self.tables[name] = table
            elif condition is not None and condition.row_size is None:
                raise InputError(
                    f"{name}: {table} is a file; expected a mapping from each mixture "
                    "to a number."
                )
            else:
                self.tables[name] = read_scp(table)
        check_sources(self.tables)
        if not self.tables or not next(iter(self.tables.values())):
            raise InputError("no mixtures: the tables are empty. Run stage 4 again.")
        check_same_keys(self.tables)
        self.keys = list(next(iter(self.tables.values())))
        self.motion_steps = motion_steps
        self.num_samples = self._check_lengths()

    def _check_lengths(self) -> int:
        """Return the one length of all audio files (0 where there is no audio)."""
        expected, known = 0, ""
        for name, table in self.tables.items():
            if not name.startswith("speech"):
                continue
            for key in self.keys:
                length, _ = audio_info(table[key])
                if known and length != expected:
                    raise InputError(
                        f"{table[key]} ({name} of {key}) has {length} samples, {known} "
                        f"has {expected}; the mixtures of a set must have one length. "
                        "Run stage 4 again."
                    )
                expected, known = length, known or table[key]
        return expected

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.keys)} mixtures of {self.num_samples} "
            f"samples: {', '.join(self.tables)})"
        )

    def __getitem__(self, index: int) -> Tuple[str, dict]:
        """Read a mixture.

        Returns:
            Its key, and a dict name -> float32 array: audio (L,), visual (n, D), rows
            of a condition (S, D); packed frames are (n, 3, H, W), uint8. Conditions
            without rows are numbers.
        """
        key = self.keys[index]
        data = {}
        for name, table in self.tables.items():
            condition = condition_of(name)
            if condition is not None:
                data[name] = condition.read(table[key], self.motion_steps)
            elif name.startswith("visual"):
                data[name] = read_matrix(table[key])
            else:
                data[name] = read_segment(table[key])
        return key, data


def _is_known(name: str) -> bool:
    found = re.fullmatch(r"([a-z]+)_ref[1-9][0-9]*", name)
    if found is None:
        return name == "speech_mix"
    return found[1] in ("speech", "visual") or condition_of(name) is not None

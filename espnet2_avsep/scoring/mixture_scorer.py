"""Reads references, estimates and mixtures, checks them and scores them."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Sequence, Tuple

from espnet2_avsep.metrics.score_table import (
    LEAKAGE_FLOOR_DB,
    METRICS,
    ScoreRow,
    finish,
)
from espnet2_avsep.scoring.score_files import MixtureScores

if TYPE_CHECKING:
    import numpy as np


class Tables(NamedTuple):
    """The tables of one set of mixtures.

    Attributes:
        keys: Ids of the mixtures to be scored, in the list's order.
        clips: (clip, instrument) of every source of all mixtures in the list.
        references: For each source, mixture id -> wav.
        estimates: For each source, mixture id -> wav; ids may be missing.
        mixtures: Mixture id -> wav.
        silent: Mixture id -> for each source whether it is silent by intention.
    """

    keys: List[str]
    clips: Dict[str, List[Tuple[str, str]]]
    references: List[Dict[str, str]]
    estimates: List[Dict[str, str]]
    mixtures: Dict[str, str]
    silent: Dict[str, List[bool]]


class UnscorableError(Exception):
    """Why something cannot be scored, as "kind: details"."""


def read_wav(path: str) -> Tuple[np.ndarray, int]:
    """Read a mono wav.

    Returns:
        Samples (L,) in float64, sampling rate in Hz.

    Raises:
        UnscorableError: the file cannot be read, is not mono, or holds NaN.
    """
    import numpy as np
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise UnscorableError(f"unreadable wav: {path} ({error})") from None
    if samples.shape[1] != 1:
        raise UnscorableError(f"not mono: {path} has {samples.shape[1]} channels")
    if not np.isfinite(samples).all():
        raise UnscorableError(f"NaN or infinite samples: {path}")
    return samples[:, 0], rate


class Loaded(NamedTuple):
    """One mixture, read and cut to one length.

    Attributes:
        mix_id: Its id.
        signals: References of the sources that sound, estimates of these that can be
            scored, and the mixture where it has to be scored; (N + M, L).
        sounding: Sources (0-based, of the list) of the references.
        estimated: Numbers (0-based, among the references) of the estimates.
        with_mixture: Whether the mixture is there.
        crc: Checksum of the references.
    """

    mix_id: str
    signals: np.ndarray
    sounding: Tuple[int, ...]
    estimated: Tuple[int, ...]
    with_mixture: bool
    crc: int


class MixtureScorer:
    """Read, check and score mixtures.

    Args:
        tables: Where the wavs are.
        cache: Scores of the mixtures.
        backend: "fast" or "mir_eval".
        max_length_difference: Samples by which an estimate's length may differ.

    Attributes:
        num_singular: Mixtures whose references were linearly dependent in float64.
        num_clipped: Estimates that had samples outside [-1, 1].
        num_clipped_samples: Number of these samples.
    """

    def __init__(
        self,
        tables: Tables,
        cache: MixtureScores,
        backend: str,
        max_length_difference: int,
    ):
        self.tables = tables
        self.cache = cache
        self.backend = backend
        self.max_length_difference = max_length_difference
        self.num_singular = 0
        self.num_clipped = 0
        self.num_clipped_samples = 0

    def score(self, keys: Sequence[str], batch_size: int) -> List[ScoreRow]:
        """Score mixtures; rows in the order of the keys and, within, of the sources."""
        from tqdm import tqdm

        rows = {
            key: [
                ScoreRow(key, n, clip, instrument)
                for n, (clip, instrument) in enumerate(self.tables.clips[key], 1)
            ]
            for key in keys
        }
        waiting: Dict[tuple, List[Loaded]] = {}
        for key in tqdm(keys, desc="scoring", unit="mixture"):
            try:
                loaded = self.load(key, rows[key])
            except UnscorableError as reason:
                for row in rows[key]:
                    if not math.isfinite(row.leakage):
                        row.reason = str(reason)
                continue
            alike = loaded.signals.shape, loaded.sounding, loaded.estimated
            alike += (loaded.with_mixture,)
            batch = waiting.setdefault(alike, [])
            batch.append(loaded)
            if len(batch) == batch_size:
                self.score_batch(waiting.pop(alike), rows)
        for batch in waiting.values():
            self.score_batch(batch, rows)
        everything = [row for key in keys for row in rows[key]]
        for row in everything:
            finish(row)
        return everything

    def load(self, key: str, rows: List[ScoreRow]) -> Loaded:
        """Read one mixture, and score the tracks of its silent sources.

        Args:
            key: Its id.
            rows: Its rows; an estimate that cannot be scored leaves the reason there.

        Raises:
            UnscorableError: none of its sounding sources can be scored.
        """
        import numpy as np

        references, rate = self.load_references(key)
        length = references.shape[1]
        estimates: Dict[int, np.ndarray] = {}
        for n, row in enumerate(rows):
            try:
                estimates[n] = self.load_estimate(key, n, length, rate)
            except UnscorableError as reason:
                row.reason = str(reason)
        length = min([length, *map(len, estimates.values())])
        references = references[:, :length]
        silent = self.tables.silent[key]
        self.check_silence(references, silent)
        for n, estimate in estimates.items():
            outside = int((np.abs(estimate[:length]) > 1).sum())
            self.num_clipped += outside > 0
            self.num_clipped_samples += outside
            estimates[n] = np.clip(estimate[:length], -1, 1)
        sounding = tuple(n for n, is_silent in enumerate(silent) if not is_silent)
        references = references[list(sounding)]
        crc = zlib.crc32(np.ascontiguousarray(references))
        with_mixture = self.cache.get(key, crc) is None
        if with_mixture or any(silent):
            mixture = self.load_mixture(key, length, rate)
        for n in [n for n in estimates if silent[n]]:
            rows[n].leakage = leakage(estimates.pop(n), mixture)
        self.check_references(references, sounding)
        for n in [n for n, estimate in estimates.items() if not estimate.any()]:
            del estimates[n]
            rows[n].reason = (
                f"silent estimate: {self.tables.estimates[n][key]} (all samples "
                "are 0; mir_eval refuses it too)"
            )
        signals = [*references, *estimates.values()]
        if with_mixture:
            signals.append(mixture)
        estimated = tuple(sounding.index(n) for n in estimates)
        return Loaded(key, np.stack(signals), sounding, estimated, with_mixture, crc)

    def load_references(self, key: str) -> Tuple[np.ndarray, int]:
        """Read the references of one mixture: (N, L), sampling rate."""
        import numpy as np

        if key not in self.tables.mixtures:
            raise UnscorableError(
                "missing reference: the list has it, the scp files not"
            )
        paths = [table[key] for table in self.tables.references]
        references, rates = zip(*map(read_wav, paths), strict=True)
        if len(set(rates)) > 1 or len(set(map(len, references))) > 1:
            raise UnscorableError(
                "references differ in length or sampling rate: "
                + ", ".join(
                    f"{path} has {len(wav)} samples at {rate} Hz"
                    for path, wav, rate in zip(paths, references, rates, strict=True)
                )
            )
        return np.stack(references), rates[0]

    def load_estimate(self, key: str, n: int, length: int, rate: int) -> np.ndarray:
        """Read the estimate of source n (0-based), (L,)."""
        path = self.tables.estimates[n].get(key)
        if path is None:
            raise UnscorableError(
                f"missing estimate: source {n + 1} is not in its scp file"
            )
        estimate, own_rate = read_wav(path)
        if own_rate != rate:
            raise UnscorableError(
                f"sampling rates differ: {path} has {own_rate} Hz, its reference "
                f"{self.tables.references[n][key]} {rate} Hz"
            )
        if abs(len(estimate) - length) > self.max_length_difference:
            raise UnscorableError(
                f"lengths differ: {path} has {len(estimate)} samples, its reference "
                f"{self.tables.references[n][key]} {length}; at most "
                f"{self.max_length_difference} (one hop) may lie between them"
            )
        return estimate

    def load_mixture(self, key: str, length: int, rate: int) -> np.ndarray:
        """Read the mixture itself, (L,)."""
        path = self.tables.mixtures[key]
        mixture, own_rate = read_wav(path)
        if own_rate != rate or len(mixture) < length:
            raise UnscorableError(
                f"mixture does not fit its references: {path} has {len(mixture)} "
                f"samples at {own_rate} Hz, they have {length} at {rate} Hz"
            )
        if not mixture[:length].any():
            raise UnscorableError(f"silent mixture: {path} (all samples are 0)")
        return mixture[:length]

    @staticmethod
    def check_silence(references: np.ndarray, silent: Sequence[bool]) -> None:
        """Check that the silent references are those that the list says."""
        for n, (reference, is_silent) in enumerate(
            zip(references, silent, strict=True), 1
        ):
            if is_silent and reference.any():
                raise UnscorableError(
                    f"silent source sounds: source {n} is silent by the list of "
                    "mixtures, but its reference has samples other than 0"
                )
            if not is_silent and not reference.any():
                raise UnscorableError(
                    f"silent reference: source {n} (all samples are 0; mir_eval "
                    "refuses it too)"
                )

    @staticmethod
    def check_references(references: np.ndarray, sounding: Sequence[int]) -> None:
        """Check that something can be measured against the references.

        Args:
            references: Those of the sources that sound, (N, L).
            sounding: The numbers of these sources (0-based).
        """
        import numpy as np

        from espnet2_avsep.metrics.bss_eval import shortest_length

        if len(references) == 1:
            raise UnscorableError(
                f"alone in its mixture: source {sounding[0] + 1} is the only one that "
                "sounds, so that there is no interference to measure"
            )
        shortest = shortest_length(len(references))
        if references.shape[1] < shortest:
            raise UnscorableError(
                f"too short: {references.shape[1]} samples; {len(references)} sources "
                f"and filters of 512 taps need {shortest}"
            )
        unit = references / np.linalg.norm(references, axis=1, keepdims=True)
        alike = np.abs(np.triu(unit @ unit.T, 1)) > 1 - 1e-9
        if alike.any():
            first, second = (sounding[n] + 1 for n in np.argwhere(alike)[0])
            raise UnscorableError(
                f"identical references: sources {first} and {second} are the same "
                "sound, so that no interference can be told"
            )

    def score_batch(self, batch: List[Loaded], rows: Dict[str, List[ScoreRow]]) -> None:
        """Score mixtures alike in shape and fill in their rows."""
        import numpy as np

        from espnet2_avsep.metrics.bss_eval import bss_eval, bss_eval_by_mir_eval
        from espnet2_avsep.metrics.si_sdr import si_sdr

        N, estimated = len(batch[0].sounding), batch[0].estimated
        pairs = list(enumerate(estimated))
        if batch[0].with_mixture:
            pairs += [(len(estimated), n) for n in range(N)]
        if pairs:
            waves = np.stack([loaded.signals for loaded in batch])
            references, signals = waves[:, :N], waves[:, N:]
            function = bss_eval if self.backend == "fast" else bss_eval_by_mir_eval
            scores = function(references, signals, pairs)
            si_sdrs = si_sdr(
                references[:, [n for _, n in pairs]],
                signals[:, [m for m, _ in pairs]],
            )
            self.num_singular += int(scores.singular.sum())
            found = np.stack([*scores[:3], si_sdrs], axis=-1).tolist()
        for b, loaded in enumerate(batch):
            if loaded.with_mixture:
                self.cache.put(loaded.mix_id, loaded.crc, found[b][len(estimated) :])
            of_mixture = self.cache.get(loaded.mix_id, loaded.crc)
            own = [rows[loaded.mix_id][n] for n in loaded.sounding]
            for row, values in zip(own, of_mixture, strict=True):
                for name, value in zip(METRICS, values, strict=True):
                    setattr(row, f"{name}_mix", value)
            for k, n in enumerate(estimated):
                for name, value in zip(METRICS, found[b][k], strict=True):
                    setattr(own[n], name, value)


def leakage(estimate: np.ndarray, mixture: np.ndarray) -> float:
    """Energy of the track of a silent source relative to the mixture's.

    Args:
        estimate: The track, (L,).
        mixture: (L,), not silent.

    Returns:
        In dB, at least LEAKAGE_FLOOR_DB.
    """
    ratio = (estimate @ estimate) / (mixture @ mixture)
    return 10 * math.log10(max(ratio, 10 ** (LEAKAGE_FLOOR_DB / 10)))

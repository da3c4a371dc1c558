"""SDR, SIR and SAR of BSS Eval version 3, in numpy.

Emmanuel Vincent, Remi Gribonval and Cedric Fevotte, "Performance measurement in blind
audio source separation", IEEE Trans. Audio, Speech and Language Processing 14(4), 2006,
with time-invariant distortion filters of 512 taps (section III.B), as computed by
``mir_eval.separation.bss_eval_sources(ref, est, compute_permutation=False)``.

With P_j the orthogonal projection onto reference j delayed by 0...511 samples, and P
the projection onto all references so delayed, an estimate e of source j is split into::

    e = target + interference + artefacts
    target       = P_j e
    interference = P e - P_j e
    artefacts    = e - P e

    SDR = |target|^2 / |interference + artefacts|^2
    SIR = |target|^2 / |interference|^2
    SAR = |target + interference|^2 / |artefacts|^2          (all in dB)

Notes:
    All delayed references together have a block-Toeplitz Gram matrix. It depends on the
    references alone, so one Cholesky factor serves every estimate and the mixture. The
    three components are formed as waveforms and then squared: energies taken from the
    normal equations alone cancel where an estimate is (almost) a filtered reference,
    and give NaN for e == reference.

    References without any content in some band (a brick-wall low-pass kept in float32)
    make the Gram matrix singular or nearly so. SDR stands firm, but SIR and SAR are
    then badly determined: mir_eval's own move by 0.01 to 3 dB if references are scaled
    or swapped, and ours differ from them as much. The rounding noise of 16-bit audio
    prevents it; there and on real recordings the two agree to 1e-10 dB.

    A batch is scored item by item, each by batched FFTs over all its blocks: what one
    item needs fits into the caches, which is faster than arrays of the whole batch.

    numpy and scipy take a tenth of the time that torch needs to be imported, and are as
    fast on a CPU.
"""

import warnings
from typing import NamedTuple, Sequence, Tuple

import numpy as np
import scipy.linalg
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from espnet2_avsep.metrics.si_sdr import LIMIT_DB

FILTER_LENGTH = 512


class BssScores(NamedTuple):
    """Scores in dB, float64, limited to +-``LIMIT_DB`` (313 dB) as SI-SDR is.

    Attributes:
        sdr: Signal to distortion ratio, (B, K) for K scores an item.
        sir: Signal to interference ratio, (B, K).
        sar: Signal to artefacts ratio, (B, K).
        singular: (B,) bool, true where the references' Gram matrix was singular in
            float64, as it is for references that are filtered copies of each other.
            Such items are solved as mir_eval does (LU, then least squares). Their SDR
            is sound, but their interference may be nothing but rounding error.
    """

    sdr: np.ndarray
    sir: np.ndarray
    sar: np.ndarray
    singular: np.ndarray


def shortest_length(num_sources: int, filter_length: int = FILTER_LENGTH) -> int:
    """Return the number of samples from which the decomposition means anything.

    Below it the ``num_sources * filter_length`` delayed references are at least as many
    as the samples they span: they reproduce any signal, and the artefacts are always 0.
    """
    return (num_sources - 1) * filter_length + 2


def bss_eval_sources(
    references: ArrayLike,
    estimates: ArrayLike,
    filter_length: int = FILTER_LENGTH,
) -> BssScores:
    """Score estimates that stand in the order of their references.

    Args:
        references: Waveforms, (B, N, L).
        estimates: Same shape; estimate n belongs to reference n.
        filter_length: Taps of the distortion filters.

    Returns:
        Scores in dB, each (B, N).

    Raises:
        ValueError: see :func:`bss_eval`.
    """
    references, estimates = np.asarray(references), np.asarray(estimates)
    if references.shape != estimates.shape:
        raise ValueError(
            f"references {references.shape} and estimates {estimates.shape} must have "
            "one shape, (B, N, L)."
        )
    pairs = [(n, n) for n in range(references.shape[1])]
    return bss_eval(references, estimates, pairs, filter_length)


def bss_eval(
    references: ArrayLike,
    signals: ArrayLike,
    pairs: Sequence[Tuple[int, int]],
    filter_length: int = FILTER_LENGTH,
) -> BssScores:
    """Score any signals (estimates, the mixture) as estimates of given sources.

    Args:
        references: Waveforms of the N sources, (B, N, L): arrays, or tensors on the
            CPU; computed in float64.
        signals: Waveforms to be scored, (B, M, L).
        pairs: For each of the K scores wanted: (index of the signal, of the source).
        filter_length: T, the taps of the distortion filters.

    Returns:
        Scores in dB, each (B, K), in the order of ``pairs``.

    Raises:
        ValueError: wrong shape, too few samples, a silent signal, NaN or infinity.
    """
    references, signals = np.asarray(references), np.asarray(signals)
    if references.ndim != 3 or signals.ndim != 3:
        raise ValueError(
            f"references have shape {references.shape} and signals {signals.shape}; "
            "expected (B, N, L) and (B, M, L)."
        )
    B, N, L = references.shape
    if len(signals) != B or signals.shape[2] != L:
        raise ValueError(
            f"signals have shape {signals.shape}; expected ({B}, M, {L}) as their "
            f"references {references.shape} have."
        )
    shortest = shortest_length(N, filter_length)
    if shortest > L:
        raise ValueError(
            f"signals of {L} samples are too short: {N} sources and filters of "
            f"{filter_length} taps need at least {shortest} samples."
        )
    references = _normalise(references, "reference")
    signals = _normalise(signals, "signal")
    blocks = _Blocks(L, filter_length)
    scores = np.empty((3, B, len(pairs)))
    singular = np.zeros(B, dtype=bool)
    for b in range(B):
        past = np.fft.rfft(blocks.cut_with_past(references[b]))
        cut = blocks.cut(np.concatenate([references[b], signals[b]]))
        lags = blocks.correlate(past, np.fft.rfft(cut))
        gram = _gram(lags[:, :N])
        joint, singular[b] = _solve_joint(gram, lags[:, N:])
        single = _solve_single(gram, lags[:, N:], pairs)

        everything = blocks.filter(joint, past)  # P e of every signal
        artefacts = cut[N:, :, filter_length - 1 :] - everything
        for k, (m, j) in enumerate(pairs):
            target = blocks.filter(single[k, None, None], past[j, None])[0]
            interference = everything[m] - target
            energy = _energy(target)
            scores[0, b, k] = _decibel(energy, _energy(artefacts[m] + interference))
            scores[1, b, k] = _decibel(energy, _energy(interference))
            scores[2, b, k] = _decibel(_energy(everything[m]), _energy(artefacts[m]))
    return BssScores(*scores, singular)


def bss_eval_by_mir_eval(
    references: ArrayLike, signals: ArrayLike, pairs: Sequence[Tuple[int, int]]
) -> BssScores:
    """Reference computation of :func:`bss_eval`: the same scores by mir_eval itself.

    mir_eval scores a set of estimates, one for each reference, and refuses the set
    where one is silent. A source's score does not depend on the others' estimates, so
    where ``pairs`` has none for a source its reference stands in and the score is
    discarded.

    Estimates far below their references (1e-10 and less) lose their digits in mir_eval,
    which adds the reference to the projection and takes it away again.

    Scores are NaN, and ``singular`` is true, where mir_eval breaks down: with a Gram
    matrix that is exactly singular it asks for ``numpy.linalg.linalg``, which newer
    numpy no longer has.
    """
    with warnings.catch_warnings():
        # Version 0.8 announces that the module goes in 0.9; we pin mir_eval < 0.9.
        warnings.filterwarnings("ignore", r"mir_eval\.separation", FutureWarning)
        import mir_eval.separation

        references = np.asarray(references, dtype=np.float64)
        signals = np.asarray(signals, dtype=np.float64)
        scores = np.full((3, len(references), len(pairs)), np.nan)
        singular = np.zeros(len(references), dtype=bool)
        for b, (sources, others) in enumerate(zip(references, signals, strict=True)):
            waiting = list(range(len(pairs)))
            while waiting:  # one pair of each source at a time
                now = {pairs[k][1]: k for k in reversed(waiting)}
                waiting = [k for k in waiting if k not in now.values()]
                estimates = sources.copy()
                for j, k in now.items():
                    estimates[j] = others[pairs[k][0]]
                try:
                    *found, _ = mir_eval.separation.bss_eval_sources(
                        sources, estimates, compute_permutation=False
                    )
                except (np.linalg.LinAlgError, AttributeError) as error:
                    if getattr(error, "name", "linalg") != "linalg":
                        raise
                    singular[b] = True
                    continue
                for j, k in now.items():
                    scores[:, b, k] = [values[j] for values in found]
    return BssScores(*scores, singular)


class _Blocks:
    """Correlation and filtering of long signals by FFTs of one block each.

    A block holds ``hop`` samples behind ``filter_length - 1`` places for the samples
    before them. There are as many blocks (K) as the filtered signals need.

    Args:
        num_samples: L, length of the signals.
        filter_length: T, length of the filters, and the number of lags.
    """

    def __init__(self, num_samples: int, filter_length: int):
        self.filter_length = filter_length
        self.past = filter_length - 1
        self.fft_length = 1 << (16 * filter_length - 1).bit_length()
        self.hop = self.fft_length - self.past
        self.number = -(-(num_samples + self.past) // self.hop)
        self.end = self.number * self.hop - num_samples

    def cut(self, signals: np.ndarray) -> np.ndarray:
        """Cut (M, L) into (M, K, fft_length), with zeros for the past."""
        blocks = np.pad(signals, ((0, 0), (0, self.end)))
        blocks = blocks.reshape(len(signals), self.number, self.hop)
        return np.pad(blocks, ((0, 0), (0, 0), (self.past, 0)))

    def cut_with_past(self, signals: np.ndarray) -> np.ndarray:
        """Cut (N, L) into (N, K, fft_length), with the samples of the past."""
        padded = np.pad(signals, ((0, 0), (self.past, self.end)))
        return sliding_window_view(padded, self.fft_length, -1)[:, :: self.hop]

    def correlate(self, delayed: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Inner products of signals with delayed signals.

        Args:
            delayed: Spectra of ``cut_with_past`` signals, (N, K, F).
            others: Spectra of ``cut`` signals, (M, K, F).

        Returns:
            (N, M, T); the last index is the delay in samples.
        """
        cross = np.einsum("nkf,mkf->nmf", delayed.conj(), others)
        return np.fft.irfft(cross, n=self.fft_length)[..., : self.filter_length]

    def filter(self, filters: np.ndarray, spectra: np.ndarray) -> np.ndarray:
        """Filter N signals and add them up (overlap-save).

        Args:
            filters: M sets of filters, (M, N, T).
            spectra: Of the ``cut_with_past`` signals, (N, K, F).

        Returns:
            Waveforms in blocks, (M, K, hop).
        """
        responses = np.fft.rfft(filters, n=self.fft_length)
        filtered = np.einsum("mnf,nkf->mkf", responses, spectra)
        return np.fft.irfft(filtered, n=self.fft_length)[..., self.past :]


def _normalise(signals: np.ndarray, name: str) -> np.ndarray:
    """Bring (B, M, L) signals to unit energy in float64; the scores do not change."""
    signals = signals.astype(np.float64)
    norm = np.linalg.norm(signals, axis=-1, keepdims=True)
    for problem, wrong in (
        ("holds NaN or infinite samples", ~np.isfinite(norm)),
        ("is silent (all samples are 0)", norm == 0),
    ):
        if wrong.any():
            b, m, _ = np.argwhere(wrong)[0]
            raise ValueError(
                f"{name} {m} of item {b} {problem}; SDR, SIR and SAR are not defined."
            )
    return signals / norm


def _solve(matrix: np.ndarray, columns: np.ndarray) -> Tuple[np.ndarray, bool]:
    """Solve a symmetric system.

    A matrix that is not positive definite is solved as mir_eval does: by LU and, where
    that fails too, by least squares.

    Args:
        matrix: (n, n).
        columns: Right-hand sides, (n, M).

    Returns:
        (n, M), and whether the matrix is singular in float64.
    """
    try:
        # The transpose has the order of memory that LAPACK works in.
        factor = scipy.linalg.cho_factor(matrix.T, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        try:
            solution = np.linalg.solve(matrix, columns)
            if not np.isfinite(solution).all():
                raise np.linalg.LinAlgError from None
        except np.linalg.LinAlgError:
            solution = np.linalg.lstsq(matrix, columns, rcond=None)[0]
        return solution, True
    return scipy.linalg.cho_solve(factor, columns, check_finite=False), False


def _gram(lags: np.ndarray) -> np.ndarray:
    """Return the Gram matrix of N delayed references, (N * T, N * T).

    Args:
        lags: (N, N, T); ``lags[i, j, k]`` is the inner product of reference i, delayed
            by k, with reference j.
    """
    N, _, T = lags.shape
    # Entry (k, l) of block (i, j) is lags[i, j, k - l] or, above the diagonal,
    # lags[j, i, l - k]: row k is a window of the sequence that falls from
    # lags[i, j, T-1] to lags[i, j, 0] and rises again from lags[j, i, 1].
    sequence = np.concatenate([lags[..., ::-1], lags.swapaxes(0, 1)[..., 1:]], axis=-1)
    rows = sliding_window_view(sequence, T, -1)[:, :, ::-1]
    return rows.transpose(0, 2, 1, 3).reshape(N * T, N * T)


def _solve_joint(gram: np.ndarray, products: np.ndarray) -> Tuple[np.ndarray, bool]:
    """Find the filters whose output is the projection onto all references.

    Args:
        gram: Of the N references, (N * T, N * T).
        products: (N, M, T), inner products of the delayed references with the signals.

    Returns:
        (M, N, T), and whether the Gram matrix is singular in float64.
    """
    N, M, T = products.shape
    columns = products.swapaxes(1, 2).reshape(N * T, M)
    filters, singular = _solve(gram, columns)
    return filters.T.reshape(M, N, T), singular


def _solve_single(
    gram: np.ndarray, products: np.ndarray, pairs: Sequence[Tuple[int, int]]
) -> np.ndarray:
    """Find the filters whose output is the projection of a signal onto one reference.

    Args:
        gram: Of the N references, (N * T, N * T).
        products: (N, M, T), inner products of the delayed references with the signals.
        pairs: (signal, reference) of the K projections.

    Returns:
        (K, T).
    """
    T = products.shape[2]
    filters = np.empty((len(pairs), T))
    for j in sorted({source for _, source in pairs}):
        block = slice(j * T, (j + 1) * T)
        places = [k for k, (_, source) in enumerate(pairs) if source == j]
        columns = products[j, [pairs[k][0] for k in places]].T
        filters[places] = _solve(gram[block, block], columns)[0].T
    return filters


def _energy(blocks: np.ndarray) -> float:
    """Energy of a waveform in blocks, (K, hop)."""
    return float(np.vdot(blocks, blocks))


def _decibel(numerator: float, denominator: float) -> float:
    """Ratio of energies in dB, limited: mir_eval gives +inf for a denominator of 0."""
    if denominator == 0:
        return LIMIT_DB
    with np.errstate(divide="ignore"):
        return np.clip(10 * np.log10(numerator / denominator), -LIMIT_DB, LIMIT_DB)

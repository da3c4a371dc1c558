"""SDR, SIR and SAR of BSS Eval version 3, in torch.

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

    A batch is worked off item by item, each by batched FFTs over all its blocks: what
    one item needs fits into the caches and into memory that is already mapped, which on
    a CPU is faster than arrays of the whole batch.
"""

import warnings
from typing import NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch.nn.functional import pad

FILTER_LENGTH = 512

# Unit rows and columns added to a matrix before it is factorised. LAPACK works along
# columns; with 2^n numbers in each, neighbours in a row fall into the same cache lines,
# which makes the factorisation of 1024 x 1024 numbers three times slower.
_BORDER = 8


class BssScores(NamedTuple):
    """Scores in dB, float64; +inf where the denominator is exactly zero.

    Attributes:
        sdr: Signal to distortion ratio, (B, K) for K scores an item.
        sir: Signal to interference ratio, (B, K).
        sar: Signal to artefacts ratio, (B, K).
        singular: (B,) bool, true where the references' Gram matrix was singular in
            float64, as it is for references that are filtered copies of each other.
            Such items are solved as mir_eval does (LU, then least squares). Their SDR
            is sound, but their interference may be nothing but rounding error.
    """

    sdr: torch.Tensor
    sir: torch.Tensor
    sar: torch.Tensor
    singular: torch.Tensor


def shortest_length(num_sources: int, filter_length: int = FILTER_LENGTH) -> int:
    """Return the number of samples from which the decomposition means anything.

    Below it the ``num_sources * filter_length`` delayed references are at least as many
    as the samples they span: they reproduce any signal, and the artefacts are always 0.
    """
    return (num_sources - 1) * filter_length + 2


def bss_eval_sources(
    references: torch.Tensor,
    estimates: torch.Tensor,
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
    if references.shape != estimates.shape:
        raise ValueError(
            f"references {tuple(references.shape)} and estimates "
            f"{tuple(estimates.shape)} must have one shape, (B, N, L)."
        )
    pairs = [(n, n) for n in range(references.shape[1])]
    return bss_eval(references, estimates, pairs, filter_length)


def bss_eval(
    references: torch.Tensor,
    signals: torch.Tensor,
    pairs: Sequence[Tuple[int, int]],
    filter_length: int = FILTER_LENGTH,
) -> BssScores:
    """Score any signals (estimates, the mixture) as estimates of given sources.

    Args:
        references: Waveforms of the N sources, (B, N, L); any device, computed in
            float64.
        signals: Waveforms to be scored, (B, M, L).
        pairs: For each of the K scores wanted: (index of the signal, of the source).
        filter_length: T, the taps of the distortion filters.

    Returns:
        Scores in dB, each (B, K), in the order of ``pairs``.

    Raises:
        ValueError: wrong shape, too few samples, a silent signal, NaN or infinity.
    """
    if references.dim() != 3 or signals.dim() != 3:
        raise ValueError(
            f"references have shape {tuple(references.shape)} and signals "
            f"{tuple(signals.shape)}; expected (B, N, L) and (B, M, L)."
        )
    B, N, L = references.shape
    if len(signals) != B or signals.shape[2] != L:
        raise ValueError(
            f"signals have shape {tuple(signals.shape)}; expected ({B}, M, {L}) as "
            f"their references {tuple(references.shape)} have."
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
    gram = _Matrix(N * filter_length, references)
    own_gram = _Matrix(filter_length, references)
    scores = references.new_empty(3, B, len(pairs))
    singular = torch.zeros(B, dtype=torch.bool, device=references.device)
    for b in range(B):
        past = torch.fft.rfft(blocks.cut_with_past(references[b]))
        cut = blocks.cut(torch.cat([references[b], signals[b]]))
        lags = blocks.correlate(past, torch.fft.rfft(cut))
        singular[b] = not _factorise_gram(gram, lags[:, :N])
        joint = _solve_joint(gram, lags[:, N:])
        single = _solve_single(gram, own_gram, lags[:, N:], pairs)

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
    references: torch.Tensor, signals: torch.Tensor, pairs: Sequence[Tuple[int, int]]
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

        scores = torch.full((3, len(references), len(pairs)), torch.nan).double()
        singular = torch.zeros(len(references), dtype=torch.bool)
        for b, (sources, others) in enumerate(zip(references, signals, strict=True)):
            sources = sources.double().cpu().numpy()
            waiting = list(range(len(pairs)))
            while waiting:  # one pair of each source at a time
                now = {pairs[k][1]: k for k in reversed(waiting)}
                waiting = [k for k in waiting if k not in now.values()]
                estimates = sources.copy()
                for j, k in now.items():
                    estimates[j] = others[pairs[k][0]].double().cpu().numpy()
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
                    scores[:, b, k] = torch.tensor([values[j] for values in found])
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

    def cut(self, signals: torch.Tensor) -> torch.Tensor:
        """Cut (..., L) into (..., K, fft_length), with zeros for the past."""
        blocks = pad(signals, (0, self.end)).unflatten(-1, (self.number, self.hop))
        return pad(blocks, (self.past, 0))

    def cut_with_past(self, signals: torch.Tensor) -> torch.Tensor:
        """Cut (..., L) into (..., K, fft_length), with the samples of the past."""
        padded = pad(signals, (self.past, self.end))
        return padded.unfold(-1, self.fft_length, self.hop)

    def correlate(self, delayed: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Inner products of signals with delayed signals.

        Args:
            delayed: Spectra of ``cut_with_past`` signals, (N, K, F).
            others: Spectra of ``cut`` signals, (M, K, F).

        Returns:
            (N, M, T); the last index is the delay in samples.
        """
        cross = torch.einsum("nkf,mkf->nmf", delayed.conj(), others)
        return torch.fft.irfft(cross, n=self.fft_length)[..., : self.filter_length]

    def filter(self, filters: torch.Tensor, spectra: torch.Tensor) -> torch.Tensor:
        """Filter N signals and add them up (overlap-save).

        Args:
            filters: M sets of filters, (M, N, T).
            spectra: Of the ``cut_with_past`` signals, (N, K, F).

        Returns:
            Waveforms in blocks, (M, K, hop).
        """
        responses = torch.fft.rfft(filters, n=self.fft_length)
        filtered = torch.einsum("mnf,nkf->mkf", responses, spectra)
        return torch.fft.irfft(filtered, n=self.fft_length)[..., self.past :]


def _normalise(signals: torch.Tensor, name: str) -> torch.Tensor:
    """Bring (B, M, L) signals to unit energy in float64; the scores do not change."""
    signals = signals.to(torch.float64)
    norm = torch.linalg.vector_norm(signals, dim=-1, keepdim=True)
    for problem, wrong in (
        ("holds NaN or infinite samples", ~torch.isfinite(norm)),
        ("is silent (all samples are 0)", norm == 0),
    ):
        if wrong.any():
            b, m, _ = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"{name} {m} of item {b} {problem}; SDR, SIR and SAR are not defined."
            )
    return signals / norm


class _Matrix:
    """A symmetric matrix to be solved, in memory that is kept from one to the next.

    Args:
        size: n, rows and columns.
        like: A tensor of the device and data type wanted.

    Attributes:
        values: (n, n), to be filled by the user; only the lower triangle is read.
    """

    def __init__(self, size: int, like: torch.Tensor):
        self._size = size
        self._bordered = like.new_zeros(size + _BORDER, size + _BORDER)
        self._bordered.diagonal()[size:] = 1
        self._factor = torch.empty_like(self._bordered).T  # columns, as LAPACK has it
        self._info = torch.zeros((), dtype=torch.int32, device=like.device)
        self.values = self._bordered[:size, :size]

    def factorise(self) -> bool:
        """Find the Cholesky factor; return whether the matrix is positive definite."""
        torch.linalg.cholesky_ex(self._bordered, out=(self._factor, self._info))
        return not self._info

    def solve(self, columns: torch.Tensor) -> torch.Tensor:
        """Solve for right-hand sides (n, M), after ``factorise``.

        A matrix that is not positive definite is solved as mir_eval does: by LU and,
        where that fails too, by least squares.
        """
        if not self._info:
            padded = pad(columns, (0, 0, 0, _BORDER))
            half = torch.linalg.solve_triangular(self._factor, padded, upper=False)
            full = torch.linalg.solve_triangular(self._factor.T, half, upper=True)
            return full[: self._size]
        lower = np.tril(self.values.cpu().numpy())
        matrix, right = lower + np.tril(lower, -1).T, columns.cpu().numpy()
        try:
            solution = np.linalg.solve(matrix, right)
            if not np.isfinite(solution).all():
                raise np.linalg.LinAlgError
        except np.linalg.LinAlgError:
            solution = np.linalg.lstsq(matrix, right, rcond=None)[0]
        return torch.from_numpy(solution).to(columns)


def _factorise_gram(gram: _Matrix, lags: torch.Tensor) -> bool:
    """Fill in and factorise the Gram matrix of N delayed references.

    Args:
        gram: Of size N * T.
        lags: (N, N, T); ``lags[i, j, k]`` is the inner product of reference i, delayed
            by k, with reference j.

    Returns:
        Whether the matrix is positive definite.
    """
    N, _, T = lags.shape
    # Entry (k, l) of block (i, j) is lags[i, j, k - l] or, above the diagonal,
    # lags[j, i, l - k]: row k is a window of the sequence that falls from
    # lags[i, j, T-1] to lags[i, j, 0] and rises again from lags[j, i, 1].
    sequence = torch.cat([lags.flip(-1), lags.transpose(0, 1)[..., 1:]], dim=-1)
    for i in range(N):
        for j in range(i + 1):
            block = gram.values[i * T : (i + 1) * T, j * T : (j + 1) * T]
            block.copy_(sequence[i, j].unfold(0, T, 1).flip(0))
    return gram.factorise()


def _solve_joint(gram: _Matrix, products: torch.Tensor) -> torch.Tensor:
    """Find the filters whose output is the projection onto all references.

    Args:
        gram: Factorised, of size N * T.
        products: (N, M, T), inner products of the delayed references with the signals.

    Returns:
        (M, N, T).
    """
    N, M, T = products.shape
    filters = gram.solve(products.transpose(1, 2).reshape(N * T, M))
    return filters.T.reshape(M, N, T)


def _solve_single(
    gram: _Matrix,
    own_gram: _Matrix,
    products: torch.Tensor,
    pairs: Sequence[Tuple[int, int]],
) -> torch.Tensor:
    """Find the filters whose output is the projection of a signal onto one reference.

    Args:
        gram: Of size N * T, filled in.
        own_gram: Of size T, to work in.
        products: (N, M, T), inner products of the delayed references with the signals.
        pairs: (signal, reference) of the K projections.

    Returns:
        (K, T).
    """
    T = products.shape[2]
    filters = products.new_empty(len(pairs), T)
    for j in sorted({source for _, source in pairs}):
        block = slice(j * T, (j + 1) * T)
        own_gram.values.copy_(gram.values[block, block])
        own_gram.factorise()
        places = [k for k, (_, source) in enumerate(pairs) if source == j]
        columns = products[j, [pairs[k][0] for k in places]].T
        filters[places] = own_gram.solve(columns).T
    return filters


def _energy(blocks: torch.Tensor) -> torch.Tensor:
    """Energy of a waveform in blocks, (K, hop)."""
    return torch.linalg.vector_norm(blocks).square()


def _decibel(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """Ratio of energies in dB; +inf for a denominator of 0, as mir_eval has it."""
    ratio = torch.where(denominator == 0, torch.inf, numerator / denominator)
    return 10 * torch.log10(ratio)

"""Score tracks against their references: SDR, SIR, SAR and SI-SDR in dB.

As stage 8 (avsep scoring) computes them, for one recording, but estimates are not
clipped to [-1, 1]. Estimate n belongs to reference n. With the mixture, improvements
over it as well. Files are sounds or videos; of several channels the mean is scored.
"""

import itertools
import json
import logging
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.cli.shared_options import Json, QuietLog
from espnet2_avsep.errors import InputError

METRICS = ("sdr", "sir", "sar")
# References that are closer than this, in dB, are one sound.
_SAME = 100
# Codecs fill their last frame: of 1024 samples in AAC, 1152 in MP3, 2048 in HE-AAC.
CODEC_FRAME = 2048


@dataclass(kw_only=True)
class Options(Json, QuietLog):
    """The options of the command."""

    reference: List[str] = option(..., "sounds or videos, one a source")
    estimate: List[str] = option(..., "the same, in the same order")
    mixture: Optional[str] = option(None, "a sound or a video")
    max_length_difference: int = option(
        CODEC_FRAME,
        "samples by which files may differ in length; the longer are cut (default: a "
        f"codec's frame, {CODEC_FRAME})",
        least=0,
    )


@with_options(Options)
def main(args: Options) -> int:
    """Run the command."""
    number = len(args.reference)
    if number != len(args.estimate) or number < 2:
        raise InputError(
            f"{number} --reference and {len(args.estimate)} --estimate: give one of "
            "each for every source, and at least two: interference is measured "
            "between sources."
        )
    paths = [*args.reference, *args.estimate]
    if args.mixture is not None:
        paths.append(args.mixture)
    signals, rate = _read(paths, args.max_length_difference)

    from espnet2_avsep.metrics.bss_eval import bss_eval, shortest_length
    from espnet2_avsep.metrics.si_sdr import si_sdr

    if signals.shape[-1] < shortest_length(number):
        raise InputError(
            f"{signals.shape[-1]} samples are too few to be scored; at least "
            f"{shortest_length(number)} are needed."
        )
    references, others = signals[:number], signals[number:]
    pairs = [(n, n) for n in range(number)]
    if args.mixture is not None:
        pairs += [(number, n) for n in range(number)]
    scores = bss_eval(references[None], others[None], pairs)
    ratio = [float(si_sdr(references[n], others[m])) for m, n in pairs]
    for (one, a), (other, b) in itertools.combinations(
        zip(args.reference, references, strict=True), 2
    ):
        if si_sdr(a, b) > _SAME:
            logging.warning(
                "%s and %s: are one sound but for the level; SIR and SAR tell nothing.",
                one,
                other,
            )
    rows: List[Dict[str, Any]] = []
    for n, (reference, estimate) in enumerate(
        zip(args.reference, args.estimate, strict=True)
    ):
        row: Dict[str, Any] = {"reference": reference, "estimate": estimate}
        row.update({m: float(getattr(scores, m)[0, n]) for m in METRICS})
        row["si_sdr"] = ratio[n]
        if args.mixture is not None:
            row["sdr_i"] = row["sdr"] - float(scores.sdr[0, number + n])
            row["si_sdr_i"] = ratio[n] - ratio[number + n]
        rows.append(row)
    names = [name for name in rows[0] if name not in ("reference", "estimate")]
    mean = {name: sum(row[name] for row in rows) / number for name in names}
    found = {"fs": rate, "samples": signals.shape[-1], "sources": rows, "mean": mean}
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    print("\t".join(["estimate", *names]))
    for row in [*rows, {"estimate": "mean", **mean}]:
        print("\t".join([row["estimate"], *(f"{row[name]:.2f}" for name in names)]))
    return 0


def _read(paths: List[str], tolerance: int) -> tuple:
    """Read files, cut to the shortest: (M, L) float64, and their one rate."""
    import numpy as np

    from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
    from espnet2_avsep.media.sound import DownMix

    found = []
    for path in paths:
        blocks = AudioBlocks(path)
        mix = DownMix()
        samples = np.concatenate([mix(block) for block in blocks])
        if mix.note():
            raise InputError(
                f"{path}: {mix.note()}; the mean of the channels is what is scored. "
                "Give one channel."
            )
        for note in blocks.notes:
            logging.warning("%s: %s", path, note)
        found.append((samples.astype(np.float64), blocks.fs))
    rates = {rate for _, rate in found}
    if len(rates) != 1:
        listed = ", ".join(
            f"{p}: {r} Hz" for p, (_, r) in zip(paths, found, strict=True)
        )
        raise InputError(
            f"the files have several sampling rates ({listed}). Resample them to one."
        )
    lengths = [len(samples) for samples, _ in found]
    if max(lengths) - min(lengths) > tolerance:
        shortest = paths[lengths.index(min(lengths))]
        longest = paths[lengths.index(max(lengths))]
        raise InputError(
            f"{shortest} has {min(lengths)} samples, {longest} {max(lengths)}; "
            f"expected one length, within {tolerance} (--max_length_difference)."
        )
    signals = np.stack([samples[: min(lengths)] for samples, _ in found])
    for path, samples in zip(paths, signals, strict=True):
        if np.linalg.norm(samples) == 0:
            raise InputError(
                f"{path}: all samples are 0; scores are defined only where references, "
                "estimates and mixture have sound. Leave this source out."
            )
    return signals, rates.pop()

#!/usr/bin/env python3
"""CLAP's audio embedding of a training batch, against laion_clap's own way.

Embeds mixtures of 65,280 samples at 11,625 Hz with randomly initialised HTSAT-tiny
(speed does not depend on the weights), in turn with

  ours         ClapTeacher: resampling and mel spectrogram by torch, in a batch; also
               with the transformer in bfloat16
  counterpart  what a training with CLAP in its data workers does: each waveform by
               itself is resampled by librosa, quantised, repeated and padded to 10 s,
               and goes through the whole of HTSAT, torchlibrosa's front end included

The difference is the greatest of 1 - cosine of the embeddings.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.common import Row, build_parser, prepare, report_dtypes

FS, SEGMENT = 11625, 65280
CLAP_FS, CLAP_SAMPLES = 48000, 480000


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__)
    parser.add_argument("--batch_size", type=int, default=8)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark."""
    args = get_parser().parse_args(argv)
    prepare(args)
    import librosa
    import numpy as np
    import torch
    from torch.nn import functional as F

    from espnet2_avsep.teacher.clap_teacher import ClapTeacher
    from espnet2_avsep.teacher.htsat import build_htsat

    torch.set_num_threads(args.threads)
    teachers = {
        dtype: ClapTeacher("random", dtype=dtype) for dtype in ("float32", "bfloat16")
    }
    torch.manual_seed(0)  # the teacher's seed: the same weights
    htsat = build_htsat("HTSAT-tiny").eval()
    # Noise over a few partials, quiet enough not to be clipped by the resampler.
    rng = np.random.default_rng(0)
    wavs = 0.02 * rng.standard_normal((args.batch_size, SEGMENT))
    for pitch in rng.uniform(0.05, 0.5, (4, args.batch_size, 1)):
        wavs += 0.05 * np.sin(pitch * np.arange(SEGMENT))
    wavs = wavs.astype(np.float32)
    batch = torch.from_numpy(wavs)

    @torch.inference_mode()
    def counterpart() -> torch.Tensor:
        rows = []
        for wav in wavs:
            wav = librosa.resample(wav, orig_sr=FS, target_sr=CLAP_FS)
            wav = (wav.clip(-1, 1) * 32767).astype(np.int16).astype(np.float32) / 32767
            wav = np.tile(wav, CLAP_SAMPLES // len(wav))
            wav = np.pad(wav, (0, CLAP_SAMPLES - len(wav)))
            output = htsat({"waveform": torch.from_numpy(wav)[None]}, device="cpu")
            embedding = teachers["float32"].projection(output["embedding"])
            rows.append(F.normalize(embedding, dim=-1))
        return torch.cat(rows)

    ways = {
        dtype: lambda teacher=teacher: teacher(batch, FS)
        for dtype, teacher in teachers.items()
    }
    against = "librosa and laion_clap's HTSAT, one by one"
    row = Row(f"CLAP teacher, batch {args.batch_size}", 0, 0, "ms a mixture", against)
    return report_dtypes(row, ways, counterpart, args.batch_size, args)


if __name__ == "__main__":
    sys.exit(main())

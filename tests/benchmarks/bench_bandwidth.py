#!/usr/bin/env python3
"""Tracks of full bandwidth against references of full bandwidth.

Clips of a corpus at 44.1 kHz or more are mixed in pairs of different classes (each
divided by two), separated with a model, or with ideal ratio masks of its band, and the
tracks are compared with the sources at 44.1 kHz:

* model: tracks as the model gives them, nothing above half of its rate;
* full: the same with --bandwidth full;
* ideal above: the model's tracks, and the ideal ratio mask above half of its rate;
* ideal: the ideal ratio mask at all frequencies.

SDR is that of BSS Eval over all frequencies; "above" is the plain ratio of reference to
error above half of the model's rate, and "spectrum" the difference of the long-term
spectra of track and reference there, in third octaves up to 16.5 kHz: the mean of its
absolute values, and its mean. "Worst" is the source that loses most from model to full.
"""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.common import build_parser, circumstances, prepare

ROOT = Path(__file__).resolve().parents[2]
FS = 44100
TOP = 16500.0
IDEAL = ROOT / "conf" / "tuning" / "untrained_ideal_ratio_mask.yaml"


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__, rounds=1)
    add = parser.add_argument
    add("--videos", required=True, help="folder of <class>/<id>.mp4")
    add("--list", required=True, help="file of <class>/<id>, a line each")
    add("--model", action="append", default=[], help="folder of a training; repeat it")
    add(
        "--features",
        help="HDF5 file of embeddings, <class>/<id> (default: the videos' pictures)",
    )
    add("--pairs", type=int, default=20, help="number of mixtures")
    add("--seconds", type=float, default=8.0, help="from the middle of each clip")
    add("--seed", type=int, default=0)
    return parser


def read_clips(args) -> Tuple[Dict[str, Any], List[str]]:
    """Return (L,) at FS of each clip that can be used, and the names of the others."""
    import numpy as np

    from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
    from espnet2_avsep.streaming.resampler import resample_whole

    length, found, skipped = round(args.seconds * FS), {}, []
    for name in Path(args.list).read_text(encoding="utf-8").split():
        blocks = AudioBlocks(Path(args.videos) / f"{name}.mp4")
        wav = np.concatenate(list(blocks), axis=-1).mean(axis=0, keepdims=True)
        wav = resample_whole(wav, blocks.fs, FS)[0]
        begin = (len(wav) - length) // 2
        if blocks.fs < FS or begin < 0:
            skipped.append(name)
            continue
        found[name] = wav[begin : begin + length]
    return found, skipped


def draw_pairs(names: Sequence[str], number: int, seed: int) -> List[Tuple[str, str]]:
    """Draw pairs of clips of different classes, none twice."""
    import numpy as np

    pairs = [
        pair
        for pair in itertools.combinations(sorted(names), 2)
        if pair[0].split("/")[0] != pair[1].split("/")[0]
    ]
    order = np.random.default_rng(seed).permutation(len(pairs))[:number]
    return [pairs[n] for n in order]


def ideal_process(refs, system):
    """Return a process of TrackStream: ideal ratio masks of the system's band."""
    import torch

    from espnet2_avsep.streaming.resampler import resample_whole

    low = torch.from_numpy(resample_whole(refs, FS, system.model.sample_rate))

    def process(chunk, start):
        mixture = torch.from_numpy(chunk)
        return system.separate_batch(mixture, low[None])[0, :, None].numpy()

    return process


def ideal_mask(refs, mixture):
    """Apply ideal ratio masks at all frequencies to a mixture (L,)."""
    import torch

    window = torch.hann_window(2048)
    stft = {"n_fft": 2048, "hop_length": 512, "window": window}
    spectra = torch.stft(torch.from_numpy(refs), **stft, return_complex=True).abs()
    mask = spectra / spectra.sum(dim=0).clamp(min=1e-20)
    spectrum = torch.stft(torch.from_numpy(mixture), **stft, return_complex=True)
    return torch.istft(mask * spectrum, **stft, length=len(mixture)).numpy()


def above(signal, hertz):
    """Take away what signals (N, L) have below a frequency."""
    import numpy as np

    spectrum = np.fft.rfft(signal)
    spectrum[..., np.fft.rfftfreq(signal.shape[-1], 1 / FS) < hertz] = 0
    return np.fft.irfft(spectrum, signal.shape[-1])


def score(refs, tracks, edge: float) -> Dict[str, Any]:
    """Compare tracks (N, L) with references."""
    import numpy as np
    import torch

    from espnet2_avsep.metrics.bss_eval import bss_eval_sources

    def power(signal):
        return np.square(signal).sum(axis=-1) + 1e-20

    sdr = bss_eval_sources(
        torch.from_numpy(refs)[None], torch.from_numpy(tracks)[None]
    ).sdr
    high, wanted = above(tracks, edge), above(refs, edge)
    spectra = [np.square(np.abs(np.fft.rfft(x))) + 1e-20 for x in (tracks, refs)]
    frequency = np.fft.rfftfreq(refs.shape[-1], 1 / FS)
    bands, low = [], edge
    while low * 2 ** (1 / 3) <= TOP:
        inside = (frequency >= low) & (frequency < low * 2 ** (1 / 3))
        track, ref = (x[:, inside].sum(axis=-1) for x in spectra)
        bands.append(10 * np.log10(track / ref))
        low *= 2 ** (1 / 3)
    return {
        "sdr": np.ravel(sdr),
        "above": 10 * np.log10(power(wanted) / power(high - wanted)),
        "absolute": np.abs(bands).mean(axis=0),
        "signed": np.mean(bands, axis=0),
    }


def measure(args, clips, pairs, model: Optional[str]) -> Dict[str, Dict[str, Any]]:
    """Separate all pairs in all ways; return the scores of all sources."""
    import numpy as np

    from espnet2_avsep import Region, SeparateAV
    from espnet2_avsep.inference.untrained import UntrainedAV
    from espnet2_avsep.streaming.chunked import WHOLE
    from espnet2_avsep.streaming.tracks import TrackStream

    system = SeparateAV.from_pretrained(model) if model else UntrainedAV(IDEAL)
    rate = system.model.sample_rate

    def prompt(name):
        if args.features:
            import h5py

            with h5py.File(args.features) as file:
                return file[name][()].mean(axis=0)
        return Region(Path(args.videos) / f"{name}.mp4", every=None)

    found: Dict[str, List[Dict[str, Any]]] = {}
    for names in pairs:
        refs = np.stack([clips[name] for name in names]).astype(np.float32) / 2
        mixture = refs.sum(axis=0)
        tracks = {}
        for bandwidth in ("model", "full"):
            if model:
                prompts = [prompt(name) for name in names]
                tracks[bandwidth] = system(mixture, prompts, FS, bandwidth=bandwidth)
                continue
            process = ideal_process(refs, system)
            stream = TrackStream(process, WHOLE, FS, rate, bandwidth=bandwidth)
            parts = [*stream.feed(mixture[None]), *stream.finish()]
            tracks[bandwidth] = np.concatenate(parts, axis=-1)
        tracks["ideal"] = ideal_mask(refs, mixture)
        high = above(tracks["ideal"], rate / 2).astype(np.float32)
        tracks["ideal above"] = tracks["model"] + high
        for way, signal in tracks.items():
            found.setdefault(way, []).append(score(refs, signal, rate / 2))
    return {
        way: {key: np.concatenate([one[key] for one in scores]) for key in scores[0]}
        for way, scores in found.items()
    }


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark."""
    args = get_parser().parse_args(argv)
    prepare(args)
    import torch

    torch.set_num_threads(args.threads)
    print(circumstances(args))
    clips, skipped = read_clips(args)
    pairs = draw_pairs(list(clips), args.pairs, args.seed)
    print(
        f"{len(pairs)} mixtures of {len(clips)} clips, {args.seconds:g} s; seed "
        f"{args.seed}; {len(skipped)} clips skipped (below {FS} Hz or too short)"
    )
    print(
        "| masks | tracks | SDR | above | spectrum | worst SDR |\n"
        "|---|---|---|---|---|---|"
    )
    for model in [None, *args.model]:
        found = measure(args, clips, pairs, model)
        change = found["full"]["sdr"] - found["model"]["sdr"]
        for way in ("model", "full", "ideal above", "ideal"):
            mean = {key: value.mean() for key, value in found[way].items()}
            worst = f"{change.min():+.2f}" if way == "full" else ""
            print(
                f"| {Path(model).name if model else 'ideal'} | {way} | "
                f"{mean['sdr']:.2f} | {mean['above']:.2f} | {mean['absolute']:.1f} "
                f"({mean['signed']:+.1f}) | {worst} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

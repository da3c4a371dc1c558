#!/usr/bin/env python3
"""Trained models under other conditions than those of the test list.

Mixtures are drawn from the clips of a set, with a seed, from different classes:

  * of 2, 3 and 4 sources, each divided by their number: SDR improvement of all sources;
  * of 2 sources whose levels (RMS) differ by 10 dB: SDR improvement of the quieter and
    of the louder one;
  * of 2 sources, with the picture of a third class as the query: level of the track
    beside the mixture's, which should be low;
  * of the 2 sources that are there, queried one at a time: the share whose track is
    more than 20 dB below its reference. A system that silences what it is not sure of
    has a low level of what is not there, and a high share here.

The query is the middle row of each clip's embeddings. Intervals: 95 %, percentile
bootstrap over mixtures. For instance, in egs2/mini_music, after ./table.sh:

    ../../tests/benchmarks/check_conditions.py \\
        --clips dump/table/clip/raw/org/test_clips \\
        --experiment exp/table/clip/avsep_{tfc_tdf,hfra_hierarchical}_seed0
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.segment_reader import read_shape
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.inference.separate import SeparateAV
from espnet2_avsep.metrics.bootstrap import bootstrap_interval
from espnet2_avsep.metrics.bss_eval import bss_eval_sources

LEVEL_DB, LOW_DB = 10.0, -20.0


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", nargs="+", required=True, help="trainings")
    parser.add_argument(
        "--clips", required=True, help="folder with spk1.scp, visual_spk1.scp, utt2spk"
    )
    parser.add_argument("--mixtures", type=int, default=32, help="of each condition")
    parser.add_argument("--segment_samples", type=int, default=65280)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def draw(
    clips: Path, num_sources: int, number: int, samples: int, seed: int
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Draw sources (M, N, L), not divided by N, and their embeddings (M, N, 1, D)."""
    audio, visual = read_scp(clips / "spk1.scp"), read_scp(clips / "visual_spk1.scp")
    shapes = {key: read_shape(audio[key], visual[key]) for key in audio}
    dataset = MixAndSeparateDataset(
        audio=audio,
        visual=visual,
        num_samples={key: shape[0] for key, shape in shapes.items()},
        num_rows={key: shape[1] for key, shape in shapes.items()},
        category=read_scp(clips / "utt2spk"),
        num_sources=num_sources,
        segment_samples=samples,
        different_class=True,
        repeat=-(-number // len(audio)),
        seed=seed,
    )
    items = [dataset[index][1] for index in range(number)]

    def stack(name: str) -> torch.Tensor:
        names = [f"{name}{n}" for n in range(1, num_sources + 1)]
        return torch.from_numpy(
            np.stack([np.stack([item[key] for key in names]) for item in items])
        )

    return stack("speech_ref") * num_sources, stack("visual_ref")


def separate(
    model: SeparateAV, mixture: torch.Tensor, visual: torch.Tensor
) -> torch.Tensor:
    """Separate (M, L), one mixture at a time, to (M, N, L)."""
    pairs = zip(mixture.split(1), visual.split(1), strict=True)
    return torch.cat([model.separate_batch(*pair).cpu() for pair in pairs])


def improvement(sources: torch.Tensor, tracks: torch.Tensor) -> torch.Tensor:
    """SDR improvement over the mixture, (M, N)."""
    mixture = sources.sum(dim=1, keepdim=True).expand_as(sources)
    after = bss_eval_sources(sources.double(), tracks.double()).sdr
    before = bss_eval_sources(sources.double(), mixture.double()).sdr
    return torch.from_numpy(after - before)


def level_db(tracks: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Energy of signals (..., L) beside that of others, in dB."""
    ratio = tracks.square().sum(dim=-1) / reference.square().sum(dim=-1)
    return 10 * (ratio + 1e-12).log10()


def interval(values: torch.Tensor) -> str:
    """Write the mean of (M, N) and its interval."""
    groups = np.repeat(np.arange(len(values)), values.size(1))
    low, high = bootstrap_interval(values.flatten().numpy(), groups)
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the checks."""
    args = get_parser().parse_args(argv)
    clips = Path(args.clips)

    def drawn(num_sources: int) -> Tuple[torch.Tensor, torch.Tensor]:
        return draw(clips, num_sources, args.mixtures, args.segment_samples, args.seed)

    rows: Dict[str, List[str]] = {}
    for path in args.experiment:
        model = SeparateAV.from_pretrained(path)
        found = {}
        for number in (2, 3, 4):
            sources, visual = drawn(number)
            sources = sources / number
            tracks = separate(model, sources.sum(dim=1), visual)
            found[f"SDRi, {number} sources"] = interval(improvement(sources, tracks))
        sources, visual = drawn(2)
        sources = 0.05 * sources / sources.square().mean(dim=-1, keepdim=True).sqrt()
        sources[:, 1] *= 10 ** (LEVEL_DB / 20)
        values = improvement(sources, separate(model, sources.sum(dim=1), visual))
        found["SDRi, partner 10 dB louder"] = interval(values[:, :1])
        found["SDRi, partner 10 dB quieter"] = interval(values[:, 1:])
        sources, visual = drawn(3)
        mixture = sources[:, :2].sum(dim=1) / 2
        tracks = separate(model, mixture, visual[:, 2:])[:, 0]
        level = level_db(tracks, mixture)
        found["level of what is not there, dB"] = interval(level[:, None])
        share = (level < LOW_DB).double().mean()
        found[f"mixtures where it is below {LOW_DB:g} dB"] = f"{100 * share:.0f} %"
        tracks = torch.cat(
            [separate(model, mixture, visual[:, n : n + 1]) for n in (0, 1)], dim=1
        )
        share = (level_db(tracks, sources[:, :2] / 2) < LOW_DB).double().mean()
        found[f"sources whose track is below {LOW_DB:g} dB"] = f"{100 * share:.1f} %"
        for name, value in found.items():
            rows.setdefault(name, []).append(value)
    print(f"{args.mixtures} mixtures of each condition, seed {args.seed}\n")
    print(f"| | {' | '.join(Path(path).name for path in args.experiment)} |")
    print(f"|---{'|---' * len(args.experiment)}|")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(values)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""What the motion of a test list tells, and what the maps of a trained network allow.

For a system whose masks are ``sigmoid(q . F)``, q made of the motion and the maps F of
the mixture (iQuery, DGFNet): where is the limit, if it has not learned? SDR improvement
in dB of masks that nobody trained:

  * time only: each source's share of the level, one for all frequencies of a frame,
    from the references; the same of means over each row of the motion, and over eight
    parts of the mixture;
  * size of the motion: the source's share of the squared flow of a row, without the
    references, with its own motion and with the other source's;
  * best queries: the q of each source that fits the ideal ratio mask best, for the maps
    that the network makes of the mixture. With random weights, too.

Bounds use the references; they are no systems. For instance, in egs2/mini_music, after
./motion_table.sh --systems iquery:

    ../../tests/benchmarks/check_motion.py --mixtures dump/motion_only/raw/test \\
        --experiment exp/motion_only/avsep_iquery_seed0
"""

import argparse
import functools
import itertools
import sys
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from espnet2_avsep.data.loader import build_loader
from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
from espnet2_avsep.inference.separate import SeparateAV
from espnet2_avsep.loss.abs_criterion import energy_weight, ratio_target
from espnet2_avsep.metrics.bootstrap import bootstrap_interval
from espnet2_avsep.metrics.bss_eval import bss_eval_sources

TABLES = {
    "speech_mix": "wav.scp",
    **{
        f"{kind}_ref{n}": f"{stem}{n}.scp"
        for n in (1, 2)
        for kind, stem in (
            ("speech", "spk"),
            ("visual", "visual_spk"),
            ("motion", "motion_spk"),
        )
    },
}
PARTS = 8


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", required=True, help="a trained query system")
    parser.add_argument("--mixtures", required=True, help="folder with mixtures.tsv")
    parser.add_argument("--number", type=int, default=16, help="of mixtures")
    parser.add_argument("--random", action="store_true", help="do not load the weights")
    return parser


def shares(level: Tensor, frames: int) -> Tensor:
    """Each source's share of a level (N, S), as masks (N, 1, T)."""
    share = level / (level.sum(dim=0) + 1e-12)
    return F.interpolate(share[None], size=frames, mode="linear")[0][:, None]


def parts(level: Tensor, number: int) -> Tensor:
    """Means of a level (N, T) in some parts of its time, (N, number)."""
    return F.adaptive_avg_pool1d(level[None], number)[0]


def maps_of(separator: torch.nn.Module, run: Callable[[], object]) -> Tensor:
    """Return the maps (1 + K, F, T) that queries weigh: what is added, then each map.

    Args:
        separator: A QuerySeparator.
        run: Separates one mixture with it.
    """
    decode, found = separator.decoder.masks, []

    def masks(audio: Tensor, features: Sequence[Tensor], query: Tensor) -> Tensor:
        units = torch.eye(query.size(2) + 1, query.size(2)).roll(1, 0)[:, None]
        for unit in units:
            found.append(decode(audio[:1], features, unit[None])[0, 0])
        return decode(audio, features, query)

    separator.decoder.masks = masks
    try:
        run()
    finally:
        separator.decoder.masks = decode
    maps = torch.stack(found)
    return torch.cat([maps[:1], maps[1:] - maps[:1]])


def best_mask(maps: Tensor, mixture: Tensor, sources: Tensor) -> Tensor:
    """Fit a query for each source to its ideal ratio mask.

    Args:
        maps: See maps_of.
        mixture: Magnitude (1, 1, F, T).
        sources: Magnitudes (1, N, F, T).

    Returns:
        Masks (1, N, F, T).
    """
    target, weight = ratio_target(sources, mixture, 1.0)[0], energy_weight(mixture)[0]
    maps = maps[:, : target.size(1), : target.size(2)]
    scale = maps[1:].flatten(1).std(dim=1) + 1e-6
    with torch.inference_mode(False), torch.enable_grad():
        added, each = maps[0].clone(), (maps[1:] / scale[:, None, None]).clone()
        target, weight = target.clone(), weight.clone()
        query = torch.zeros(len(target), len(each) + 1, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [query], max_iter=60, line_search_fn="strong_wolfe"
        )

        def logits() -> Tensor:
            weighed = torch.einsum("nk,kft->nft", query[:, 1:], each)
            return weighed + added + query[:, :1, None]

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(logits(), target, weight=weight)
            loss = loss + 1e-4 * query.square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
    return logits().detach().sigmoid()[None]


def improvements(
    separate: SeparateAV, batch: Dict[str, Tensor]
) -> Dict[str, np.ndarray]:
    """Return the SDR improvement of each source of a mixture, (N,), for each mask."""
    model = separate.model
    mixture = batch["speech_mix"]
    sources, visual, motion = (
        torch.stack([batch[f"{kind}_ref{n}"] for n in (1, 2)], dim=1)
        for kind in ("speech", "visual", "motion")
    )
    steps = motion.size(2)
    size = motion[0, ..., :-1].float().square().mean(dim=2)

    def score(tracks: Tensor) -> np.ndarray:
        length = tracks.size(-1)
        reference = sources[..., :length].double()
        mixed = mixture[:, None, :length].expand_as(reference).double()
        before = bss_eval_sources(reference, mixed).sdr
        return (bss_eval_sources(reference, tracks.double()).sdr - before)[0]

    def time_only(of: Callable[[Tensor], Tensor]) -> np.ndarray:
        def masks(mixed: Tensor, each: Tensor) -> Tensor:
            mask = shares(of(each[0].square().sum(dim=1).sqrt()), each.size(3))
            return mask[None].expand_as(each)

        return score(model.separate_by(masks, mixture, sources))

    def run() -> Tensor:
        return separate.separate_batch(mixture, visual, motion=motion)

    maps = maps_of(model.separator, run)
    best = functools.partial(best_mask, maps)
    return {
        "time only, each frame": time_only(lambda level: level),
        f"time only, {steps} rows": time_only(lambda level: parts(level, steps)),
        f"time only, {PARTS} parts": time_only(lambda level: parts(level, PARTS)),
        "size of the motion": time_only(lambda level: size),
        "size of the motion, swapped": time_only(lambda level: size.flip(0)),
        "the network's queries": score(run()),
        "best queries": score(model.separate_by(best, mixture, sources)),
    }


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the checks."""
    args = get_parser().parse_args(argv)
    torch.manual_seed(0)
    separate = SeparateAV.from_pretrained(args.experiment)
    if args.random:
        for layer in separate.model.separator.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    folder = Path(args.mixtures)
    data = FixedMixtureDataset({name: folder / path for name, path in TABLES.items()})
    loader = build_loader(data, 1, 0, 0, shuffle=False, drop_last=False)
    found: Dict[str, List[np.ndarray]] = {}
    for _, batch in itertools.islice(loader, args.number):
        for name, values in improvements(separate, batch).items():
            found.setdefault(name, []).append(values)
    print(f"{args.experiment}, {args.number} mixtures of {folder}\n")
    print("| masks | SDRi |\n|---|---|")
    for name, scores in found.items():
        groups = np.repeat(np.arange(len(scores)), len(scores[0]))
        values = np.concatenate(scores)
        low, high = bootstrap_interval(values, groups)
        print(f"| {name} | {values.mean():.2f} [{low:.2f}, {high:.2f}] |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

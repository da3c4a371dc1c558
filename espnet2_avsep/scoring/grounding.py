"""How often a system is right about which pictures sound."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence

from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.cli.shared_options import TrainedModel
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.tsv import read_tsv
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.grounding_table import (
    MIXTURE,
    SOLO,
    GroundedPair,
    read_pairs,
)

COLUMNS = ("mix_id", "sound", "source", "sounds", "probability")

TABLE = "grounding.tsv"


@dataclass(kw_only=True)
class GroundingOptions(TrainedModel, Log):
    """Which model and mixtures."""

    set_dir: str = option(..., "folder of the set's mixtures (stage 4)")
    output_dir: str = option(..., f"gets {TABLE}")
    seed: int = option(0, "of the draw of other pictures", least=0)
    batch_size: int = option(8, "mixtures at a time", least=1)


def ground(args: GroundingOptions) -> List[GroundedPair]:
    """Ask about every mixture of the set."""
    import numpy as np
    import torch

    from espnet2_avsep.data.mixing.mixture_table import read_silent
    from espnet2_avsep.data.mixing.visual_shuffle import shuffle_visual
    from espnet2_avsep.data.segment_reader import read_matrix, read_segment
    from espnet2_avsep.data.tables.scp import read_scp
    from espnet2_avsep.inference.listed_mixtures import load_separator

    separate = load_separator(args)
    if not separate.model.separator.grounds:
        raise InputError(
            f"{args.train_config}: the separator {separate.config.separator} has no "
            "grounding network."
        )
    folder = Path(args.set_dir)
    silent = read_silent(folder / "mixtures.tsv")
    numbers = range(1, len(next(iter(silent.values()))) + 1)
    sounds = [read_scp(folder / f"spk{n}.scp") for n in numbers]
    own: Dict[str, Dict[str, str]] = {
        f"visual_ref{n}": read_scp(folder / f"visual_spk{n}.scp") for n in numbers
    }
    others = shuffle_visual(
        own, folder / "mixtures.tsv", "class", args.seed, required=False
    )
    names = list(own)
    keys = list(silent)
    with_others = others[names[0]].keys()
    if missing := len(keys) - len(with_others):
        logging.warning(
            f"{folder}: {missing} of {len(keys)} mixtures hold every class of the set, "
            "so that there is no picture of another class to ask about; these pairs "
            "are left out."
        )
    pairs: List[GroundedPair] = []
    for begin in range(0, len(keys), args.batch_size):
        batch = keys[begin : begin + args.batch_size]
        waves = [[read_segment(table[key]) for table in sounds] for key in batch]
        visual = [
            [
                read_matrix(table[name][key])
                for table in (own, others if key in with_others else own)
                for name in names
            ]
            for key in batch
        ]
        waves = torch.from_numpy(np.array(waves))  # (B, N, L)
        mixture = waves.sum(dim=1, keepdim=True)
        found = separate.model.ground_each(
            torch.cat([mixture, waves], dim=1).to(separate.device),
            torch.from_numpy(np.array(visual)).to(separate.device),
        ).tolist()  # (B, 1 + N, 2 * N)
        for key, answers in zip(batch, found, strict=True):
            pairs += _pairs(key, silent[key], answers, key in with_others)
    return pairs


def _pairs(
    key: str,
    silent: Sequence[bool],
    answers: Sequence[Sequence[float]],
    with_others: bool,
) -> List[GroundedPair]:
    """Return the pairs of a mixture, of probabilities [sound][picture].

    Args:
        key: The mixture.
        silent: Whether each source is.
        answers: Of the mixture and each source; the sources' own pictures, then those
            of another class.
        with_others: Whether there are pictures of another class.
    """
    pairs = []
    for n, is_silent in enumerate(silent):
        pairs.append(GroundedPair(key, MIXTURE, n + 1, not is_silent, answers[0][n]))
        if is_silent:
            continue
        pairs.append(GroundedPair(key, SOLO, n + 1, True, answers[n + 1][n]))
        if with_others:
            other = n + len(silent)
            pairs.append(GroundedPair(key, MIXTURE, n + 1, False, answers[0][other]))
            pairs.append(GroundedPair(key, SOLO, n + 1, False, answers[n + 1][other]))
    return pairs


def read_table(path: PathLike) -> List[GroundedPair]:
    """Read the table that this command writes.

    Raises:
        InputError: it is no such table.
    """
    rows = read_tsv(path, COLUMNS, "run stage 8 again.")
    try:
        return read_pairs(rows)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error!r}); run stage 8 again."
        ) from None

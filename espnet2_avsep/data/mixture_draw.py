"""Which clips are mixed with which: an even draw from a seed."""

import logging
import math
import random
from typing import Dict, List, Mapping, Tuple

import numpy as np

from espnet2_avsep.data.key_check import shorten
from espnet2_avsep.errors import InputError

# Attempts to avoid mixtures of the same clips: whole draws, and picks of one mixture.
_DRAWS = 10
_PICKS = 50


def draw_groups(
    category: Mapping[str, str],
    num_mixtures: int,
    num_sources: int,
    different_class: bool,
    seed: int,
) -> List[Tuple[str, ...]]:
    """Draw which clips are mixed, each clip as often as any other.

    First the uses are dealt out to the clips, as evenly as can be: the numbers differ
    by one at most, unless a class has more than 1/N of the clips and different_class is
    true. Then mixture after mixture is drawn from the uses that are left, in proportion
    to them. A clip (or class) that has as many uses left as there are mixtures to come
    must be in all of them; taking those first makes sure that the uses come out even.
    The same group of clips is not drawn twice as far as that can be avoided.

    The numbers come from ``random.Random.random``, whose sequence Python guarantees.

    Args:
        category: Clip -> class.
        num_mixtures: Number M of mixtures.
        num_sources: Number N of clips of a mixture.
        different_class: Whether they must be of different classes.
        seed: Seed.

    Returns:
        M tuples of N clips.

    Raises:
        InputError: fewer clips or classes than sources, M below 1.
    """
    if num_mixtures < 1:
        raise InputError(f"num_mixtures is {num_mixtures}; at least 1 was expected.")
    clips = sorted(category, key=str.encode)
    label = dict(category) if different_class else {clip: clip for clip in clips}
    what = "classes" if different_class else "clips"
    if len(set(label.values())) < num_sources:
        raise InputError(
            f"num_sources is {num_sources}, but there are only "
            f"{len(set(label.values()))} {what} to draw from: "
            f"{shorten(sorted(set(label.values()), key=str.encode))}. Add data, or "
            "lower num_sources"
            + (", or set different_class to false." * different_class)
        )
    rng = random.Random(seed)
    # So many mixtures that groups must come again: no use looking for new ones.
    crowded = num_mixtures > math.comb(len(clips), num_sources)
    best: List[Tuple[str, ...]] = []
    fewest = None
    for _ in range(1 if crowded else _DRAWS):
        groups = _draw_once(
            rng, clips, label, num_mixtures, num_sources, 1 if crowded else _PICKS
        )
        repeated = len(groups) - len({frozenset(group) for group in groups})
        if fewest is None or repeated < fewest:
            best, fewest = groups, repeated
        if not fewest:
            break
    if fewest:
        logging.warning(
            f"{fewest} of {num_mixtures} mixtures repeat the clips of another one: "
            f"{len(clips)} clips do not give enough different groups; a lower "
            "num_mixtures avoids it"
        )
    return best


def _draw_once(
    rng: random.Random,
    clips: List[str],
    label: Mapping[str, str],
    num_mixtures: int,
    num_sources: int,
    attempts: int,
) -> List[Tuple[str, ...]]:
    uses = _deal_uses(rng, clips, label, num_mixtures, num_sources)
    # Clips of a group (a class, or the clip itself) and the uses that each has left.
    members: Dict[str, List[str]] = {}
    for clip in clips:
        members.setdefault(label[clip], []).append(clip)
    left = [np.array([uses[c] for c in group]) for group in members.values()]
    names = list(members.values())
    totals = np.array([group.sum() for group in left])
    drawn: List[Tuple[str, ...]] = []
    seen = set()
    for to_come in range(num_mixtures, 0, -1):
        for _ in range(attempts):
            picks = _pick(rng, totals, left, to_come, num_sources)
            group = tuple(names[g][member] for g, member in picks)
            if frozenset(group) not in seen:
                break
        for g, member in picks:
            totals[g] -= 1
            left[g][member] -= 1
        seen.add(frozenset(group))
        drawn.append(group)
    return drawn


def _deal_uses(
    rng: random.Random,
    clips: List[str],
    label: Mapping[str, str],
    num_mixtures: int,
    num_sources: int,
) -> Dict[str, int]:
    """Deal N * M uses out to the clips, at most M to a group."""
    uses = dict.fromkeys(clips, 0)
    room = dict.fromkeys(label.values(), num_mixtures)
    to_deal = num_mixtures * num_sources
    while to_deal:
        for clip in _shuffled(rng, clips):
            if to_deal and room[label[clip]]:
                uses[clip] += 1
                room[label[clip]] -= 1
                to_deal -= 1
    return uses


def _pick(
    rng: random.Random,
    totals: np.ndarray,
    left: List[np.ndarray],
    to_come: int,
    num_sources: int,
) -> List[Tuple[int, int]]:
    """Choose N groups, and a clip of each, in proportion to the uses left."""
    groups = [int(g) for g in np.flatnonzero(totals == to_come)]
    weights = totals.copy()
    weights[groups] = 0
    while len(groups) < num_sources:
        group = _weighted(rng, weights)
        weights[group] = 0
        groups.append(group)
    return [(g, _weighted(rng, left[g])) for g in _shuffled(rng, groups)]


def _weighted(rng: random.Random, weights: np.ndarray) -> int:
    sums = np.cumsum(weights)
    return int(np.searchsorted(sums, int(rng.random() * sums[-1]), side="right"))


def _shuffled(rng: random.Random, values: List) -> List:
    order = [(rng.random(), n) for n in range(len(values))]
    return [values[n] for _, n in sorted(order)]

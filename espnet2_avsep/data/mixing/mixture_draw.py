"""Which clips are mixed with which: an even draw from a seed."""

import logging
import math
import random
from collections import Counter
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

from espnet2_avsep.data.mixing.same_video import different_clips, repeats
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.errors import InputError

# Attempts to avoid mixtures of the same clips: whole draws, and picks of one mixture.
_DRAWS = 10
_PICKS = 50
# After an error that says that there are too few videos.
ONE_VIDEO = (
    " Clips of one video (utt2video of stage 1: files of one name in two classes, "
    "sections of one recording) are not mixed with one another; files that are "
    "different recordings need different names."
)


class Weights:
    """Whole numbers to draw from in proportion to them, and to change, in O(log n).

    Peter M. Fenwick, "A New Data Structure for Cumulative Frequency Tables", Software:
    Practice and Experience, 1994.

    Args:
        values: At least one, none below 0.

    Attributes:
        values: As they are now.
        total: Their sum.
    """

    def __init__(self, values: Sequence[int]):
        self.values = list(values)
        self.total = sum(values)
        # Place i holds the sum of values[i - (i & -i) : i].
        self._sums = [0, *self.values]
        for i in range(1, len(self._sums)):
            parent = i + (i & -i)
            if parent < len(self._sums):
                self._sums[parent] += self._sums[i]
        self._top = 1 << (len(self.values).bit_length() - 1)

    def add(self, place: int, change: int) -> None:
        """Change a value."""
        self.values[place] += change
        self.total += change
        i = place + 1
        while i < len(self._sums):
            self._sums[i] += change
            i += i & -i

    def draw(self, rng: random.Random) -> int:
        """Draw a place, with the probability values[place] / total."""
        rest = int(rng.random() * self.total)
        place, step = 0, self._top
        while step:
            ahead = place + step
            if ahead < len(self._sums) and self._sums[ahead] <= rest:
                place = ahead
                rest -= self._sums[ahead]
            step >>= 1
        return place


def draw_groups(
    category: Mapping[str, str],
    num_mixtures: int,
    num_sources: int,
    different_class: bool,
    seed: int,
    videos: Optional[Mapping[str, str]] = None,
) -> List[Tuple[str, ...]]:
    """Draw which clips are mixed, each clip as often as any other.

    First the uses are dealt out to the clips, as evenly as can be: the numbers differ
    by one at most, unless a class has more than 1/N of the clips and different_class is
    true. Then mixture after mixture is drawn from the uses that are left, in proportion
    to them. A clip (or class) that has as many uses left as there are mixtures to come
    must be in all of them; taking those first makes sure that the uses come out even.
    The same group of clips is not drawn twice as far as that can be avoided.

    Clips of one video are not mixed: the draw is then one of videos, or, if
    different_class is true, clips are exchanged between mixtures until none has two of
    one video. The numbers of uses stay as they are, unless there is no such exchange:
    then a mixture is made anew from clips with few uses.

    The numbers come from ``random.Random.random``, whose sequence Python guarantees.

    Args:
        category: Clip -> class.
        num_mixtures: Number M of mixtures.
        num_sources: Number N of clips of a mixture.
        different_class: Whether they must be of different classes.
        seed: Seed.
        videos: Clip -> video; None or empty: each clip is of a video of its own. The
            draw is then the same as with a video for each clip.

    Returns:
        M tuples of N clips.

    Raises:
        InputError: fewer clips, videos or classes than sources, M below 1.
    """
    if num_mixtures < 1:
        raise InputError(f"num_mixtures is {num_mixtures}; at least 1 was expected.")
    clips = sorted(category, key=str.encode)
    video = {clip: (videos or {}).get(clip, clip) for clip in clips}
    label = dict(category) if different_class else video
    what = "classes" if different_class else "videos" if videos else "clips"
    if len(set(label.values())) < num_sources:
        raise InputError(
            f"num_sources is {num_sources}, but there are only "
            f"{len(set(label.values()))} {what} to draw from: "
            f"{shorten(sorted(set(label.values()), key=str.encode))}. Add data, or "
            "lower num_sources"
            + (", or set different_class to false" * different_class + ".")
            + (ONE_VIDEO if videos and not different_class else "")
        )
    found = len(different_clips(clips, label, video, num_sources)) if videos else None
    if found is not None and found < num_sources:
        raise InputError(
            f"num_sources is {num_sources}, but no more than {found} clips are of "
            "different classes and of different videos. Add data, lower num_sources, "
            f"or set different_class to false.{ONE_VIDEO}"
        )
    rng = random.Random(seed)
    # More mixtures than groups: they must come again, no use looking for new ones.
    crowded = num_mixtures > math.comb(len(clips), num_sources)
    best: List[Tuple[str, ...]] = []
    fewest = None
    for _ in range(1 if crowded else _DRAWS):
        groups = _draw_once(
            rng, clips, label, num_mixtures, num_sources, 1 if crowded else _PICKS
        )
        if videos and different_class:
            _part_videos(rng, groups, label, video)
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


def draw_same_class(
    category: Mapping[str, str],
    num_mixtures: int,
    num_sources: int,
    seed: int,
    videos: Optional[Mapping[str, str]] = None,
) -> List[Tuple[str, ...]]:
    """Draw mixtures whose sources are different clips of one class.

    Each class has a share of the mixtures in proportion to its clips (the remaining
    ones go to the greatest remainders); within a class clips are drawn as
    :func:`draw_groups` draws them. Mixtures of the classes come in turn.

    Args:
        category: Clip -> class, of classes with at least N clips; see
            :func:`too_few_of_class`.
        num_mixtures: Number M of mixtures.
        num_sources: Number N of clips of a mixture.
        seed: Seed.
        videos: Clip -> video; see :func:`draw_groups`.

    Returns:
        M tuples of N clips.

    Raises:
        InputError: no class has N clips of different videos, M below 1, N below 2.
    """
    if num_mixtures < 1 or num_sources < 2:
        raise InputError(
            f"num_mixtures is {num_mixtures} and num_sources {num_sources}; with "
            "same_class at least 1 and 2 were expected."
        )
    members: Dict[str, List[str]] = {}
    for clip in sorted(category, key=str.encode):
        members.setdefault(category[clip], []).append(clip)
    rare = too_few_of_class(category, num_sources, videos)
    names = sorted((n for n in members if members[n][0] not in rare), key=str.encode)
    if not names:
        raise InputError(
            f"same_class is true and num_sources {num_sources}, but no class has that "
            f"many {'videos' if videos else 'clips'}: "
            f"{shorten(sorted(members, key=str.encode))}. Add data, or set same_class "
            "to false."
        )
    total = sum(len(members[name]) for name in names)
    exact = [num_mixtures * len(members[name]) / total for name in names]
    shares = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(names)), key=lambda n: shares[n] - exact[n])
    for n in by_remainder[: num_mixtures - sum(shares)]:
        shares[n] += 1
    columns = [
        draw_groups(
            dict.fromkeys(members[name], name), share, num_sources, False, seed, videos
        )
        for name, share in zip(names, shares, strict=True)
        if share
    ]
    return [
        groups[turn]
        for turn in range(max(shares))
        for groups in columns
        if turn < len(groups)
    ]


def too_few_of_class(
    category: Mapping[str, str],
    num_sources: int,
    videos: Optional[Mapping[str, str]] = None,
) -> Dict[str, Tuple[str, int]]:
    """Clips whose class has fewer than N videos: clip -> its class, and how many."""
    of_class: Dict[str, Set[str]] = {}
    for clip, name in category.items():
        of_class.setdefault(name, set()).add((videos or {}).get(clip, clip))
    return {
        clip: (name, len(of_class[name]))
        for clip, name in category.items()
        if len(of_class[name]) < num_sources
    }


def _part_videos(
    rng: random.Random,
    groups: List[Tuple[str, ...]],
    label: Mapping[str, str],
    video: Mapping[str, str],
) -> None:
    """Exchange clips between mixtures until none has two clips of one video."""
    uses = Counter(clip for group in groups for clip in group)
    for place, group in enumerate(groups):
        while repeats(groups[place], video):
            if _exchange(rng, groups, place, label, video):
                continue
            clips = sorted(_shuffled(rng, sorted(label)), key=uses.__getitem__)
            found = different_clips(clips, label, video, len(group))
            groups[place] = tuple(_shuffled(rng, found))
            uses.subtract(group)
            uses.update(found)


def _exchange(
    rng: random.Random,
    groups: List[Tuple[str, ...]],
    place: int,
    label: Mapping[str, str],
    video: Mapping[str, str],
) -> bool:
    """Exchange a clip that shares its video in its mixture for one of another mixture.

    Returns:
        Whether there was such an exchange, after which neither mixture has more clips
        of one video or class than before.
    """
    group = groups[place]
    count = Counter(video[clip] for clip in group)
    mine = [n for n, clip in enumerate(group) if count[video[clip]] > 1]
    for other in _shuffled(rng, range(len(groups))):
        if other == place or repeats(groups[other], video):
            continue
        for m in mine:
            for n in range(len(group)):
                ours, theirs = list(group), list(groups[other])
                ours[m], theirs[n] = theirs[n], ours[m]
                if (
                    count[video[ours[m]]] == 0
                    and not repeats(theirs, video)
                    and not repeats(ours, label)
                    and not repeats(theirs, label)
                ):
                    groups[place], groups[other] = tuple(ours), tuple(theirs)
                    return True
    return False


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
    names = list(members.values())
    left = [Weights([uses[c] for c in group]) for group in names]
    totals = Weights([group.total for group in left])
    # Uses left -> the groups with that number.
    groups_with: Dict[int, Set[int]] = {}
    for g, total in enumerate(totals.values):
        groups_with.setdefault(total, set()).add(g)
    drawn: List[Tuple[str, ...]] = []
    seen = set()
    for to_come in range(num_mixtures, 0, -1):
        must = sorted(groups_with.get(to_come, ()))
        for _ in range(attempts):
            picks = _pick(rng, totals, left, must, num_sources)
            group = tuple(names[g][member] for g, member in picks)
            if frozenset(group) not in seen:
                break
        for g, member in picks:
            total = totals.values[g]
            groups_with[total].remove(g)
            groups_with.setdefault(total - 1, set()).add(g)
            totals.add(g, -1)
            left[g].add(member, -1)
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
    totals: Weights,
    left: List[Weights],
    must: List[int],
    num_sources: int,
) -> List[Tuple[int, int]]:
    """Choose N groups, and a clip of each, in proportion to the uses left.

    Args:
        rng: The source of randomness.
        totals: Uses that each group has left.
        left: Uses that each clip of each group has left.
        must: Groups that have to be chosen.
        num_sources: Number N of groups.
    """
    groups = list(must)
    taken = [(g, totals.values[g]) for g in groups]
    for g, total in taken:
        totals.add(g, -total)
    while len(groups) < num_sources:
        g = totals.draw(rng)
        taken.append((g, totals.values[g]))
        totals.add(g, -totals.values[g])
        groups.append(g)
    for g, total in taken:
        totals.add(g, total)
    return [(g, left[g].draw(rng)) for g in _shuffled(rng, groups)]


def _shuffled(rng: random.Random, values: Sequence) -> List:
    order = [(rng.random(), n) for n in range(len(values))]
    return [values[n] for _, n in sorted(order)]

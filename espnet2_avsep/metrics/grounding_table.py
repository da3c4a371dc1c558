"""How often a grounding network is right about what sounds."""

import dataclasses
import math
from typing import Dict, List, Sequence, Tuple

from espnet2_avsep.metrics.score_table import RESAMPLES

SOLO, MIXTURE = "source", "mixture"
_TITLES = {
    (SOLO, True): "a source by itself, its own picture: sounds",
    (SOLO, False): "a source by itself, a picture of another class: silent",
    (MIXTURE, True): "mixture, the picture of a source that sounds: sounds",
    (MIXTURE, False): "mixture, a picture of what is not heard: silent",
}


@dataclasses.dataclass
class GroundedPair:
    """A sound and a picture.

    Attributes:
        mix_id: The mixture.
        sound: "mixture", or "source": one of its sources by itself.
        source: Number of the source, from 1, whose picture it is, or whose picture was
            replaced by one of another class.
        sounds: Whether what the picture shows is heard.
        probability: What the network says to that.
    """

    mix_id: str
    sound: str
    source: int
    sounds: bool
    probability: float

    @property
    def is_right(self) -> bool:
        """Whether the probability, rounded at 0.5, is right."""
        return (self.probability >= 0.5) == self.sounds


def accuracy_lines(pairs: Sequence[GroundedPair], seed: int = 0) -> List[List[str]]:
    """A header, a line for each kind of pair, and balanced means.

    Args:
        pairs: In any order.
        seed: Of the bootstrap over mixtures.

    Returns:
        Cells: kind, number of pairs, share of right answers with its 95 % interval.
    """
    lines = [["pairs", "n", "right, % [95 % interval]"]]
    for sound in (SOLO, MIXTURE):
        means = []
        for sounds in (True, False):
            own = [p for p in pairs if (p.sound, p.sounds) == (sound, sounds)]
            mean, low, high = _share(own, seed)
            means.append(mean)
            interval = f" [{100 * low:.1f}, {100 * high:.1f}]"
            words = "n/a"
            if own:
                words = f"{100 * mean:.1f}" + interval * math.isfinite(low)
            lines.append([_TITLES[sound, sounds], str(len(own)), words])
        if all(map(math.isfinite, means)):
            title = f"{sound}: mean of both kinds; chance: 50"
            lines.append([title, "", f"{100 * sum(means) / 2:.1f}"])
    return lines


def _share(pairs: Sequence[GroundedPair], seed: int) -> Tuple[float, float, float]:
    """Share of right answers, and its interval."""
    if not pairs:
        return math.nan, math.nan, math.nan
    from espnet2_avsep.metrics.bootstrap import bootstrap_interval

    right = [float(pair.is_right) for pair in pairs]
    groups = [pair.mix_id for pair in pairs]
    low, high = bootstrap_interval(right, groups, 0.95, RESAMPLES, seed)
    return sum(right) / len(right), float(low), float(high)


def read_pairs(rows: Sequence[Dict[str, str]]) -> List[GroundedPair]:
    """Read pairs from the cells of a table, by the names of its columns.

    Raises:
        KeyError, ValueError: a column is missing, a cell is no number.
    """
    return [
        GroundedPair(
            row["mix_id"],
            row["sound"],
            int(row["source"]),
            {"1": True, "0": False}[row["sounds"]],
            float(row["probability"]),
        )
        for row in rows
    ]

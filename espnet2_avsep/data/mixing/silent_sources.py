"""Sources that are seen and not heard: which sources of a mixture are silent."""

from typing import Protocol, Sequence, Tuple, Union

from espnet2_avsep.errors import InputError, shown

SilentSources = Union[int, float, Sequence[int]]


class Uniform(Protocol):
    """A ``random.Random``, or numpy's ``Generator``."""

    def random(self) -> float:
        """Return a number from 0 up to, and without, 1."""


def check_silent_sources(value: SilentSources, counts: Sequence[int]) -> None:
    """Check the option ``silent_sources``.

    Args:
        value: A whole number: how many sources of each mixture are silent, drawn from
            those after the first. A number between 0 and 1: the probability that a
            source after the first is silent. A list: the numbers of the silent sources,
            from 1. 0: none.
        counts: The numbers of sources that mixtures have.

    Raises:
        InputError: a value of another kind, a number of a source that a mixture does
            not have, or no sounding source is left.
    """
    least = min(counts)
    if isinstance(value, (list, tuple)):
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in value)
        if not whole or len(set(value)) < len(value):
            raise InputError(
                f"silent_sources is {shown(value)}; a list must hold different numbers "
                "of sources, for example [2, 4]."
            )
        if any(not 1 <= n <= least for n in value):
            raise InputError(
                f"silent_sources is {shown(value)}, but mixtures have {least} sources: "
                f"the numbers must be from 1 to {least}. (In a recipe, "
                "--train_ref_nums is the number of sources in training.)"
            )
        number: float = len(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(
            f"silent_sources is {shown(value)}; expected a number of sources, a "
            "probability between 0 and 1, or a list of the sources' numbers."
        )
    else:
        number = value
        if not value >= 0 or (value > 1 and value != int(value)):
            raise InputError(
                f"silent_sources is {shown(value)}; expected a whole number of sources "
                "(0 or more), or a probability between 0 and 1."
            )
    if number > least:
        raise InputError(
            f"silent_sources is {shown(value)}, more than the {least} sources of a "
            "mixture."
        )
    if number == least:
        raise InputError(
            f"silent_sources is {shown(value)}: all {least} sources of a mixture would "
            "be silent; at least one must sound. Lower it, or raise num_sources."
        )


def draw_silent(value: SilentSources, count: int, rng: Uniform) -> Tuple[bool, ...]:
    """Draw which sources of a mixture are silent.

    The first source sounds unless a list names it.

    Args:
        value: See check_silent_sources.
        count: Number of sources N.
        rng: Source of randomness; not used for a list.

    Returns:
        For each source whether it is silent, at least one is not.
    """
    if isinstance(value, (list, tuple)):
        return tuple(n in value for n in range(1, count + 1))
    draws = [rng.random() for _ in range(1, count)]
    if 0 < value < 1:
        return (False, *(draw < value for draw in draws))
    chosen = sorted(range(1, count), key=lambda n: draws[n - 1])[: int(value)]
    return tuple(n in chosen for n in range(count))

"""Tables that are read side by side: the same keys, the data of every source."""

from typing import Collection, Dict, Iterable, Mapping, Set

from espnet2_avsep.errors import InputError

SHOWN = 3


def check_same_keys(tables: Mapping[str, Collection[str]]) -> None:
    """Check that all tables have the keys of the first one.

    Args:
        tables: Name of a table -> its keys (or the table itself).

    Raises:
        InputError: keys are missing in a table; names the first few and their number.
    """
    names = list(tables)
    first = names[0]
    expected = set(tables[first])
    for name in names[1:]:
        keys = set(tables[name])
        for has, lacks, missing in (
            (first, name, expected - keys),
            (name, first, keys - expected),
        ):
            if missing:
                raise InputError(
                    f"{lacks} lacks {len(missing)} of the keys of {has}: "
                    f"{shorten(sorted(missing))}. The tables of one set must list the "
                    "same keys; run stage 4 again."
                )


def shorten(keys: Collection[str]) -> str:
    """Join the first few keys; say how many more there are."""
    keys = list(keys)
    text = ", ".join(keys[:SHOWN])
    return text + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def check_sources(names: Iterable[str]) -> None:
    """Check that the sources of each kind of data are numbered 1, 2, ...

    Raises:
        InputError: a number is left out; the sources after it would be ignored.
    """
    numbers: Dict[str, Set[int]] = {}
    for name in names:
        stem, found, number = name.rpartition("_ref")
        if found and number.isdecimal():
            numbers.setdefault(stem, set()).add(int(number))
    for stem, own in numbers.items():
        missing = set(range(1, max(own) + 1)) - own
        if missing:
            raise InputError(
                f"{stem}_ref{min(missing)} is missing, but there is {stem}_ref"
                f"{max(own)}: give the data of every source, by their numbers from 1."
            )

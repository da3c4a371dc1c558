"""Tables that are read side by side must list the same keys."""

from typing import Collection, Mapping

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

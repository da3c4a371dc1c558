"""Classes of sources as numbers, for losses that classify."""

from typing import Dict, Iterable, List, Mapping, Sequence

from espnet2_avsep.errors import InputError


def class_numbers(classes: Iterable[str], num_classes: int) -> Dict[str, int]:
    """Number the classes of the training data in the order of their names.

    The last number stands for classes that the training data do not have, so there must
    be one more number than classes.

    Raises:
        InputError: too few numbers.
    """
    names = sorted(set(classes))
    if len(names) > num_classes - 1:
        raise InputError(
            f"criterions: object_classification has num_classes = {num_classes}, the "
            f"training data have {len(names)} classes; one more than these is needed "
            f"(for what is none of them): set its conf.num_classes to {len(names) + 1}."
        )
    return {name: n for n, name in enumerate(names)}


def number_sources(
    sources: Mapping[str, Sequence[str]], numbers: Mapping[str, int], num_classes: int
) -> Dict[str, List[int]]:
    """Number the classes of each mixture's sources.

    Args:
        sources: Mixture -> class of each source.
        numbers: What class_numbers returned.
        num_classes: Its last number stands for unknown classes.
    """
    return {
        key: [numbers.get(name, num_classes - 1) for name in names]
        for key, names in sources.items()
    }

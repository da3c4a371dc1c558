"""Classes of sources as numbers, for losses and separators that know classes."""

from typing import Dict, Iterable, List, Mapping, Optional, Sequence

from espnet2_avsep.errors import InputError, shown


def order_classes(
    names: Iterable[str], trained: Sequence[Optional[str]] = (), first_new: int = 0
) -> List[Optional[str]]:
    """Put classes in the order of their numbers.

    Args:
        names: The classes of the training data, in any order, also repeatedly.
        trained: Classes that have numbers already, in that order; they come first,
            whether the data have them or not. The others are sorted by name.
        first_new: The least number of a class that has none yet.

    Returns:
        Number -> class; None: a number that is left out.
    """
    gap = [None] * (first_new - len(trained))
    return [*trained, *gap, *sorted(set(names) - set(trained))]


def class_numbers(classes: Sequence[Optional[str]]) -> Dict[str, int]:
    """Turn what order_classes returned into class -> number.

    Raises:
        InputError: it is no list of names.
    """
    names = classes if isinstance(classes, (list, tuple)) else [classes]
    for name in names:
        if name is not None and not isinstance(name, str):
            raise InputError(f"classes: {shown(name)}; expected a list of names.")
    return {name: n for n, name in enumerate(classes) if name is not None}


def number_sources(
    sources: Mapping[str, Sequence[str]],
    numbers: Mapping[str, int],
    unknown: Optional[int] = None,
) -> Dict[str, List[int]]:
    """Number the classes of each mixture's sources.

    Args:
        sources: Mixture -> class of each source.
        numbers: Class -> number.
        unknown: Number of all other classes; None: there must be none.

    Raises:
        InputError: a class without a number.
    """

    def number(name: str, key: str) -> int:
        found = numbers.get(name, unknown)
        if found is None:
            raise InputError(
                f"{key}: the model does not know the class {name!r}; it was trained "
                f"with {', '.join(numbers)}. Leave such sources out, add the class "
                "(train_avsep_dgfnet_new_class.yaml), or train a model that needs no "
                "classes (separator_conf.queries: label_free)."
            )
        return found

    return {
        key: [number(name, key) for name in names] for key, names in sources.items()
    }

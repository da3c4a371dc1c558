"""Conditions: what a separator can get of each source beside its picture.

A separator that needs a condition says ``needs_<name>``, and its forward() takes the
keyword <name>. Datasets, batches, task, model, inference, analyses, exports and help
texts read CONDITIONS. Those with rows have tables: <stem>.scp, <stem>_skipped.tsv and
<stem>_info.yaml of stage 2, from which stage 4 makes <stem>_spk{n}.scp.
"""

from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from espnet2_avsep.errors import InputError


class Condition(NamedTuple):
    """A kind of condition.

    Attributes:
        name: Keyword of forward(); with rows, <name>_lengths (B, N) is one, too.
        stem: The name among the data is <stem>_ref{n}.
        argument: Keyword of SeparateAV().
        what: What it is, for messages.
        remedy: How a user gets it, or does without.
        row_size: Attribute of a separator that has the size D of rows (S, D), which
            are uniform over a clip's duration; None: each source has a whole number
            instead.
    """

    name: str
    stem: str
    argument: str
    what: str
    remedy: str
    row_size: Optional[str] = None

    def reference(self, number: int) -> str:
        """Return the name among the data for a source, from 1."""
        return f"{self.stem}_ref{number}"

    def is_needed(self, separator: Any) -> bool:
        """Return whether a separator (or its class) needs it."""
        return bool(getattr(separator, f"needs_{self.name}", False))

    def read(
        self, value: Any, max_steps: int, span: Optional[Tuple[int, int]] = None
    ) -> Any:
        """Read what a table says of a source; see motion.read_motion for rows."""
        if self.row_size is None:
            return value
        from espnet2_avsep.data.motion import read_motion

        return read_motion(value, max_steps, span)

    def tables(self, numbers: Mapping[str, Sequence[int]]) -> Dict[str, Dict[str, int]]:
        """Return name among the data -> mixture -> number, of the numbers by source."""
        count = max(map(len, numbers.values()), default=0)
        return {
            self.reference(n + 1): {key: row[n] for key, row in numbers.items()}
            for n in range(count)
        }


MOTION = Condition(
    name="motion",
    stem="motion",
    argument="motion",
    what="motion features",
    remedy="extract them (stage 2, --motion_encoder), or train without "
    "(separator_conf.motion: false where that exists)",
    row_size="motion_dim",
)
LABELS = Condition(
    name="labels",
    stem="label",
    argument="classes",
    what="classes",
    remedy="set dataset_conf.labels to true",
)
CONDITIONS = (MOTION, LABELS)
WITH_ROWS = tuple(c for c in CONDITIONS if c.row_size is not None)
# For help texts.
ROW_NAMES = ", ".join(f"{condition.stem}_ref{{n}}" for condition in WITH_ROWS)


def with_rows(stems: Iterable[str]) -> List[str]:
    """Return stems of conditions with rows, in the order of CONDITIONS.

    Raises:
        InputError: one is not the stem of such a condition.
    """
    known = [condition.stem for condition in WITH_ROWS]
    stems = set(stems)
    for stem in sorted(stems.difference(known)):
        raise InputError(
            f"{stem!r} is not a condition with rows; expected {' or '.join(known)} "
            "(data/conditions.py)."
        )
    return [stem for stem in known if stem in stems]


def needed(separator: Any) -> List[Condition]:
    """Return the conditions that a separator (or its class) needs."""
    return [condition for condition in CONDITIONS if condition.is_needed(separator)]


def condition_of(name: str) -> Optional[Condition]:
    """Return the condition that a name among the data is of; None: of none."""
    stem = name.partition("_ref")[0]
    return next((c for c in CONDITIONS if c.stem == stem), None)

"""Groups of options that several commands share."""

from dataclasses import dataclass
from typing import List, Optional

from espnet2_avsep.cli.options import Log, level, option
from espnet2_avsep.sharing.default_model import MODEL_HELP


@dataclass(kw_only=True)
class QuietLog(Log):
    """The log of commands that a person runs."""

    log_level: str = option(
        "WARNING",
        "DEBUG, INFO, WARNING or ERROR: what is logged to stderr",
        parse=level,
    )


@dataclass(kw_only=True)
class Model:
    """Which model."""

    model: Optional[str] = option(None, MODEL_HELP)


@dataclass(kw_only=True)
class Device:
    """Where networks run."""

    device: str = option(
        "auto", "auto (default: a GPU where there is one), cpu, cuda, cuda:1, ..."
    )


@dataclass(kw_only=True)
class Overwrite:
    """Whether files of the user may be replaced."""

    overwrite: bool = option(
        False,
        "replace files in --out that no former run of this command wrote",
        flag=True,
    )


@dataclass(kw_only=True)
class Json:
    """What is printed."""

    json: bool = option(False, "print JSON", flag=True)


@dataclass(kw_only=True)
class AudioStream:
    """Which audio stream of a file counts."""

    audio_stream: Optional[int] = option(
        None,
        "which audio stream of files with several, from 1 (default: the first with the "
        "default flag that can be decoded)",
        metavar="N",
        least=1,
    )


@dataclass(kw_only=True)
class Queries:
    """What is asked for, and how regions are looked at."""

    query: List[str] = option(
        [],
        "what is asked for; repeat it for every source, see below",
        repeat=True,
        metavar="Q",
    )
    sources: Optional[str] = option(
        None,
        "left-right: the left and the right half of the picture, as for a duet",
        choices=("left-right",),
    )
    every: float = option(
        1.0,
        "seconds between looks at a region; 0: one look, held",
        least=0,
        most=1_000_000,
    )


@dataclass(kw_only=True)
class TrainedModel:
    """A training of a recipe, and the device of a job of the queue."""

    train_config: str = option(..., "config.yaml of training")
    model_file: str = option(..., "weights")
    ngpu: int = option(0, "0: CPU, 1: GPU", least=0, most=1)

"""Numbers on the command lines of all commands."""

import importlib
import math

import pytest

from espnet2_avsep.bin.prepare import filter_clips
from espnet2_avsep.cli.commands import COMMANDS
from espnet2_avsep.cli.options import Log, _check_value, _fields, parse
from espnet2_avsep.errors import InputError

# Of local/prepare_<corpus>.py.
MODULES = ["espnet2_avsep.cli.corpus_options"]
MODULES += [f"espnet2_avsep.{command.module}" for command in COMMANDS.values()]


def subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


def test_each_number_has_a_plausible_range():
    """Negative, infinite and huge values end in a message, not in a traceback."""
    for module in MODULES:
        importlib.import_module(module)
    seen = set()
    for options in subclasses(Log):
        for field, kind, _ in _fields(options):
            if kind not in (int, float) or not options.__module__.startswith("espnet2"):
                continue
            where = f"{options.__module__}.{options.__name__}.{field.name}"
            wrong = [kind(10**12)] + ([math.nan, math.inf] if kind is float else [])
            if field.metadata["least"] != -math.inf:  # the level of silence
                wrong += [kind(-(10**12))] + ([-math.inf] if kind is float else [])
            for value in wrong:
                with pytest.raises(InputError, match=f"--{field.name} "):
                    _check_value(field, value)
                    raise AssertionError(f"{where} may be {value}: give it a range")
            seen.add(field.name)
    assert {"visual_size", "jpeg_quality", "stop_db", "max_missing"} <= seen


@pytest.mark.parametrize("text", ["-inf", "-1e2", "-.5", "-60"])
def test_negative_numbers_are_no_options(text):
    """--silence_dbfs -inf ended stage 4: "expected one argument"."""
    folders = ["--data_dir", "a", "--wav_dir", "b", "--visual_dir", "c"]
    words = [*folders, "--output_dir", "d", "--fs", "8000", "--silence_dbfs", text]
    args = parse(filter_clips.main.get_parser(), filter_clips.Options, words)
    assert args.silence_dbfs == float(text)

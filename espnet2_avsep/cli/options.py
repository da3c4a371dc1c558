"""Options of a command, declared once as a dataclass; its parser is made from that.

Example:
    >>> @dataclass(kw_only=True)
    ... class Options(Log):
    ...     model: str = option(..., "folder of a training")
    ...     segments: int = option(1, "segments of a clip", least=1)
    >>> parse(get_parser(Options, "example"), Options, ["--model", "exp"]).segments
    1
"""

import argparse
import dataclasses
import functools
import inspect
import logging
import re
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from espnet2_avsep.cli.command import INTERRUPTED, command, setup_logging, str2bool
from espnet2_avsep.errors import InputError, close_to

# What commands call the folder, or the file, that they write.
OUTPUTS = ("out", "outpath", "output", "output_dir")
# The greatest number of options that state no other: a seed of 32 bits.
MOST = 2**32 - 1

EPILOG = """\
exit status: 0 all went well; 1 something unexpected, likely a fault of this program;
2 an input or an option cannot be used, the message says which and why; 130 interrupted.
"""


def level(text: str) -> str:
    """Read the name of a level of the log."""
    if not isinstance(logging.getLevelName(text.upper()), int):
        raise argparse.ArgumentTypeError(
            f"expected DEBUG, INFO, WARNING or ERROR, not {text!r}"
        )
    return text.upper()


def option(
    default: Any,
    help: str,
    *,
    choices: Optional[Sequence[str]] = None,
    least: Optional[float] = None,
    above: Optional[float] = None,
    most: Optional[float] = None,
    repeat: bool = False,
    flag: bool = False,
    positional: bool = False,
    nargs: Optional[str] = None,
    metavar: Optional[str] = None,
    parse: Optional[Callable[[str], Any]] = None,
    output: bool = False,
) -> Any:
    """Declare an option; its type is the annotation of the field.

    A ``bool`` is given as true or false, a ``List`` as several words.

    Args:
        default: Its value where it is not given; ``...``: it must be given.
        help: Its line of --help, to which the default is added if it is not in it.
        choices: What it may be.
        least: The least number that it may be; of a list, each.
        above: It must be greater.
        most: The greatest number that it may be; None: MOST.
        repeat: A list is given by repeating the option.
        flag: A ``bool`` without a value: true where the option is given.
        positional: It is given without its name.
        nargs: As in argparse, of lists that may be empty ("*").
        metavar: What its value is called in --help.
        parse: Reads its value from a word; raises ValueError or ArgumentTypeError.
        output: It names what is written, as options called OUTPUTS do. An empty name
            (of a variable that is not set) would be the current folder: it is an error.
    """
    given = dict(locals())
    del given["default"]
    if isinstance(default, list):
        return dataclasses.field(default_factory=default.copy, metadata=given)
    if default is ...:
        return dataclasses.field(metadata=given)
    return dataclasses.field(default=default, metadata=given)


@dataclass(kw_only=True)
class Log:
    """The option of every command; options are checked where they are made.

    Where options belong together, ``__post_init__`` of their dataclass checks that.

    Raises:
        InputError: a number that is out of its range, a value that is not among the
            choices, or an empty name of what is written.
    """

    log_level: str = option(
        "INFO", "DEBUG, INFO, WARNING or ERROR: what is logged to stderr", parse=level
    )

    def __post_init__(self):
        """Check choices and the ranges of numbers."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for each in value if isinstance(value, list) else [value]:
                _check_value(field, each)


def get_parser(
    options: type,
    prog: str,
    description: str = "",
    epilog: str = "",
    names: Optional[Dict[str, str]] = None,
) -> argparse.ArgumentParser:
    """Return the parser of a dataclass of options.

    Args:
        options: The dataclass.
        prog: Name of the program.
        description: Text before the options in --help.
        epilog: Text after them.
        names: Field -> name of its option without dashes, where it is another one.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="\n\n".join(filter(None, (epilog, EPILOG))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # argparse takes -inf and -1e3 for options.
    parser._negative_number_matcher = re.compile(r"-(\d|\.\d|inf\b)", re.IGNORECASE)
    for field, kind, is_list in _fields(options):
        settings = _settings(field, kind, is_list)
        if field.name in (names or {}):
            parser.add_argument(f"--{names[field.name]}", dest=field.name, **settings)
        else:
            parser.add_argument(*_names(field), **settings)
    return parser


def parse(parser: argparse.ArgumentParser, options: type, argv: Sequence[str]) -> Any:
    """Read a command line.

    Args:
        parser: Of ``options``.
        options: A dataclass of options.
        argv: The words after the command's name.

    Returns:
        An instance of ``options``.

    Raises:
        InputError: a number that is out of its range; options that do not go together.
    """
    found, unknown = parser.parse_known_args(argv)
    if unknown:
        options = [o for action in parser._actions for o in action.option_strings]
        # Without the hyphens, which would make any short name look like another.
        names = [option.lstrip("-") for option in options]
        given = unknown[0].partition("=")[0].lstrip("-")
        hint = close_to(given, names, prefix="--")
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options(**vars(found))


def values(args: Log, *without: str) -> Dict[str, Any]:
    """Return options as arguments of a function that has their names.

    Args:
        args: The options of a command.
        *without: Names of those that it does not take; ``log_level`` is one of them.
    """
    names = (field.name for field in dataclasses.fields(args))
    left_out = {"log_level", *without}
    return {name: getattr(args, name) for name in names if name not in left_out}


def with_options(
    options: type,
    epilog: str = "",
    interrupted: str = INTERRUPTED,
    script: bool = False,
) -> Callable:
    """Decorate ``main(args: options)`` of a command: main(argv=None) -> status.

    The help page is the docstring of the command's module. The result has
    ``get_parser()``, and ``run``, which takes an instance of ``options``.

    Args:
        options: A dataclass of options.
        epilog: Text after the options in --help.
        interrupted: What Ctrl-C prints.
        script: Whether it is a file of local/, which calls main() itself.
    """

    def decorate(run: Callable) -> Callable:
        path = Path(run.__code__.co_filename)
        prog = path.name if script else f"avsep {path.stem.replace('_', '-')}"
        if run.__module__ == "__main__" and not script:  # nothing would call main()
            raise SystemExit(f"error: this file is a command; run {prog}.")
        description = (run.__globals__["__doc__"] or "").strip()
        make = functools.partial(get_parser, options, prog, description, epilog)
        return make_main(run, options, make, interrupted)

    return decorate


def make_main(
    run: Callable,
    options: type,
    make: Callable[[], argparse.ArgumentParser],
    interrupted: str = INTERRUPTED,
) -> Callable:
    """Return main(argv=None) of a command; see :func:`with_options`.

    Args:
        run: Does what the command does, given an instance of ``options``.
        options: A dataclass of options.
        make: Returns its parser.
        interrupted: What Ctrl-C prints.
    """

    def main(argv: Sequence[str]) -> int:
        args = parse(make(), options, argv)
        setup_logging(args.log_level)
        return run(args)

    main = command(functools.update_wrapper(main, run), interrupted)
    main.get_parser, main.run = make, run
    return main


def _fields(options: type) -> Iterator[Tuple[dataclasses.Field, type, bool]]:
    """Yield field, type of one value, and whether it is a list; shared options last."""
    hints = typing.get_type_hints(options)
    fields = {field.name: field for field in dataclasses.fields(options)}
    names = [n for base in options.__mro__ for n in inspect.get_annotations(base)]
    for name in dict.fromkeys(names):
        kind = hints[name]
        if typing.get_origin(kind) is typing.Union and type(None) in kind.__args__:
            (kind, *_) = kind.__args__
        is_list = typing.get_origin(kind) is list
        yield fields[name], kind.__args__[0] if is_list else kind, is_list


def _names(field: dataclasses.Field) -> List[str]:
    return [field.name] if field.metadata["positional"] else [f"--{field.name}"]


def _settings(field: dataclasses.Field, kind: type, is_list: bool) -> Dict[str, Any]:
    """Return the arguments of add_argument()."""
    about = field.metadata
    default, missing = field.default, dataclasses.MISSING
    if field.default_factory is not missing:
        default = field.default_factory()
    found: Dict[str, Any] = {"help": about["help"].replace("%", "%%")}
    if default is not missing:
        found["default"] = default
        found["help"] += _default_note(about, default)
    elif not about["positional"]:
        found["required"] = True
        found["help"] += " (required)"
    if about["flag"]:
        return {**found, "action": "store_true"}
    if about["repeat"]:
        found["action"] = "append"
    elif is_list:
        found["nargs"] = about["nargs"] or "+"
    elif about["positional"] and default is not missing:
        found["nargs"] = "?"
    if kind is bool:
        found.update(type=str2bool, metavar=about["metavar"] or "{true,false}")
    elif about["parse"] or kind in (int, float, Path):
        found["type"] = about["parse"] or kind
    if kind is Path and _is_output(field):
        found["type"] = _path_or_empty
    for name in ("choices", "metavar"):
        if about[name] is not None:
            found[name] = about[name]
    return found


def _is_output(field: dataclasses.Field) -> bool:
    """Whether an option names what is written."""
    return field.metadata["output"] or field.name in OUTPUTS


def _path_or_empty(text: str) -> Union[str, Path]:
    """Read a path; an empty one, which is an error, stays what it is."""
    return Path(text) if text else text


def _default_note(about: Any, default: Any) -> str:
    """Return how the help names the default, if it has to."""
    if about["flag"] or default in (None, "", []) or "default" in about["help"]:
        return ""
    if isinstance(default, list):
        default = " ".join(map(str, default))
    elif isinstance(default, bool):
        default = str(default).lower()
    return f" (default: {default})"


def _check_value(field: dataclasses.Field, value: Any) -> None:
    choices = field.metadata["choices"]
    if choices is not None and value is not None and value not in choices:
        raise InputError(
            f"--{field.name} {value}: expected one of {', '.join(choices)}."
        )
    if value == "" and _is_output(field):
        name = field.name if field.metadata["positional"] else f"--{field.name}"
        raise InputError(
            f"{name} '': expected the name of what is written; . is the current folder."
        )
    if not isinstance(value, (int, float)):
        return
    least, above, most = (field.metadata[n] for n in ("least", "above", "most"))
    if most is None and not value <= MOST:  # also where it is NaN
        most = MOST
    if (
        (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
    ):
        return
    bounds = {"at least": least, "more than": above, "at most": most}
    expected = " and ".join(
        f"{word} {bound}" for word, bound in bounds.items() if bound is not None
    )
    raise InputError(f"--{field.name} {value}: expected {expected}.")

"""Print what systems need, from their configurations; or write one completely.

Without --output, --get and --words, a line for each configuration: its file, whether it
is trained (true or false), its visual input (clip or another encoder's name, frames,
motion, flow), and the number of sources of its mixtures ("any" where it is not fixed).
"""

import argparse
import shlex
from dataclasses import dataclass
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.errors import InputError


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    config: List[str] = option(..., "conf/tuning/*.yaml", positional=True)
    output: Optional[str] = option(
        None,
        "write the complete configuration, with the values of its base, to this file; "
        "its own path becomes the value of 'config'",
    )
    words: Optional[str] = option(
        None,
        "print its keys, which must begin with one of these, and their values as "
        "options, quoted for a shell",
        metavar="PREFIXES",
    )
    get: Optional[str] = option(
        None,
        "print true or false instead: whether it is trained; whether its separator "
        "tells what sounds",
        choices=("trained", "grounds"),
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    special = [args.output, args.get, args.words]
    chosen = sum(value is not None for value in special)
    if chosen > 1 or (chosen and len(args.config) > 1):
        raise InputError(
            f"{len(args.config)} configurations and {chosen} of --output, --get and "
            "--words: give one configuration and one of the options."
        )
    from espnet2_avsep.data.tables.base_config import (
        config_words,
        read_config,
        write_config,
    )

    if args.output is not None:
        from espnet2_avsep.data.records.output_folder import protect

        protect([args.output], [args.config[0]])
        write_config(args.config[0], args.output)
        return
    if args.words is not None:
        print(shlex.join(config_words(args.config[0], args.words.split())))
        return
    for path in args.config:
        config = read_config(path)
        trained = config.get("trained") is not False
        if args.get == "trained":
            print(str(trained).lower())
        elif args.get == "grounds":
            from espnet2_avsep.registry import separator_choices

            name = config.get("separator")
            grounds = trained and separator_choices.declares(name, "grounds")
            if grounds:  # it may depend on separator_conf
                from espnet2_avsep.tasks.parts import separator_without_weights

                conf = config.get("separator_conf")
                system = argparse.Namespace(separator=name, separator_conf=conf)
                grounds = bool(separator_without_weights(system).grounds)
            print(str(grounds).lower())
        else:
            from espnet2_avsep.tasks.system_needs import system_needs

            needs = system_needs(config)
            number = needs.num_sources or "any"
            print(path, str(trained).lower(), needs.visual_input, number)

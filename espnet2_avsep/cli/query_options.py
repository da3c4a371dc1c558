"""The options that commands share which take queries."""

import argparse


def add_query_arguments(
    parser: argparse.ArgumentParser, query_help: str, sources_note: str = ""
) -> None:
    """Add the options that say what is asked for, and how regions are looked at.

    Args:
        parser: Of the sub-command.
        query_help: Help of --query.
        sources_note: Ends the help of --sources.
    """
    add = parser.add_argument
    add("--query", action="append", default=[], metavar="Q", help=query_help)
    add(
        "--sources",
        choices=("left-right",),
        help=f"left-right: the left and the right half of the picture{sources_note}",
    )
    add(
        "--every",
        type=float,
        default=1.0,
        help="seconds between looks at a region (default: 1); 0: one look, held",
    )

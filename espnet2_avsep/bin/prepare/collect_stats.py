"""Write the shapes of a set's data, from the files' headers (stage 5).

Writes what ESPnet's collect_stats does, without decoding any audio.
"""

from dataclasses import dataclass
from typing import List

from espnet2_avsep.cli.options import Log, option, with_options


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    data_path_and_name_and_type: List[str] = option(
        ...,
        "scp file, name of the data, sound or kaldi_ark; may be repeated",
        repeat=True,
        metavar="PATH,NAME,TYPE",
    )
    output_dir: str = option(..., "gets NAME_shape for each, batch_keys and stats_keys")


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.data.shape_files import collect_shapes

    collect_shapes(args.data_path_and_name_and_type, args.output_dir)

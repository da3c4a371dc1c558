"""Score a grounding network on sounding and silent pictures (stage 8).

Asks a model with a grounding network (CCoL) which pictures sound. Of each mixture:
every source by itself with its own picture, and with one of a class that is not in the
mixture; and the mixture with each of these pictures, those of silent sources included.
Writes grounding.tsv, a row for each pair.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.cli.shared_options import TrainedModel
from espnet2_avsep.data.tables.tsv import write_tsv
from espnet2_avsep.metrics.grounding_table import accuracy_lines
from espnet2_avsep.metrics.markdown import markdown_table
from espnet2_avsep.scoring.grounding import COLUMNS, TABLE, ground


@dataclass(kw_only=True)
class Options(TrainedModel, Log):
    """The options of the command."""

    set_dir: str = option(..., "folder of the set's mixtures (stage 4)")
    output_dir: str = option(..., f"gets {TABLE}")
    seed: int = option(0, "of the draw of other pictures")
    batch_size: int = option(8, "mixtures at a time", least=1)


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    output = Path(args.output_dir) / TABLE
    output.unlink(missing_ok=True)
    pairs = ground(args)
    rows = [
        (p.mix_id, p.sound, p.source, int(p.sounds), f"{p.probability:.6f}")
        for p in pairs
    ]
    write_tsv(output, COLUMNS, rows)
    print(markdown_table(accuracy_lines(pairs)))
    logging.info("wrote %s", output)

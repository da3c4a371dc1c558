"""Score a grounding network on sounding and silent pictures (stage 8).

Asks a model that learns it (CCoL, TFC-TDF with presence) which pictures sound. Of each
mixture: every source by itself with its own picture, and with one of a class that is
not in the mixture; and the mixture with each of these pictures, those of silent sources
included. Writes grounding.tsv, a row for each pair.
"""

import logging
from pathlib import Path

from espnet2_avsep.cli.options import with_options
from espnet2_avsep.data.tables.tsv import write_tsv
from espnet2_avsep.metrics.grounding_table import accuracy_lines
from espnet2_avsep.metrics.markdown import markdown_table
from espnet2_avsep.scoring.grounding import COLUMNS, TABLE, GroundingOptions, ground


@with_options(GroundingOptions)
def main(args: GroundingOptions) -> None:
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

"""Pack a trained model into one file (stage 9).

It holds the config, the separator's weights as .pth and .safetensors, what made the
embeddings (names and checksums, not the networks), and RESULTS.md. The archive is one
of 'espnet2.bin.pack enh'.
"""

from dataclasses import dataclass
from typing import Optional

from espnet2_avsep.cli.options import Log, option, with_options


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    avsep_exp: str = option(..., "folder of the experiment, exp/avsep_<tag>")
    inference_model: Optional[str] = option(
        None,
        "weights to pack, within --avsep_exp (default: valid.si_sdr_i.best.pth, or "
        "valid.loss.best.pth)",
    )
    results: Optional[str] = option(
        None, "RESULTS.md (default: that of --avsep_exp, if there is one)"
    )
    outpath: str = option(..., "the zip file to write")


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.sharing.pack import pack

    pack(args.avsep_exp, args.outpath, args.inference_model, args.results)
    print(args.outpath)

"""Write a separator as an ONNX file, for programs without PyTorch.

The graph takes "magnitude" (F, T), float32, of the mixture's STFT, and "queries"
(N, D), an embedding of each source; it returns "mask" (N, F, T), or "mask_real" and
"mask_imag" of models with complex masks. T and N are free. The STFT's parameters are in
the file's metadata. The masks are compared with PyTorch's before the file is written.
Needs pip install 'espnet2_avsep[onnx]'.
"""

from dataclasses import dataclass
from typing import Optional

from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.cli.shared_options import QuietLog
from espnet2_avsep.sharing.default_model import MODEL_HELP, choose_model


@dataclass(kw_only=True)
class Options(QuietLog):
    """The options of the command."""

    model: Optional[str] = option(None, MODEL_HELP, positional=True)
    out: str = option(..., "the .onnx file to write")


@with_options(Options)
def main(args: Options) -> int:
    """Run the command."""
    chosen, _ = choose_model(args.model)
    from espnet2_avsep.inference.separate import SeparateAV
    from espnet2_avsep.sharing.onnx_export import export_onnx

    separate = SeparateAV.from_pretrained(chosen)
    config = {
        "system": getattr(separate.config, "system", None) or separate.config.separator,
        "weights_sha256": separate.weights_sha256,
    }
    worst = export_onnx(separate.model, args.out, config)
    print(f"{args.out}: masks differ from PyTorch's by {worst:.1e} at most")
    return 0

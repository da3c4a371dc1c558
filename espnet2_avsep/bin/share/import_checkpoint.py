"""Convert a released checkpoint of another implementation.

The result is a model that SeparateAV and --download_model load. The names of the
checkpoint's tensors tell which system it is of; unknown names are an error. See
espnet2_avsep/sharing/released.py.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.data.tables.scp import atomic_write
from espnet2_avsep.errors import InputError

LAYOUTS = (
    "auto",
    "sound_of_pixels",
    "clipsep",
    "clipsep_middle",
    "hfra",
    "co_separation",
    "iquery",
    "dgfnet",
    "avpc",
)
WEIGHTS = "imported.pth"


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    checkpoint: List[str] = option(
        ...,
        "the file; the option once for each file of a system that has several: Sound "
        "of Pixels (sound_best.pth, frame_best.pth, synthesizer_best.pth), "
        "Co-Separation (unet_latest.pth, visual_latest.pth), AVPC (sound_best.pth, "
        "frame_best.pth), iQuery (sound_best.pth, frame_best.pth, maskformer_best.pth)",
        repeat=True,
    )
    output_dir: str = option(..., "folder of the model")
    layout: str = option("auto", "what it must be", choices=LAYOUTS)
    sample_rate: Optional[int] = option(None, "Hz (default: the released)", least=1)
    n_fft: Optional[int] = option(None, "STFT window (default: the released)", least=2)
    hop_length: Optional[int] = option(None, "default: the released", least=1)
    condition: str = option(
        "own",
        "HFRA's bottleneck condition: of each source its own, or, as the released "
        "program computes, the last source's for all",
        choices=("own", "last_source"),
    )
    warp_align_corners: Optional[bool] = option(
        None,
        "align_corners of the frequency warp (default: what the released weights were "
        "trained with: true, but false for AVPC and iQuery). Weights trained by the "
        "program of Sound of Pixels or Co-Separation with torch 1.3 or later need "
        "false",
    )
    stft_padding: Optional[str] = option(
        None,
        "what the STFT sees beyond the ends of the sound (default: what the released "
        "weights were trained with: zeros, but reflect for Sound of Pixels and "
        "Co-Separation). librosa 0.9 and later pads with zeros",
        choices=("reflect", "zeros"),
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    import torch

    from espnet2_avsep.data.records.digest import file_sha256
    from espnet2_avsep.data.records.output_folder import protect
    from espnet2_avsep.data.tables.yaml_file import write_yaml
    from espnet2_avsep.inference.separate import load_config, load_weights
    from espnet2_avsep.sharing import released
    from espnet2_avsep.sharing.source import META, PACK_INFO
    from espnet2_avsep.tasks.choices import build_model
    from espnet2_avsep.weights import read_checkpoint

    names = ("sample_rate", "n_fft", "hop_length")
    audio = {name: getattr(args, name) for name in names if getattr(args, name)}
    names = ("warp_align_corners", "stft_padding")
    chosen = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    try:
        state = released.merge(read_checkpoint(path) for path in args.checkpoint)
        model = released.convert(state, args.layout, audio, args.condition, chosen)
    except InputError as error:
        raise InputError(f"{', '.join(args.checkpoint)}: {error}") from error

    output = Path(args.output_dir)
    protect([output / WEIGHTS], args.checkpoint)
    if (output / "config.yaml").exists() and not (output / META).exists():
        raise InputError(f"{output}: holds an experiment; give another folder.")
    meta = {
        "files": {"model_file": WEIGHTS},
        "yaml_files": {"train_config": "config.yaml"},
    }
    (output / META).unlink(missing_ok=True)  # comes last: until then it is no model
    with atomic_write(output / WEIGHTS, "wb") as f:
        torch.save(model.state, f)
    info = {
        "imported_from": {Path(p).name: file_sha256(p) for p in args.checkpoint},
        "layout": model.layout,
        "parameters": sum(v.numel() for v in model.state.values()),
        "unused": model.unused,
        "visual_encoder": model.visual,
        "teacher": {"teacher": None},
    }
    for name, table in (
        ("config.yaml", model.config),
        ("visual_info.yaml", model.visual),
        (PACK_INFO, info),
    ):
        write_yaml(output / name, table)
    # Shapes are checked by building the model; nothing is left out (strict).
    network = build_model(load_config(output / "config.yaml"), with_teacher=False)
    load_weights(network, output / WEIGHTS)
    write_yaml(output / META, meta)
    logging.info(
        f"{output}: {model.config['system']}, {len(model.unused)} unused tensors; "
        f"load it with SeparateAV.from_pretrained({str(output)!r})"
    )
    print(output)

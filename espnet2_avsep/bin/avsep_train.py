#!/usr/bin/env python3
"""Train a visually guided separator with ESPnet's trainer."""

import sys
from typing import Optional, Sequence

from espnet2_avsep.bin.cli import command
from espnet2_avsep.errors import InputError

# Words of torch.save's errors: the writer's name, or the file of its source.
WRITER_WORDS = ("PytorchStreamWriter", "inline_container")

HELP = """\
usage: avsep_train --config FILE --output_dir DIR
                   --train_data_path_and_name_and_type PATH,NAME,TYPE ...
                   --valid_data_path_and_name_and_type PATH,NAME,TYPE ...
                   [any other option of ESPnet's trainer]

Train a visually guided separator with ESPnet's trainer. Data names are speech_ref1 and
visual_ref1 (single clips, mixed on the fly), or speech_mix, speech_ref{n} and
visual_ref{n} (listed mixtures).

Options of this task; each may stand in the config file:
  --sample_rate HZ          sampling rate of the waveforms (11625)
  --separator NAME          hfra, sound_of_pixels, wave_unet, decoupled_resunet,
                            predictive_coding, semantic_grouping, co_separation;
                            --separator_conf key=value
  --visual_adapter NAME     mean, standardise, resnet18_dilated,
                            resnet18_co_separation, resnet18_predictive_coding;
                            --visual_adapter_conf key=value
  --encoder, --decoder      stft; --encoder_conf n_fft=1024
  --teacher NAME            clap, precomputed; --teacher_conf checkpoint=FILE
  --criterions LIST         the terms of the loss, {name, conf, weight}
  --dataset_conf key=value  how training mixtures are drawn
  --optim_groups LIST       parameters with their own settings, {prefix, lr, ...}
  --model_conf key=value    num_log_bins, compression, mask_max
  --picture_interval N      epochs between two sets of spectrogram pictures

  --help                    this page
  --help_all                every option, ESPnet's included (imports ESPnet: slow)
  --print_config            the whole configuration with its defaults, as YAML
"""


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the training; ``argv`` defaults to the command line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "-h" in argv or "--help" in argv:
        print(HELP)
        return
    argv = ["--help" if option == "--help_all" else option for option in argv]

    from espnet2_avsep.tasks.avsep import AVSeparationTask

    try:
        AVSeparationTask.main(cmd=argv)
    except RuntimeError as error:
        # What torch.save raises where the disk is full has no type of its own.
        if not any(word in str(error) for word in WRITER_WORDS):
            raise
        raise InputError(
            f"the checkpoint cannot be written: {error}. Free some disk space and run "
            "again: training goes on from the checkpoint before (--resume true)."
        ) from error


if __name__ == "__main__":
    sys.exit(main())

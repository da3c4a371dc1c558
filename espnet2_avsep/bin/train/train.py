"""Train a visually guided separator with ESPnet's trainer."""

import logging
import re
import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging
from espnet2_avsep.errors import InputError
from espnet2_avsep.lean_imports import defer_compiler, import_lean_torch

# What torch raises where the machine is at its limits has no type of its own: words of
# the message, and what to tell the user.
LIMITS = {
    "PytorchStreamWriter|inline_container": "the checkpoint cannot be written. Free "
    "some disk space and run again: training continues from the last complete "
    "checkpoint (--resume true)",
    "Bus error": "a data worker has died, because /dev/shm is full. Enlarge it (docker "
    "run --shm-size 1g), or set --num_workers 0",
    "killed by signal|exited unexpectedly": "a data worker was killed, most likely "
    "because the machine or the container ran out of memory. Lower --num_workers or "
    "--batch_size and run again: training continues from the last checkpoint (--resume "
    "true)",
    "CUDA out of memory": "the GPU has too little memory. Lower --batch_size, or use "
    "more GPUs (--ngpu)",
}
INPUT_ERROR = "espnet2_avsep.errors.InputError: "

HELP = """\
usage: avsep train --config FILE --output_dir DIR
                   --train_data_path_and_name_and_type PATH,NAME,TYPE ...
                   --valid_data_path_and_name_and_type PATH,NAME,TYPE ...
                   [any other option of ESPnet's trainer]

Train a visually guided separator with ESPnet's trainer. Data names are speech_ref1 and
visual_ref1 (single clips, mixed on the fly), or speech_mix, speech_ref{n} and
visual_ref{n} (listed mixtures).

Options of this task; each may stand in the config file:
  --sample_rate HZ          sampling rate of the waveforms (11625)
  --separator NAME          {separator}; --separator_conf key=value
  --visual_adapter NAME     {visual_adapter}; --visual_adapter_conf key=value
  --encoder, --decoder      stft; --encoder_conf n_fft=1024
  --teacher NAME            {teacher}; --teacher_conf checkpoint=FILE
  --criterions LIST         the terms of the loss, {name, conf, weight}; names are
                            {criterion}
  --dataset_conf key=value  how training mixtures are drawn
  --optim_groups LIST       parameters with their own settings, {prefix, lr, ...}
  --phases LIST             phases of the training, {name, epochs, freeze, lr_factor}
  --model_conf key=value    num_log_bins, compression, mask_max, mask_activation,
                            mask_rounding, warp_align_corners, stft_padding
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
        print(_help())
        return
    argv = ["--help" if option == "--help_all" else option for option in argv]

    from espnet2_avsep.data.records.training_record import (
        hold_training,
        is_finished,
        note_finished,
    )

    # Of several machines' processes, the one that starts them has checked.
    is_one_of_several = any(
        word.startswith(("--dist_rank", "--dist_launcher")) for word in argv
    )
    if is_one_of_several:
        _train(argv)
        return
    with hold_training(argv):
        if is_finished(argv):
            setup_logging("INFO")
            logging.info("the training has ended, and nothing has changed since")
            return
        _train(argv)
        note_finished(argv)


def _help() -> str:
    """Return the help, with the names of the classes that a config may name."""
    import textwrap

    from espnet2_avsep import registry

    text = HELP
    indent = " " * 28
    for name in ("separator", "visual_adapter", "teacher", "criterion"):
        field = f"{{{name}}}"
        line = next(line for line in text.splitlines() if field in line)
        first, last = line.split(field)
        names = ", ".join(getattr(registry, f"{name}_choices"))
        filled = textwrap.fill(
            names + last, 88, initial_indent=indent, subsequent_indent=indent
        )
        text = text.replace(line, first + filled.removeprefix(indent))
    return text


def _train(argv: Sequence[str]) -> None:
    import_lean_torch()
    from torch.multiprocessing import ProcessRaisedException

    from espnet2_avsep.tasks.avsep import AVSeparationTask

    defer_compiler()
    try:
        AVSeparationTask.main(cmd=argv)
    except (RuntimeError, ProcessRaisedException) as error:
        meaning = explain(str(error))
        if meaning is None:
            raise
        raise InputError(meaning) from error


def explain(text: str) -> Optional[str]:
    """Return the message for the user of an error whose cause is known.

    Args:
        text: Message of an error of a training, or of one of its processes, which then
            holds a traceback.
    """
    if INPUT_ERROR in text:
        return text.rpartition(INPUT_ERROR)[2].strip()
    for words, meaning in LIMITS.items():
        for line in text.splitlines():
            if re.search(words, line):
                return f"{meaning}. ({line.strip()[:200]})"
    return None


if __name__ == "__main__":
    sys.exit(main())

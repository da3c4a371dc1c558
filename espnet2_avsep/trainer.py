"""ESPnet's trainer with spectrogram pictures and a checkpoint that survives a kill."""

import argparse
import dataclasses
import logging
import os
import shutil
from pathlib import Path
from typing import Optional

import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.lean_imports import lean_imports

with lean_imports():
    from espnet2.torch_utils.device_funcs import to_device
    from espnet2.train.trainer import Trainer, TrainerOptions

CHECKPOINT = "checkpoint.pth"
PREVIOUS = "checkpoint.previous.pth"


@dataclasses.dataclass
class AVSeparationTrainerOptions(TrainerOptions):
    """ESPnet's options and ours.

    Attributes:
        picture_interval: Epochs between two sets of spectrogram pictures.
    """

    picture_interval: int = 5


class AVSeparationTrainer(Trainer):
    """Trainer of AVSeparationTask.

    ESPnet writes ``checkpoint.pth`` in place after every epoch. A process killed while
    writing leaves half a file, from which training could not go on. So before each
    rewrite a copy of the last complete checkpoint is kept under another name, and
    resume() falls back to it.
    """

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> AVSeparationTrainerOptions:
        """Build the options consumed by the trainer."""
        options = dataclasses.asdict(Trainer.build_options(args))
        return AVSeparationTrainerOptions(
            **options, picture_interval=args.picture_interval
        )

    @staticmethod
    def resume(checkpoint, model, **kwargs) -> None:
        """Resume from the checkpoint, or from the one before it if it is broken.

        Raises:
            InputError: neither can be read, or the checkpoint does not fit the model.
        """
        checkpoint = Path(checkpoint)
        candidates = [checkpoint, checkpoint.with_name(PREVIOUS)]
        errors = []
        for path in candidates:
            if not path.exists():
                continue
            try:
                torch.load(path, map_location="meta", weights_only=False)
            except Exception as error:  # what torch.load raises varies with the damage
                errors.append(f"{path}: {error}")
                logging.warning(
                    f"{path} cannot be read ({error}); it was probably being written "
                    "when the training was stopped."
                )
                continue
            try:
                Trainer.resume(checkpoint=path, model=model, **kwargs)
            except (RuntimeError, ValueError, KeyError) as error:
                raise InputError(
                    f"{path} does not fit this model and optimizer: {error}\n"
                    "It was written by a training with another configuration. Give "
                    "this one another --avsep_tag (or --output_dir), or start anew "
                    "with --resume false."
                ) from error
            return
        raise InputError(
            "no checkpoint could be read:\n  "
            + "\n  ".join(errors)
            + f"\nRemove them from {checkpoint.parent} to start the training anew."
        )

    @classmethod
    def validate_one_epoch(
        cls, model, iterator, reporter, options, distributed_option
    ) -> None:
        """Validate; then put the last checkpoint out of the way of the next one."""
        super().validate_one_epoch(
            model=model,
            iterator=iterator,
            reporter=reporter,
            options=options,
            distributed_option=distributed_option,
        )
        if not distributed_option.distributed or distributed_option.dist_rank == 0:
            keep_previous_checkpoint(Path(options.output_dir))

    @classmethod
    @torch.no_grad()
    def plot_attention(
        cls,
        model: torch.nn.Module,
        output_dir: Optional[Path],
        summary_writer,
        iterator,
        reporter,
        options: AVSeparationTrainerOptions,
    ) -> None:
        """Draw mixture, references, estimates and masks of fixed validation mixtures.

        Stands where ESPnet draws attentions: called once an epoch on rank 0 with the
        first ``num_att_plot`` mixtures of the validation set. Pictures go to
        ``<output_dir>/../pictures/<mixture>/<epoch>ep.png`` and to tensorboard.
        """
        epoch = reporter.get_epoch()
        last = epoch == options.max_epoch
        if epoch != 1 and epoch % options.picture_interval != 0 and not last:
            return
        from espnet2_avsep.plots import spectrogram_panels

        model.eval()
        for keys, batch in iterator:
            batch = to_device(batch, "cuda" if options.ngpu > 0 else "cpu")
            panels = model.panels(**batch)
            for index, key in enumerate(keys):
                figure = spectrogram_panels(
                    {name: value[index].numpy() for name, value in panels.items()},
                    title=f"{key}, epoch {epoch}",
                )
                path = (
                    Path(options.output_dir) / "pictures" / key / f"{epoch:03d}ep.png"
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                figure.savefig(path)
                if summary_writer is not None:
                    summary_writer.add_figure(f"spectrogram/{key}", figure, epoch)
            reporter.next()


def keep_previous_checkpoint(output_dir: Path) -> None:
    """Copy checkpoint.pth to checkpoint.previous.pth, completely or not at all."""
    checkpoint = output_dir / CHECKPOINT
    if not checkpoint.exists():
        return
    temporary = output_dir / f".{PREVIOUS}.tmp"
    with checkpoint.open("rb") as source, temporary.open("wb") as target:
        shutil.copyfileobj(source, target, length=1 << 24)
        target.flush()
        os.fsync(target.fileno())
    os.replace(temporary, output_dir / PREVIOUS)

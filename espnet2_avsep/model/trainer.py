"""ESPnet's trainer with pictures, safe checkpoints and checks of the loss."""

import argparse
import copy
import dataclasses
import logging
import math
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch.cuda.amp import GradScaler

from espnet2_avsep.data.records.training_record import note_begun_anew
from espnet2_avsep.errors import InputError, close_to
from espnet2_avsep.lean_imports import lean_imports
from espnet2_avsep.model import checkpoints
from espnet2_avsep.model.checkpoints import CHECKPOINT
from espnet2_avsep.model.phases import Phase, parse_phases, restarted
from espnet2_avsep.model.timed_batches import TimedBatches

with lean_imports():
    from espnet2.main_funcs.average_nbest_models import average_nbest_models
    from espnet2.schedulers.abs_scheduler import AbsValEpochStepScheduler
    from espnet2.torch_utils.device_funcs import to_device
    from espnet2.train.reporter import Reporter, SubReporter
    from espnet2.train.trainer import Trainer, TrainerOptions

CPU_SECONDS = "cpu_seconds"  # in the statistics of an epoch: since the beginning
PHASE = "phase"  # in the statistics of an epoch: number of the phase, from 1


@dataclasses.dataclass
class AVSeparationTrainerOptions(TrainerOptions):
    """ESPnet's options and ours.

    Attributes:
        picture_interval: Epochs between two sets of spectrogram pictures.
        max_train_seconds: CPU time of the training, s; see TimedBatches.
        used_seconds: Of these, what the epochs so far have used; the trainer counts.
        phases: The config's option of this name.
        all_epochs: Epochs of the whole training; max_epoch is the last one of a phase
            while the phase lasts.
        phase: Number of the phase, from 1, and the phase; None without phases.
        schedules_by_score: Whether a scheduler looks at val_scheduler_criterion.
    """

    picture_interval: int = 5
    max_train_seconds: Optional[float] = None
    used_seconds: float = 0.0
    phases: Sequence[Any] = ()
    all_epochs: int = 0
    phase: Optional[Tuple[int, Phase]] = None
    schedules_by_score: bool = False


class AVSeparationTrainer(Trainer):
    """Trainer of AVSeparationTask.

    ESPnet writes ``checkpoint.pth`` in place after every epoch, then the weights of the
    epoch and the links to the best ones. Here the last checkpoint is kept under another
    name while the next one is written, so that there is always a complete one. A start
    sets aside an incomplete one and writes what a kill has left out.

    A loss or weights that are not finite end the training before they are saved:
    ESPnet leaves such values out of its averages and goes on.

    A training in phases is several runs of ESPnet's trainer, each of which continues
    from the checkpoint of the one before; which phase an epoch belongs to depends on
    its number only, so that a killed training continues in the right one.
    """

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> AVSeparationTrainerOptions:
        """Build the options consumed by the trainer."""
        options = dataclasses.asdict(Trainer.build_options(args))
        return AVSeparationTrainerOptions(
            **options,
            picture_interval=args.picture_interval,
            max_train_seconds=args.max_train_seconds,
            phases=args.phases,
            all_epochs=args.max_epoch,
        )

    @classmethod
    def run(
        cls, model, schedulers, trainer_options, distributed_option, **kwargs
    ) -> None:
        """Train, from the newest complete checkpoint if there is one.

        Raises:
            InputError: the checkpoint does not fit the model or the options; the
                training diverges; max_train_seconds with several processes.
        """
        folder = Path(trainer_options.output_dir)
        timed = trainer_options.max_train_seconds
        if timed and distributed_option.distributed:
            raise InputError(
                f"max_train_seconds is {timed}, with several processes, whose times "
                "differ. Train in one process, or give a number of epochs instead."
            )
        if _writes(distributed_option):
            _prepare(folder, model, trainer_options)
        if distributed_option.distributed:
            torch.distributed.barrier()
        options = dataclasses.replace(
            trainer_options,
            # ESPnet would draw all curves after every epoch: seconds each time.
            use_matplotlib=False,
            schedules_by_score=any(
                isinstance(s, AbsValEpochStepScheduler) for s in schedulers
            ),
        )
        given = {"model": model, "distributed_option": distributed_option, **kwargs}
        given["schedulers"] = schedulers
        if options.phases:
            cls._run_phases(options, **given)
        else:
            used = _used_seconds(folder, options)
            options = dataclasses.replace(options, used_seconds=used)
            super().run(trainer_options=options, **given)
        if _writes(distributed_option) and (folder / CHECKPOINT).exists():
            checkpoints.flush(folder / CHECKPOINT)
            _finish(folder, trainer_options)

    @classmethod
    def _run_phases(
        cls, options, model, distributed_option, optimizers, schedulers, **kwargs
    ) -> None:
        """Train phase after phase, from the one that the checkpoint is in."""
        folder = Path(options.output_dir)
        learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
        known = model.separator.phases
        phases = parse_phases(options.phases, options.max_epoch, known, learning)
        starts = [copy.deepcopy(o.state_dict()) for o in optimizers]
        schedules = [s and copy.deepcopy(s.state_dict()) for s in schedulers]
        for number, phase in enumerate(phases, 1):
            if distributed_option.distributed:
                torch.distributed.barrier()
            done = _reporter(folder).get_epoch()
            if done >= phase.last and number < len(phases):
                continue
            if _writes(distributed_option):
                _start_phase(folder, phase, starts, schedules)
            if distributed_option.distributed:
                torch.distributed.barrier()
            if not (folder / CHECKPOINT).exists():
                _begin(phase, optimizers, starts, schedulers, schedules)
            for name, parameter in learning.items():
                parameter.requires_grad_(phase.learns(name))
            logging.info(
                f"phase {number} of {len(phases)}: {phase.name}, epochs {phase.first} "
                f"to {phase.last}, {done} of them and of earlier ones done; "
                f"{sum(map(phase.learns, learning))} of {len(learning)} parameters "
                "learn"
            )
            with warnings.catch_warnings():
                # Those of the epoch before are left out at the beginning of a phase.
                warnings.filterwarnings("ignore", "The stats of the previous epoch")
                super().run(
                    model=model,
                    optimizers=optimizers,
                    schedulers=schedulers,
                    distributed_option=distributed_option,
                    trainer_options=dataclasses.replace(
                        options,
                        max_epoch=phase.last,
                        resume=True,
                        phase=(number, phase),
                        used_seconds=_used_seconds(folder, options),
                    ),
                    **kwargs,
                )

    @staticmethod
    def resume(
        checkpoint,
        model,
        reporter,
        optimizers,
        schedulers,
        scaler,
        ngpu: int = 0,
        strict: bool = True,
    ) -> None:
        """Continue from a checkpoint; as ESPnet does, without running code in it.

        Raises:
            InputError: it cannot be read, or it does not fit.
        """
        states = checkpoints.read_checkpoint(Path(checkpoint))
        try:
            model.load_state_dict(states["model"], strict=strict)
            reporter.load_state_dict(states["reporter"])
            for optimizer, state in zip(optimizers, states["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            for scheduler, state in zip(schedulers, states["schedulers"], strict=True):
                if scheduler is not None:
                    scheduler.load_state_dict(state)
            if scaler is not None and states["scaler"] is not None:
                scaler.load_state_dict(states["scaler"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _does_not_fit(checkpoint, str(error)) from error
        logging.info(f"The training continues from {checkpoint}")

    @classmethod
    def train_one_epoch(
        cls,
        iterator,
        optimizers,
        reporter,
        options,
        distributed_option,
        model,
        scaler,
        **kwargs,
    ) -> bool:
        """Train for an epoch.

        Raises:
            InputError: the training diverges.
        """
        if _writes(distributed_option):
            checkpoints.flush(Path(options.output_dir) / CHECKPOINT)
        epoch = reporter.get_epoch()
        _check_accumulation(options.accum_grad, len(iterator), epoch)
        if options.phase:
            # After the checkpoint is loaded, which is of the phase before.
            getattr(model, "module", model).set_phase(options.phase[1].name)
        for optimizer in optimizers:
            optimizer.zero_grad()  # what the last batches of the epoch before left
        if options.max_train_seconds:
            epochs = options.all_epochs or options.max_epoch
            share = options.max_train_seconds / epochs  # of an epoch, s
            first, last = 1, epochs
            if options.phase:
                first, last = options.phase[1].first, options.phase[1].last
            iterator = TimedBatches(
                iterator,
                optimizers,
                share * (last - first + 1),
                share * epoch,
                options.used_seconds,
                share * (first - 1),
                options.accum_grad,
            )
        if scaler is not None:
            scaler = _JointScaler(scaler, len(optimizers))
        rates = sorted({g["lr"] for o in optimizers for g in o.param_groups})
        where = f"epoch {epoch}, learning rate {', '.join(f'{r:g}' for r in rates)}"
        without_a_step = super().train_one_epoch(
            model=model,
            iterator=_FiniteLoss(iterator, reporter, where),
            optimizers=optimizers,
            reporter=reporter,
            options=options,
            distributed_option=distributed_option,
            scaler=scaler,
            **kwargs,
        )
        if without_a_step:
            raise _diverged(where, "no step has finite gradients")
        _check_criteria(reporter, "train", options)
        for name, value in model.state_dict().items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise _diverged(where, f"{name} is no longer finite")
        if options.phase:
            reporter.register({PHASE: options.phase[0]})
            reporter.next()
        if options.max_train_seconds:
            options.used_seconds = iterator.used
            reporter.register({CPU_SECONDS: iterator.used})
            reporter.next()
            if iterator.ran_out:
                logging.warning(
                    f"epoch {epoch} had no batches left after {iterator.used:.1f} of "
                    f"{iterator.epoch_end:.1f} s: raise num_iters_per_epoch, or "
                    "max_train_seconds is not used in full."
                )
        return without_a_step

    @classmethod
    def validate_one_epoch(
        cls, model, iterator, reporter, options, distributed_option
    ) -> None:
        """Validate; then put the last checkpoint out of the way of the next one.

        Raises:
            InputError: the loss, or what chooses the best epoch, is not finite.
        """
        where = f"epoch {reporter.get_epoch()}, validation"
        super().validate_one_epoch(
            model=model,
            iterator=_FiniteLoss(iterator, reporter, where),
            reporter=reporter,
            options=options,
            distributed_option=distributed_option,
        )
        _check_criteria(reporter, "valid", options)
        for phase, key, _ in options.best_model_criterion:
            if phase == "valid" and not _has_finite(reporter, key):
                raise _diverged(where, f"{key} is not finite in any batch")
        if _writes(distributed_option):
            checkpoints.make_room_for_next(Path(options.output_dir))

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
        from espnet2_avsep.figures.plots import spectrogram_panels, write_png

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
                pixels = write_png(figure, path)
                if summary_writer is not None:
                    summary_writer.add_image(
                        f"spectrogram/{key}", pixels, epoch, dataformats="HWC"
                    )
            reporter.next()


class _JointScaler(GradScaler):
    """A GradScaler that is updated once a step, after the last of its optimizers.

    ESPnet 202511 updates it after each of them. An update forgets which gradients are
    unscaled, so that those of the second optimizer would be divided by the scale twice.

    Args:
        scaler: The scaler, with which this one shares its state.
        number: Of optimizers.
    """

    def __init__(self, scaler: GradScaler, number: int):
        self.__dict__ = scaler.__dict__
        self._number, self._stepped = number, 0

    def step(self, optimizer, *args, **kwargs):
        """Step one of the optimizers."""
        self._stepped += 1
        return super().step(optimizer, *args, **kwargs)

    def update(self, new_scale=None) -> None:
        """Update the scale, if all optimizers have been stepped."""
        if self._stepped == self._number:
            self._stepped = 0
            super().update(new_scale)


class _FiniteLoss:
    """Batches of an iterator; after each, the loss must be finite.

    Args:
        iterator: The batches.
        reporter: Gets each batch's statistics before the next batch is asked for.
        where: Epoch and learning rate, for the message.
    """

    def __init__(self, iterator, reporter: SubReporter, where: str):
        self.iterator, self.reporter, self.where = iterator, reporter, where

    def __len__(self) -> int:
        return len(self.iterator)

    def __iter__(self) -> Iterator:
        for number, batch in enumerate(self.iterator, 1):
            yield batch
            losses = self.reporter.stats.get("loss")
            if losses and not math.isfinite(losses[-1].value):
                raise _diverged(
                    self.where, f"the loss of batch {number} is {losses[-1].value}"
                )


def _writes(distributed_option) -> bool:
    """Whether this process is the one that writes files."""
    return not distributed_option.distributed or distributed_option.dist_rank == 0


def _reporter(folder: Path) -> Reporter:
    """Return the statistics of the last checkpoint, empty ones where there is none."""
    reporter = Reporter()
    path = folder / CHECKPOINT
    if path.exists():
        reporter.load_state_dict(checkpoints.read_checkpoint(path)["reporter"])
    return reporter


def _used_seconds(folder: Path, options: AVSeparationTrainerOptions) -> float:
    """Return the CPU time that the epochs of the last checkpoint have used, s.

    At the beginning of a phase it is the time that was meant for them.
    """
    if not options.max_train_seconds:
        return 0.0
    reporter = _reporter(folder)
    epoch = reporter.get_epoch()
    if reporter.has("train", CPU_SECONDS):
        return reporter.get_value("train", CPU_SECONDS)
    return options.max_train_seconds * epoch / options.all_epochs


def _begin(
    phase: Phase,
    optimizers: Sequence[torch.optim.Optimizer],
    starts: Sequence[Dict[str, Any]],
    schedulers: Sequence[Any],
    schedules: Sequence[Any],
) -> None:
    """Set the learning rates of the first phase, before there is a checkpoint.

    Args:
        phase: The phase.
        optimizers: Their learning rates are set.
        starts: Their states, see restarted().
        schedulers: They are set, too; None where there is none.
        schedules: Their states, see restarted().
    """
    states = restarted({"reporter": {}}, phase, starts, schedules)
    for optimizer, state in zip(optimizers, states["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    for scheduler, state in zip(schedulers, states["schedulers"], strict=True):
        if scheduler is not None:
            scheduler.load_state_dict(state)


def _start_phase(
    folder: Path,
    phase: Phase,
    optimizers: Sequence[Dict[str, Any]],
    schedulers: Sequence[Any],
) -> None:
    """Make the checkpoint one from which a phase starts, unless the phase is under way.

    Args:
        folder: Of the training.
        phase: The phase that starts or continues.
        optimizers: See restarted().
        schedulers: See restarted().
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return
    states = checkpoints.read_checkpoint(path)
    epochs = states["reporter"]["stats"]
    if all(epoch >= phase.first for epoch in epochs):
        return
    states = restarted(states, phase, optimizers, schedulers)
    checkpoints.save_weights(states, path)


def _check_accumulation(accum_grad: int, num_batches: int, epoch: int) -> None:
    """Check that an epoch has a step, and say how many batches make none."""
    if accum_grad > num_batches:
        raise InputError(
            f"accum_grad is {accum_grad}, but an epoch has {num_batches} batches, so "
            "that no step would be made. Lower accum_grad, or raise "
            "num_iters_per_epoch."
        )
    rest = num_batches % accum_grad
    if rest and epoch == 1:
        logging.warning(
            f"accum_grad is {accum_grad}: the last {rest} of the {num_batches} batches "
            "of each epoch make no step."
        )


def _has_finite(reporter: SubReporter, key: str) -> bool:
    values = reporter.stats.get(key)
    return not values or any(math.isfinite(v.value) for v in values)


def _check_criteria(
    reporter: SubReporter, phase: str, options: AVSeparationTrainerOptions
) -> None:
    """Check that an epoch has the statistics that options name.

    ESPnet keeps no best weights where a name is wrong, and says nothing; a scheduler
    ends in a traceback.
    """
    wanted = {"best_model_criterion": options.best_model_criterion}
    if options.patience is not None:
        wanted["early_stopping_criterion"] = [options.early_stopping_criterion]
    if options.schedules_by_score:
        wanted["val_scheduler_criterion"] = [options.val_scheduler_criterion]
    for option, criteria in wanted.items():
        for criterion in criteria:
            name = criterion[1]
            if criterion[0] == phase and reporter.stats and name not in reporter.stats:
                raise InputError(
                    f"{option}: [{', '.join(criterion)}], but {phase} has no {name}"
                    f"{close_to(name, reporter.stats)}; it has "
                    f"{', '.join(sorted(reporter.stats))}."
                )


def _diverged(where: str, what: str) -> InputError:
    return InputError(
        f"{where}: {what}; the training has diverged. Nothing of this epoch is saved. "
        "Lower the learning rate (optim_conf.lr), or set grad_clip, under another "
        "--avsep_tag (or --output_dir)."
    )


def _does_not_fit(checkpoint, reason: str) -> InputError:
    return InputError(
        f"{checkpoint} does not fit this configuration: {reason}\nIt was written by a "
        "training with another one. Give this training another --avsep_tag (or "
        "--output_dir), or start anew with --resume false."
    )


def _prepare(
    folder: Path, model: torch.nn.Module, options: AVSeparationTrainerOptions
) -> None:
    """Make the files of a training those of its newest complete checkpoint.

    Raises:
        InputError: it does not fit the model or best_model_criterion.
    """
    if not options.resume:
        checkpoints.remove_checkpoints(folder)
        note_begun_anew(folder)
        return
    path = checkpoints.newest_checkpoint(folder)
    if path is None:
        if (folder / checkpoints.BROKEN).exists():
            logging.warning(
                f"{folder} has no complete checkpoint: the training starts from the "
                "beginning."
            )
        return
    states = checkpoints.read_checkpoint(path)
    weights = states["model"]
    expected = model.state_dict()
    other = sorted(
        name
        for name in weights.keys() | expected.keys()
        if name not in weights
        or name not in expected
        or weights[name].shape != expected[name].shape
    )
    if other:
        raise _does_not_fit(
            path, f"{len(other)} of its weights differ, the first is {other[0]}"
        )
    reporter = Reporter()
    reporter.load_state_dict(states["reporter"])
    epoch = reporter.get_epoch()
    for phase, key, _ in options.best_model_criterion:
        known = [key in stats.get(phase, {}) for stats in reporter.stats.values()]
        if not all(known) and epoch < options.max_epoch:
            raise _does_not_fit(
                path, f"its epochs have no {phase}.{key} (best_model_criterion)"
            )
    _repair(folder, reporter, weights, options)


def _repair(
    folder: Path,
    reporter: Reporter,
    weights: Dict[str, torch.Tensor],
    options: AVSeparationTrainerOptions,
) -> None:
    """Do what ESPnet does after it has saved a checkpoint, should a kill have come."""
    epoch = reporter.get_epoch()
    path = folder / f"{epoch}epoch.pth"
    if not checkpoints.is_complete(path):
        checkpoints.save_weights(weights, path)
    checkpoints.link(folder / "latest.pth", path.name)
    if not reporter.stats:
        return  # at the beginning of a phase the best epoch is one of the phase before
    kept = {epoch}
    for phase, key, mode in options.best_model_criterion:
        if not reporter.has(phase, key):
            continue
        order = reporter.sort_epochs(phase, key, mode)
        kept |= set(order[: max(_numbers(options))])
        best = f"{order[0]}epoch.pth"
        if (folder / best).exists():
            checkpoints.link(folder / f"{phase}.{key}.best.pth", best)
    for number in set(range(1, epoch)) - kept:
        (folder / f"{number}epoch.pth").unlink(missing_ok=True)


def _numbers(options: AVSeparationTrainerOptions) -> List[int]:
    """Return the numbers of best epochs that are averaged, in ascending order."""
    numbers = options.keep_nbest_models
    return [numbers] if isinstance(numbers, int) else sorted(set(numbers)) or [1]


def _finish(folder: Path, options: AVSeparationTrainerOptions) -> None:
    """Draw the curves of the whole training; average the best epochs correctly.

    In one call of ESPnet 202511, averages after the first one contain the first one.
    """
    reporter = Reporter()
    states = checkpoints.read_checkpoint(folder / CHECKPOINT)
    reporter.load_state_dict(states["reporter"])
    curve, checkpoint = folder / "images" / "loss.png", folder / CHECKPOINT
    is_new = not curve.exists() or curve.stat().st_mtime < checkpoint.stat().st_mtime
    if options.use_matplotlib and is_new:
        reporter.matplotlib_plot(curve.parent)
    numbers = _numbers(options)
    if len(numbers) * len(options.best_model_criterion) > 1:
        for criterion in options.best_model_criterion:
            for number in numbers:
                average_nbest_models(folder, reporter, [criterion], number)

"""Audio-visual separation as an ESPnet task."""

import argparse
import logging
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch

from espnet2_avsep.data.conditions import LABELS, WITH_ROWS, condition_of
from espnet2_avsep.data.loader import BatchLoader, build_loader, num_items_for
from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.mixing.mixture_table import read_classes
from espnet2_avsep.data.mixing.same_video import read_videos
from espnet2_avsep.data.motion import ALL_STEPS
from espnet2_avsep.data.records.epochs import finished_epochs
from espnet2_avsep.data.records.lock import lock_folder
from espnet2_avsep.data.records.training_record import keep_config
from espnet2_avsep.data.segment_reader import (
    check_sample_rate,
    matrix_shape,
    read_shape,
)
from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.data.tables.class_labels import (
    class_numbers,
    number_sources,
    order_classes,
)
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.errors import InputError, close_to
from espnet2_avsep.layers.trajectory import flow_grid
from espnet2_avsep.lean_imports import lean_imports
from espnet2_avsep.model.espnet_model import ESPnetAVSeparationModel
from espnet2_avsep.model.phases import Phase, parse_phases
from espnet2_avsep.model.trainer import AVSeparationTrainer
from espnet2_avsep.registry import REGISTRIES
from espnet2_avsep.separator.abs_separator import AbsSeparator
from espnet2_avsep.tasks.choices import (
    build_model,
    check_taught,
    check_visual,
    num_label_classes,
)
from espnet2_avsep.tasks.frozen import check_frozen, keep_statistics
from espnet2_avsep.tasks.optim_groups import parameter_groups, split_by_optimizer
from espnet2_avsep.tasks.options import (
    build_with,
    check_init_param,
    check_options,
    check_piecewise_end,
    check_scheduler,
)
from espnet2_avsep.tasks.parts import construct, separator_without_weights

with lean_imports():
    from espnet2.iterators.abs_iter_factory import AbsIterFactory
    from espnet2.tasks.abs_task import (
        AbsTask,
        IteratorOptions,
        optim_classes,
        scheduler_classes,
    )
    from espnet2.train.collate_fn import CommonCollateFn
    from espnet2.train.distributed_utils import get_rank
    from espnet2.utils import config_argparse
    from espnet2.utils.nested_dict_action import NestedDictAction
    from espnet2.utils.types import str_or_none

MAX_SOURCES = 8


def check_flow(conf: Dict[str, Any], tables: Dict[str, str]) -> None:
    """Check that optical flow and pictures are of one place and time.

    Args:
        conf: dataset_conf.
        tables: Name -> table of the data.

    Raises:
        InputError: they are not.
    """
    if conf.get("motion_align") != "segment":
        raise InputError(
            "dataset_conf.motion_align is not segment, but this separator follows the "
            "motion in time, so that its rows must cover the time of the sound: give "
            "--motion_align segment (avsep.sh), and run stage 4 again with it."
        )
    for option in ("frame_crop", "frame_flip"):
        if conf.get(option):
            raise InputError(
                f"dataset_conf.{option} is {conf[option]}, but optical flow is not "
                "cropped or mirrored with the pictures: remove the option."
            )
    steps = conf.get("motion_steps", ALL_STEPS)
    if steps != ALL_STEPS:
        raise InputError(
            f"dataset_conf.motion_steps is {steps}, but this separator sums up optical "
            "flow, of which no step may be left out: remove the option."
        )
    path = tables["motion_ref1"]
    ref = next(iter(read_scp(path).values()))
    try:
        flow_grid(matrix_shape(ref)[-1])
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


class AVSeparationIterFactory(AbsIterFactory):
    """Batches of an epoch, the same for a given seed and epoch.

    Args:
        dataset: MixAndSeparateDataset or FixedMixtureDataset.
        **loader: Arguments of data.loader.build_loader, but dataset and epoch.
    """

    def __init__(self, dataset: torch.utils.data.Dataset, **loader):
        self.dataset = dataset
        self.options = loader
        self.last: Optional[BatchLoader] = None

    def build_iter(self, epoch: int, shuffle: Optional[bool] = None) -> BatchLoader:
        """Return the loader of an epoch, yielding (keys, batch)."""
        if self.last is not None and self.last.needs_no_workers:
            self.options["num_workers"] = 0
        options = dict(self.options)
        if shuffle is not None:
            options["shuffle"] = shuffle
        self.last = build_loader(self.dataset, epoch=epoch, **options)
        return self.last


class ConfigParser(config_argparse.ArgumentParser):
    """ESPnet's parser, but --config may name a file with a base (see read_config)."""

    def parse_known_args(self, args=None, namespace=None):
        """Take the defaults from --config, then parse the command line."""
        parse = super(config_argparse.ArgumentParser, self).parse_known_args
        path = parse(args)[0].config
        if path is not None:
            config = read_config(path)
            known = {action.dest for action in self._actions}
            for key in config.keys() - known:
                hint = close_to(key, known)
                self.error(f"unrecognized arguments: {key} (from {path}){hint}")
            self.set_defaults(**config)
        return parse(args, namespace)


class AVSeparationTask(AbsTask):
    """Train a visually guided separator with ESPnet's trainer.

    Training data: ``speech_ref1`` and ``visual_ref1`` list single clips, from which
    mixtures are drawn on the fly; with ``speech_mix`` among the names, the listed
    mixtures are taken as they are. Validation data are always listed mixtures.
    """

    num_optimizers: int = 1  # of ESPnet's own options; see optim2
    class_choices_list = list(REGISTRIES)
    trainer = AVSeparationTrainer

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        """Return the parser of all options, whose usage message is short."""
        parser = super().get_parser()
        parser.__class__ = ConfigParser  # AbsTask builds one of its base class
        # What reads the command line without this parser knows whole names only.
        parser.allow_abbrev = False
        parser.prog = "avsep_train"
        parser.usage = "%(prog)s --config FILE --output_dir DIR ... (see --help)"
        return parser

    @classmethod
    def main(
        cls,
        args: Optional[argparse.Namespace] = None,
        cmd: Optional[Sequence[str]] = None,
    ) -> None:
        """Parse and check the options; then train.

        Raises:
            InputError: see check_options, build_model and build_optimizers.
        """
        if args is None:
            parser = cls.get_parser()
            args = parser.parse_args(cmd)
            check_options(parser, args)
        super().main(args=args)

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """Run one process of a training; the first one locks the experiment's folder.

        Raises:
            InputError: another training is at work there.
        """
        if args.distributed and get_rank(args.dist_rank, args.dist_launcher) != 0:
            super().main_worker(args)
            return
        folder = args.output_dir
        with lock_folder(folder, "a training"), keep_config(folder):
            super().main_worker(args)

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add our options to ESPnet's."""
        group = parser.add_argument_group(description="Task related")
        parser.set_defaults(iterator_type="task", optim="adam")

        group.add_argument(
            "--sample_rate",
            type=int,
            default=11625,
            help="Sampling rate of all waveforms in Hz",
        )
        group.add_argument(
            "--system",
            default=None,
            help="Name of the system in tables of results",
        )
        group.add_argument(
            "--published",
            action=NestedDictAction,
            default=[],
            help="Published scores of the system, shown beside ours: a list of "
            "{corpus, sdr, sir, sar, source, protocol}",
        )
        group.add_argument(
            "--visual_encoder",
            type=str_or_none,
            default=None,
            help="Encoder of the embeddings that the system is meant for, if not any "
            "(stage 2's --visual_encoder); for avsep_table.sh",
        )
        group.add_argument(
            "--model_conf",
            action=NestedDictAction,
            default={},
            help="The keyword arguments for the model class",
        )
        group.add_argument(
            "--criterions",
            action=NestedDictAction,
            default=[{"name": "spectrogram_l1", "conf": {}, "weight": 1.0}],
            help="The terms of the loss: a list of {name, conf, weight}",
        )
        group.add_argument(
            "--dataset_conf",
            action=NestedDictAction,
            default={},
            help="Training mixtures: the keyword arguments of MixAndSeparateDataset; "
            "labels: true adds the classes' numbers",
        )
        group.add_argument(
            "--optim_groups",
            action=NestedDictAction,
            default=[],
            help="Parameters with their own optimizer settings: a list of {prefix, "
            "lr, ...}; the longest matching prefix counts, the rest has optim_conf's. "
            "With 'optimizer: 2' they are optim2's and scheduler2's",
        )
        group.add_argument(
            "--phases",
            action=NestedDictAction,
            default=[],
            help="Phases of the training, for separators that have them: a list of "
            "{name, epochs, freeze, lr_factor}. Parameters whose names begin with one "
            "of freeze do not learn. Optimizers, learning rates (times lr_factor) and "
            "schedulers start again in each phase, and the best epoch is one of the "
            "last phase. The last phase has no epochs: it lasts until max_epoch",
        )
        group.add_argument(
            "--optim2",
            type=str_or_none,
            choices=[*optim_classes, None],
            default=None,
            help="A second optimizer, of the groups with 'optimizer: 2'",
        )
        group.add_argument(
            "--scheduler2",
            type=str_or_none,
            choices=[*scheduler_classes, None],
            default=None,
            help="Its scheduler",
        )
        for name in ("optim2_conf", "scheduler2_conf"):
            group.add_argument(f"--{name}", action=NestedDictAction, default={})
        group.add_argument(
            "--classes",
            action=NestedDictAction,
            default=[],
            help="Classes in the order of their numbers, where these are wanted "
            "(dataset_conf.labels); filled in from the training data, and saved",
        )
        group.add_argument(
            "--classes_from",
            type=str_or_none,
            default=None,
            help="config.yaml of a trained model whose classes keep their numbers; "
            "those it does not have get the queries separator_conf.new_queries",
        )
        group.add_argument(
            "--picture_interval",
            type=int,
            default=5,
            help="Epochs between two sets of spectrogram pictures",
        )
        group.add_argument(
            "--max_train_seconds",
            type=float,
            default=None,
            help="CPU time of the training in seconds, without validation: each of the "
            "max_epoch epochs ends when its equal share is used, and the learning rate "
            "rises to its value over the first tenth of the time, then falls linearly "
            "to a twentieth. Needs scheduler: null, one process, and a "
            "num_iters_per_epoch that is not reached before (default: no such limit)",
        )
        for choices in cls.class_choices_list:
            choices.add_arguments(group)

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        """Collate function of ESPnet's own iterators (collect_stats)."""
        return CommonCollateFn(float_pad_value=0.0, int_pad_value=0)

    @classmethod
    def build_preprocess_fn(
        cls, args: argparse.Namespace, train: bool
    ) -> Optional[Callable]:
        """No preprocessing: waveforms and embeddings go to the model as they are."""
        return None

    @classmethod
    def required_data_names(
        cls, train: bool = True, inference: bool = False
    ) -> Tuple[str, ...]:
        """Names that must be among the data."""
        if inference:
            return ("speech_mix", "visual_ref1")
        return ("speech_ref1", "visual_ref1")

    @classmethod
    def optional_data_names(
        cls, train: bool = True, inference: bool = False
    ) -> Tuple[str, ...]:
        """Names that may be among the data."""
        names = ["speech_mix"]
        names += [f"speech_ref{n}" for n in range(1, MAX_SOURCES + 1)]
        names += [f"visual_ref{n}" for n in range(1, MAX_SOURCES + 1)]
        for condition in WITH_ROWS:
            names += [condition.reference(n) for n in range(1, MAX_SOURCES + 1)]
        required = cls.required_data_names(train, inference)
        return tuple(n for n in names if n not in required)

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> ESPnetAVSeparationModel:
        """Build the model that the options describe, and complete ``args.classes``."""
        model = build_model(args)
        check_taught(model)
        cls._phases(args, model)
        check_frozen(model, args.freeze_param)
        keep_statistics(model, args.freeze_param)
        cls._complete_classes(args)
        return model

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> List[torch.optim.Optimizer]:
        """Build ESPnet's optimizer, with the settings of optim_groups where given.

        Raises:
            InputError: see parameter_groups and check_init_param; options that do not
                go with groups.
        """
        # Here, for ESPnet loads them next, and writes config.yaml after that.
        cls._keep_finished_epochs(args)
        check_init_param(args.init_param, model, args.ignore_init_mismatch)
        if args.exclude_weight_decay:
            if args.optim_groups or args.optim2 is not None:
                raise InputError(
                    "optim_groups does not go with exclude_weight_decay; give "
                    "weight_decay in a group instead."
                )
            optimizers = super().build_optimizers(args, model)
        else:
            optimizers = cls._build_optimizers(args, model)
        if args.optim2 is None and args.scheduler2 is not None:
            logging.warning(
                f"scheduler2 is {args.scheduler2}, but there is no optim2: it has no "
                "effect."
            )
        for optimizer, number in zip(optimizers, ("", "2"), strict=False):
            name = getattr(args, f"scheduler{number}")
            if name is not None:
                conf = getattr(args, f"scheduler{number}_conf")
                option = f"scheduler{number}_conf"
                kind, batches = scheduler_classes[name], args.num_iters_per_epoch
                scheduler = check_scheduler(kind, conf, option, optimizer)
                if name == "piecewiselinearwarmuplr" and batches is not None:
                    steps = cls._epochs(args, model) * (batches // args.accum_grad)
                    check_piecewise_end(scheduler, option, steps)
        return optimizers

    @staticmethod
    def _phases(args: argparse.Namespace, model: torch.nn.Module) -> List[Phase]:
        """Check and return the phases of the training."""
        learning = [n for n, p in model.named_parameters() if p.requires_grad]
        known = model.separator.phases
        return parse_phases(args.phases, args.max_epoch, known, learning)

    @classmethod
    def _epochs(cls, args: argparse.Namespace, model: torch.nn.Module) -> int:
        """Epochs of a schedule: of the training, or of its longest phase."""
        phases = cls._phases(args, model)
        return max((p.last - p.first + 1 for p in phases), default=args.max_epoch)

    @classmethod
    def _keep_finished_epochs(cls, args: argparse.Namespace) -> None:
        """Let max_epoch be no less than the epochs that the training has behind it."""
        done = finished_epochs(args.output_dir) if args.resume else 0
        if done > args.max_epoch:
            logging.warning(
                f"max_epoch is {args.max_epoch}, but {args.output_dir} has {done} "
                "epochs already: nothing is trained, its weights stay those of "
                f"{done} epochs, and config.yaml says so. A training of fewer epochs "
                "is another one: give it its own --avsep_tag (or --output_dir)."
            )
            args.max_epoch = done

    @classmethod
    def _build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> List[torch.optim.Optimizer]:
        if not args.optim_groups and args.optim2 is None:
            optimizer, parameters = optim_classes[args.optim], model.parameters()
            return [build_with(optimizer, args.optim_conf, "optim_conf", parameters)]
        first, second = split_by_optimizer(parameter_groups(model, args.optim_groups))
        if (args.optim2 is None) != (not second):
            raise InputError(
                f"optim2 is {args.optim2}, and {len(second)} optim_groups say "
                "'optimizer: 2'; they go together."
            )
        optimizer = optim_classes[args.optim]
        optimizers = [build_with(optimizer, args.optim_conf, "optim_conf", first)]
        if second:
            optimizer = optim_classes[args.optim2]
            optimizers.append(
                build_with(optimizer, args.optim2_conf, "optim2_conf", second)
            )
        return optimizers

    @classmethod
    def build_task_iter_factory(
        cls, args: argparse.Namespace, iter_options: IteratorOptions, mode: str
    ) -> AVSeparationIterFactory:
        """Build the iterator of "train", "valid" or "plot_att" batches."""
        tables = cls._tables(iter_options.data_path_and_name_and_type)
        separator = separator_without_weights(args)
        cls._choose_conditions(tables, separator)
        if separator.needs_flow:
            check_flow(args.dataset_conf or {}, tables)
            args.dataset_conf = {**args.dataset_conf, "motion_steps": ALL_STEPS}
        path = tables["visual_ref1"]
        check_visual(args, matrix_shape(next(iter(read_scp(path).values()))), path)
        if "speech_mix" in tables:
            conf = args.dataset_conf or {}
            found = {name: read_scp(path) for name, path in tables.items()}
            dataset = FixedMixtureDataset(
                {**found, **cls._label_tables(args, tables["speech_mix"])},
                **{k: conf[k] for k in ("motion_steps",) if k in conf},
            )
            unused = sorted(set(conf) - {"labels", "motion_steps"})
            if mode == "train" and unused:
                logging.warning(
                    "training takes listed mixtures as they are: dataset_conf."
                    f"{', '.join(unused)} has no effect."
                )
            first = next(iter(dataset.tables["speech_mix"].values()))
            check_sample_rate(first, args.sample_rate)
        elif mode == "train":
            dataset = cls._build_mix_dataset(args, tables, iter_options)
        else:
            raise InputError(
                "validation data must list mixtures: speech_mix is missing among "
                f"{', '.join(tables)}. Stage 4 writes them."
            )
        logging.info(f"[{mode}] {dataset}")

        rank, world_size = 0, 1
        if iter_options.distributed:
            rank = torch.distributed.get_rank()
            world_size = torch.distributed.get_world_size()
        num_batches = iter_options.num_batches
        if mode == "train":
            num_batches = iter_options.num_iters_per_epoch
        return AVSeparationIterFactory(
            dataset,
            batch_size=iter_options.batch_size,
            seed=args.seed,
            num_batches=num_batches,
            rank=rank,
            world_size=world_size,
            num_workers=0 if mode == "plot_att" else args.num_workers,
            pin_memory=args.ngpu > 0,
            shuffle=iter_options.train,
            drop_last=mode == "train",
        )

    @classmethod
    def _tables(cls, triples: List[Tuple[str, str, str]]) -> Dict[str, str]:
        """Check the (path, name, type) triples; return name -> path."""
        allowed = cls.required_data_names() + cls.optional_data_names()
        tables: Dict[str, str] = {}
        for path, name, _ in triples:
            if name not in allowed:
                raise InputError(
                    f"{path},{name}: the data name must be one of {', '.join(allowed)}."
                )
            if name in tables:
                raise InputError(f"{path},{name}: the data name {name} comes twice.")
            tables[name] = path
        for name in cls.required_data_names():
            if name not in tables:
                raise InputError(
                    f"the data name {name} is missing; given: {', '.join(tables)}."
                )
        return tables

    @classmethod
    def _choose_conditions(cls, tables: Dict[str, str], separator: Any) -> None:
        """Check that there are the rows that are needed; drop the tables of others."""
        # Single clips have only the first of each.
        number = 1
        if "speech_mix" in tables:
            number = sum(name.startswith("visual_ref") for name in tables)
        for condition in WITH_ROWS:
            names = [condition.reference(n) for n in range(1, number + 1)]
            missing = [name for name in names if name not in tables]
            if not condition.is_needed(separator):
                for name in [n for n in tables if condition_of(n) == condition]:
                    del tables[name]
            elif missing:
                raise InputError(
                    f"the separator needs {condition.what}, but {missing[0]} is not "
                    f"among the data: {', '.join(tables)}; {condition.remedy}."
                )

    @classmethod
    def _complete_classes(cls, args: argparse.Namespace) -> None:
        """Fill in args.classes where classes are wanted as numbers.

        Raises:
            InputError: options that do not go together, more classes than expected.
        """
        separator = separator_without_weights(args)
        num_labels = num_label_classes(args.criterions or [])
        wanted = bool((args.dataset_conf or {}).get("labels"))
        if wanted != (separator.needs_labels or num_labels is not None):
            raise InputError(
                f"dataset_conf.labels is {str(wanted).lower()}, but "
                + ("neither" if wanted else "either")
                + " the criterion object_classification "
                + ("nor" if wanted else "or")
                + " a separator with queries: class is used; they go together."
            )
        if not wanted or args.classes:
            return
        trained: List[Optional[str]] = []
        first_new = 0
        if args.classes_from is not None:
            trained, first_new = cls._trained_classes(args, separator)
        elif separator.new_classes:
            raise InputError(
                f"separator_conf.new_queries is {separator.new_classes}, but not which "
                "classes are the old ones: give --classes_from, the config.yaml of the "
                "model that --init_param names."
            )
        triples = args.train_data_path_and_name_and_type
        path = next(p for p, name, _ in triples if name == "speech_ref1")
        utt2spk = read_scp(Path(path).parent / "utt2spk")
        args.classes = order_classes(utt2spk.values(), trained, first_new)
        number = len(class_numbers(args.classes))
        if num_labels is not None and len(args.classes) > num_labels - 1:
            raise InputError(
                f"criterions: object_classification has num_classes = {num_labels}, "
                f"the training data have {number} classes; one more than these is "
                "needed (for what is none of them): set its conf.num_classes to "
                f"{len(args.classes) + 1}."
            )
        most = separator.num_classes or 0
        if separator.needs_labels and len(args.classes) > most:
            new = len(args.classes) - first_new
            raise InputError(
                f"there are {len(args.classes)} numbers of classes "
                f"({', '.join(map(str, args.classes))}), the separator has {most} "
                "queries: set separator_conf."
                + (f"new_queries to {new}." if trained else f"num_queries to {new}.")
            )

    @classmethod
    def _trained_classes(
        cls, args: argparse.Namespace, separator: AbsSeparator
    ) -> Tuple[List[Optional[str]], int]:
        """Classes of the model of classes_from, and the first number that is free."""
        path = Path(args.classes_from)
        if not path.is_file():
            raise InputError(f"--classes_from {path}: no such file.")
        config = read_config(path)
        trained = list((config or {}).get("classes") or [])
        if not trained:
            raise InputError(
                f"--classes_from {path}: names no classes; expected the config.yaml of "
                "a model trained with dataset_conf.labels: true."
            )
        first = len(trained)
        if separator.num_classes is not None:
            first = separator.num_classes - separator.new_classes
        if len(trained) > first:
            raise InputError(
                f"--classes_from {path}: has {len(trained)} classes, but separator_conf"
                f".num_queries is {first}: set it to that model's number."
            )
        return trained, first

    @classmethod
    def _label_tables(
        cls, args: argparse.Namespace, table: str
    ) -> Dict[str, Dict[str, int]]:
        """Class numbers of listed mixtures, from mixtures.tsv beside their table."""
        if not args.classes:
            return {}
        path, keys = Path(table).parent / "mixtures.tsv", read_scp(table)
        classes = read_classes(path)
        missing = next((key for key in keys if key not in classes), None)
        if missing is not None:
            raise InputError(
                f"{path}: does not list {missing} of {table}; training needs the "
                "classes of its sources. Run stage 4 again."
            )
        unknown = None
        if not LABELS.is_needed(separator_without_weights(args)):
            unknown = num_label_classes(args.criterions) - 1
        listed = {key: classes[key] for key in keys}
        numbers = class_numbers(args.classes)
        return LABELS.tables(number_sources(listed, numbers, unknown))

    @classmethod
    def _build_mix_dataset(
        cls,
        args: argparse.Namespace,
        tables: Dict[str, str],
        iter_options: IteratorOptions,
    ) -> MixAndSeparateDataset:
        audio = read_scp(tables["speech_ref1"])
        visual = read_scp(tables["visual_ref1"])
        missing = sorted(set(audio) ^ set(visual))
        if missing:
            raise InputError(
                f"{tables['speech_ref1']} and {tables['visual_ref1']} do not list the "
                f"same clips: {len(missing)} are in only one of them, the first is "
                f"{missing[0]}. Run stage 4 again."
            )
        check_sample_rate(next(iter(audio.values())), args.sample_rate)
        shapes = {Path(path).name: read_scp(path) for path in iter_options.shape_files}
        lengths = shapes.get("speech_ref1_shape")
        rows = shapes.get("visual_ref1_shape")
        num_samples, num_rows = {}, {}
        for key in audio:
            if lengths is not None and rows is not None:
                try:
                    num_samples[key] = int(lengths[key].split(",")[0])
                    num_rows[key] = int(rows[key].split(",")[0])
                except (KeyError, ValueError) as error:
                    raise InputError(
                        f"the shape files do not have the clip {key}: they belong to "
                        "other data. Run stage 5 again."
                    ) from error
            else:
                num_samples[key], num_rows[key] = read_shape(audio[key], visual[key])
        conf = dict(args.dataset_conf or {})
        conf.pop("labels", None)
        if iter_options.num_iters_per_epoch is not None and "repeat" not in conf:
            # An epoch of a stated number of batches takes as many passes as it needs.
            counts = conf.get("num_sources", 2)
            items = num_items_for(
                iter_options.num_iters_per_epoch,
                iter_options.batch_size,
                len(counts) if isinstance(counts, list) else 1,
            )
            conf["repeat"] = -(-items // len(audio))
        conditions: Dict[str, Dict[str, Any]] = {
            condition.name: read_scp(tables[condition.reference(1)])
            for condition in WITH_ROWS
            if condition.reference(1) in tables
        }
        category = None
        utt2spk = Path(tables["speech_ref1"]).parent / "utt2spk"
        if utt2spk.exists():
            category = read_scp(utt2spk)
        elif conf.get("different_class") or args.classes:
            option = "labels" if args.classes else "different_class"
            raise InputError(
                f"dataset_conf.{option} is true but {utt2spk} does not exist; it names "
                "the class of each clip."
            )
        if args.classes:
            numbers = class_numbers(args.classes)
            unknown = sorted(set(category.values()) - set(numbers))
            if unknown:
                raise InputError(
                    f"{utt2spk}: the class {unknown[0]} is not among the "
                    f"configuration's classes: {', '.join(numbers)}. Leave 'classes' "
                    "out, and they are taken from the data."
                )
            labels = {key: numbers[category[key]] for key in category}
            conditions[LABELS.name] = labels
        return construct(
            MixAndSeparateDataset,
            conf,
            "dataset_conf",
            audio=audio,
            visual=visual,
            num_samples=num_samples,
            num_rows=num_rows,
            category=category,
            videos=read_videos(utt2spk.parent, audio),
            conditions=conditions,
            seed=args.seed,
        )

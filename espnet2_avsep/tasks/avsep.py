"""Audio-visual separation as an ESPnet task."""

import argparse
import logging
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.abs_task import AbsTask, IteratorOptions, optim_classes
from espnet2.train.collate_fn import CommonCollateFn
from espnet2.utils.nested_dict_action import NestedDictAction

from espnet2_avsep.data.class_labels import class_numbers, number_sources
from espnet2_avsep.data.fixed_dataset import FixedMixtureDataset
from espnet2_avsep.data.loader import build_loader, num_items_for
from espnet2_avsep.data.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.mixture_table import read_sources
from espnet2_avsep.data.scp import read_scp
from espnet2_avsep.data.segment_reader import check_sample_rate, read_shape
from espnet2_avsep.errors import InputError
from espnet2_avsep.espnet_model import ESPnetAVSeparationModel
from espnet2_avsep.tasks.choices import (
    CLASS_CHOICES,
    build_model,
    construct,
    num_label_classes,
)
from espnet2_avsep.tasks.optim_groups import parameter_groups
from espnet2_avsep.trainer import AVSeparationTrainer

MAX_SOURCES = 8


class AVSeparationIterFactory(AbsIterFactory):
    """Batches of an epoch, the same for a given seed and epoch.

    Args:
        dataset: MixAndSeparateDataset or FixedMixtureDataset.
        **loader: Arguments of data.loader.build_loader, but dataset and epoch.
    """

    def __init__(self, dataset: torch.utils.data.Dataset, **loader):
        self.dataset = dataset
        self.loader = loader

    def build_iter(self, epoch: int, shuffle: Optional[bool] = None):
        """Return the DataLoader of an epoch, yielding (keys, batch)."""
        options = dict(self.loader)
        if shuffle is not None:
            options["shuffle"] = shuffle
        return build_loader(self.dataset, epoch=epoch, **options)


class AVSeparationTask(AbsTask):
    """Train a visually guided separator with ESPnet's trainer.

    Training data: ``speech_ref1`` and ``visual_ref1`` list single clips, from which
    mixtures are drawn on the fly; with ``speech_mix`` among the names, the listed
    mixtures are taken as they are. Validation data are always listed mixtures.
    """

    num_optimizers: int = 1
    class_choices_list = CLASS_CHOICES
    trainer = AVSeparationTrainer

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
            "lr, ...}; the longest matching prefix counts, the rest has optim_conf's",
        )
        group.add_argument(
            "--picture_interval",
            type=int,
            default=5,
            help="Epochs between two sets of spectrogram pictures",
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
        required = cls.required_data_names(train, inference)
        return tuple(n for n in names if n not in required)

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> ESPnetAVSeparationModel:
        """Build the model that the options describe."""
        return build_model(args)

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> List[torch.optim.Optimizer]:
        """Build ESPnet's optimizer, with the settings of optim_groups where given.

        Raises:
            InputError: see parameter_groups; options that do not go with groups.
        """
        if not args.optim_groups:
            return super().build_optimizers(args, model)
        if args.sharded_ddp or args.exclude_weight_decay:
            raise InputError(
                "optim_groups does not go with sharded_ddp or exclude_weight_decay; "
                "give weight_decay in a group instead."
            )
        groups = parameter_groups(model, args.optim_groups)
        return [optim_classes[args.optim](groups, **args.optim_conf)]

    @classmethod
    def build_task_iter_factory(
        cls, args: argparse.Namespace, iter_options: IteratorOptions, mode: str
    ) -> AVSeparationIterFactory:
        """Build the iterator of "train", "valid" or "plot_att" batches."""
        tables = cls._tables(iter_options.data_path_and_name_and_type)
        if "speech_mix" in tables:
            dataset = FixedMixtureDataset(
                {name: read_scp(path) for name, path in tables.items()},
                cls._mixture_labels(args, tables["speech_mix"]),
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
            tables[name] = path
        for name in cls.required_data_names():
            if name not in tables:
                raise InputError(
                    f"the data name {name} is missing; given: {', '.join(tables)}."
                )
        return tables

    @classmethod
    def _class_numbers(cls, args: argparse.Namespace) -> Optional[Dict[str, int]]:
        """Class of the training data -> number; None where labels are not wanted."""
        wanted = bool((args.dataset_conf or {}).get("labels"))
        num_classes = num_label_classes(args.criterions or [])
        if wanted != (num_classes is not None):
            raise InputError(
                f"dataset_conf.labels is {str(wanted).lower()}, but the criterion "
                f"object_classification is {'not ' * wanted}used; they go together."
            )
        if not wanted:
            return None
        triples = args.train_data_path_and_name_and_type
        path = next(p for p, name, _ in triples if name == "speech_ref1")
        utt2spk = read_scp(Path(path).parent / "utt2spk")
        return class_numbers(utt2spk.values(), num_classes)

    @classmethod
    def _mixture_labels(
        cls, args: argparse.Namespace, table: str
    ) -> Optional[Dict[str, List[int]]]:
        """Class numbers of listed mixtures, from mixtures.tsv beside their table."""
        numbers = cls._class_numbers(args)
        if numbers is None:
            return None
        sources = read_sources(Path(table).parent / "mixtures.tsv")
        classes = {key: [spk for _, spk in value] for key, value in sources.items()}
        return number_sources(classes, numbers, num_label_classes(args.criterions))

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
                f"same clips: {len(missing)} stand in one of them alone, the first is "
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
        category = None
        utt2spk = Path(tables["speech_ref1"]).parent / "utt2spk"
        if utt2spk.exists():
            category = read_scp(utt2spk)
        elif conf.get("different_class"):
            raise InputError(
                f"dataset_conf.different_class is true but {utt2spk} does not exist; "
                "it names the class of each clip."
            )
        return construct(
            MixAndSeparateDataset,
            conf,
            "dataset_conf",
            audio=audio,
            visual=visual,
            num_samples=num_samples,
            num_rows=num_rows,
            category=category,
            labels=cls._class_numbers(args),
            seed=args.seed,
        )

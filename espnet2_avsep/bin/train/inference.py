"""Separate listed mixtures with a trained model (stage 7)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.cli.shared_options import TrainedModel
from espnet2_avsep.data.conditions import ROW_NAMES
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.listed_mixtures import (
    MOTION_CHANGES,
    ListedOptions,
    Separated,
    Tables,
    change_motion,
    load_separator,
    mixture_dataset,
    mixtures_of,
    read_tables,
    separate_listed,
    table_paths,
)


@dataclass(kw_only=True)
class Options(ListedOptions, TrainedModel):
    """The options of the command."""

    data_path_and_name_and_type: List[str] = option(
        ...,
        "path,name,type; names are speech_mix, visual_ref{n}, and for models that need "
        f"them {ROW_NAMES}",
        repeat=True,
    )
    batch_size: int = option(1, "mixtures at a time", least=1)
    dtype: str = option(
        "float32", "of the computation", choices=("float32", "bfloat16")
    )
    binary_mask: bool = option(
        False, "round masks to 0 or 1 (for masks trained with binary cross-entropy)"
    )
    threshold: float = option(0.5, "of binary masks", least=0, most=1)
    mixture_consistency: bool = option(
        False,
        "share what the tracks leave of the mixture equally among them, so that they "
        "add up to it",
    )
    stop_db: Optional[float] = option(
        None,
        "of models that take one source after the other: sources are silent "
        "once what is left of the mixture is below this level of it, in dB",
        least=-300,
        most=0,
    )
    shuffle_visual: str = option(
        "no",
        "give each source the visual input of another one, to see how much it "
        "matters: of another clip of the set, or of a class that is not in the "
        "mixture (and its class, for models that are told classes)",
        choices=("no", "clip", "class"),
    )
    shuffle_seed: int = option(0, "seed of --shuffle_visual", least=0)
    change_motion: str = option(
        "no",
        "see how much motion matters, for models that need motion features: frozen, "
        "nothing moves (no optical flow; other features stay as they are in the first "
        "step), or swapped, each source gets the motion of the next source of its "
        "mixture",
        choices=("no", *MOTION_CHANGES),
    )
    mixtures: Optional[str] = option(
        None,
        "mixtures.tsv, for --shuffle_visual, and for the sources' classes, which some "
        "models need (default: beside speech_mix's table)",
    )
    fs: Optional[int] = option(None, "expected sampling rate; checked", least=1)


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    tables, num_sources = read_tables(args.data_path_and_name_and_type, "visual_ref")
    if args.shuffle_visual != "no":
        from espnet2_avsep.data.mixing.visual_shuffle import shuffle_visual

        tables = shuffle_visual(
            tables, mixtures_of(args), args.shuffle_visual, args.shuffle_seed
        )

    def separate(keys: List[str]) -> Iterator[Separated]:
        return _separate(args, keys, tables, num_sources)

    separate_listed(args, tables, num_sources, _record(args), separate)


def _record(args: Options) -> Dict[str, Any]:
    """What the tracks depend on, so that a second run knows whether to keep them."""
    from espnet2_avsep.data.records.made_from import check_sets, make_record

    tables = table_paths(args.data_path_and_name_and_type)
    check_sets(tables.values())
    files = {"model": args.model_file, "training config": args.train_config}
    for path in files.values():
        if not Path(path).is_file():
            raise InputError(
                f"{path}: no such file. Train first (stage 6), or give another "
                "--model_file and --train_config."
            )
    mixtures = mixtures_of(args)
    if mixtures.is_file():
        files["mixtures"] = str(mixtures)
    videos = mixtures.with_name("utt2video")
    if args.shuffle_visual != "no" and videos.is_file():
        files["videos"] = str(videos)
    options = ("binary_mask", "dtype", "shuffle_visual", "shuffle_seed", "threshold")
    return make_record(
        7,
        tables,
        files,
        {
            **{name: getattr(args, name) for name in options},
            **({} if args.stop_db is None else {"stop_db": args.stop_db}),
            **({"mixture_consistency": True} if args.mixture_consistency else {}),
            # Before, the classes that some systems are told were not swapped.
            **({"swapped_classes": True} if args.shuffle_visual != "no" else {}),
            **({"motion": args.change_motion} if args.change_motion != "no" else {}),
        },
    )


def _separate(
    args: Options, keys: List[str], tables: Tables, num_sources: int
) -> Iterator[Separated]:
    from tqdm import tqdm

    from espnet2_avsep.data.collate import collate
    from espnet2_avsep.data.segment_reader import check_sample_rate

    separate = load_separator(
        args,
        dtype=args.dtype,
        binary_mask=args.binary_mask,
        threshold=args.threshold,
        stop_db=args.stop_db,
        mixture_consistency=args.mixture_consistency,
    )
    if args.fs is not None and args.fs != separate.sample_rate:
        raise InputError(
            f"--fs {args.fs}: the model was trained at {separate.sample_rate} Hz."
        )
    dataset = mixture_dataset(separate, tables, keys, num_sources, mixtures_of(args))
    check_sample_rate(tables["speech_mix"][keys[0]], separate.sample_rate)
    begins = range(0, len(dataset), args.batch_size)
    for begin in tqdm(begins, unit="batch", mininterval=10, desc="separate"):
        end = min(begin + args.batch_size, len(dataset))
        names, batch = collate([dataset[i] for i in range(begin, end)])
        visual, conditions = separate.model.source_inputs(batch)
        if args.change_motion != "no":
            flow = separate.model.separator.needs_flow
            conditions = change_motion(conditions, args.change_motion, flow)
        tracks = separate.separate_batch(batch["speech_mix"], visual, **conditions)
        for name, sources in zip(names, tracks.cpu().numpy(), strict=True):
            yield name, sources, separate.sample_rate

"""Separate listed mixtures with a system that is not trained (stage 7).

Ideal masks, NMF-MFCC and RPCA; visual inputs are not used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional

from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.listed_mixtures import (
    ListedOptions,
    Separated,
    Tables,
    read_tables,
    separate_listed,
    table_paths,
)


@dataclass(kw_only=True)
class Options(ListedOptions):
    """The options of the command."""

    config: str = option(..., "YAML with 'trained: false'")
    data_path_and_name_and_type: List[str] = option(
        ..., "path,name,type; names are speech_mix and speech_ref{n}", repeat=True
    )
    assignment: Optional[str] = option(
        None,
        "which output is which source, where the system does not know: as they come, "
        "or the best order by the references (default: as the config says)",
        choices=("order", "oracle"),
    )
    fs: Optional[int] = option(None, "sampling rate (default: the config's)", least=1)


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    tables, num_sources = read_tables(args.data_path_and_name_and_type, "speech_ref")
    config = Path(args.config)
    if not config.is_file():
        raise InputError(
            f"--config {config}: no such file; see conf/tuning/untrained_*."
        )
    from espnet2_avsep.data.records.made_from import check_sets, make_record

    paths = table_paths(args.data_path_and_name_and_type)
    check_sets(paths.values())
    options = {"assignment": args.assignment, "fs": args.fs}
    record = make_record(7, paths, {"config": config}, options)

    def separate(keys: List[str]) -> Iterator[Separated]:
        return _separate(args, keys, tables, num_sources)

    separate_listed(args, tables, num_sources, record, separate)


def _separate(
    args: Options, keys: List[str], tables: Tables, num_sources: int
) -> Iterator[Separated]:
    import torch
    from tqdm import tqdm

    from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
    from espnet2_avsep.data.segment_reader import check_sample_rate
    from espnet2_avsep.inference.untrained import UntrainedAV

    system = UntrainedAV(args.config, args.fs, args.assignment)
    rate = system.model.sample_rate
    names = ["speech_mix"] + [f"speech_ref{n}" for n in range(1, num_sources + 1)]
    dataset = FixedMixtureDataset(
        {name: {key: tables[name][key] for key in keys} for name in names}
    )
    check_sample_rate(tables["speech_mix"][keys[0]], rate)
    for index in tqdm(range(len(dataset)), mininterval=10, desc="separate"):
        key, data = dataset[index]
        mixture, *sources = (torch.from_numpy(data[name]) for name in names)
        tracks = system.separate_batch(mixture[None], torch.stack(sources)[None])
        yield key, tracks[0].numpy(), rate

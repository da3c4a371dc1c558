"""How far DGFNet lets the picture in, and where its queries look."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Optional, Sequence

from espnet2_avsep.analysis.clip_analysis import write_figures
from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.cli.shared_options import TrainedModel
from espnet2_avsep.data.conditions import ROW_NAMES
from espnet2_avsep.data.records.encoder_check import check_features
from espnet2_avsep.data.tables.clip_id import file_stem
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.listed_mixtures import (
    Tables,
    load_separator,
    mixture_dataset,
    mixtures_of,
    read_tables,
    table_paths,
)

if TYPE_CHECKING:
    import numpy as np

    from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
    from espnet2_avsep.inference.separate import SeparateAV


class Gate(NamedTuple):
    """Mean gate of one source.

    Attributes:
        key: The mixture.
        source: Number of the source, from 1.
        category: Its class, "-" where the list of mixtures is not there.
        mean: Mean over the places.
    """

    key: str
    source: int
    category: str
    mean: float


@dataclass(kw_only=True)
class GateOptions(TrainedModel, Log):
    """What to do, and how."""

    output_dir: str = option(
        ..., "gets gates.tsv, gate_histogram.png, gate_maps.png and attention/"
    )
    data_path_and_name_and_type: List[str] = option(
        ...,
        f"path,name,type; names are speech_mix, visual_ref{{n}} and {ROW_NAMES}",
        repeat=True,
    )
    mixtures: Optional[str] = option(
        None, "mixtures.tsv, for the classes (default: beside speech_mix's table)"
    )
    num_extremes: int = option(2, "heat maps at each end", least=1)
    num_attention: int = option(4, "mixtures with maps of attention", least=0)
    batch_size: int = option(1, "mixtures at a time", least=1)


def analyse_gates(args: GateOptions) -> None:
    """Write the table of the gates, and the pictures."""
    tables, num_sources = read_tables(args.data_path_and_name_and_type, "visual_ref")
    paths = table_paths(args.data_path_and_name_and_type).values()
    folders = dict.fromkeys(Path(path).parent for path in paths)
    check_features(Path(args.train_config).parent, folders)
    separate = load_separator(args)
    if not hasattr(separate.model.separator, "explain"):
        raise InputError(
            f"{args.train_config}: its separator has neither a gate nor queries; give "
            "a training with 'separator: query' (iQuery, DGFNet)."
        )
    analyse(args, separate, tables, num_sources)


def analyse(
    args: GateOptions, separate: "SeparateAV", tables: Tables, num_sources: int
) -> None:
    """Run the separator over the mixtures; write the table and the figures."""
    from espnet2_avsep.figures.plots import attention_maps, gate_histogram, gate_maps

    keys = list(tables["speech_mix"])
    mixtures = mixtures_of(args)
    dataset = mixture_dataset(separate, tables, keys, num_sources, mixtures)
    categories = _categories(mixtures, keys, num_sources)
    folder = Path(args.output_dir)
    (folder / "attention").mkdir(parents=True, exist_ok=True)
    gates: List[Gate] = []
    for found in _explain(separate, dataset, args.batch_size):
        names = [
            f"source {n + 1}, {category}"
            for n, category in enumerate(categories[found.key])
        ]
        if found.gate is not None:
            gates += [
                Gate(found.key, n + 1, categories[found.key][n], float(gate.mean()))
                for n, gate in enumerate(found.gate)
            ]
        if keys.index(found.key) < args.num_attention:
            motion = [None] * num_sources
            if found.motion is not None:
                motion = list(found.motion)
            sources = list(zip(names, found.attention, motion, strict=True))
            figure = attention_maps(found.mixture, sources, f"{found.key}: attention")
            drawn = {f"{file_stem(found.key)}.png": figure}
            write_figures(folder / "attention", drawn, dpi=110)
    if not gates:
        logging.info("this separator has no gate: only its attention was drawn")
        return
    _write(folder / "gates.tsv", gates)
    means = [gate.mean for gate in gates]
    title = f"{len(means)} sources of {len(keys)} mixtures"
    figures = {"gate_histogram.png": gate_histogram(means, title)}

    ordered = sorted(gates, key=lambda gate: (gate.mean, gate.key, gate.source))
    number = min(args.num_extremes, len(ordered) // 2) or 1
    extremes = [*ordered[:number], *ordered[number:][-number:]]
    wanted = list(dict.fromkeys(gate.key for gate in extremes))
    chosen = mixture_dataset(separate, tables, wanted, num_sources, mixtures)
    maps = {found.key: found for found in _explain(separate, chosen, 1)}
    rows = [
        (
            f"{gate.key}, source {gate.source}, {gate.category}",
            maps[gate.key].mixture,
            maps[gate.key].gate[gate.source - 1],
        )
        for gate in extremes
    ]
    title = f"the {number} lowest and the {len(rows) - number} highest mean gates"
    figures["gate_maps.png"] = gate_maps(rows, title)
    write_figures(folder, figures, dpi=110)


class _Found(NamedTuple):
    """What one mixture's masks came from; see Explanation, here of one mixture.

    Attributes:
        key: The mixture.
        mixture: Its magnitude, (F, T).
        gate: (N, H, W), or None.
        attention: (N, layers, H, W).
        motion: (S,) of each source, or None.
    """

    key: str
    mixture: "np.ndarray"
    gate: Optional["np.ndarray"]
    attention: "np.ndarray"
    motion: Optional[List["np.ndarray"]]


def _explain(
    separate: "SeparateAV", dataset: "FixedMixtureDataset", batch_size: int
) -> Iterator[_Found]:
    """Yield what is found of each mixture, in order."""
    from espnet2_avsep.data.collate import collate

    for first in range(0, len(dataset), batch_size):
        indices = range(first, min(first + batch_size, len(dataset)))
        keys, batch = collate([dataset[i] for i in indices])
        visual, conditions = separate.model.source_inputs(batch)
        device = separate.device
        mixture, found = separate.model.explain(
            batch["speech_mix"].to(device),
            visual.to(device),
            **{name: value.to(device) for name, value in conditions.items()},
        )
        lengths = conditions.get("motion_lengths")
        for n, key in enumerate(keys):
            gate = None if found.gate is None else found.gate[n].cpu().numpy()
            motion = None
            if found.motion is not None:
                motion = [
                    weights[:length].cpu().numpy()
                    for weights, length in zip(found.motion[n], lengths[n], strict=True)
                ]
            yield _Found(
                key,
                mixture[n].cpu().numpy(),
                gate,
                found.attention[n].cpu().numpy(),
                motion,
            )


def _categories(
    mixtures: Path, keys: Sequence[str], num_sources: int
) -> Dict[str, List[str]]:
    """Mixture -> class of each source; "-" where nobody tells."""
    from espnet2_avsep.data.mixing.mixture_table import read_classes

    classes = read_classes(mixtures) if mixtures.is_file() else {}
    return {key: classes.get(key, ["-"] * num_sources) for key in keys}


def _write(path: Path, gates: Sequence[Gate]) -> None:
    """Write the table, and log what figure 6 is about."""
    from espnet2_avsep.data.tables.tsv import write_tsv
    from espnet2_avsep.figures.plots import EXTREMES

    rows = ((*gate[:3], f"{gate.mean:.6f}") for gate in gates)
    write_tsv(path, ("mix_id", "source", "class", "mean_gate"), rows)
    low, high = EXTREMES
    means = [gate.mean for gate in gates]
    logging.info(
        f"mean gate of {len(means)} sources: {sum(means) / len(means):.3f}; "
        f"{sum(mean < low for mean in means)} below {low}, "
        f"{sum(mean > high for mean in means)} above {high}"
    )

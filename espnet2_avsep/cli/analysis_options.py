"""The options that commands share which analyse embeddings of single clips."""

from dataclasses import dataclass
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.cli.shared_options import Device

DEFAULT_CLAP = "630k-audioset-best.pt"


@dataclass(kw_only=True)
class ClipAnalysis(Device, Log):
    """Which experiments, segments and CLAP."""

    experiment: List[str] = option(
        ...,
        "folder of a training, exp/avsep_<tag>; NAME: in the tables (default: the "
        "config's 'system'); repeat",
        repeat=True,
        metavar="[NAME=]DIR",
    )
    model_file: Optional[str] = option(
        None,
        "weights within it (default: valid.si_sdr_i.best.pth, or valid.loss.best.pth)",
    )
    output_dir: str = option(..., "where the files go")
    segment_samples: Optional[int] = option(
        None, "length of a segment (default: that of the first training)", least=1
    )
    segments: int = option(
        1,
        "segments of a clip, spread evenly, whose embeddings are averaged; 1: the "
        "centre crop, with which the paper tests",
        least=1,
    )
    clap: str = option(
        DEFAULT_CLAP,
        "CLAP's checkpoint: a published name, a file, 'random' (untrained), or 'none' "
        "to leave CLAP out",
    )
    clap_conf: str = option(
        "{}",
        "further arguments of the teacher 'clap', as YAML, e.g. '{model: HTSAT-base}'",
    )
    batch_size: int = option(8, "segments at a time", least=1)
    resamples: int = option(10000, "of the bootstrap", least=1)
    bootstrap_seed: int = option(0, "seed of the bootstrap", least=0)
    corpus_note: str = option("", "text at the top: what the corpus is")

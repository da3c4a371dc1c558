"""Embeddings of single clips: the separator's bottleneck, its visual input, CLAP's.

All of them are of the same segments, so that they can be compared clip by clip.
"""

import zlib
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from espnet2_avsep.analysis.segment_choice import even_starts
from espnet2_avsep.data.conditions import needed
from espnet2_avsep.data.mixing.mixture_list import ClipTable
from espnet2_avsep.data.mixing.mixtures import read_clips
from espnet2_avsep.data.records.progress import Progress
from espnet2_avsep.data.segment_reader import nearest_row, read_row, read_segment
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.separate import SeparateAV

BOTTLENECK, PROJECTED, VISUAL = "bottleneck", "projected bottleneck", "visual"
Starts = Dict[str, List[int]]


class ClipSegments(NamedTuple):
    """Segments of the clips of a set.

    Attributes:
        clips: The clips.
        starts: Clip -> first sample of each of its segments.
        num_samples: Length of a segment.
        sample_rate: In Hz.
    """

    clips: ClipTable
    starts: Starts
    num_samples: int
    sample_rate: int

    @property
    def keys(self) -> List[str]:
        """The clips, in the order of every table of embeddings."""
        return sorted(self.starts, key=str.encode)

    @property
    def categories(self) -> List[str]:
        """Class of each clip, in the order of ``keys``."""
        return [self.clips.category[key] for key in self.keys]


def centre_segments(
    folder: Path, sample_rate: int, num_samples: int, count: int = 1
) -> ClipSegments:
    """Choose segments spread evenly over each clip; a single one is the centre crop.

    Args:
        folder: Clips as stage 4 leaves them: wav.scp, visual_spk1.scp, utt2spk.
        sample_rate: What the files must have, in Hz.
        num_samples: Length of a segment.
        count: Segments of a clip.

    Raises:
        InputError: tables that disagree, another sampling rate, a clip shorter than a
            segment.
    """
    clips = _long_clips(folder, sample_rate, num_samples)
    starts = {
        key: even_starts(total, num_samples, count)
        for key, total in clips.num_samples.items()
    }
    return ClipSegments(clips, starts, num_samples, sample_rate)


def random_segments(
    folder: Path, sample_rate: int, num_samples: int, seed: int
) -> ClipSegments:
    """Choose one random segment of each clip; it depends only on seed and clip.

    Args and errors: see centre_segments.
    """
    clips = _long_clips(folder, sample_rate, num_samples)
    starts = {}
    for key, total in clips.num_samples.items():
        rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
        starts[key] = [int(rng.integers(total - num_samples + 1))]
    return ClipSegments(clips, starts, num_samples, sample_rate)


def _long_clips(folder: Path, sample_rate: int, num_samples: int) -> ClipTable:
    clips = read_clips(Path(folder), sample_rate)
    short = [key for key, total in clips.num_samples.items() if total < num_samples]
    if short:
        raise InputError(
            f"{folder}: {len(short)} of {len(clips.wav)} clips are shorter than a "
            f"segment of {num_samples} samples, the first is {short[0]} "
            f"({clips.num_samples[short[0]]}). Stage 4 drops such clips: run it with "
            "the same --segment_samples, or give a smaller one here."
        )
    return clips


def embed_separator(
    separate: SeparateAV, segments: ClipSegments, batch_size: int = 8
) -> Dict[str, np.ndarray]:
    """Embed clips by a trained separator.

    Args:
        separate: The separator.
        segments: Of the clips; the mean of a clip's embeddings over its segments is
            taken.
        batch_size: Segments at a time.

    Returns:
        Space -> (clips, D), in the order of ``segments.keys``:
        "bottleneck": z_a, the mean of the bottleneck over its positions, of the clip
        alone (it is not divided by a number of sources, as it would be in a mixture);
        "visual": what the visual adapter makes of the row nearest to the segment's
        centre, which is what enters the separator;
        "projected bottleneck": z_a after the linear layer that the alignment loss put
        between the two sizes, where it has one.

    Raises:
        InputError: embeddings that do not fit the separator, or are not finite.
    """
    model = separate.model
    clips = segments.clips
    found: Dict[str, List[torch.Tensor]] = {BOTTLENECK: [], VISUAL: []}
    projection = None
    if "alignment" in model.criterions:
        layer = model.criterions["alignment"].projection
        projection = layer if isinstance(layer, torch.nn.Linear) else None
    if projection is not None:
        found[PROJECTED] = []
    for batch, wav in _batches(segments, batch_size, "separator"):
        rows = [
            read_row(clips.visual[key], _row(segments, key, start))
            for key, start in batch
        ]
        visual = torch.from_numpy(np.stack(rows))[:, None, None].to(separate.device)
        with torch.inference_mode():
            try:
                z = model.embed(
                    wav.to(separate.device), visual, **_stand_ins(model, visual)
                )
            except ValueError as error:
                raise InputError(f"{batch[0][0]}: {error}") from error
            found[BOTTLENECK].append(z.cpu())
            found[VISUAL].append(model.visual_adapter(visual)[:, 0].float().cpu())
            if projection is not None:
                found[PROJECTED].append(projection(z).cpu())
    return {
        name: _mean_by_clip(segments, torch.cat(parts), name)
        for name, parts in found.items()
    }


def _stand_ins(model: torch.nn.Module, visual: torch.Tensor) -> Dict[str, torch.Tensor]:
    """What a separator asks for besides, and z_a does not depend on: zeros."""
    size, device = visual.shape[:2], visual.device
    given = {}
    for condition in needed(model.separator):
        shape, dtype = size, torch.long
        if condition.row_size is not None:
            row_size = getattr(model.separator, condition.row_size)
            shape, dtype = (*size, 1, row_size), torch.float32
        given[condition.name] = torch.zeros(shape, dtype=dtype, device=device)
    return given


def embed_teacher(
    teacher: torch.nn.Module,
    segments: ClipSegments,
    device: Optional[torch.device] = None,
    batch_size: int = 8,
) -> np.ndarray:
    """Embed clips by a frozen audio encoder, (clips, D); see embed_separator."""
    parts = []
    for _, wav in _batches(segments, batch_size, "CLAP"):
        wav = wav if device is None else wav.to(device)
        parts.append(teacher(wav, segments.sample_rate).float().cpu())
    return _mean_by_clip(segments, torch.cat(parts), "CLAP")


def _row(segments: ClipSegments, key: str, start: int) -> int:
    clips = segments.clips
    return nearest_row(
        start, segments.num_samples, clips.num_samples[key], clips.num_rows[key]
    )


def _batches(
    segments: ClipSegments, size: int, what: str
) -> Iterator[Tuple[Sequence[Tuple[str, int]], torch.Tensor]]:
    """Yield (clip, start) of some segments, and their sound (B, L)."""
    every = [(key, start) for key in segments.keys for start in segments.starts[key]]
    progress = Progress(-(-len(every) // size), f"batches of {what}")
    for begin in range(0, len(every), size):
        batch = every[begin : begin + size]
        sound = [
            read_segment(segments.clips.wav[key], start, segments.num_samples)
            for key, start in batch
        ]
        yield batch, torch.from_numpy(np.stack(sound))
        progress.step()


def _mean_by_clip(segments: ClipSegments, rows: torch.Tensor, what: str) -> np.ndarray:
    """Average the rows of each clip's segments, (segments, D) -> (clips, D)."""
    sizes = [len(segments.starts[key]) for key in segments.keys]
    table = np.stack(
        [part.double().mean(dim=0).numpy() for part in torch.split(rows, sizes)]
    )
    wrong = ~np.isfinite(table).all(axis=1)
    if wrong.any():
        raise InputError(
            f"the embedding ({what}) of {segments.keys[int(wrong.argmax())]} holds NaN "
            "or infinite values: the training has diverged, or the sound is damaged."
        )
    return table


def load_separators(
    experiments: Mapping[str, Path], model_file: Optional[str], device: str
) -> Iterator[Tuple[str, SeparateAV]]:
    """Load trained separators one after the other: name, separator.

    Args:
        experiments: Name -> folder of the training.
        model_file: Name of the weights within the folder; None: the default ones.
        device: "cpu", "cuda", "cuda:N".
    """
    for name, folder in experiments.items():
        weights = None if model_file is None else Path(folder) / model_file
        yield name, SeparateAV(Path(folder) / "config.yaml", weights, device=device)

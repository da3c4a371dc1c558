"""Mixtures of training, drawn on the fly from single clips."""

import bisect
import itertools
import math
from fractions import Fraction
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

import numpy as np
from torch.utils.data import Dataset

from espnet2_avsep.data.conditions import CONDITIONS, LABELS, MOTION, Condition
from espnet2_avsep.data.frame_store import crop_and_flip, jitter
from espnet2_avsep.data.mixing.mixture_draw import ONE_VIDEO, too_few_of_class
from espnet2_avsep.data.mixing.same_video import classes_never_exhausted
from espnet2_avsep.data.mixing.silent_sources import (
    SilentSources,
    check_silent_sources,
    draw_silent,
)
from espnet2_avsep.data.mixing.speed import (
    change_speed,
    parse_speed_factors,
    samples_to_read,
)
from espnet2_avsep.data.motion import ALIGNMENTS
from espnet2_avsep.data.segment_reader import (
    is_silent,
    matrix_shape,
    nearest_row,
    read_rows,
    read_segment,
    rows_in_segment,
    strided_rows,
)
from espnet2_avsep.data.tables.key_check import check_same_keys, shorten
from espnet2_avsep.errors import InputError, check_integers

# What may be mixed: any clips, clips of one class, parts of one clip.
PAIRS = ("any", "same_class", "same_video")
# Streams of random numbers of one epoch.
_ORDER, _ITEM, _SILENT, _ABSENT, _SPEED, _DOUBLE = range(6)
# Least and greatest gain of the clip that doubles a source, beside the source's own.
_DOUBLE_GAIN = (0.2, 1.0)


class _Segment(NamedTuple):
    """A segment of a clip: ``length`` samples from ``start`` on become ``samples``."""

    clip: int
    start: int
    length: int
    samples: np.ndarray
    silent: int  # segments that were drawn before it and are silent


class MixAndSeparateDataset(Dataset):
    """Mix and separate: N clips of different videos, a random segment of each, summed.

    Item i of an epoch depends only on (seed, epoch, i): not on the worker that makes
    it, the order of the items, or the process of a distributed run. Only the samples
    and the visual rows that are used are read from disk.

    A source is ``gain * segment / N``, N the number of sources that sound, and the
    mixture their sum: with gain 1 the mean of the segments. A silent source has the
    picture of its clip, and zeros for its sound.

    Args:
        audio: Clip -> mono audio file.
        visual: Clip -> visual matrix (Kaldi reference, (n, D)).
        num_samples: Clip -> number of samples.
        num_rows: Clip -> number of rows n.
        category: Clip -> class; needed for different_class.
        videos: Clip -> the video it is of. Sources of a mixture, and absent queries,
            are of different videos, but with pairs "same_video". None or empty: each
            clip is of a video of its own.
        num_sources: Number of sources N; or several, which the items have in turn: item
            i has ``num_sources[i % len(num_sources)]``. A number that is listed twice
            comes twice as often. A batch must be of one number: see batch_groups.
        segment_samples: Samples L of a segment. 65280 = 255 hops of 256: 256 frames.
        margin_samples: The middle of a segment lies at least so far from both ends of
            its clip (Sound of Pixels: 8 s); in clips that are too short for that, in
            the middle.
        visual_frames: Rows V drawn in the segment's time span, in their order in time;
            without repetition where the span has that many. The paper uses 1, the
            released code of HFRA 3.
        visual_stride: With it, the V rows are not drawn: they lie this many rows apart
            around the segment's middle, the clip's end rows standing for those beyond
            (Sound of Pixels: 3 frames, 24 apart, at 8 a second).
        frame_crop: Packed frames only: side of the square that is cut out at random,
            the same for the V frames of a source; 0 keeps them whole.
        frame_flip: Packed frames only: mirror the frames of every other source.
        frame_jitter: Packed frames only: change brightness and saturation of each
            source's frames by factors drawn from 1 - jitter to 1 + jitter
            (Co-Separation: 0.3).
        different_class: Whether the sources of a mixture must be of different classes
            (iQuery, DGFNet).
        pairs: What is mixed: "any" clips of different videos, those of the
            "same_class", or parts of the "same_video" that do not overlap. A curriculum
            is a list of {epoch: first epoch, from 1; pairs: one of these}, its first
            epoch 1 (Sound of Motions: one after the other).
        gain_range: Least and greatest gain; drawn uniformly for each source (0.5 to 1.5
            in Sound of Pixels, CLIPSep, Co-Separation, AVPC, iQuery, DGFNet and HFRA's
            release).
        speed_factors: Speed perturbation: each source is played at one of these
            speeds, drawn uniformly from those that its clip is long enough for; tempo
            and pitch change together. Not for clips with motion, nor for parts of the
            "same_video".
        doubled_sources: Probability that a source is two clips of its class, of
            different videos, the second with a gain of 0.2 to 1; its pictures are of
            the first one. Where no clip is left, the source stays as it is. Not for
            clips with motion, nor for parts of the "same_video".
        clip: Whether samples are clipped to [-1, 1] after the gain (these systems do).
        silent_sources: Sources that are seen and not heard: a number of them in each
            mixture, the probability that a source is silent, or a list of their
            numbers; see silent_sources.py. The clips and segments are those that
            are drawn without it. (MP-Net: 0.05; CCoL: [2, 4] of 4 sources.)
        absent_queries: Further pictures in each mixture, of classes that none of its
            sources has, numbered after them; their sound is zeros. A separator that
            runs once per mixture learns from them nearly for nothing. The mixtures are
            those that are drawn without it.
        silence_dbfs: A segment whose RMS is below this is drawn again (dB, full scale =
            0 dB).
        max_redraws: After this many new segments of a clip, another clip is drawn;
            after this many other clips, the set is given up.
        seed: Seed of all draws.
        conditions: Name of a condition (data/conditions.py) -> clip -> its value: of
            "motion" the motion features (Kaldi reference, (S, D), rows uniform over the
            clip's duration), of "labels" the number of its class.
        motion_align: "whole" takes the motion (or other rows) of the whole clip
            (iQuery, DGFNet), "segment" that of the segment's time span.
        motion_steps: Most rows of a source; see read_motion.
        repeat: Passes through the clips in one epoch. Each pass takes every clip once
            as the first source.
        labels: Class -> number; deprecated, see ``conditions``.
        motion: Clip -> motion features; deprecated, see ``conditions``.

    Raises:
        InputError: tables that disagree, clips shorter than a segment, too few clips or
            classes, options out of range.
    """

    def __init__(
        self,
        audio: Mapping[str, str],
        visual: Mapping[str, str],
        num_samples: Mapping[str, int],
        num_rows: Mapping[str, int],
        category: Optional[Mapping[str, str]] = None,
        num_sources: Union[int, Sequence[int]] = 2,
        segment_samples: int = 65280,
        margin_samples: int = 0,
        visual_frames: int = 1,
        visual_stride: Optional[int] = None,
        frame_crop: int = 0,
        frame_flip: bool = False,
        frame_jitter: float = 0.0,
        different_class: bool = False,
        pairs: Union[str, Sequence[Mapping[str, Union[int, str]]]] = "any",
        gain_range: Tuple[float, float] = (1.0, 1.0),
        speed_factors: Sequence[float] = (1.0,),
        doubled_sources: float = 0.0,
        clip: bool = False,
        silence_dbfs: float = -60.0,
        max_redraws: int = 10,
        seed: int = 0,
        repeat: int = 1,
        labels: Optional[Mapping[str, int]] = None,
        motion: Optional[Mapping[str, str]] = None,
        motion_align: str = "whole",
        motion_steps: int = 160,
        silent_sources: SilentSources = 0,
        absent_queries: int = 0,
        conditions: Optional[Mapping[str, Mapping[str, Any]]] = None,
        videos: Optional[Mapping[str, str]] = None,
    ):
        counts = [num_sources] if isinstance(num_sources, int) else num_sources
        if not isinstance(counts, (list, tuple)) or not counts:
            raise InputError(
                f"num_sources is {num_sources!r}; a number or a list of numbers was "
                "expected."
            )
        for count in counts:
            check_integers(1, num_sources=count)
        check_integers(
            1,
            segment_samples=segment_samples,
            visual_frames=visual_frames,
            visual_stride=visual_stride,
            repeat=repeat,
            motion_steps=motion_steps,
        )
        check_integers(
            0,
            margin_samples=margin_samples,
            frame_crop=frame_crop,
            max_redraws=max_redraws,
            seed=seed,
            absent_queries=absent_queries,
        )
        if len(gain_range) != 2 or not 0 < gain_range[0] <= gain_range[1]:
            raise InputError(
                f"gain_range is {gain_range}; two gains were expected, the lesser "
                "first, both above 0."
            )
        check_silent_sources(silent_sources, counts)
        if not 0 <= frame_jitter <= 1:
            raise InputError(
                f"frame_jitter is {frame_jitter}; expected a number from 0 to 1."
            )
        if not 0 <= doubled_sources <= 1:
            raise InputError(
                f"doubled_sources is {doubled_sources}; expected a probability."
            )
        if motion_align not in ALIGNMENTS:
            raise InputError(
                f"motion_align is {motion_align!r}; expected one of "
                f"{', '.join(ALIGNMENTS)}."
            )
        if math.isnan(silence_dbfs):
            raise InputError("silence_dbfs is NaN; a level in dB was expected.")
        self.pairs = _curriculum(pairs)
        kinds = {kind for _, kind in self.pairs}
        if different_class and kinds != {"any"}:
            raise InputError(
                f"pairs is {pairs!r} and different_class is true; one of them only."
            )
        for wanted, option, remedy in (
            (different_class, "different_class is true", "different_class to false"),
            (absent_queries, f"absent_queries is {absent_queries}", "it to 0"),
            (doubled_sources, f"doubled_sources is {doubled_sources}", "it to 0"),
            ("same_class" in kinds, "pairs is same_class", "pairs to any"),
            (labels is not None, "labels are given", "labels to None"),
        ):
            if wanted and category is None:
                raise InputError(
                    f"{option}, but the classes of the clips are not known; give "
                    f"utt2spk, or set {remedy}."
                )
        tables = {
            "audio": audio,
            "visual": visual,
            "num_samples": num_samples,
            "num_rows": num_rows,
        }
        if category is not None:
            tables["category"] = category
        if videos:
            tables["videos"] = videos
        given = dict(conditions or {})
        if motion is not None:
            given.setdefault(MOTION.name, motion)
        if labels is not None:
            numbers = {key: labels[name] for key, name in category.items()}
            given.setdefault(LABELS.name, numbers)
        known = [condition.name for condition in CONDITIONS]
        unknown = sorted(given.keys() - known)
        if unknown:
            raise InputError(
                f"conditions: {unknown[0]!r} is not known; expected one of "
                f"{', '.join(known)}."
            )
        check_same_keys({**tables, **given})
        self.speeds = parse_speed_factors(speed_factors)
        rows = [c.name for c in CONDITIONS if c.row_size and c.name in given]
        for changed, option, what in (
            (self.speeds != (1,), f"speed_factors is {speed_factors!r}", "speed"),
            (doubled_sources, f"doubled_sources is {doubled_sources}", "sound"),
        ):
            if changed and (rows or "same_video" in kinds):
                why = f"not its {rows[0]}" if rows else "pairs is same_video"
                raise InputError(
                    f"{option}, which changes the {what} of a source, but {why}. Set "
                    "one of them only in dataset_conf."
                )
        self._lengths = [samples_to_read(f, segment_samples) for f in self.speeds]
        short = sorted(k for k in audio if num_samples[k] < segment_samples)
        if short:
            raise InputError(
                f"{len(short)} of {len(audio)} clips are shorter than segment_samples "
                f"= {segment_samples}; the first is {short[0]} with "
                f"{num_samples[short[0]]} samples. Stage 4 (avsep_filter_clips "
                "--segment_samples) drops such clips; run it with the same value."
            )
        least = max(counts) * segment_samples
        short = sorted(k for k in audio if num_samples[k] < least)
        if short and "same_video" in kinds:
            raise InputError(
                f"pairs is same_video, which takes {max(counts)} parts of a clip that "
                f"do not overlap, {least} samples, but {len(short)} of {len(audio)} "
                f"clips are shorter; the first is {short[0]} with "
                f"{num_samples[short[0]]} samples. Drop them in stage 4 "
                "(--min_wav_duration), or give a smaller segment_samples."
            )
        bare = sorted(k for k in audio if num_rows[k] < 1)
        if bare:
            raise InputError(
                f"{len(bare)} of {len(audio)} clips have no visual rows; the first is "
                f"{bare[0]}. Stage 4 drops such clips; run it again."
            )
        # Sorted by class, so that the clips of a class are neighbours: see _draw_clip.
        by_class = different_class or doubled_sources or "same_class" in kinds
        group = category if by_class else dict.fromkeys(audio, "")
        self.keys = sorted(audio, key=lambda key: (group[key], key))
        self.audio = [audio[key] for key in self.keys]
        self.visual = [visual[key] for key in self.keys]
        self.num_samples = [int(num_samples[key]) for key in self.keys]
        self.num_rows = [int(num_rows[key]) for key in self.keys]
        self.conditions: List[Tuple[Condition, List[Any]]] = [
            (condition, [given[condition.name][key] for key in self.keys])
            for condition in CONDITIONS
            if condition.name in given
        ]
        self.motion_align = motion_align
        self.motion_steps = int(motion_steps)
        # Clip -> the clips [first, last) that must not join it in a mixture.
        self.rivals = [(n, n + 1) for n in range(len(self.keys))]
        # Clip -> the clips [first, last) of its class.
        self.classmates = _blocks([group[key] for key in self.keys])
        if different_class:
            self.rivals = self.classmates
        video = [(videos or {}).get(key, key) for key in self.keys]
        # Clip -> the other clips of its video, where there are any.
        self.siblings = _siblings(video)
        rare = too_few_of_class(group, max(counts), videos)
        if rare and "same_class" in kinds:
            name, _ = rare[next(key for key in self.keys if key in rare)]
            raise InputError(
                f"pairs is same_class and num_sources {max(counts)}, but the class "
                f"{name} has fewer {'videos' if videos else 'clips'}. Leave it out of "
                "the training set, or set pairs to any."
            )
        what = "classes" if different_class else "videos" if videos else "clips"
        choices = len(set(self.rivals)) if different_class else len(set(video))
        if choices < max(counts):
            raise InputError(
                f"num_sources is {max(counts)}, but there are only {choices} {what} to "
                "choose from"
                + (" (different_class is true)" if different_class else "")
                + ". Add data, or lower num_sources (in a recipe, --train_ref_nums)"
                + (", or set different_class to false." if different_class else ".")
                + (ONE_VIDEO if videos and not different_class else "")
            )
        self.classes = [(category or {}).get(key, "") for key in self.keys]
        classes = len(set(self.classes))
        if absent_queries and classes < max(counts) + absent_queries:
            raise InputError(
                f"absent_queries is {absent_queries} and num_sources {max(counts)}, "
                f"but there are only {classes} classes: the sources of a mixture may "
                "be of all of them."
            )
        number = clips = max(counts) + absent_queries
        if doubled_sources and absent_queries:
            clips += max(counts)
        if videos and (different_class or absent_queries):
            choices = classes_never_exhausted(category, videos, clips)
            if choices < number:
                raise InputError(
                    f"num_sources is {max(counts)}, different_class "
                    f"{str(different_class).lower()} and absent_queries "
                    f"{absent_queries}, but only {choices} classes have {clips} "
                    "videos, or videos that no other class has. Add data, lower these "
                    f"numbers, or set different_class to false.{ONE_VIDEO}"
                )
        self.num_sources = [int(count) for count in counts]
        self.segment_samples = int(segment_samples)
        self.margin_samples = int(margin_samples)
        self.visual_frames = int(visual_frames)
        self.visual_stride = visual_stride
        self.frame_crop = int(frame_crop)
        self.frame_flip = bool(frame_flip)
        self.frame_jitter = float(frame_jitter)
        self.different_class = different_class
        self.gain_range = (float(gain_range[0]), float(gain_range[1]))
        self.speed_factors = [float(factor) for factor in self.speeds]
        self.doubled_sources = float(doubled_sources)
        self.clip = bool(clip)
        self.silent_sources = silent_sources
        self.absent_queries = int(absent_queries)
        self.silence_dbfs = float(silence_dbfs)
        self.max_redraws = int(max_redraws)
        self.seed = int(seed)
        self.repeat = int(repeat)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose mixtures the items are."""
        self.epoch = int(epoch)
        self.mixed = self.pairs[0][1]
        for first, kind in self.pairs:
            if first <= self.epoch:
                self.mixed = kind
        self._orders: Dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.repeat * len(self.keys)

    def batch_groups(self) -> np.ndarray:
        """Return the number of sources of each item; a batch must have one of them."""
        return np.resize(self.num_sources, len(self))

    def __repr__(self) -> str:
        names = ["segment_samples", "margin_samples", "visual_frames", "visual_stride"]
        names += ["frame_crop", "frame_flip", "frame_jitter", "different_class"]
        names += ["pairs", "gain_range", "clip", "silent_sources", "absent_queries"]
        names += ["silence_dbfs", "seed", "repeat"]
        names += ["speed_factors"] if self.speeds != (1,) else []
        names += ["doubled_sources"] if self.doubled_sources else []
        names += ["motion_align"] if any(c.row_size for c, _ in self.conditions) else []
        return (
            f"{type(self).__name__}({len(self.keys)} clips, num_sources="
            f"{', '.join(map(str, self.num_sources))}, "
            f"{', '.join(f'{name}={getattr(self, name)}' for name in names)})"
        )

    def __getitem__(self, index: int) -> Tuple[str, dict]:
        """Draw and read a mixture.

        Returns:
            The clips' keys, joined by "+", and a dict with ``speech_ref{n}`` (L,) and
            ``visual_ref{n}`` (V, D), both float32 (of packed frames (V, 3, H, W),
            uint8), those of conditions (``motion_ref{n}`` (S, D), ``label_ref{n}``),
            and ``silent_redraws``, the number of silent segments that were drawn again.
            The mixture is left to the model: summing on its device is cheaper than
            moving a third of the data more.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        rng = self._generator(_ITEM, index)
        segments: List[_Segment] = []
        gains: List[float] = []
        data: dict = {}
        num_sources = self.num_sources[index % len(self.num_sources)]
        is_silent_source = draw_silent(
            self.silent_sources, num_sources, self._generator(_SILENT, index)
        )
        sounding = np.float32(num_sources - sum(is_silent_source))
        for segment in self._draw_segments(rng, index, num_sources):
            segments.append(segment)
            low, high = self.gain_range
            gains.append(low if low == high else rng.uniform(low, high))
            n = len(segments)
            data[f"speech_ref{n}"] = segment.samples
            self._add_query(data, n, rng, segment.clip, segment.start, segment.length)
        taken = [segment.clip for segment in segments]
        others = self._double_some(index, segments)
        for n, (gain, is_silent_one) in enumerate(
            zip(gains, is_silent_source, strict=True), 1
        ):
            samples = data[f"speech_ref{n}"]
            if is_silent_one:
                samples = np.zeros_like(samples)
            elif self.clip:
                samples = np.clip(samples * np.float32(gain), -1, 1)
                samples /= sounding
            else:
                samples *= np.float32(gain / sounding)
            data[f"speech_ref{n}"] = samples
        data["silent_redraws"] = sum(segment.silent for segment in segments)
        self._add_absent(data, index, num_sources, [*taken, *others])
        return "+".join(self.keys[clip] for clip in taken), data

    def _add_query(
        self,
        data: dict,
        n: int,
        rng: np.random.Generator,
        clip: int,
        start: int,
        length: int,
    ) -> None:
        """Put what queries source n into an item, from a time span of its clip."""
        data[f"visual_ref{n}"] = self._read_visual(rng, clip, start, length)
        for condition, values in self.conditions:
            span = None
            if condition.row_size and self.motion_align == "segment":
                span = rows_in_segment(
                    start,
                    length,
                    self.num_samples[clip],
                    matrix_shape(values[clip])[0],
                )
            value = condition.read(values[clip], self.motion_steps, span)
            data[condition.reference(n)] = value

    def _add_absent(
        self, data: dict, index: int, num_sources: int, taken: List[int]
    ) -> None:
        """Put absent queries into an item that is made of the clips ``taken``."""
        rng = self._generator(_ABSENT, index)
        present = {self.classes[clip] for clip in taken}
        seen = self._of_same_videos(taken)
        for n in range(num_sources + 1, num_sources + 1 + self.absent_queries):
            clip = int(rng.integers(len(self.keys)))
            while self.classes[clip] in present or clip in seen:
                clip = int(rng.integers(len(self.keys)))
            present.add(self.classes[clip])
            seen.update(self.siblings.get(clip, ()))
            length = self.segment_samples
            room = self.num_samples[clip] - length
            data[f"speech_ref{n}"] = np.zeros(length, np.float32)
            self._add_query(data, n, rng, clip, int(rng.integers(room + 1)), length)

    def _generator(self, stream: int, number: int) -> np.random.Generator:
        seeds = np.random.SeedSequence(
            self.seed, spawn_key=(self.epoch, stream, number)
        )
        return np.random.Generator(np.random.Philox(seeds))

    def _first_clip(self, index: int) -> int:
        """Each pass through the clips has an order of its own."""
        number, place = divmod(index, len(self.keys))
        if number not in self._orders:
            rng = self._generator(_ORDER, number)
            self._orders[number] = rng.permutation(len(self.keys))
        return int(self._orders[number][place])

    def _draw_clip(
        self, rng: np.random.Generator, taken: List[int], tried: Tuple[int, ...] = ()
    ) -> int:
        """Draw uniformly from the clips that may join those taken; -1: there is none.

        The clips that may not are blocks of neighbours: the number drawn steps over
        them.
        """
        if self.mixed == "same_class" and taken:
            mates = self._free_classmates(taken[0], taken)
            mates = [n for n in mates if n not in tried]
            return mates[int(rng.integers(len(mates)))] if mates else -1
        blocks = {self.rivals[clip] for clip in taken}
        blocks |= {(n, n + 1) for n in (*tried, *self._of_same_videos(taken))}
        merged = _merge(blocks)
        free = len(self.keys) - sum(last - first for first, last in merged)
        if free <= 0:
            return -1
        clip = int(rng.integers(free))
        for first, last in merged:
            if clip >= first:
                clip += last - first
        return clip

    def _draw_segments(
        self, rng: np.random.Generator, index: int, count: int
    ) -> Iterator[_Segment]:
        """Yield the segment of each source of item ``index``.

        What is drawn from ``rng`` for a source comes before what is drawn for the next.
        """
        clip = self._first_clip(index)
        if self.mixed == "same_video":
            yield from self._draw_parts(rng, clip, count)
            return
        taken: List[int] = []
        speeds = np.zeros(count)
        if len(self.speeds) > 1:
            speeds = self._generator(_SPEED, index).random(count)
        for speed in speeds:
            clip = self._draw_clip(rng, taken) if taken else clip
            segment = self._draw_segment(rng, clip, taken, speed)
            taken.append(segment.clip)
            yield segment

    def _double_some(self, index: int, segments: List[_Segment]) -> List[int]:
        """Double some of the sources of item ``index``; return the clips that do."""
        taken = [segment.clip for segment in segments]
        if self.doubled_sources:
            rng = self._generator(_DOUBLE, index)
            for n in np.flatnonzero(rng.random(len(segments)) < self.doubled_sources):
                self._double(rng, segments[n], taken)
        return taken[len(segments) :]

    def _double(
        self, rng: np.random.Generator, segment: _Segment, taken: List[int]
    ) -> None:
        """Add another clip of the same class to a segment, if one is left.

        The clip joins those taken.
        """
        mates = self._free_classmates(segment.clip, taken)
        if not mates:
            return
        clip = mates[int(rng.integers(len(mates)))]
        speed, length = self._draw_speed(clip, rng.random())
        start = int(rng.integers(self.num_samples[clip] - length + 1))
        samples = read_segment(self.audio[clip], start, length)
        samples = change_speed(samples, speed, self.segment_samples)
        gain = np.float32(rng.uniform(*_DOUBLE_GAIN))
        np.add(segment.samples, gain * samples, out=segment.samples)
        taken.append(clip)

    def _free_classmates(self, clip: int, taken: Iterable[int]) -> List[int]:
        """Return the clips of a clip's class, of other videos than ``taken``."""
        out = {*taken, *self._of_same_videos(taken)}
        return [n for n in range(*self.classmates[clip]) if n not in out]

    def _of_same_videos(self, taken: Iterable[int]) -> Set[int]:
        """Return the other clips of the videos of the clips ``taken``."""
        return {other for clip in taken for other in self.siblings.get(clip, ())}

    def _draw_speed(self, clip: int, number: float) -> Tuple[Fraction, int]:
        """Return a speed that a clip is long enough for, and the samples it takes.

        Args:
            clip: The clip.
            number: From [0, 1): which of the speeds.
        """
        fitting = bisect.bisect_right(self._lengths, self.num_samples[clip])
        place = int(number * fitting)
        return self.speeds[place], self._lengths[place]

    def _draw_parts(
        self, rng: np.random.Generator, clip: int, count: int
    ) -> List[_Segment]:
        """Draw parts of one clip that do not overlap, none of them silent."""
        length, silent = self.segment_samples, 0
        tried: Tuple[int, ...] = ()
        while clip >= 0 and len(tried) <= self.max_redraws:
            room = self.num_samples[clip] - count * length
            for _ in range(self.max_redraws + 1 if room else 1):
                gaps = np.sort(rng.integers(room + 1, size=count))
                starts = rng.permutation(gaps + length * np.arange(count))
                parts = [
                    read_segment(self.audio[clip], int(start), length)
                    for start in starts
                ]
                quiet = sum(is_silent(part, self.silence_dbfs) for part in parts)
                silent += quiet
                if not quiet:
                    counts = [silent] + [0] * (count - 1)
                    return [
                        _Segment(clip, int(start), length, part, number)
                        for start, part, number in zip(
                            starts, parts, counts, strict=True
                        )
                    ]
            tried += (clip,)
            clip = self._draw_clip(rng, [], tried)
        raise self._all_silent(silent, tried)

    def _draw_segment(
        self, rng: np.random.Generator, clip: int, taken: List[int], speed: float
    ) -> _Segment:
        """Draw a segment of ``clip``, or else of another one.

        Args:
            rng: Source of randomness.
            clip: The clip that is tried first.
            taken: Clips that the mixture has.
            speed: Uniform in [0, 1): which of the speeds that fit is taken.
        """
        silent = 0
        tried: Tuple[int, ...] = ()
        while clip >= 0 and len(tried) <= self.max_redraws:
            factor, length = self._draw_speed(clip, speed)
            room = self.num_samples[clip] - length
            first = max(self.margin_samples - length // 2, 0)
            first = min(first, room // 2)
            room -= 2 * first
            for _ in range(self.max_redraws + 1 if room else 1):
                start = first + int(rng.integers(room + 1))
                samples = read_segment(self.audio[clip], start, length)
                if not is_silent(samples, self.silence_dbfs):
                    samples = change_speed(samples, factor, self.segment_samples)
                    return _Segment(clip, start, length, samples, silent)
                silent += 1
            tried += (clip,)
            clip = self._draw_clip(rng, taken, tried)
        raise self._all_silent(silent, tried)

    def _all_silent(self, silent: int, tried: Tuple[int, ...]) -> InputError:
        return InputError(
            f"{silent} segments of {len(tried)} clips were all below silence_dbfs = "
            f"{self.silence_dbfs}: {shorten([self.keys[clip] for clip in tried])}. "
            "Listen to them; drop silent clips in stage 4, or lower silence_dbfs."
        )

    def _read_visual(
        self, rng: np.random.Generator, clip: int, start: int, length: int
    ) -> np.ndarray:
        num_samples, num_rows = self.num_samples[clip], self.num_rows[clip]
        count = self.visual_frames
        if self.visual_stride is not None:
            centre = nearest_row(start, length, num_samples, num_rows)
            rows = strided_rows(centre, count, self.visual_stride, num_rows)
        else:
            first, last = rows_in_segment(start, length, num_samples, num_rows)
            if count == 1:
                rows = [int(rng.integers(first, last))]
            elif count <= last - first:
                rows = first + np.sort(rng.permutation(last - first)[:count])
            else:
                rows = np.sort(rng.integers(first, last, size=count))
        values = read_rows(self.visual[clip], [int(row) for row in rows])
        if not (self.frame_crop or self.frame_flip or self.frame_jitter):
            return values
        if values.ndim != 4:
            raise InputError(
                f"{self.visual[clip]}: frame_crop, frame_flip and frame_jitter are for "
                "packed frames (stage 2, --visual_encoder frames), but this is a "
                f"matrix, {values.shape}. Remove them from dataset_conf."
            )
        values = crop_and_flip(values, self.frame_crop, self.frame_flip, rng)
        return jitter(values, self.frame_jitter, rng) if self.frame_jitter else values


def _curriculum(pairs: object) -> List[Tuple[int, str]]:
    """Return (first epoch, what is mixed), ascending; see MixAndSeparateDataset."""
    stages = [{"epoch": 1, "pairs": pairs}] if isinstance(pairs, str) else pairs
    try:
        found = [(stage["epoch"], stage["pairs"]) for stage in stages]
        epochs = [epoch for epoch, _ in found]
        good = (
            all(kind in PAIRS for _, kind in found)
            and epochs[0] == 1
            and all(type(epoch) is int for epoch in epochs)
            and epochs == sorted(set(epochs))
            and all(len(stage) == 2 for stage in stages)
        )
    except (TypeError, KeyError, IndexError):
        good = False
    if not good:
        raise InputError(
            f"pairs is {pairs!r}; expected one of {', '.join(PAIRS)}, or a list of "
            "{epoch: N, pairs: one of these}, the first with epoch 1, epochs ascending."
        )
    return found


def _blocks(labels: List[str]) -> List[Tuple[int, int]]:
    """For each place of a sorted list, the range of its equals."""
    blocks: List[Tuple[int, int]] = []
    for _, equals in itertools.groupby(labels):
        first, count = len(blocks), len(list(equals))
        blocks += [(first, first + count)] * count
    return blocks


def _merge(blocks: Iterable[Tuple[int, int]]) -> List[Tuple[int, int]]:
    """Return the union of ranges as ranges that do not overlap, in order."""
    merged: List[Tuple[int, int]] = []
    end = 0
    for first, last in sorted(blocks):
        if last > end:
            merged.append((max(first, end), last))
            end = last
    return merged


def _siblings(videos: Sequence[str]) -> Dict[int, Tuple[int, ...]]:
    """For each place whose video comes again, the places of that video."""
    places: Dict[str, List[int]] = {}
    for place, video in enumerate(videos):
        places.setdefault(video, []).append(place)
    return {p: tuple(own) for own in places.values() if len(own) > 1 for p in own}

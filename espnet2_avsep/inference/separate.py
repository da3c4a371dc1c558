"""A trained separator as a Python object: mixture and pictures in, tracks out."""

import argparse
import logging
import os
import threading
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np
import torch

from espnet2_avsep.data.conditions import CONDITIONS, LABELS, WITH_ROWS, needed
from espnet2_avsep.data.motion import ALL_STEPS
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.data.tables.class_labels import class_numbers, number_sources
from espnet2_avsep.errors import InputError, shown
from espnet2_avsep.inference.model_info import DEFAULT_SEGMENT, ModelFacts
from espnet2_avsep.inference.prompt_reader import PromptReader
from espnet2_avsep.inference.prompts import During, Mean, Region, Text
from espnet2_avsep.layers.mixture_consistency import mixture_consistent
from espnet2_avsep.layers.unet import make_shift_invariant
from espnet2_avsep.precision import AUTO, DTYPES, usable_dtype
from espnet2_avsep.registry import separator_choices
from espnet2_avsep.sharing.source import default_weights, find_model
from espnet2_avsep.streaming.chunked import WHOLE, Chunking, ChunkPlan, plan_chunks
from espnet2_avsep.streaming.resampler import Resampler, check_rate, resample_whole
from espnet2_avsep.streaming.stretches import cut
from espnet2_avsep.streaming.tracks import Spans, TrackStream, silence_outside
from espnet2_avsep.tasks.choices import build_model
from espnet2_avsep.weights import load_strict, read_state

# Longer recordings are separated in chunks unless it is asked for otherwise.
WHOLE_SECONDS = 30.0
# Of a training's segment: three minutes at 48 kHz.
MAX_SAMPLES = 1 << 23
# More channels than samples, and more than this, are samples by channels.
MAX_CHANNELS = 32

Mixture = Union[np.ndarray, torch.Tensor]

__all__ = ["Chunking", "During", "Mean", "Region", "SeparateAV", "Text"]
__all__ += ["load_config", "load_weights"]


def load_config(path: Union[str, Path]) -> argparse.Namespace:
    """Read the config.yaml of a training.

    Raises:
        InputError: the file is missing, or is not the config of such a training.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Expected the config.yaml that training writes."
        )
    config = read_config(path)
    needed = ("encoder", "decoder", "visual_adapter", "separator", "criterions")
    missing = [k for k in needed if k not in config]
    if missing:
        raise InputError(
            f"{path}: is not the config of an audio-visual separation training: "
            f"{', '.join(missing)} missing."
        )
    return argparse.Namespace(**{str(key): value for key, value in config.items()})


def load_weights(model: torch.nn.Module, path: Union[str, Path]) -> str:
    """Load weights strictly, without running pickled code.

    Returns:
        The SHA-256 of the file.

    Raises:
        InputError: the file is missing, damaged, or does not fit the model.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Train first (stage 6), or name the file of the "
            "weights."
        )
    state = read_state(path)
    load_strict(
        model,
        state,
        f"{path}: does not fit the model of the config",
        "Give the config.yaml beside these weights. If it is that one, another version "
        "made the model (before 0.2.0, AVPC had another network): use that version, or "
        "train again.",
    )
    broken = [k for k, v in state.items() if not bool(torch.isfinite(v).all())]
    if broken:
        raise InputError(
            f"{path}: {len(broken)} tensors hold NaN or infinite values, the first is "
            f"{broken[0]}: the training had diverged. Take an earlier epoch's file."
        )
    digest = file_sha256(path)
    count = sum(v.numel() for v in state.values())
    logging.info(
        f"loaded {path}: {len(state)} tensors, {count / 1e6:.2f} M values, "
        f"sha256 {digest[:16]}"
    )
    return digest


class SeparateAV:
    """A trained separator: a mixture and a prompt for each source in, tracks out.

    One object may be used by several threads at once. :meth:`from_pretrained` finds the
    files of a model by its folder or name.

    Args:
        train_config: The training's config.yaml.
        model_file: Its weights; None takes valid.si_sdr_i.best.pth beside the config,
            or valid.loss.best.pth where there is no such file.
        device: "cpu", "cuda", "cuda:N".
        dtype: Precision of the network, "float32", or "bfloat16", which is used where
            the device computes faster in it.
        binary_mask: Round masks to 0 or 1.
        threshold: Masks above it are rounded to 1, in [0, 1].
        image_encoder: Its method ``encode`` takes a list of n pictures, (H, W, 3) uint8
            each, and returns (n, D), or (n, 3, H', W') where the model takes pictures
            themselves. None: the encoder that the training's visual_info.yaml names is
            built when the first picture comes.
        text_encoder: Its method ``encode`` takes a list of n strings and returns
            (n, D). None: the text tower of the same open_clip model is built when the
            first text comes.
        stop_db: For models that take one source after the other: once the energy of
            what is left is below this level, in dB relative to the mixture, for
            instance -20, the other sources are silent and what is left goes to the
            residual. None takes the training's separator_conf.stop_db.
        shift_invariant: Let U-Nets treat all frames alike, so that the tracks of a long
            recording do not depend on how it is cut into chunks (see
            streaming/chunked.py). The published networks do not, and masks differ.
        mixture_consistency: Share what the tracks leave of the mixture equally among
            them, so that they add up to it and the residual is silent in the model's
            band: for mixtures whose sources all have a prompt. See
            layers/mixture_consistency.py.
        picture_dtype: Precision of the picture encoder: "float32", "bfloat16", or
            "auto", bfloat16 where the device computes faster in it. None takes that of
            the training's embeddings.

    Attributes:
        classes: Name of each class that the model was trained with -> its number, in
            the model's order; empty where training had no classes.
        config: The training's configuration.
        device: Where the network runs.
        weights_sha256: SHA-256 of the file of the weights.

    Raises:
        InputError: a file is missing or does not fit, or an argument is out of range.

    Example:
        >>> separate = SeparateAV.from_pretrained(folder)  # exp/avsep_<tag>
        >>> mixture = np.random.default_rng(0).normal(size=44100).astype(np.float32)
        >>> prompts = np.eye(separate.prompt_dim, dtype=np.float32)[:2]
        >>> separate(mixture / 10, prompts, fs=44100).shape
        (2, 44100)
        >>> tracks = separate(mixture / 10, prompts, fs=44100, residual=True)
        >>> bool(np.abs(tracks.sum(axis=0) - mixture / 10).max() < 1e-6)
        True
        >>> pieces = np.split(mixture / 10, 10)  # as they come, from a microphone
        >>> tracks = list(separate.stream(pieces, prompts, fs=44100))
        >>> np.concatenate(tracks, axis=-1).shape
        (2, 44100)
    """

    def __init__(
        self,
        train_config: Union[str, Path],
        model_file: Optional[Union[str, Path]] = None,
        device: str = "cpu",
        dtype: str = "float32",
        binary_mask: bool = False,
        threshold: float = 0.5,
        image_encoder: Any = None,
        text_encoder: Any = None,
        stop_db: Optional[float] = None,
        shift_invariant: bool = False,
        mixture_consistency: bool = False,
        picture_dtype: Optional[str] = None,
    ):
        if dtype not in DTYPES:
            raise InputError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}.")
        if picture_dtype not in (None, AUTO, *DTYPES):
            expected = ", ".join((AUTO, *DTYPES))
            raise InputError(f"picture_dtype={picture_dtype!r}: expected {expected}.")
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold={threshold}: expected a value in [0, 1].")
        self.device = _device(device)
        self.train_config = Path(train_config)
        config = load_config(train_config)
        if model_file is None:
            model_file = default_weights(self.train_config.parent)
        self.config = config
        self.model = _build(config, self.train_config)
        self.weights_sha256 = load_weights(self.model, model_file)
        if stop_db is not None:
            _set_stop(self.model.separator, stop_db)
        self.model.to(self.device).eval()
        if shift_invariant:
            make_shift_invariant(self.model.separator)
        self.model.separator.to(usable_dtype(dtype, self.device))
        try:
            self.classes = class_numbers(getattr(config, "classes", None) or [])
        except InputError as error:
            raise InputError(f"{self.train_config}: {error}") from error
        self.motion_steps = self._whole_number("motion_steps", 160)
        if self.model.separator.needs_flow:
            self.motion_steps = ALL_STEPS
        self.binary_mask = binary_mask
        self.threshold = threshold
        self.mixture_consistency = mixture_consistency
        self._image_encoder = image_encoder
        self._picture_dtype = picture_dtype
        self._text_encoder = text_encoder
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        source: Union[str, Path],
        revision: Optional[str] = None,
        cache_dir: Optional[Union[str, Path]] = None,
        **options: Any,
    ) -> "SeparateAV":
        """Load a trained, packed or published model.

        Args:
            source: The folder of a training (or its config.yaml), a packed model (zip
                file or folder), ``user/name`` on the Hugging Face hub, or ``zoo:tag``,
                a name in espnet_model_zoo's table.
            revision: Branch, tag or commit, for models on the hub.
            cache_dir: Where fetched and unpacked models are kept.
            **options: Further arguments of the constructor.

        Raises:
            InputError: there is no such model, a file of it is missing, or it is
                refused (see sharing/archive.py).
        """
        files = find_model(source, revision, cache_dir)
        options.setdefault("model_file", files.weights)
        return cls(files.config, **options)

    @property
    def sample_rate(self) -> int:
        """Sampling rate of the model in Hz."""
        return self.model.sample_rate

    @property
    def segment(self) -> int:
        """Samples of a segment of the training, at the model's rate."""
        return self._whole_number("segment_samples", DEFAULT_SEGMENT)

    def _whole_number(self, key: str, default: int) -> int:
        """Return a number of the training's dataset_conf.

        Raises:
            InputError: it is no number of samples or steps.
        """
        value = self._dataset_conf.get(key, default)
        if type(value) is not int or not 1 <= value <= MAX_SAMPLES:
            raise InputError(
                f"{self.train_config}: dataset_conf.{key} is {shown(value)}; expected "
                f"a whole number from 1 to {MAX_SAMPLES}."
            )
        return value

    @property
    def _dataset_conf(self) -> Dict[str, Any]:
        conf = getattr(self.config, "dataset_conf", None)
        return conf if isinstance(conf, dict) else {}

    @property
    def prompt_dim(self) -> Optional[int]:
        """Size D of an embedding; None where the model takes pictures themselves."""
        if getattr(self.model.visual_adapter, "takes_frames", False):
            return None
        return self.model.separator.visual_dim

    @property
    def facts(self) -> ModelFacts:
        """What config and weights say about the model."""
        return ModelFacts(
            train_config=self.train_config,
            system=getattr(self.config, "system", None),
            separator=self.config.separator,
            parameters=sum(p.numel() for p in self.model.parameters()),
            sample_rate=self.sample_rate,
            segment=self.segment,
            weights_sha256=self.weights_sha256,
            prompt_dim=self.prompt_dim,
            classes=list(self.classes),
            needs=tuple(c.what for c in needed(self.model.separator)),
        )

    def __call__(
        self,
        mixture: Mixture,
        prompts: Sequence[Any],
        fs: Optional[int] = None,
        classes: Optional[Sequence[str]] = None,
        motion: Optional[Sequence[np.ndarray]] = None,
        channels: str = "mean",
        residual: bool = False,
        chunking: Union[str, Chunking] = "auto",
        bandwidth: str = "model",
        **others: Any,
    ) -> np.ndarray:
        """Separate one recording.

        Args:
            mixture: (L,), or (channels, L), floats.
            prompts: One per source: a picture (a path, a PIL image, or an (H, W, 3)
                array of uint8), a :class:`Region` of a video or a picture, an embedding
                (D,) or (V, D) as an array or tensor of floats or a list, words as a
                :class:`Text`, several of these for one source as a :class:`Mean`, or a
                function of time, which is called with the begin and end of a stretch
                in s and returns one of the others. :class:`During` limits any of them
                to the time spans in which the source sounds.
            fs: Sampling rate of the mixture; None takes the model's.
            classes: The class of each source, for models that need it (iQuery and
                DGFNet with class queries); the attribute ``classes`` has their names.
            motion: Motion features (steps, D_m) of each source, over the whole
                recording, for models that need them. As in training, each chunk takes
                those of the whole recording or, with the training's ``motion_align:
                segment``, those of its own time, at most ``motion_steps`` of them,
                evenly spread (of Sound of Motions' optical flow, all).
            channels: "mean": the mean of the channels is separated. "each": masks are
                made from the mean and applied to every channel.
            residual: Whether a last track holds what the others leave, so that all
                tracks add up to the mixture (for channels "mean", to its mean). Tracks
                are then rounded to steps of 24-bit audio; the sum is exact for a
                mixture of at most 24 bits.
            chunking: "whole" separates in one pass, a :class:`Chunking` in chunks, and
                "auto" in the default chunks where the recording is longer than 30 s.
            bandwidth: "model": tracks end at half the model's rate, as the published
                systems' do. "full": what the mixture has above it is shared among them
                (see streaming/bandwidth.py); below it nothing changes.
            **others: Further conditions of the sources, see data/conditions.py.

        Returns:
            float32 (N, L), or (N, channels, L) with channels "each", at the mixture's
            rate and length, in the prompts' order; N + 1 tracks with a residual.

        Raises:
            InputError: the mixture is empty or not finite, there is no prompt, a shape
                is wrong, or classes or motion are missing, unknown, or not taken by
                this model.
        """
        fs = self._rate(fs)
        wav = _check_mixture(mixture)
        if isinstance(chunking, str):
            if chunking not in ("auto", "whole"):
                raise InputError(
                    f"chunking={chunking!r}: expected 'auto', 'whole' or a Chunking."
                )
            long = wav.shape[-1] > WHOLE_SECONDS * fs
            plan = self.plan(Chunking()) if chunking == "auto" and long else WHOLE
        else:
            plan = self.plan(chunking)
        total = -(-wav.shape[-1] * self.sample_rate // fs)
        given = {"classes": classes, "motion": motion, **others}
        stream = self._stream(
            prompts, fs, plan, channels, residual, bandwidth, given, total
        )
        tracks = [*stream.feed(wav), *stream.finish()]
        return np.concatenate(tracks, axis=-1)

    def stream(
        self,
        pieces: Iterable[Mixture],
        prompts: Sequence[Any],
        fs: Optional[int] = None,
        classes: Optional[Sequence[str]] = None,
        channels: str = "mean",
        residual: bool = False,
        chunking: Optional[Chunking] = None,
        bandwidth: str = "model",
    ) -> Iterator[np.ndarray]:
        """Separate a recording that comes in pieces, at constant memory.

        The sizes of the pieces make no difference to the result.

        Args:
            pieces: (L',) or (channels, L') each, of any lengths.
            prompts: As for a call. Those that change over time are read again for each
                chunk.
            fs: As for a call.
            classes: As for a call.
            channels: As for a call.
            residual: As for a call.
            chunking: None takes the default :class:`Chunking`: chunks as long as the
                training's segments, or longer where the network's context is known.
            bandwidth: As for a call.

        Yields:
            The next stretch of the tracks, (N, L'') as for a call; all stretches
            together are as long as all pieces. A stretch comes once a chunk is full: a
            sample waits for about one chunk at most, with bandwidth "full" up to 0.8 s
            longer.

        Raises:
            InputError: as for a call.
        """
        plan = self.plan(chunking or Chunking())
        given = {"classes": classes}
        stream = self._stream(
            prompts, self._rate(fs), plan, channels, residual, bandwidth, given
        )
        for wav in _check_pieces(pieces):
            yield from stream.feed(wav)
        yield from stream.finish()

    def ground(
        self,
        pieces: Iterable[Mixture],
        prompts: Sequence[Any],
        fs: Optional[int] = None,
    ) -> Iterator[Tuple[float, float, np.ndarray]]:
        """Tell which prompts can be heard in a recording that comes in pieces.

        For models that learn it: CCoL, and TFC-TDF with ``presence``. Stretches are as
        long as the training's segments.

        Args:
            pieces: (L',) or (channels, L') each, of any lengths; the model hears the
                mean of the channels.
            prompts: As for a call.
            fs: As for a call.

        Yields:
            Begin and end of the next stretch in s, and the probability that what each
            prompt shows sounds in it, (N,); 0 where the stretch is silent.

        Raises:
            InputError: as for a call, or the model cannot tell what sounds.
        """
        if not self.model.separator.grounds:
            raise InputError(
                f"{self.train_config}: the separator {self.config.separator} cannot "
                "tell what sounds; use a model with a grounding network (separator: "
                f"{separator_choices.that(grounds=True)})."
            )
        fs, rate = self._rate(fs), self.sample_rate
        reader = self._reader(prompts)
        if any(reader.spans):
            raise InputError(
                "a prompt says when it sounds (During); that is what is asked here. "
                "Leave its time spans out."
            )
        for begin, end, samples in cut(self._resampled(pieces, fs), self.segment):
            self._check_length(len(samples))
            visual = torch.from_numpy(reader(begin / rate, end / rate))
            with torch.inference_mode():
                found = self.model.ground(
                    torch.from_numpy(samples)[None].to(self.device),
                    visual[None, :, None].to(self.device),
                )
            yield begin / rate, end / rate, _to_finite(found[0])

    def _resampled(self, pieces: Iterable[Mixture], fs: int) -> Iterator[np.ndarray]:
        """Yield the mean of the channels of a recording, (L'') at the model's rate."""
        resampler = Resampler(fs, self.sample_rate)
        for wav in _check_pieces(pieces):
            yield resampler(wav.mean(axis=0, keepdims=True))[0]
        yield resampler(np.zeros((1, 0), np.float32), last=True)[0]

    def batch(
        self,
        mixtures: Sequence[Mixture],
        prompts: Sequence[Sequence[Any]],
        fs: Optional[int] = None,
        batch_size: int = 8,
    ) -> List[np.ndarray]:
        """Separate several recordings, those of equal length together.

        Tracks have the model's bandwidth. For models that take neither classes nor
        motion.

        Args:
            mixtures: As for a call; the mean of the channels is separated.
            prompts: For each mixture, its prompts.
            fs: As for a call, of all mixtures.
            batch_size: The largest number of recordings at once.

        Returns:
            For each mixture, what a call returns.

        Raises:
            InputError: as for a call, or the numbers of mixtures and of lists of
                prompts differ.
        """
        fs = self._rate(fs)
        if len(mixtures) != len(prompts):
            raise InputError(
                f"{len(mixtures)} mixtures but {len(prompts)} lists of prompts: give "
                "one list of prompts for each mixture."
            )
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: expected at least 1.")
        tracks: List[Any] = [None] * len(mixtures)
        spans: Dict[int, Spans] = {}
        alike: Dict[Tuple, List[Tuple[int, int, np.ndarray, np.ndarray]]] = {}
        for index, (mixture, sources) in enumerate(zip(mixtures, prompts, strict=True)):
            wav = _check_mixture(mixture)
            if wav.shape[-1] > WHOLE_SECONDS * fs:
                tracks[index] = self(wav, sources, fs)
                continue
            length = wav.shape[-1]
            self._conditions(len(sources), {})  # says what it needs
            reader = self._reader(sources)
            spans[index] = reader.spans
            visual = reader(0.0, length / fs)
            wav = wav.mean(axis=0, keepdims=True)
            wav = resample_whole(wav, fs, self.sample_rate)[0]
            self._check_length(len(wav))
            waiting = alike.setdefault((len(wav), visual.shape), [])
            waiting.append((index, length, wav, visual))
        for waiting in alike.values():
            for begin in range(0, len(waiting), batch_size):
                part = waiting[begin : begin + batch_size]
                result = self.separate_batch(
                    torch.from_numpy(np.stack([wav for _, _, wav, _ in part])),
                    torch.from_numpy(np.stack([v for _, _, _, v in part]))[:, :, None],
                )
                for (index, length, _, _), found in zip(
                    part, _to_finite(result), strict=True
                ):
                    found = resample_whole(found, self.sample_rate, fs)[:, :length]
                    missing = length - found.shape[-1]
                    tracks[index] = np.pad(found, ((0, 0), (0, missing)))
                    silence_outside(tracks[index], spans[index], 0, fs)
        return tracks

    def separate_batch(
        self, mixture: torch.Tensor, visual: torch.Tensor, **conditions: torch.Tensor
    ) -> torch.Tensor:
        """Separate mixtures of equal length at the model's rate.

        Args:
            mixture: (B, L).
            visual: (B, N, V, D) floats, or frames (B, N, V, 3, H, W).
            **conditions: What else the separator needs of each source: ``motion``
                (B, N, S, D_m), ``motion_lengths`` (B, N), ``labels`` (B, N).

        Returns:
            (B, N, L) on the model's device.
        """
        mixture = mixture.to(self.device, torch.float32)
        with torch.inference_mode():
            tracks, _ = self.model.separate(
                mixture,
                visual.to(self.device),
                binary_mask=self.binary_mask,
                threshold=self.threshold,
                **{name: value.to(self.device) for name, value in conditions.items()},
            )
            return self._consistent(tracks, mixture)

    def plan(self, chunking: Chunking) -> ChunkPlan:
        """Convert a Chunking to samples at the model's rate.

        Raises:
            InputError: its values do not fit together.
        """
        encoder = self.model.encoder
        # The U-Nets', which halve the frames once a layer.
        layers = getattr(self.model.separator, "layers", 0)
        return plan_chunks(
            chunking,
            self.segment,
            self.sample_rate,
            encoder.hop_length,
            encoder.n_fft + 1,
            layers if isinstance(layers, int) else 0,
            self._context,
        )

    @property
    def _context(self) -> int:
        """Samples on each side that a track depends on; 0 where that is not known."""
        frames = self.model.separator.context_frames
        encoder = self.model.encoder
        # Frames see half a window to each side, and samples are in as many frames.
        return frames and frames * encoder.hop_length + encoder.n_fft

    def _stream(
        self,
        prompts: Sequence[Any],
        fs: int,
        plan: ChunkPlan,
        channels: str,
        residual: bool,
        bandwidth: str,
        given: Mapping[str, Any],
        total: Optional[int] = None,
    ) -> TrackStream:
        """Return what separates in chunks; ``total`` samples at the model's rate."""
        reader = self._reader(prompts)
        conditions = self._conditions(reader.number, given)

        def process(chunk: np.ndarray, start: int) -> np.ndarray:
            samples = chunk.shape[-1]
            self._check_length(samples)
            rate = self.sample_rate
            visual = reader(start / rate, (start + samples) / rate)
            told = conditions
            for condition in WITH_ROWS:
                rows = given.get(condition.argument)
                if rows is not None and total is not None:
                    name, chunk_of = condition.name, (start, samples, total)
                    told = {**told, **self._rows(name, rows, *chunk_of)}
            return self._separate_chunk(chunk, visual, told)

        return TrackStream(
            *(process, plan, fs, self.sample_rate, channels, residual),
            spans=reader.spans,
            bandwidth=bandwidth,
        )

    def _separate_chunk(
        self,
        chunk: np.ndarray,
        visual: np.ndarray,
        conditions: Dict[str, torch.Tensor],
    ) -> np.ndarray:
        """Separate (C, n), prompted by (N, D) or (N, 3, H, W), into (N, C, n)."""
        mixture = torch.from_numpy(np.ascontiguousarray(chunk))
        rows = torch.from_numpy(visual)[None, :, None]
        if len(chunk) == 1:
            tracks = self.separate_batch(mixture, rows, **conditions)
            return _to_finite(tracks[0, :, None])
        mixture = mixture[None].to(self.device)
        with torch.inference_mode():
            tracks = self.model.separate_channels(
                mixture,
                rows.to(self.device),
                binary_mask=self.binary_mask,
                threshold=self.threshold,
                **{name: value.to(self.device) for name, value in conditions.items()},
            )
            return _to_finite(self._consistent(tracks, mixture)[0])

    def _consistent(self, tracks: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
        """What the tracks (B, N, ..., L) become with ``mixture_consistency``."""
        if self.mixture_consistency:
            return mixture_consistent(tracks, mixture)
        return tracks

    def _conditions(
        self, num_sources: int, given: Mapping[str, Any]
    ) -> Dict[str, torch.Tensor]:
        """Check conditions of one mixture's sources; return those without rows."""
        separator = self.model.separator
        unknown = sorted(given.keys() - {c.argument for c in CONDITIONS})
        if unknown:
            raise InputError(f"{unknown[0]}: is not an argument of a separation.")
        found: Dict[str, torch.Tensor] = {}
        for condition in CONDITIONS:
            name = condition.argument
            values, wanted = given.get(name), condition.is_needed(separator)
            if (values is not None) != wanted:
                known = f" ({', '.join(self.classes)})" if condition is LABELS else ""
                raise InputError(
                    f"{condition.what} are missing: this model needs them of each "
                    f"source{known}. Give them in Python ({name}=...), or separate "
                    "prepared mixtures (stage 7); 'avsep separate' takes no such model."
                    if wanted
                    else f"{name} were given: this model takes no {name}."
                )
            if values is None:
                continue
            if len(values) != num_sources:
                raise InputError(
                    f"{len(values)} {name} were given for {num_sources} prompts."
                )
            if condition is LABELS:
                values = number_sources({name: values}, self.classes)[name]
            if condition.row_size is None:
                found[condition.name] = torch.tensor([values])
                continue
            size = getattr(separator, condition.row_size)
            for number, rows in enumerate(values, 1):
                shape = tuple(np.shape(rows))
                if len(shape) != 2 or shape[0] < 1 or shape[1] != size:
                    raise InputError(
                        f"{name} {number} has the shape {shape}; expected (steps, "
                        f"{size})."
                    )
        return found

    def _rows(
        self,
        name: str,
        given: Sequence[np.ndarray],
        start: int,
        samples: int,
        total: int,
    ) -> Dict[str, torch.Tensor]:
        """Rows of a condition for a chunk, as training reads a segment's.

        Args:
            name: Of the condition.
            given: (steps, D) of each source, over ``total`` samples.
            start: First sample of the chunk.
            samples: Their number.
            total: Samples of the recording.
        """
        from espnet2_avsep.data.motion import choose_steps
        from espnet2_avsep.data.segment_reader import rows_in_segment

        parts = []
        for steps in given:
            span = (0, len(steps))
            if self._dataset_conf.get("motion_align") == "segment":
                span = rows_in_segment(start, samples, total, len(steps))
            rows = choose_steps(*span, self.motion_steps)
            parts.append(torch.as_tensor(np.asarray(steps)[rows], dtype=torch.float32))
        return {
            name: torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)[None],
            f"{name}_lengths": torch.tensor([[len(part) for part in parts]]),
        }

    @property
    def shortest(self) -> float:
        """Duration in s of the shortest mixture: more than one analysis window."""
        return (self.model.encoder.n_fft + 1) / self.sample_rate

    def _check_length(self, samples: int) -> None:
        shortest = self.model.encoder.n_fft + 1
        if samples < shortest:
            raise InputError(
                f"the mixture has {samples} samples at the model's "
                f"{self.sample_rate} Hz; more than one analysis window ({shortest} "
                "samples) is needed."
            )

    def _rate(self, fs: Optional[int]) -> int:
        return self.sample_rate if fs is None else check_rate(fs, "the mixture")

    def _reader(self, prompts: Sequence[Any]) -> PromptReader:
        return PromptReader(
            prompts, self.prompt_dim, self.encode_pictures, self.encode_texts
        )

    def encode_pictures(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Encode pictures (H, W, 3), uint8, as the training's were.

        Returns:
            (n, D), or (n, 3, H', W') where the model takes pictures themselves.

        Raises:
            InputError: the encoder is not known, or its weights are not there.
        """
        with self._lock:
            if self._image_encoder is None:
                from espnet2_avsep.visual.build import encoder_from_info

                self._image_encoder = encoder_from_info(
                    self._visual_info, str(self.device), self._picture_dtype
                )
        return self._image_encoder.encode(list(images))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts with the text tower beside the training's image tower.

        Returns:
            (n, D).

        Raises:
            InputError: the model was not trained on a trained open_clip model's
                embeddings, or the weights are not there.
        """
        with self._lock:
            if self._text_encoder is None:
                from espnet2_avsep.visual.build import text_encoder_from_info

                self._text_encoder = text_encoder_from_info(
                    self._visual_info, str(self.device)
                )
        return self._text_encoder.encode(list(texts))

    @property
    def _visual_info(self) -> Path:
        return self.train_config.parent / "visual_info.yaml"


def _build(config: argparse.Namespace, path: Path) -> torch.nn.Module:
    """Build the model of a config.yaml that may have been changed by hand.

    Raises:
        InputError: it describes no model.
    """
    try:
        model = build_model(config, with_teacher=False)
        parts = ("encoder", "decoder", "visual_adapter", "separator")
        missing = [name for name in parts if getattr(model, name) is None]
        if missing:
            raise InputError(f"{', '.join(missing)}: is null; name one.")
        check_rate(model.sample_rate, "sample_rate")
        return model
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # whatever a wrong value leads to, below
        raise InputError(
            f"{path}: describes no model that can be built "
            f"({type(error).__name__}: {error}). Take the config.yaml that training "
            "wrote, unchanged."
        ) from error


def _device(name: str) -> torch.device:
    """Return a device by name.

    Raises:
        InputError: there is none of that name.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"device={name!r:.60}: expected 'cpu', 'cuda' or 'cuda:N'.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device={name!r}: no CUDA device is available; use device='cpu'."
        )
    return device


def _to_finite(tracks: torch.Tensor) -> np.ndarray:
    """Return the model's output as an array.

    Raises:
        InputError: it holds NaN or infinite samples, which files hold as silence.
    """
    found = tracks.cpu().numpy()
    if not np.isfinite(found).all():
        raise InputError(
            "the model gives NaN or infinite samples: its weights are damaged, or a "
            "prompt's embedding or the mixture has far too large values (expected "
            "embeddings of about unit length, samples in [-1, 1])."
        )
    return found


def _check_mixture(mixture: Mixture, may_be_empty: bool = False) -> np.ndarray:
    """Return (C, L) float32.

    Raises:
        InputError: it is no array of finite floats of one or two axes, or empty.
    """
    if isinstance(mixture, torch.Tensor):
        mixture = mixture.detach().cpu()
        wav = (
            mixture.float().numpy() if mixture.is_floating_point() else mixture.numpy()
        )
    else:
        wav = np.asarray(mixture)
    if isinstance(mixture, (str, os.PathLike)):
        raise InputError(
            f"the mixture is a name, {str(mixture)!r:.200}; expected its samples. "
            "separate_file separates a file."
        )
    if wav.dtype.kind != "f":
        raise InputError(
            f"the mixture is {wav.dtype}; expected floating point samples in "
            "[-1, 1] (divide 16-bit integers by 32768)."
        )
    if wav.ndim not in (1, 2) or (wav.size == 0 and not may_be_empty):
        raise InputError(
            f"the mixture has the shape {wav.shape}; expected (samples,) or (channels, "
            "samples), not empty."
        )
    wav = np.atleast_2d(wav)
    if len(wav) > wav.shape[-1] > 0 and len(wav) > MAX_CHANNELS:
        raise InputError(
            f"the mixture has {len(wav)} channels of {wav.shape[-1]} samples; expected "
            "(channels, samples): transpose it."
        )
    with np.errstate(over="ignore"):
        wav = wav.astype(np.float32)
    if not np.isfinite(wav).all():
        raise InputError("the mixture holds NaN or infinite samples.")
    return wav


def _check_pieces(pieces: Iterable[Mixture]) -> Iterator[np.ndarray]:
    """Yield pieces as (C, L) float32; at the end, raise where all were empty."""
    empty = True
    for piece in pieces:
        wav = _check_mixture(piece, may_be_empty=True)
        empty = empty and wav.shape[-1] == 0
        yield wav
    if empty:
        raise InputError("the mixture is empty: no piece held any sample.")


def _set_stop(separator: torch.nn.Module, level: float) -> None:
    """Set where the recursion of a separator ends.

    Raises:
        InputError: it has none, or the level is not below 0 dB.
    """
    if not separator.gives_steps:
        raise InputError(
            f"stop_db={level}: this model takes all sources at once; only a model that "
            "takes one after the other can stop before the last (separator: "
            f"{separator_choices.that(gives_steps=True)})."
        )
    try:
        separator.stop_db = level
    except ValueError as error:
        raise InputError(str(error)) from error

"""The ESPnet model: waveforms and visual embeddings in, loss and tracks out."""

import contextlib
import math
from typing import (
    Callable,
    ContextManager,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import torch
from torch import Tensor, nn

from espnet2_avsep.data.conditions import needed
from espnet2_avsep.dsp.log_frequency import LogFrequencyWarp
from espnet2_avsep.layers.batch_norm import several_processes
from espnet2_avsep.layers.grounding import SOUNDS, Grounding, grounding_accuracy
from espnet2_avsep.layers.recursion import RecursionSteps
from espnet2_avsep.lean_imports import lean_imports
from espnet2_avsep.loss.abs_criterion import AbsCriterion, SeparationOutput
from espnet2_avsep.metrics.si_sdr import si_sdr
from espnet2_avsep.precision import DTYPES, usable_dtype
from espnet2_avsep.separator.abs_separator import AbsSeparator

with lean_imports():
    from espnet2.torch_utils.device_funcs import force_gatherable
    from espnet2.train.abs_espnet_model import AbsESPnetModel

COMPRESSIONS = ("log", "log1p", "power")
# Exponent of the compression "power", usual for complex spectra of speech and music.
POWER = 0.3
# Of a validation source, in dB: see track_quality().
FLOOR_DB = -30.0
MASK_ACTIVATIONS = ("sigmoid", "none")
MASK_ROUNDINGS = ("linear", "log")
PADDINGS = ("reflect", "zeros")


class WeightedCriterion(NamedTuple):
    """One term of the training loss.

    Attributes:
        name: Its name in the config and in the log.
        criterion: The loss.
        weight: Its factor in the sum.
    """

    name: str
    criterion: AbsCriterion
    weight: float


class ESPnetAVSeparationModel(AbsESPnetModel):
    """Mixture -> STFT -> log-frequency magnitude -> masks -> tracks.

    Args:
        encoder: STFT, (B, L) -> complex (B, T, F).
        decoder: Inverse STFT.
        visual_adapter: (B, N, V, D), or frames (B, N, V, 3, H, W), -> (B, N, D').
        separator: Mixture feature and embeddings -> mask logits; None where masks are
            made otherwise, see separate_by().
        criterions: The terms of the loss; empty for inference.
        teacher: Frozen audio encoder for the alignment term; None without it and in
            inference. It is not a submodule: neither the optimizer nor the saved
            weights hold any of it.
        sample_rate: Sampling rate of the waveforms in Hz.
        num_log_bins: Rows of the log-frequency spectrogram; None keeps the linear axis.
        compression: "log" (log(X + log_eps), HFRA and CLIPSep), "log1p" (DGFNet) or
            "power" (X ** 0.3).
        log_eps: See ``compression``.
        mask_max: Masks are mask_max * sigmoid(logits): 1 for binary masks and the
            spectrogram loss, 5 (1 in iQuery, DGFNet, Co-Separation) for ratio masks.
        mask_activation: "sigmoid", or "none": masks are the separator's output.
        mask_rounding: Where binary masks are rounded: "linear", after the return to the
            linear frequency axis, as in all released programs of this field; or "log",
            before it, which gives about 0.1 dB more SDR.
        warp_align_corners: See LogFrequencyWarp.
        stft_padding: What the STFT sees beyond the ends of the sound: "reflect" (its
            mirror image; librosa before 0.9) or "zeros" (librosa since). The inverse
            STFT cuts these ends off and has no such choice.
        precision: Of the separator in training: "float32", or "bfloat16" for its
            matrix products and convolutions (autocast), where the device computes
            faster in it. STFT, loss and weights are in
            float32 always. On a GPU ESPnet's ``use_amp: true`` is the same choice for
            the whole model; on a CPU there is only this one.
        extract_feats_in_collect_stats: ESPnet's switch; there is nothing to extract.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        visual_adapter: nn.Module,
        separator: Optional[AbsSeparator],
        criterions: Sequence[WeightedCriterion] = (),
        teacher: Optional[nn.Module] = None,
        sample_rate: int = 11625,
        num_log_bins: Optional[int] = 256,
        compression: str = "log",
        log_eps: float = 1e-10,
        mask_max: float = 1.0,
        mask_activation: str = "sigmoid",
        mask_rounding: str = "linear",
        warp_align_corners: bool = True,
        stft_padding: str = "reflect",
        precision: str = "float32",
        extract_feats_in_collect_stats: bool = False,
    ):
        super().__init__()
        for name, value, known in (
            ("compression", compression, COMPRESSIONS),
            ("precision", precision, tuple(DTYPES)),
            ("mask_activation", mask_activation, MASK_ACTIVATIONS),
            ("mask_rounding", mask_rounding, MASK_ROUNDINGS),
            ("stft_padding", stft_padding, PADDINGS),
        ):
            if value not in known:
                raise ValueError(
                    f"model_conf.{name}={value!r}: expected one of {known}."
                )
        self.encoder = encoder
        self.decoder = decoder
        self.visual_adapter = visual_adapter
        self.separator = separator
        self.criterions = nn.ModuleDict({c.name: c.criterion for c in criterions})
        self.weights = {c.name: c.weight for c in criterions}
        self.warp = LogFrequencyWarp(
            encoder.output_dim, num_log_bins, warp_align_corners
        )
        self.sample_rate = sample_rate
        self.compression = compression
        self.log_eps = log_eps
        self.mask_max = mask_max
        self.mask_activation = mask_activation
        self.mask_rounding = mask_rounding
        self.stft_padding = stft_padding
        self.precision = precision
        self.extract_feats_in_collect_stats = extract_feats_in_collect_stats
        # In a tuple, out of nn.Module's sight: see the class docstring.
        self._teacher = (teacher,)

    @property
    def teacher(self) -> Optional[nn.Module]:
        """The frozen teacher, or None."""
        return self._teacher[0]

    def forward(
        self,
        speech_ref1: Tensor,
        visual_ref1: Tensor,
        speech_mix: Optional[Tensor] = None,
        utt_id: Optional[List[str]] = None,
        silent_redraws: Optional[Tensor] = None,
        **sources: Tensor,
    ) -> Tuple[Tensor, Dict[str, Tensor], Tensor]:
        """Compute the training loss.

        Args:
            speech_ref1: Source 1, divided by N, (B, L).
            visual_ref1: Embeddings of V frames of source 1, (B, V, D), or the frames
                themselves, (B, V, 3, H, W), where the adapter takes them.
            speech_mix: Mixture, (B, L); the sum of the sources where it is absent.
            utt_id: Names of the mixtures, for teachers that look embeddings up.
            silent_redraws: Silent crops drawn again per mixture, (B,); reported.
            **sources: speech_ref{n}, visual_ref{n} of the other sources; label_ref{n},
                (B,), the number of each source's class, for losses that classify and
                separators that need it; motion_ref{n}, (B, S, D_m), its motion
                features, and motion_ref{n}_lengths, (B,), how many steps of them are no
                padding, for separators that need them.

        Returns:
            loss, stats and weight, as ESPnet's trainer wants them.
        """
        sources.update(speech_ref1=speech_ref1, visual_ref1=visual_ref1)
        reference, visual, conditions = self._inputs(sources)
        mixture = reference.sum(dim=1) if speech_mix is None else speech_mix

        output, tracks = self._run(mixture, reference, visual, conditions)
        output = output._replace(teacher=self._teach(mixture, utt_id))
        if "label_ref1" in sources:
            output = output._replace(labels=_stack(sources, "label_ref{}"))

        loss = mixture.new_zeros((), dtype=torch.float32)
        stats: Dict[str, Tensor] = {}
        for name, criterion in self.criterions.items():
            value = criterion(output).mean()
            stats[name] = value.detach()
            loss = loss + self.weights[name] * value
        stats["loss"] = loss.detach()
        if several_processes():
            # ESPnet 202511 leaves the NaN of one process out of the mean over all, and
            # the training would go on.
            stats["loss"] = stats["loss"].masked_fill(loss.isnan(), math.inf)
        if silent_redraws is not None and self.training:
            stats["silent_redraws"] = silent_redraws.float().mean()
        if not self.training:
            stats.update(track_quality(mixture, reference, tracks()))
            if output.grounding is not None:
                stats["grounding_accuracy"] = grounding_accuracy(
                    output.grounding.logits, output.reference
                )
        return force_gatherable((loss, stats, len(mixture)), loss.device)

    def train(self, mode: bool = True) -> "ESPnetAVSeparationModel":
        """Set the mode; a BatchNorm whose weights are frozen keeps its statistics.

        So that what is frozen (``freeze_param``) goes on computing what it computed.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                weights = list(module.parameters())
                if weights and not any(w.requires_grad for w in weights):
                    module.eval()
        return self

    def set_phase(self, name: str) -> None:
        """Prepare for a phase of the training; see AbsSeparator.set_phase."""
        self.separator.set_phase(name)

    def source_inputs(
        self, batch: Dict[str, Tensor]
    ) -> Tuple[Tensor, Dict[str, Tensor]]:
        """Join what a batch holds of its sources.

        Args:
            batch: visual_ref{n}, and the conditions that the separator needs
                (data/conditions.py), as motion_ref{n} with motion_ref{n}_lengths.

        Returns:
            The visual input (B, N, V, ...), and what else the separator needs of each
            source, (B, N, ...), by its keywords.

        Raises:
            ValueError: something is missing, or not there for each source.
        """
        visual = _stack(batch, "visual_ref{}")
        conditions: Dict[str, Tensor] = {}
        for condition in needed(self.separator):
            name, data = condition.name, f"{condition.stem}_ref{{}}"
            conditions[name] = _stack(batch, data)
            if f"{data}_lengths".format(1) in batch:
                conditions[f"{name}_lengths"] = _stack(batch, f"{data}_lengths")
        for name, value in conditions.items():
            if value.size(1) != visual.size(1):
                raise ValueError(
                    f"{visual.size(1)} visual inputs but {name} of {value.size(1)} "
                    "sources: give one for each visual_ref{n}."
                )
        return visual, conditions

    def _inputs(
        self, batch: Dict[str, Tensor]
    ) -> Tuple[Tensor, Tensor, Dict[str, Tensor]]:
        """Waveforms (B, N, L) of the sources, and what source_inputs() returns."""
        reference = _stack(batch, "speech_ref{}")
        visual, conditions = self.source_inputs(batch)
        if reference.size(1) != visual.size(1):
            raise ValueError(
                f"{reference.size(1)} sources but {visual.size(1)} visual inputs: give "
                "one visual_ref{n} for each speech_ref{n}."
            )
        return reference, visual, conditions

    def _only_tracks(self) -> bool:
        """Whether nobody sees the sources' spectrograms, in training by tracks only.

        They would take a tenth to a quarter of a small network's training step.
        """
        asked = {criterion.needs for criterion in self.criterions.values()}
        return self.training and asked == {"tracks"}

    def _run(
        self,
        mixture: Tensor,
        reference: Tensor,
        visual: Tensor,
        conditions: Dict[str, Tensor],
    ) -> Tuple[SeparationOutput, Callable[[], Tensor]]:
        """Run the separator on mixtures (B, L) of known sources (B, N, L).

        Returns:
            What the criterions see, but for the teacher's part, and what makes the
            tracks (B, N, L) where they are wanted.
        """
        waves, only_tracks = mixture[:, None], self._only_tracks()
        if not only_tracks:
            waves = torch.cat([waves, reference], dim=1)
        spectrum = self._spectrum(waves)
        magnitude = self.warp(spectrum.abs())  # (B, 1 or 1 + N, F', T)
        with self._autocast(magnitude.device.type):
            given = self._prepare(magnitude[:, :1], visual, conditions)
            logits, bottleneck, steps = self._run_separator(given)
            grounding = self._grounding(magnitude, given["visual"])
            presence = None
            if any(c.needs_presence for c in self.criterions.values()):
                # Separation learns as it does without: see TFCTDFSeparator.
                found = self.separator.presence(
                    bottleneck[:, None].detach(), given["visual"].detach()
                )
                presence = found[:, 0].float()
        mask, size = self._mask(logits)
        output = SeparationOutput(
            logits=logits.real,
            mask=size,
            mixture=magnitude[:, :1],
            reference=None if only_tracks else magnitude[:, 1:],
            bottleneck=bottleneck,
            steps=steps,
            grounding=grounding,
            presence=presence,
        )

        def tracks() -> Tensor:
            return self._resynthesise(mask, spectrum[:, 0], mixture.size(-1))

        if any(criterion.needs == "tracks" for criterion in self.criterions.values()):
            waves = tracks()
            return output._replace(tracks=waves, sources=reference), lambda: waves
        return output, tracks

    @torch.no_grad()
    def separate(
        self,
        mixture: Tensor,
        visual: Tensor,
        binary_mask: bool = False,
        threshold: float = 0.5,
        **conditions: Tensor,
    ) -> Tuple[Tensor, Tensor]:
        """Separate mixtures, each mask applied to the mixture's complex spectrum.

        Args:
            mixture: (B, L) at ``sample_rate``; any length.
            visual: (B, N, V, D), V frames for each of N sources.
            binary_mask: Round masks to 0 or 1 (usual for masks trained with BCE).
            threshold: Where masks are rounded.
            **conditions: What else the separator needs of each source: ``motion``
                (B, N, S, D_m), ``motion_lengths`` (B, N), ``labels`` (B, N).

        Returns:
            tracks: (B, N, L).
            mask: The log-frequency masks before rounding, (B, N, F', T); of complex
                ones the magnitudes.
        """
        mask, size, spectrum = self._masks(mixture, visual, conditions)
        tracks = self._resynthesise(
            mask, spectrum[:, 0], mixture.size(-1), threshold if binary_mask else None
        )
        return tracks, size

    @torch.no_grad()
    def separate_channels(
        self,
        mixture: Tensor,
        visual: Tensor,
        binary_mask: bool = False,
        threshold: float = 0.5,
        **conditions: Tensor,
    ) -> Tensor:
        """Separate recordings of several channels, with one mask for all of them.

        The mask is that of the mean of the channels, applied to each channel's own
        spectrum: what is left of a source keeps its place between the channels.

        Args:
            mixture: (B, C, L).
            visual: See separate().
            binary_mask: See separate().
            threshold: See separate().
            **conditions: See separate().

        Returns:
            (B, N, C, L).
        """
        mask, *_ = self._masks(mixture.mean(dim=1), visual, conditions)
        rounded_at = threshold if binary_mask else None
        tracks = [
            self._resynthesise(mask, spectrum, mixture.size(-1), rounded_at)
            for spectrum in self._spectrum(mixture).unbind(dim=1)
        ]
        return torch.stack(tracks, dim=2)

    @torch.no_grad()
    def explain(
        self, mixture: Tensor, visual: Tensor, **conditions: Tensor
    ) -> Tuple[Tensor, NamedTuple]:
        """Tell what the masks came from, of separators that can (``explain``).

        Args:
            mixture: (B, L) at ``sample_rate``.
            visual: As of separate().
            **conditions: As of separate().

        Returns:
            Magnitude of the mixture, (B, F', T), and what the separator tells.
        """
        magnitude = self.warp(self._spectrum(mixture[:, None]).abs())
        given = self._prepare(magnitude, visual, conditions)
        return magnitude[:, 0], self.separator.explain(**given)

    @torch.no_grad()
    def separate_by(
        self,
        masks: Callable[[Tensor, Tensor], Tensor],
        mixture: Tensor,
        reference: Tensor,
    ) -> Tensor:
        """Separate with given masks, with the same STFT, warp and resynthesis.

        Args:
            masks: Magnitude of the mixture (B, 1, F', T) and magnitudes of the sources
                (B, N, F', T) -> masks (B, N, F', T).
            mixture: (B, L) at ``sample_rate``.
            reference: The sources, (B, N, L).

        Returns:
            (B, N, L).
        """
        spectrum = self._spectrum(torch.cat([mixture[:, None], reference], dim=1))
        magnitude = self.warp(spectrum.abs())
        mask = masks(magnitude[:, :1], magnitude[:, 1:])
        return self._resynthesise(mask, spectrum[:, 0], mixture.size(-1))

    @torch.no_grad()
    def embed(self, mixture: Tensor, visual: Tensor, **conditions: Tensor) -> Tensor:
        """Return z_a, the embedding of each mixture that the alignment loss sees.

        Args:
            mixture: (B, L) at ``sample_rate``.
            visual: (B, N, V, D); asked for by the separator, without influence on z_a.
            **conditions: As of separate(); likewise without influence.

        Returns:
            (B, bottleneck_dim), float32.
        """
        magnitude = self.warp(self._spectrum(mixture[:, None]).abs())
        _, bottleneck, _ = self._separate(magnitude, visual, conditions)
        return bottleneck

    @torch.no_grad()
    def ground(self, mixture: Tensor, visual: Tensor) -> Tensor:
        """Tell which pictures can be heard, of separators that can (``grounds``).

        Args:
            mixture: (B, L) at ``sample_rate``.
            visual: (B, N, V, D), as of separate().

        Returns:
            Probability that what each picture shows sounds, (B, N).
        """
        return self.ground_each(mixture[:, None], visual)[:, 0]

    @torch.no_grad()
    def ground_each(self, sounds: Tensor, visual: Tensor) -> Tensor:
        """Tell which pictures can be heard in each of several sounds.

        Args:
            sounds: (B, M, L) at ``sample_rate``.
            visual: (B, N, V, D), as of separate().

        Returns:
            Probabilities (B, M, N); 0 in a sound that is silent.
        """
        magnitude = self.warp(self._spectrum(sounds).abs())
        given = self._prepare(magnitude, visual, {})
        logits = self.separator.ground(given["feature"], given["visual"]).float()
        heard = sounds.any(dim=-1)
        return logits.softmax(dim=-1)[..., SOUNDS] * heard[..., None]

    def collect_feats(self, **batch: Tensor) -> Dict[str, Tensor]:
        """Nothing is extracted before training; stage 5 only records shapes."""
        return {}

    @torch.no_grad()
    def panels(self, **batch: Tensor) -> Dict[str, Tensor]:
        """What a picture of a training state shows; arguments as in forward().

        Returns:
            mixture (B, F', T), reference, estimate and mask (B, N, F', T), on the CPU.
        """
        reference, visual, conditions = self._inputs(batch)
        mixture = batch.get("speech_mix", reference.sum(dim=1))
        output, _ = self._run(mixture, reference, visual, conditions)
        return {
            "mixture": output.mixture[:, 0].cpu(),
            "reference": output.reference.cpu(),
            "estimate": (output.mask * output.mixture).cpu(),
            "mask": output.mask.cpu(),
        }

    def _spectrum(self, wav: Tensor) -> Tensor:
        """STFT of (B, M, L), to complex (B, M, F, T)."""
        flat = wav.flatten(0, 1)
        ends = 0  # frames of zeros put before and after
        if self.stft_padding == "zeros":
            hop = self.encoder.hop_length
            ends = -(-(self.encoder.n_fft // 2) // hop)
            flat = nn.functional.pad(flat, (ends * hop, ends * hop))
        lengths = torch.full((len(flat),), flat.size(-1), device=flat.device)
        spectrum, _ = self.encoder(flat, lengths)  # (B * M, T, F)
        spectrum = spectrum[:, ends : spectrum.size(1) - ends]
        return spectrum.transpose(1, 2).unflatten(0, wav.shape[:2])

    def _separate(
        self, magnitude: Tensor, visual: Tensor, conditions: Dict[str, Tensor]
    ) -> Tuple[Tensor, Tensor, Optional[RecursionSteps]]:
        """Mask logits and bottleneck, in float32, and steps, of (B, 1, F', T)."""
        return self._run_separator(self._prepare(magnitude, visual, conditions))

    def _run_separator(
        self, given: Dict[str, Tensor]
    ) -> Tuple[Tensor, Tensor, Optional[RecursionSteps]]:
        """Run the separator on what _prepare() returned."""
        conditions = {k: v for k, v in given.items() if k not in ("feature", "visual")}
        logits, bottleneck, steps = self.separator.run(
            given["feature"], given["visual"], **conditions
        )
        if not logits.is_complex():
            logits = logits.float()
        return logits, bottleneck.float(), steps

    def _masks(
        self, mixture: Tensor, visual: Tensor, conditions: Dict[str, Tensor]
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """What _mask() returns, and the spectrum (B, 1, F, T)."""
        spectrum = self._spectrum(mixture[:, None])
        magnitude = self.warp(spectrum.abs())
        logits, *_ = self._separate(magnitude, visual, conditions)
        return (*self._mask(logits), spectrum)

    def _grounding(self, magnitude: Tensor, visual: Tensor) -> Optional[Grounding]:
        """What the grounding network says, where a criterion asks for it.

        Args:
            magnitude: Of the mixture and each source, (B, 1 + N, F', T).
            visual: What the adapter made of the pictures, (B, N, D).
        """
        if not any(c.needs_grounding for c in self.criterions.values()):
            return None
        heard = magnitude.flatten(2).any(dim=-1)
        heard[:, 0] = self.separator.phase != "grounding"  # of solo sounds only
        feature = self._compress(magnitude)
        logits = self.separator.ground(feature, visual, heard)
        return Grounding(logits.float(), self.separator.phase)

    def _prepare(
        self, magnitude: Tensor, visual: Tensor, conditions: Dict[str, Tensor]
    ) -> Dict[str, Tensor]:
        """The separator's arguments, by keyword, in its precision."""
        feature = self._compress(magnitude)
        given = {"feature": feature, "visual": self.visual_adapter(visual)}
        given.update(conditions)
        if not torch.is_autocast_enabled(feature.device.type):
            # The network's precision, where it is not float32 (inference in bfloat16).
            dtype = next(self.separator.parameters()).dtype
            given = {
                name: value.to(dtype) if value.is_floating_point() else value
                for name, value in given.items()
            }
        if self.separator.sees_magnitude:
            row_weight = self.warp.row_weight
            given.update(
                feature=magnitude, compress=self._compress, row_weight=row_weight
            )
        return given

    def _compress(self, magnitude: Tensor) -> Tensor:
        """What a separator sees of a magnitude."""
        if self.compression == "log":
            return (magnitude + self.log_eps).log()
        if self.compression == "log1p":
            return magnitude.log1p()
        return magnitude**POWER

    def _autocast(self, device: str) -> ContextManager:
        """The separator's precision in training; what surrounds it, stays."""
        dtype = usable_dtype(self.precision, device)
        if dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(device, dtype)

    def _mask(self, logits: Tensor) -> Tuple[Tensor, Tensor]:
        """Masks (B, N, F', T), and their magnitudes; real masks are returned twice."""
        if self.mask_activation == "none":
            return logits, logits.abs() if logits.is_complex() else logits
        size = logits.real.sigmoid()
        if self.mask_max != 1:
            size = self.mask_max * size
        if logits.is_complex():
            return torch.polar(size, logits.imag), size
        return size, size

    def _teach(self, mixture: Tensor, utt_id: Optional[List[str]]) -> Optional[Tensor]:
        """The teacher's embedding of each mixture, (B, E)."""
        if self.teacher is None:
            return None
        return self.teacher(mixture.float(), self.sample_rate, utt_id)

    def _resynthesise(
        self,
        mask: Tensor,
        spectrum: Tensor,
        length: int,
        threshold: Optional[float] = None,
    ) -> Tensor:
        """Apply masks to the mixture.

        Args:
            mask: (B, N, F', T), real or complex.
            spectrum: Of the mixture, complex (B, F, T).
            length: Samples L of the result.
            threshold: Where masks (of complex ones, the magnitudes) are rounded to 0 or
                1; None: they are not.

        Returns:
            (B, N, L).
        """
        if threshold is not None and mask.is_complex():
            mask = mask.abs()
        if threshold is not None and self.mask_rounding == "log":
            mask = (mask > threshold).to(mask.dtype)
        linear = self.warp.inverse(mask)
        if threshold is not None and self.mask_rounding == "linear":
            linear = (linear > threshold).to(linear.dtype)
        estimate = linear * spectrum[:, None]  # (B, N, F, T)
        flat = estimate.flatten(0, 1).transpose(1, 2)  # (B * N, T, F)
        lengths = torch.full((len(flat),), length, device=flat.device)
        wav, _ = self.decoder(flat, lengths)
        return wav.unflatten(0, mask.shape[:2])


@torch.no_grad()
def track_quality(
    mixture: Tensor, reference: Tensor, tracks: Tensor
) -> Dict[str, Tensor]:
    """SI-SDR of validation tracks, and its improvement over the mixture.

    A silent source, one whose mixture is silent, and one that is alone in its mixture
    (which then scores above ``-FLOOR_DB``) have nothing to improve: they are left out
    of the means and counted. A silent or non-finite track of a sounding source scores
    ``FLOOR_DB``, the lowest score that a source may have, so that a network gains
    nothing by giving up a source, and one source does not decide about an epoch.

    Args:
        mixture: (B, L).
        reference: Sources, (B, N, L).
        tracks: Their estimates, (B, N, L).

    Returns:
        si_sdr and si_sdr_i, means in dB over the sources that have a score (NaN where
        none has, which ESPnet's reporter leaves out of an epoch's mean), and
        sources_without_score, the number of the others per mixture.
    """
    mixture = mixture[:, None].expand_as(reference)
    scored = _sounding(reference) & _sounding(mixture)
    before = reference.new_zeros(reference.shape[:2], dtype=torch.float64)
    before[scored] = _si_sdr(reference[scored], mixture[scored])
    scored &= before <= -FLOOR_DB
    heard = scored & _sounding(tracks)
    value = torch.full_like(before, FLOOR_DB)
    value[heard] = _si_sdr(reference[heard], tracks[heard]).clamp(min=FLOOR_DB)
    return {
        "si_sdr": value[scored].mean(),
        "si_sdr_i": (value - before)[scored].mean(),
        "sources_without_score": (~scored).sum(dim=1).double().mean(),
    }


def _si_sdr(reference: Tensor, tracks: Tensor) -> Tensor:
    """SI-SDR of signals (M, L), float64 (M,), on their device."""
    scores = si_sdr(reference.cpu().double(), tracks.cpu().double())
    return torch.from_numpy(scores).to(reference.device)


def _sounding(wav: Tensor) -> Tensor:
    """Whether signals (..., L) are finite and not silent."""
    energy = wav.double().square().sum(dim=-1)
    return (energy > 0) & energy.isfinite()


def _stack(batch: Dict[str, Tensor], name: str) -> Tensor:
    """Stack the values of all sources to (B, N, ...); {} in name is the number.

    Raises:
        ValueError: there are none.
    """
    tensors: List[Tensor] = []
    while name.format(len(tensors) + 1) in batch:
        tensors.append(batch[name.format(len(tensors) + 1)])
    if not tensors:
        raise ValueError(
            f"{name.format(1)} is missing; given: {', '.join(sorted(batch))}."
        )
    return torch.stack(tensors, dim=1)

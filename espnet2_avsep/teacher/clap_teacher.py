"""The audio branch of CLAP as a frozen teacher (Wu et al., ICASSP 2023).

Paper: https://arxiv.org/abs/2211.06687; its network is HTSAT, arXiv 2202.00874.

Notes: the embeddings are those of laion_clap's ``get_audio_embedding_from_data`` on
audio at 48 kHz, with two differences. Clips longer than 10 s are cut to their middle
10 s, where laion_clap draws a random crop (or, with fusion, adds random crops). Other
sampling rates are brought to 48 kHz on the device of the waveform, by a windowed sinc
of librosa's "kaiser_best" width: the narrow default of torchaudio leaves images above
the old Nyquist frequency, which the logarithm of the mel spectrogram shows to CLAP.
"""

import contextlib
import logging
import math
from typing import Iterator, Optional, Sequence

import torch
import torch.nn.functional as F

from espnet2_avsep.errors import InputError
from espnet2_avsep.precision import DTYPES, usable_dtype
from espnet2_avsep.teacher.abs_teacher import AbsTeacher
from espnet2_avsep.teacher.clap_checkpoint import (
    PUBLISHED,
    find_checkpoint,
    read_audio_state,
)
from espnet2_avsep.teacher.htsat import (
    CLIP_SAMPLES,
    FMAX,
    FMIN,
    HOP_SIZE,
    MEL_BINS,
    SAMPLE_RATE,
    WINDOW_SIZE,
    build_htsat,
)
from espnet2_avsep.weights import load_strict

_PROJECTION_DIM = 512
_FITTING = (
    "Choose the model and enable_fusion that the checkpoint was trained with (630k-*: "
    "HTSAT-tiny, music_*: HTSAT-base, *fusion*: enable_fusion: true)."
)
# Elements of a resampling kernel above which a rate is refused. 11025 Hz needs 0.1 M.
_MAX_KERNEL = 1 << 25


class LogMel(torch.nn.Module):
    """Log mel spectrogram in decibels, the numbers of torchlibrosa by an FFT.

    Args:
        window: (n_fft,) analysis window.
        mel: (n_fft // 2 + 1, M) filter bank.
        hop_size: In samples.
        amin: Floor of the mel power.
    """

    def __init__(
        self,
        window: torch.Tensor,
        mel: torch.Tensor,
        hop_size: int = HOP_SIZE,
        amin: float = 1e-10,
    ):
        super().__init__()
        self.hop_size = hop_size
        self.amin = amin
        self.register_buffer("window", window.detach().clone(), persistent=False)
        self.register_buffer("mel", mel.detach().clone(), persistent=False)

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        """Transform (B, L) samples into (B, 1, T, M) decibels, T = L // hop + 1."""
        spectrum = torch.stft(
            wav,
            n_fft=len(self.window),
            hop_length=self.hop_size,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )  # (B, F, T)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = power.transpose(1, 2) @ self.mel  # (B, T, M)
        return 10.0 * mel.clamp(min=self.amin).log10()[:, None]


class ClapTeacher(AbsTeacher):
    """Frozen CLAP: waveform -> unit-length embedding of 512 numbers.

    Only HTSAT and the audio projection exist; there is no text tower and nothing is
    asked of the Hugging Face hub, save for a published checkpoint that is not in the
    cache folder. The teacher moves to the device of its first input.

    Args:
        checkpoint: A path (.pt, .pth, .safetensors), the name of a published checkpoint
            (``630k-audioset-best.pt``, ``music_audioset_epoch_15_esc_90.14.pt``, ...),
            or ``random``: weights drawn from ``seed``, said in a warning.
        model: "HTSAT-tiny" (630k-*), "HTSAT-base" (music_*) or "HTSAT-large".
        enable_fusion: The checkpoint is a fusion model. Its front end differs (HTK mel
            filters); its layers for clips longer than 10 s are loaded and not used.
        seed: Seed of the random weights.
        dtype: "float32", or "bfloat16" for the transformer's layers where the device
            computes faster in it. Front end, final norm and projection are in float32
            always.
        checksum: SHA-256 (hexadecimal) that the checkpoint must have.
        cache_dir: Folder of downloads; default ``$ESPNET2_AVSEP_CACHE/clap`` or
            ``~/.cache/espnet2_avsep/clap``.
        htsat_conf: Another size of network than the published ones: any of
            ``embed_dim``, ``depths``, ``num_heads``, e.g. a tiny one for tests:
            ``{embed_dim: 24, depths: [1, 1, 1, 1], num_heads: [1, 2, 4, 8]}``.

    Attributes:
        description: What was loaded, in one line, for logs and results.

    Raises:
        InputError: an unknown option value, or a checkpoint that cannot be had or does
            not fit.
    """

    def __init__(
        self,
        checkpoint: str,
        model: str = "HTSAT-tiny",
        enable_fusion: bool = False,
        seed: int = 0,
        dtype: str = "float32",
        checksum: Optional[str] = None,
        cache_dir: Optional[str] = None,
        htsat_conf: Optional[dict] = None,
    ):
        super().__init__()
        if dtype not in DTYPES:
            raise InputError(
                f"CLAP teacher: dtype {dtype!r} is not known; choose one of "
                f"{', '.join(DTYPES)}."
            )
        published = PUBLISHED.get(checkpoint)
        if published not in (None, (model, enable_fusion)) and htsat_conf is None:
            raise InputError(
                f"CLAP teacher: the checkpoint {checkpoint} needs model: "
                f"{published[0]} and enable_fusion: {str(published[1]).lower()}, but "
                f"model: {model} and enable_fusion: {str(enable_fusion).lower()} were "
                "given."
            )
        self._wanted, self._dtype = dtype, torch.float32
        self._fusion = enable_fusion
        path = digest = None
        if checkpoint != "random":
            path, digest = find_checkpoint(checkpoint, checksum, cache_dir)

        # Building draws random numbers: the caller's generator must not notice.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            htsat = build_htsat(model, enable_fusion, htsat_conf)
            projection = torch.nn.Sequential(
                torch.nn.Linear(htsat.num_features, _PROJECTION_DIM),
                torch.nn.ReLU(),
                torch.nn.Linear(_PROJECTION_DIM, _PROJECTION_DIM),
            )
        if path is None:
            self.description = f"{model}, random, seed {seed}"
            logging.warning(
                f"CLAP teacher: {self.description}: its embeddings mean nothing. Give "
                "a checkpoint for results that count."
            )
        else:
            state = read_audio_state(path)
            for module, weights, part in (
                (htsat, state.branch, f"audio_branch of {model}"),
                (projection, state.projection, "audio_projection"),
            ):
                load_strict(module, weights, f"{path}: {part} does not fit", _FITTING)
            self.description = f"{model}, {path.name}, sha256 {digest}"
            logging.info(
                f"CLAP teacher: {model} from {path} (sha256 {digest}): "
                f"{len(state.branch) + len(state.projection)} tensors of the audio "
                f"branch loaded; {state.text} of the text tower and {state.other} "
                "others ignored"
            )
        self.logmel = self._front_end(htsat)
        self.htsat = _without_unused_parts(htsat)
        self.projection = projection
        self._resamplers = torch.nn.ModuleDict()
        self.requires_grad_(False)
        self.eval()

    @property
    def output_dim(self) -> int:
        """Width of the embeddings, 512."""
        return _PROJECTION_DIM

    def _front_end(self, htsat: torch.nn.Module) -> LogMel:
        if self._fusion:
            # laion_clap computes this model's mel spectrogram by torchaudio's defaults.
            import torchaudio

            mel = torchaudio.functional.melscale_fbanks(
                WINDOW_SIZE // 2 + 1, FMIN, FMAX, MEL_BINS, SAMPLE_RATE
            )
            return LogMel(torch.hann_window(WINDOW_SIZE), mel)
        # torchlibrosa's transform is a convolution with window * exp(-2 pi i k n / N):
        # its row k = 0 is the window itself.
        window = htsat.spectrogram_extractor.stft.conv_real.weight[0, 0]
        return LogMel(window, htsat.logmel_extractor.melW)

    @torch.no_grad()
    def forward(
        self, wav: torch.Tensor, fs: int, keys: Optional[Sequence[str]] = None
    ) -> torch.Tensor:
        """Embed a batch of waveforms.

        Args:
            wav: (B, L) float, samples in [-1, 1]; what exceeds them is clipped.
            fs: Sampling rate of ``wav`` in Hz.
            keys: Not used.

        Returns:
            (B, 512) float32, rows of length 1, on the device of ``wav``.
        """
        with torch.autocast(wav.device.type, enabled=False):
            return self.embed(self.prepare(wav, fs))

    @torch.no_grad()
    def prepare(self, wav: torch.Tensor, fs: int) -> torch.Tensor:
        """Bring waveforms to the 10 s at 48 kHz that CLAP hears.

        As in laion_clap: samples are rounded through int16, a shorter clip is repeated
        as often as it fits whole and padded with zeros ("repeatpad").

        Args:
            wav: (B, L) float.
            fs: Sampling rate in Hz.

        Returns:
            (B, 480000) float32.

        Raises:
            ValueError: ``wav`` is not (B, L), or holds no samples.
            InputError: ``fs`` has too small a divisor in common with 48000.
        """
        if wav.dim() != 2 or wav.shape[1] == 0:
            raise ValueError(
                f"wav has the shape {tuple(wav.shape)}; expected (B, L), L > 0"
            )
        self._follow(wav.device)
        wav = wav.detach().float()
        if fs != SAMPLE_RATE:
            with _without_tf32():
                wav = self._resampler(fs)(wav)
        wav = (wav.clamp(-1.0, 1.0) * 32767.0).trunc() / 32767.0
        length = wav.shape[1]
        if length > CLIP_SAMPLES:
            start = (length - CLIP_SAMPLES) // 2
            return wav[:, start : start + CLIP_SAMPLES]
        wav = wav.repeat(1, CLIP_SAMPLES // length)
        return F.pad(wav, (0, CLIP_SAMPLES - wav.shape[1]))

    @torch.no_grad()
    def embed(self, wav: torch.Tensor) -> torch.Tensor:
        """Embed what ``prepare`` returned: (B, 480000) float32 -> (B, 512) float32.

        HTSAT's own ``forward`` also makes framewise class scores and keeps every
        attention map. The embedding needs neither: it is the mean of the last layer's
        tokens.
        """
        self._follow(wav.device)
        x = self.logmel(wav)  # (B, 1, T, M)
        x = self.htsat.bn0(x.transpose(1, 3)).transpose(1, 3)
        x = self.htsat.reshape_wav2img(x)  # (B, 1, 256, 256)
        x = self.htsat.patch_embed(x.to(self._dtype), longer_idx=[])  # (B, 4096, C)
        for layer in self.htsat.layers:
            for block in layer.blocks:
                x, _ = block(x)
            if layer.downsample is not None:
                x = layer.downsample(x)
        x = self.htsat.norm(x.float()).mean(dim=1)  # (B, 8 C)
        return F.normalize(self.projection(x), dim=-1)

    def _follow(self, device: torch.device) -> None:
        """Move to ``device``, in the precision that it computes in."""
        if self.logmel.window.device != device:
            self.to(device)
        dtype = usable_dtype(self._wanted, device)
        if dtype != self._dtype:
            self._dtype = dtype
            for part in (self.htsat.patch_embed, self.htsat.layers):
                part.to(dtype)

    def _resampler(self, fs: int) -> torch.nn.Module:
        """Return the resampler from ``fs`` to 48 kHz, its kernel computed once."""
        import torchaudio

        if str(fs) not in self._resamplers:
            divisor = math.gcd(fs, SAMPLE_RATE) if fs > 0 else 1
            if fs <= 0 or (fs // divisor) * (SAMPLE_RATE // divisor) > _MAX_KERNEL:
                raise InputError(
                    f"CLAP teacher: the sampling rate {fs} Hz cannot be brought to "
                    f"{SAMPLE_RATE} Hz, with which it has the greatest common divisor "
                    f"{divisor}. Choose a rate that has a larger one, such as 11025, "
                    "11625, 16000, 22050 or 44100."
                )
            self._resamplers[str(fs)] = torchaudio.transforms.Resample(
                fs,
                SAMPLE_RATE,
                resampling_method="sinc_interp_kaiser",
                lowpass_filter_width=64,
                rolloff=0.9475937167399596,
                beta=14.769656459379492,
            ).to(self.logmel.window.device)
        return self._resamplers[str(fs)]


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Convolve in full float32 on CUDA, where TF32 is PyTorch's default.

    Its 10 bits of mantissa would raise a noise floor about 60 dB below the signal, far
    above what a band-limited recording holds in CLAP's upper mel bands.
    """
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        benchmark_limit=cudnn.benchmark_limit,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    ):
        yield


def _without_unused_parts(htsat: torch.nn.Module) -> torch.nn.Module:
    """Drop what ``ClapTeacher.embed`` does not call, after the strict load."""
    for name in (
        "spectrogram_extractor",
        "logmel_extractor",
        "spec_augmenter",
        "tscam_conv",
        "head",
    ):
        delattr(htsat, name)
    return htsat

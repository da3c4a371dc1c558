"""A trained separator as a Python object: mixture and pictures in, tracks out."""

import argparse
import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np
import torch
import yaml

from espnet2_avsep.data.class_labels import class_numbers, number_sources
from espnet2_avsep.errors import InputError
from espnet2_avsep.sharing.source import find_model
from espnet2_avsep.sharing.weights import read_state
from espnet2_avsep.tasks.choices import build_model

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DEFAULT_MODEL_FILE = "valid.loss.best.pth"


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
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not valid YAML: {error}") from error
    needed = ("encoder", "decoder", "visual_adapter", "separator", "criterions")
    missing = [k for k in needed if not isinstance(config, dict) or k not in config]
    if missing:
        raise InputError(
            f"{path}: is not the config of an audio-visual separation training: "
            f"{', '.join(missing)} missing."
        )
    return argparse.Namespace(**config)


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
            f"{path}: no such file. Train first (stage 6), or give --model_file."
        )
    state = read_state(path)
    own = model.state_dict()
    problems = [f"missing {k}" for k in own if k not in state]
    problems += [f"unexpected {k}" for k in state if k not in own]
    problems += [
        f"{k} is {tuple(state[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if problems:
        raise InputError(
            f"{path}: does not fit the model of the config: "
            + "; ".join(problems[:5])
            + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
            + ". Give the config.yaml that stands beside these weights."
        )
    model.load_state_dict(state, strict=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    count = sum(v.numel() for v in state.values())
    logging.info(
        f"loaded {path}: {len(state)} tensors, {count / 1e6:.2f} M values, "
        f"sha256 {digest[:16]}"
    )
    return digest


@dataclasses.dataclass(frozen=True)
class Text:
    """A prompt in words, for models trained on the embeddings of an open_clip model.

    Dong et al., "CLIPSep: Learning Text-queried Sound Separation with Noisy Unlabeled
    Videos", ICLR 2023: trained on pictures, asked in words.

    Attributes:
        text: What to separate, e.g. "violin".
        template: What the text tower reads; "{}" stands for the text.
    """

    text: str
    template: str = "a photo of {}"

    def __str__(self) -> str:
        return self.template.format(self.text)


class SeparateAV:
    """A trained separator.

    Args:
        train_config: The training's config.yaml.
        model_file: Its weights; null takes valid.loss.best.pth beside the config.
        device: "cpu", "cuda", "cuda:N".
        dtype: Precision of the network, "float32" or "bfloat16".
        binary_mask: Round masks to 0 or 1.
        threshold: Where masks are rounded.
        image_encoder: Encodes pictures, (n, H, W, 3) uint8 -> (n, D); null makes the
            one that the training's visual_info.yaml names when the first picture comes.
        text_encoder: Encodes texts, a list of n strings -> (n, D); null makes the text
            tower of the same open_clip model when the first text comes.

    Example:
        >>> from espnet2_avsep import SeparateAV
        >>> separate = SeparateAV.from_pretrained("exp/avsep_train_avsep_mini_raw")
        >>> tracks = separate(mixture, ["flute.jpg", "cello.jpg"], fs=44100)
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
    ):
        if dtype not in DTYPES:
            raise InputError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}.")
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold={threshold}: expected a value in [0, 1].")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(
                f"device={device!r}: no CUDA device is available; use device='cpu' "
                "(--ngpu 0)."
            )
        self.train_config = Path(train_config)
        config = load_config(train_config)
        if model_file is None:
            model_file = self.train_config.parent / DEFAULT_MODEL_FILE
        self.model = build_model(config, with_teacher=False)
        load_weights(self.model, model_file)
        self.model.to(device).eval()
        self.model.separator.to(DTYPES[dtype])
        self.device = torch.device(device)
        self.classes = class_numbers(getattr(config, "classes", None) or [])
        dataset_conf = getattr(config, "dataset_conf", None) or {}
        self.motion_steps = int(dataset_conf.get("motion_steps", 160))
        self.binary_mask = binary_mask
        self.threshold = threshold
        self._image_encoder = image_encoder
        self._text_encoder = text_encoder

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

    def __call__(
        self,
        mixture: Union[np.ndarray, torch.Tensor],
        prompts: Sequence[Any],
        fs: Optional[int] = None,
        classes: Optional[Sequence[str]] = None,
        motion: Optional[Sequence[np.ndarray]] = None,
    ) -> np.ndarray:
        """Separate one recording.

        Args:
            mixture: (L,), or (channels, L): averaged to one channel.
            prompts: One per source: a picture (a path, a PIL image, or an (H, W, 3)
                array of uint8), an embedding (D,) or (V, D) as an array or tensor of
                floats, or words, as :class:`Text`.
            fs: Sampling rate of the mixture; null takes the model's.
            classes: The class of each source, for models that need it (queries: class);
                those it knows are in the attribute ``classes``.
            motion: Motion features (steps, D_m) of each source, for models that need
                them.

        Returns:
            float32 (N, L) at the mixture's rate and length, in the prompts' order.

        Raises:
            InputError: an empty or non-finite mixture, no prompt, a wrong shape;
                classes or motion that are missing, unknown, or not this model's.
        """
        fs = self.sample_rate if fs is None else fs
        wav = self._check_mixture(mixture)
        if len(prompts) == 0:
            raise InputError("no prompt was given: one picture or embedding a source.")
        visual = self._embed(prompts)  # (1, N, V, D)
        conditions = self._conditions(len(prompts), classes, motion)
        length = wav.size(-1)
        if fs != self.sample_rate:
            wav = self._resample(wav, fs, self.sample_rate)
        tracks = self.separate_batch(wav[None], visual, **conditions)[0]
        if fs != self.sample_rate:
            tracks = self._resample(tracks, self.sample_rate, fs)
            missing = length - tracks.size(-1)
            if missing > 0:
                tracks = torch.nn.functional.pad(tracks, (0, missing))
            tracks = tracks[..., :length]
        return tracks.cpu().numpy()

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
        with torch.inference_mode():
            tracks, _ = self.model.separate(
                mixture.to(self.device, torch.float32),
                visual.to(self.device),
                binary_mask=self.binary_mask,
                threshold=self.threshold,
                **{name: value.to(self.device) for name, value in conditions.items()},
            )
        return tracks

    def _conditions(
        self,
        num_sources: int,
        classes: Optional[Sequence[str]],
        motion: Optional[Sequence[np.ndarray]],
    ) -> Dict[str, torch.Tensor]:
        """Classes and motion of one mixture's sources, as the separator takes them."""
        separator = self.model.separator
        for name, given, needed in (
            ("classes", classes, separator.needs_labels),
            ("motion", motion, separator.needs_motion),
        ):
            if (given is not None) != needed:
                known = f" ({', '.join(self.classes)})" if name == "classes" else ""
                raise InputError(
                    f"{name} are missing: this model needs them{known}."
                    if needed
                    else f"{name} were given: this model takes no {name}."
                )
            if needed and len(given) != num_sources:
                raise InputError(
                    f"{len(given)} {name} were given for {num_sources} prompts."
                )
        conditions: Dict[str, torch.Tensor] = {}
        if classes is not None:
            numbers = number_sources({"classes": classes}, self.classes)["classes"]
            conditions["labels"] = torch.tensor([numbers])
        if motion is not None:
            steps = [torch.as_tensor(m, dtype=torch.float32) for m in motion]
            for number, step in enumerate(steps, 1):
                shape = tuple(step.shape)
                if len(shape) != 2 or shape[0] < 1 or shape[1] != separator.motion_dim:
                    raise InputError(
                        f"motion {number} has the shape {shape}; expected "
                        f"(steps, {separator.motion_dim})."
                    )
            lengths = torch.tensor([[len(step) for step in steps]])
            padded = torch.nn.utils.rnn.pad_sequence(steps, batch_first=True)
            conditions.update(motion=padded[None], motion_lengths=lengths)
        return conditions

    def _check_mixture(self, mixture: Union[np.ndarray, torch.Tensor]) -> torch.Tensor:
        wav = torch.as_tensor(mixture)
        if not wav.is_floating_point():
            raise InputError(
                f"the mixture is {wav.dtype}; expected floating point samples in "
                "[-1, 1] (divide 16-bit integers by 32768)."
            )
        wav = wav.to(torch.float32)
        if wav.dim() == 2:
            wav = wav.mean(dim=0)
        if wav.dim() != 1 or wav.numel() == 0:
            raise InputError(
                f"the mixture has the shape {tuple(torch.as_tensor(mixture).shape)}; "
                "expected (samples,) or (channels, samples), not empty."
            )
        if not bool(torch.isfinite(wav).all()):
            raise InputError("the mixture holds NaN or infinite samples.")
        if wav.numel() <= self.model.encoder.n_fft:
            raise InputError(
                f"the mixture has {wav.numel()} samples; more than one analysis window "
                f"({self.model.encoder.n_fft} samples) is needed."
            )
        return wav

    @staticmethod
    def _resample(wav: torch.Tensor, source: int, target: int) -> torch.Tensor:
        import torchaudio

        return torchaudio.functional.resample(wav, source, target)

    def _embed(self, prompts: Sequence[Any]) -> torch.Tensor:
        """What the prompts are to the model: (1, N, 1, D), or frames (1, N, 1, 3, ...).

        Models that embed frames themselves take pictures alone.
        """
        if self._takes_frames():
            for index, prompt in enumerate(prompts):
                if isinstance(prompt, Text) or _is_embedding(prompt):
                    raise InputError(
                        f"prompt {index + 1} is no picture; this model was trained on "
                        "pictures themselves, and takes nothing else."
                    )
            frames = [self._encode_picture(p, i) for i, p in enumerate(prompts)]
            return torch.from_numpy(np.stack(frames))[None]
        rows: List[torch.Tensor] = []
        for index, prompt in enumerate(prompts):
            if isinstance(prompt, Text):
                row = torch.from_numpy(self._encode_text(prompt, index))
            elif not _is_embedding(prompt):
                row = torch.from_numpy(self._encode_picture(prompt, index))
            elif isinstance(prompt, torch.Tensor):
                row = prompt.detach().to("cpu", torch.float32)
            else:
                row = torch.from_numpy(prompt.astype(np.float32))
            row = row[None] if row.dim() == 1 else row
            expected = self.model.separator.visual_dim
            if row.dim() != 2 or row.size(-1) != expected:
                raise InputError(
                    f"prompt {index + 1} has the shape {tuple(row.shape)}; expected "
                    f"(D,) or (frames, D) with D = {expected}."
                )
            if not bool(torch.isfinite(row).all()):
                raise InputError(f"prompt {index + 1} holds NaN or infinite values.")
            rows.append(row)
        # One mean per source: prompts may differ in their number of frames.
        return torch.stack([row.mean(dim=0, keepdim=True) for row in rows])[None]

    def _takes_frames(self) -> bool:
        """Whether the model was trained on pictures, not on their embeddings."""
        return getattr(self.model.visual_adapter, "takes_frames", False)

    def _encode_text(self, prompt: Text, index: int) -> np.ndarray:
        if not prompt.text.strip():
            raise InputError(f"prompt {index + 1} is an empty text.")
        if self._text_encoder is None:
            from espnet2_avsep.visual.build import text_encoder_from_info

            self._text_encoder = text_encoder_from_info(
                self.train_config.parent / "visual_info.yaml", str(self.device)
            )
        return self._text_encoder.encode([str(prompt)])

    def _encode_picture(self, prompt: Any, index: int) -> np.ndarray:
        """The embedding of a picture, (1, D), or the picture as the model takes it."""
        from PIL import Image

        if isinstance(prompt, (str, Path)):
            try:
                with Image.open(prompt) as image:
                    prompt = np.asarray(image.convert("RGB"))
            except OSError as error:
                raise InputError(
                    f"prompt {index + 1}, {prompt}: cannot be read as a picture: "
                    f"{error}. (Words are given as Text({str(prompt)!r}).)"
                ) from error
        elif isinstance(prompt, Image.Image):
            prompt = np.asarray(prompt.convert("RGB"))
        prompt = np.asarray(prompt)
        if prompt.dtype != np.uint8 or prompt.ndim != 3 or prompt.shape[-1] != 3:
            raise InputError(
                f"prompt {index + 1} is an array of {prompt.dtype} {prompt.shape}; "
                "expected a picture as uint8 (H, W, 3), or an embedding as floats."
            )
        if self._image_encoder is None:
            from espnet2_avsep.visual.build import encoder_from_info

            self._image_encoder = encoder_from_info(
                self.train_config.parent / "visual_info.yaml", str(self.device)
            )
        return self._image_encoder.encode([prompt])


def _is_embedding(prompt: Any) -> bool:
    if isinstance(prompt, torch.Tensor):
        return prompt.is_floating_point()
    return isinstance(prompt, np.ndarray) and prompt.dtype.kind == "f"

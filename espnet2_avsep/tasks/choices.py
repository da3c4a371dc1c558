"""The classes a config may name, and the model built from a config.

Apart from tasks/avsep.py so that inference does not import ESPnet's training machinery,
which takes ten seconds and more.
"""

import argparse
import inspect
import warnings
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Type

import torch
from torch import nn

from espnet2_avsep.baseline.abs_baseline import AbsBaseline
from espnet2_avsep.baseline.ideal_mask import IdealBinaryMask, IdealRatioMask
from espnet2_avsep.baseline.nmf_mfcc import NMFMFCC
from espnet2_avsep.baseline.rpca import RPCA
from espnet2_avsep.errors import InputError, shown
from espnet2_avsep.lean_imports import lean_imports
from espnet2_avsep.loss.abs_criterion import AbsCriterion
from espnet2_avsep.loss.alignment import AlignmentLoss
from espnet2_avsep.loss.binary_mask_bce import BinaryMaskBCE
from espnet2_avsep.loss.co_learning import CoLearning
from espnet2_avsep.loss.object_classification import ObjectClassification
from espnet2_avsep.loss.ratio_mask_l1 import RatioMaskL1
from espnet2_avsep.loss.recursive_mask import RecursiveMaskLoss
from espnet2_avsep.loss.soft_snr import SoftSNR
from espnet2_avsep.loss.spectrogram_l1 import SpectrogramL1
from espnet2_avsep.loss.wave_l1 import WaveL1
from espnet2_avsep.model.espnet_model import ESPnetAVSeparationModel, WeightedCriterion
from espnet2_avsep.model.espnet_wave_model import ESPnetAVWaveModel
from espnet2_avsep.separator.abs_separator import AbsSeparator
from espnet2_avsep.separator.abs_wave_separator import AbsWaveSeparator
from espnet2_avsep.separator.ccol_separator import CCoLSeparator
from espnet2_avsep.separator.co_separation_separator import CoSeparationSeparator
from espnet2_avsep.separator.decoupled_resunet_separator import (
    DecoupledResUNetSeparator,
)
from espnet2_avsep.separator.hfra_separator import HFRASeparator
from espnet2_avsep.separator.mp_net_separator import MPNetSeparator
from espnet2_avsep.separator.predictive_coding_separator import (
    PredictiveCodingSeparator,
)
from espnet2_avsep.separator.query_separator import QuerySeparator
from espnet2_avsep.separator.semantic_grouping_separator import (
    SemanticGroupingSeparator,
)
from espnet2_avsep.separator.sound_of_motions_separator import (
    SoundOfMotionsSeparator,
)
from espnet2_avsep.separator.sound_of_pixels_separator import SoundOfPixelsSeparator
from espnet2_avsep.separator.tfc_tdf_separator import TFCTDFSeparator
from espnet2_avsep.separator.wave_unet_separator import WaveUNetSeparator
from espnet2_avsep.tasks.conf_values import check_values, check_weights
from espnet2_avsep.teacher.abs_teacher import AbsTeacher
from espnet2_avsep.teacher.clap_teacher import ClapTeacher
from espnet2_avsep.teacher.precomputed import PrecomputedTeacher
from espnet2_avsep.visual.adapter import MeanAdapter, StandardiseAdapter
from espnet2_avsep.visual.encoders.dilated_resnet import DilatedResNet18
from espnet2_avsep.visual.encoders.frame_networks import (
    CCoLResNet18,
    CoSeparationResNet18,
    PredictiveCodingResNet18,
    SoundOfMotionsResNet18,
)

with lean_imports(), warnings.catch_warnings():
    # torch.cuda.amp.autocast, a decorator of STFTEncoder, is deprecated.
    warnings.simplefilter("ignore", FutureWarning)
    from espnet2.enh.decoder.abs_decoder import AbsDecoder
    from espnet2.enh.decoder.stft_decoder import STFTDecoder
    from espnet2.enh.encoder.abs_encoder import AbsEncoder
    from espnet2.enh.encoder.stft_encoder import STFTEncoder
    from espnet2.train.class_choices import ClassChoices

encoder_choices = ClassChoices(
    "encoder", {"stft": STFTEncoder}, type_check=AbsEncoder, default="stft"
)
decoder_choices = ClassChoices(
    "decoder", {"stft": STFTDecoder}, type_check=AbsDecoder, default="stft"
)
visual_adapter_choices = ClassChoices(
    "visual_adapter",
    {
        "mean": MeanAdapter,
        "standardise": StandardiseAdapter,
        "resnet18_dilated": DilatedResNet18,
        "resnet18_co_separation": CoSeparationResNet18,
        "resnet18_predictive_coding": PredictiveCodingResNet18,
        "resnet18_ccol": CCoLResNet18,
        "resnet18_sound_of_motions": SoundOfMotionsResNet18,
    },
    type_check=nn.Module,
    default="mean",
)
separator_choices = ClassChoices(
    "separator",
    {
        "hfra": HFRASeparator,
        "sound_of_pixels": SoundOfPixelsSeparator,
        "wave_unet": WaveUNetSeparator,
        "decoupled_resunet": DecoupledResUNetSeparator,
        "co_separation": CoSeparationSeparator,
        "predictive_coding": PredictiveCodingSeparator,
        "semantic_grouping": SemanticGroupingSeparator,
        "query": QuerySeparator,
        "tfc_tdf": TFCTDFSeparator,
        "mp_net": MPNetSeparator,
        "ccol": CCoLSeparator,
        "sound_of_motions": SoundOfMotionsSeparator,
    },
    type_check=AbsSeparator,
    default="hfra",
)
teacher_choices = ClassChoices(
    "teacher",
    {"clap": ClapTeacher, "precomputed": PrecomputedTeacher},
    type_check=AbsTeacher,
    default=None,
    optional=True,
)
criterion_choices = ClassChoices(
    "criterion",
    {
        "spectrogram_l1": SpectrogramL1,
        "binary_mask_bce": BinaryMaskBCE,
        "ratio_mask_l1": RatioMaskL1,
        "recursive_mask": RecursiveMaskLoss,
        "alignment": AlignmentLoss,
        "object_classification": ObjectClassification,
        "wave_l1": WaveL1,
        "soft_snr": SoftSNR,
        "co_learning": CoLearning,
    },
    type_check=AbsCriterion,
    default="spectrogram_l1",
)

# Systems without training; not among the classes of the task, which trains.
baseline_choices = ClassChoices(
    "baseline",
    {
        "ideal_binary_mask": IdealBinaryMask,
        "ideal_ratio_mask": IdealRatioMask,
        "nmf_mfcc": NMFMFCC,
        "rpca": RPCA,
    },
    type_check=AbsBaseline,
)

CLASS_CHOICES = [
    encoder_choices,
    decoder_choices,
    visual_adapter_choices,
    separator_choices,
    teacher_choices,
]

# STFT of the paper: Hann 1024, hop 256 (HFRA, section 4.1).
STFT_DEFAULTS = {"n_fft": 1024, "hop_length": 256}


def construct(cls: Type, conf: Mapping[str, Any], option: str, **given: Any) -> Any:
    """Build ``cls(**given, **conf)``; a wrong key or value names the config's option.

    Raises:
        InputError: conf holds a key that the constructor does not have, or a value it
            refuses.
    """
    allowed = inspect.signature(cls.__init__).parameters
    keys = [k for k in allowed if k not in ("self", *given)]
    if not isinstance(conf, Mapping):
        raise InputError(f"{option}: {shown(conf)}; expected a mapping of arguments.")
    unknown = sorted(map(str, set(conf) - set(keys)))
    if unknown:
        raise InputError(
            f"{option}: unknown key(s) {', '.join(unknown)} for {cls.__name__}; it "
            f"takes {', '.join(keys)}."
        )
    values = check_values(cls, conf, option)
    try:
        if option in ("separator_conf", "visual_adapter_conf"):
            check_weights(cls, values, option)
        return cls(**given, **values)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{option}: {error}") from error


def _build_criterions(
    entries: List[Dict[str, Any]], separator: AbsSeparator
) -> List[WeightedCriterion]:
    criterions: List[WeightedCriterion] = []
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in criterion_choices.classes:
            raise InputError(
                f"criterions: {shown(entry)} must be a mapping whose 'name' is one of "
                f"{', '.join(criterion_choices.classes)}."
            )
        unknown = sorted(map(str, set(entry) - {"name", "conf", "weight"}))
        if unknown:
            raise InputError(
                f"criterions, {name}: unknown key(s) {', '.join(unknown)}; an entry "
                "has name, conf and weight."
            )
        if any(c.name == name for c in criterions):
            raise InputError(f"criterions: {name} is listed twice; once is enough.")
        given = {}
        if name == "alignment":
            given["audio_dim"] = separator.bottleneck_dim
        criterion = construct(
            criterion_choices.get_class(name),
            entry.get("conf") or {},
            f"criterions, {name}, conf",
            **given,
        )
        if criterion.needs == "logits" and isinstance(separator, AbsWaveSeparator):
            raise InputError(
                f"criterions: {name} does not go with this separator, which gives "
                "waveforms; choose another one, for instance wave_l1."
            )
        if criterion.needs_steps and not separator.gives_steps:
            raise InputError(
                f"criterions: {name} does not go with this separator, which does not "
                "take one source after the other; choose another one, for instance "
                "binary_mask_bce, or 'separator: mp_net'."
            )
        if criterion.needs_grounding and not separator.grounds:
            raise InputError(
                f"criterions: {name} does not go with this separator, which does not "
                "tell what sounds; choose another one, or 'separator: ccol'."
            )
        try:
            weight = float(entry.get("weight", 1.0))
        except (TypeError, ValueError):
            raise InputError(
                f"criterions, {name}: weight is {shown(entry['weight'])}; expected a "
                "number."
            ) from None
        criterions.append(WeightedCriterion(name, criterion, weight))
    return criterions


class Needs(NamedTuple):
    """What a separator needs of each source, besides the visual input.

    Attributes:
        motion: Whether it needs motion features.
        flow: Whether this is optical flow, over the time of the mixture.
        labels: Whether it needs the number of the source's class.
        num_queries: For how many trained classes it is built; None without labels.
        new_queries: For how many classes that are added to them.
    """

    motion: bool
    flow: bool
    labels: bool
    num_queries: Optional[int]
    new_queries: int


def separator_needs(args: argparse.Namespace) -> Needs:
    """Tell what the separator of a config needs, without building its weights.

    Raises:
        InputError: unknown keys or values.
    """
    with torch.device("meta"):
        separator = _build(args, separator_choices)
    total = getattr(separator, "num_classes", None)
    new = (args.separator_conf or {}).get("new_queries", 0) if total else 0
    return Needs(
        separator.needs_motion,
        separator.needs_flow,
        separator.needs_labels,
        None if total is None else total - new,
        new,
    )


def check_visual(args: argparse.Namespace, shape: Tuple[int, ...], table: str) -> None:
    """Check that the visual features of a data set fit the model.

    Args:
        args: The config.
        shape: Of one clip's features: (rows, D), or (rows, 3, H, W) for packed frames.
        table: Names the features in messages.

    Raises:
        InputError: they do not.
    """
    with torch.device("meta"):
        adapter = _build(args, visual_adapter_choices).eval()
        expected = _build(args, separator_choices).visual_dim
        try:
            found = adapter(torch.zeros(1, 1, *shape)).shape
        except (RuntimeError, ValueError, IndexError):
            found = None
    if found == (1, 1, expected):
        return
    kind = f"{shape[-1]} values a row"
    if len(shape) == 4:
        kind = f"pictures of {shape[2]} x {shape[3]} pixels"
    raise InputError(
        f"{table}: holds {kind}, which visual_adapter {args.visual_adapter} does not "
        f"make into the {expected} values of separator_conf.visual_dim. Set that to "
        "the size of the features, or extract them with the encoder that this system "
        "is meant for (stage 2)."
    )


def num_label_classes(entries: List[Dict[str, Any]]) -> Optional[int]:
    """Number of classes of the criterion that classifies; None where there is none."""
    for entry in entries:
        if criterion_choices.classes[entry["name"]].needs_labels:
            cls = criterion_choices.get_class(entry["name"])
            default = inspect.signature(cls.__init__).parameters["num_classes"].default
            return int((entry.get("conf") or {}).get("num_classes", default))
    return None


def _build(args: argparse.Namespace, choices: ClassChoices) -> Any:
    """Build the class that a config names for one part; None where it names none."""
    name = getattr(args, choices.name)
    if name is None:
        return None
    if not isinstance(name, str) or name not in choices.classes:
        raise InputError(
            f"{choices.name}: {shown(name)} is not known; choose from "
            f"{', '.join(choices.classes)}."
        )
    conf = getattr(args, f"{choices.name}_conf") or {}
    return construct(choices.get_class(name), conf, f"{choices.name}_conf")


def _complete_stft(args: argparse.Namespace) -> None:
    """Fill in what the config leaves out of the STFT's settings."""
    for choices in (encoder_choices, decoder_choices):
        if getattr(args, choices.name) == "stft":
            conf = {
                **STFT_DEFAULTS,
                # ESPnet scales the window by fs / default_fs; keep the two equal.
                "default_fs": args.sample_rate,
                **(getattr(args, f"{choices.name}_conf") or {}),
            }
            setattr(args, f"{choices.name}_conf", conf)


def build_untrained(
    args: argparse.Namespace,
) -> Tuple[ESPnetAVSeparationModel, AbsBaseline]:
    """Build a system without training: STFT and resynthesis, and what makes masks.

    Args:
        args: sample_rate, encoder, decoder, baseline, the conf of each, model_conf.

    Raises:
        InputError: unknown keys or values.
    """
    _complete_stft(args)
    model = construct(
        ESPnetAVSeparationModel,
        args.model_conf or {},
        "model_conf",
        encoder=_build(args, encoder_choices),
        decoder=_build(args, decoder_choices),
        visual_adapter=nn.Identity(),
        separator=None,
        sample_rate=args.sample_rate,
    )
    return model, _build(args, baseline_choices)


def build_model(
    args: argparse.Namespace, with_teacher: bool = True
) -> ESPnetAVSeparationModel:
    """Build the model that a config describes.

    Args:
        args: The parsed options of avsep_train, or a config.yaml read back.
        with_teacher: False leaves out what only training needs: the teacher, and the
            pretrained weights of an adapter (inference).

    Raises:
        InputError: unknown keys or values, criterions that do not fit the model.
    """
    _complete_stft(args)
    separator = _build(args, separator_choices)
    criterions = _build_criterions(args.criterions or [], separator)
    model_conf = dict(args.model_conf or {})
    names = {c.name for c in criterions}
    for key, needed in (("mask_max", 1.0), ("mask_activation", "sigmoid")):
        if separator.sees_magnitude and model_conf.get(key, needed) != needed:
            raise InputError(
                f"model_conf.{key} is {model_conf[key]} with 'separator: "
                f"{args.separator}', which subtracts its masks from the mixture: they "
                f"need {key}: {needed}."
            )
        if "binary_mask_bce" in names and model_conf.get(key, needed) != needed:
            raise InputError(
                f"model_conf.{key} is {model_conf[key]} with the criterion "
                f"binary_mask_bce; binary masks need {key}: {needed}."
            )
    teacher = None
    if with_teacher:
        teacher = _build(args, teacher_choices)
        if teacher is None and "alignment" in names:
            raise InputError(
                "criterions: alignment needs a teacher; set 'teacher: clap' and its "
                "checkpoint in teacher_conf, or remove the criterion."
            )
        if teacher is not None and "alignment" not in names:
            raise InputError(
                f"teacher: {args.teacher} is set but no criterion uses it; add the "
                "criterion alignment, or remove the teacher."
            )
        if teacher is not None:
            criterion = next(c.criterion for c in criterions if c.name == "alignment")
            expected = criterion.teacher_dim
            if teacher.output_dim != expected:
                raise InputError(
                    f"the teacher's embeddings have {teacher.output_dim} values, the "
                    f"criterion alignment expects {expected}: set its "
                    f"conf.teacher_dim to {teacher.output_dim}."
                )
    adapter = _build(args, visual_adapter_choices)
    if with_teacher and hasattr(adapter, "load_pretrained"):
        adapter.load_pretrained()  # inference loads trained weights instead
    model_class = ESPnetAVSeparationModel
    if isinstance(separator, AbsWaveSeparator):
        model_class = ESPnetAVWaveModel
    return construct(
        model_class,
        model_conf,
        "model_conf",
        encoder=_build(args, encoder_choices),
        decoder=_build(args, decoder_choices),
        visual_adapter=adapter,
        separator=separator,
        criterions=criterions,
        teacher=teacher,
        sample_rate=args.sample_rate,
    )

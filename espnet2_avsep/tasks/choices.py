"""The model built from a config.

Apart from tasks/avsep.py so that inference does not import ESPnet's training machinery,
which takes ten seconds and more. The classes that a config may name are in registry.py.
"""

import argparse
import inspect
import logging
from typing import Any, Dict, List, Optional, Tuple

import torch
from torch import nn

from espnet2_avsep.baseline.abs_baseline import AbsBaseline
from espnet2_avsep.errors import InputError, shown
from espnet2_avsep.model.espnet_model import ESPnetAVSeparationModel, WeightedCriterion
from espnet2_avsep.model.espnet_wave_model import ESPnetAVWaveModel
from espnet2_avsep.registry import (
    baseline_choices,
    criterion_choices,
    decoder_choices,
    encoder_choices,
    separator_choices,
    teacher_choices,
    visual_adapter_choices,
)
from espnet2_avsep.separator.abs_separator import AbsSeparator
from espnet2_avsep.separator.abs_wave_separator import AbsWaveSeparator
from espnet2_avsep.tasks.parts import build_part, build_separator, construct

# STFT of the paper: Hann 1024, hop 256 (HFRA, section 4.1).
STFT_DEFAULTS = {"n_fft": 1024, "hop_length": 256}


def _build_criterions(
    entries: List[Dict[str, Any]], separator: AbsSeparator
) -> List[WeightedCriterion]:
    criterions: List[WeightedCriterion] = []
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise InputError(
                f"criterions: {shown(entry)} must be a mapping whose 'name' is one of "
                f"{', '.join(criterion_choices)}."
            )
        cls = criterion_choices.get_class(name)
        unknown = sorted(map(str, set(entry) - {"name", "conf", "weight"}))
        if unknown:
            raise InputError(
                f"criterions, {name}: unknown key(s) {', '.join(unknown)}; an entry "
                "has name, conf and weight."
            )
        # The name of a module in the model, which cannot have a dot.
        key = name.rpartition(":")[2]
        if any(c.name == key for c in criterions):
            raise InputError(f"criterions: {name} is listed twice; once is enough.")
        given = {"audio_dim": separator.bottleneck_dim} if cls.needs_teacher else {}
        option = f"criterions, {name}, conf"
        criterion = construct(cls, entry.get("conf") or {}, option, **given)
        if criterion.needs == "logits" and isinstance(separator, AbsWaveSeparator):
            raise InputError(
                f"criterions: {name} does not go with this separator, which gives "
                "waveforms; choose another one, for instance wave_l1."
            )
        if criterion.needs_steps and not separator.gives_steps:
            raise InputError(
                f"criterions: {name} does not go with this separator, which does not "
                "take one source after the other; choose another one, for instance "
                "binary_mask_bce, or another separator: "
                f"{separator_choices.that(gives_steps=True)}."
            )
        if criterion.needs_presence and not separator.tells_presence:
            raise InputError(
                f"criterions: {name} does not go with this separator, which does not "
                "tell whether a query is in the mixture; choose separator: tfc_tdf "
                "with separator_conf.presence, for instance 32."
            )
        # Separators written for version 0.1 say so by having phases.
        learns = separator.learns_grounding or (separator.grounds and separator.phases)
        if criterion.needs_grounding and not learns:
            raise InputError(
                f"criterions: {name} does not go with this separator, which does not "
                "learn to tell what sounds; choose another one, or another separator: "
                f"{separator_choices.that(learns_grounding=True)}."
            )
        try:
            weight = float(entry.get("weight", 1.0))
        except (TypeError, ValueError):
            raise InputError(
                f"criterions, {name}: weight is {shown(entry['weight'])}; expected a "
                "number."
            ) from None
        criterions.append(WeightedCriterion(key, criterion, weight))
    return criterions


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
        adapter = build_part(args, visual_adapter_choices).eval()
        expected = build_separator(args).visual_dim
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


def check_taught(model: ESPnetAVSeparationModel) -> None:
    """Check that a criterion teaches whatever a trained separator would tell.

    Args:
        model: With the criterions of its training.

    Raises:
        InputError: none teaches the presence of queries, by which masks are multiplied.
    """
    separator, criterions = model.separator, model.criterions.values()
    if separator.tells_presence and not any(c.needs_presence for c in criterions):
        known = criterion_choices.that(needs_presence=True)
        raise InputError(
            "separator_conf.presence is set, but no criterion teaches it: masks would "
            "be multiplied by what an untrained layer says, 0.5. Add the criterion "
            f"{known}, or remove the option."
        )
    if separator.learns_grounding and not any(c.needs_grounding for c in criterions):
        logging.warning(
            "no criterion teaches the separator's grounding network: choose "
            f"{criterion_choices.that(needs_grounding=True)}, or do not use what it "
            "tells (avsep ground; gate)."
        )


def num_label_classes(entries: List[Dict[str, Any]]) -> Optional[int]:
    """Number of classes of the criterion that classifies; None where there is none."""
    for entry in entries:
        cls = criterion_choices.get_class(entry["name"])
        if cls.needs_labels:
            default = inspect.signature(cls.__init__).parameters["num_classes"].default
            return int((entry.get("conf") or {}).get("num_classes", default))
    return None


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
        encoder=build_part(args, encoder_choices),
        decoder=build_part(args, decoder_choices),
        visual_adapter=nn.Identity(),
        separator=None,
        sample_rate=args.sample_rate,
    )
    return model, build_part(args, baseline_choices)


def _check_teacher(
    name: Optional[str],
    teacher: Optional[nn.Module],
    criterions: List[WeightedCriterion],
) -> None:
    """Check that there is a teacher if a criterion needs one, and that they fit."""
    taught = [c for c in criterions if c.criterion.needs_teacher]
    if teacher is None and taught:
        raise InputError(
            f"criterions: {taught[0].name} needs a teacher; set 'teacher: clap' and "
            "its checkpoint in teacher_conf, or remove the criterion."
        )
    if teacher is not None and not taught:
        known = criterion_choices.that(needs_teacher=True)
        raise InputError(
            f"teacher: {name} is set but no criterion uses it; add the criterion "
            f"{known}, or remove the teacher."
        )
    for key, criterion, _ in taught:
        expected = criterion.teacher_dim
        if teacher.output_dim != expected:
            raise InputError(
                f"the teacher's embeddings have {teacher.output_dim} values, the "
                f"criterion {key} expects {expected}: set its conf.teacher_dim to "
                f"{teacher.output_dim}."
            )


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
    separator = build_separator(args)
    criterions = _build_criterions(args.criterions or [], separator)
    model_conf = dict(args.model_conf or {})
    parts = [(f"separator: {args.separator}", separator.model_conf)]
    parts += [(f"criterion {c.name}", c.criterion.model_conf) for c in criterions]
    for part, required in parts:
        for key, needed in required.items():
            if model_conf.get(key, needed) != needed:
                raise InputError(
                    f"model_conf.{key} is {model_conf[key]} with the {part}, which "
                    f"needs {key}: {needed}."
                )
    teacher = None
    if with_teacher:
        teacher = build_part(args, teacher_choices)
        _check_teacher(args.teacher, teacher, criterions)
    adapter = build_part(args, visual_adapter_choices)
    if with_teacher:
        adapter.load_pretrained()  # inference loads trained weights instead
    model_class = ESPnetAVSeparationModel
    if isinstance(separator, AbsWaveSeparator):
        model_class = ESPnetAVWaveModel
    return construct(
        model_class,
        model_conf,
        "model_conf",
        encoder=build_part(args, encoder_choices),
        decoder=build_part(args, decoder_choices),
        visual_adapter=adapter,
        separator=separator,
        criterions=criterions,
        teacher=teacher,
        sample_rate=args.sample_rate,
    )

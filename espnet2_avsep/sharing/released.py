"""Checkpoints that others have released, under the names of this package's networks.

Sound of Pixels, CLIPSep and HFRA share one U-Net (Zhao et al., "The Sound of Pixels",
ECCV 2018), each with names of its own; Co-Separation and AVPC have other networks. What
is known of them, from the programs that write the checkpoints (names are facts; no line
of those programs is here):

===============  ======================================================================
sound_of_pixels  three files: ``bn0``, ``unet_block.model.<i>...`` (blocks nested in
                 Sequentials); ``features.<i>...``, ``fc``; ``scale``, ``bias``. The
                 released model: 11,025 Hz, STFT 1022/256, 65,535 samples.
clipsep          one file: ``sound_net`` (as above), ``frame_net``, ``synth_net``; the
                 released CLIPSep-NIT has ``pit_nets`` too, two heads for noise that a
                 query does not use. 16 kHz, STFT 1024/256.
clipsep_middle   ``sound_net.unet_block`` of named parts (``downconv``, ``downnorm``,
                 ``submodule``, ``upconv``, ``upnorm``), ``frame_net``; and an unused
                 ``synth_net``.
hfra             ``sound_net`` of named parts, ``frame_net_mid``, ``frame_net_late``,
                 ``synth_net``. 11,625 Hz, STFT 1024/256.
co_separation    two or three files: ``audionet_convlayer<n>``,
                 ``audionet_upconvlayer<n>``; ``conv1``, ``feature_extraction.<i>...``,
                 ``conv1x1``, ``fc``; and a classifier that separation does not use.
                 11,025 Hz, STFT 1022/256, 65,535 samples.
iquery           three files: ``bn0``, ``downconv<n>``, ``downnorm<n>``, ``upconv<n>``,
                 ``upnorm<n>``, of which n = 1 is the outermost; ``features.<i>...``,
                 ``fc``; ``query_embed``, ``transformer.encoder.layers.0``,
                 ``transformer.decoder.layers.<i>``, ``transformer.decoder.norm``,
                 ``mask_embed.layers.<i>``, and convolutions of kernel 1: ``down`` for
                 the motion, ``upobj`` for the object features. Each decoder layer has
                 all attentions: the first uses only ``cross_attn_motion`` and
                 ``norm4``, the others do not use these. 11,025 Hz, STFT 1022/256,
                 65,535 samples.
dgfnet           iQuery's, and for ``upconv<n>`` an attention (``conv1x1``, ``gn``,
                 ``conv3x3.<i>``) whose name ends in n, and a linear layer for its
                 fusion. DERIVED, not verified: see below.
avpc             two files: ``DownConvs``, ``UpConvs``, ``a0``, ``b0``, ``BNUp``,
                 ``BNDown``, ``BNUp_step``, ``BNDown_step``; ``features.<i>...``,
                 ``fc``. 11,025 Hz, STFT 1022/256, 65,535 samples.
===============  ======================================================================

The files themselves could not be had where this was written: the names were read in the
public sources, and the tests build checkpoints of these names with random weights. A
file with any other name in it is refused, by that name.

The names of DGFNet's files are derived, because its program could not be read: they
are those of iQuery, which it extends, and of EMA's authors for the attention; the
linear layer of its fusion is recognised by its shape.

The queries of the released iQuery for MUSIC, 12, are its classes in alphabetical order;
the last is unused. With another number the classes are named "0", "1", ... in
``classes`` of config.yaml: put their names there. The float mask of padded motion steps
in iQuery and DGFNet has no counterpart here.

The computation of the shared U-Net is the same: BatchNorm on the input; LeakyReLU(0.2),
4x4 convolution of stride 2 without bias, BatchNorm on the way down (level 1 has only
the convolution, the deepest no BatchNorm); ReLU, bilinear up-sampling (corners
aligned), 3x3 convolution, BatchNorm on the way up, the skip first in each
concatenation; sigmoid after the projections and after the masks. Their activations work
in place, so what is skipped is rectified already: the ReLU that follows makes that the
same.

Two things depend on the libraries that a program runs with, not on its weights:

* ``align_corners`` of the frequency warp. CLIPSep and HFRA give True, AVPC False. Sound
  of Pixels and Co-Separation do not give it: torch took True before 1.3, when these
  weights were trained, and takes False since, when they are run today. iQuery, which is
  newer, does not give it either: False.
* What the STFT pads with: librosa reflected before 0.9 and pads with zeros since. The
  programs of 2018 and 2019 (Sound of Pixels, Co-Separation) reflected.

The values of the time of training are taken, and logged; ``model`` of :func:`convert`
has other ones.
"""

import dataclasses
import fnmatch
import itertools
import logging
import math
import re
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

import torch
from torch import Tensor

from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.errors import InputError
from espnet2_avsep.layers.unet import level_widths

State = Dict[str, Tensor]

# Checkpoints of a training program may hold the weights under one of these names.
_WRAPPERS = ("state_dict", "model_state_dict")
_PARTS = {  # a name that only this file of a system has -> its network; first counts
    "bn0.weight": "net_sound.",
    "query_embed.weight": "net_maskformer.",
    "audionet_convlayer1.0.weight": "net_unet.",
    "conv1x1.0.weight": "net_visual.",
    "feature_extraction.0.weight": "net_classifier.",
    "BNDown.0.weight": "net_sound.",
    "fc.0.weight": "net_frame.",
    "fc.weight": "net_frame.",
    "scale": "net_synthesizer.",
}
_RESNET = {  # place in the Sequential -> torchvision's name
    "0": "conv1",
    "1": "bn1",
    **{str(3 + n): f"layer{n}" for n in range(1, 5)},
}
_MUSIC = (  # the classes of MUSIC, in the order of iQuery's queries
    *("accordion", "acoustic_guitar", "cello", "clarinet", "erhu", "flute"),
    *("saxophone", "trumpet", "tuba", "violin", "xylophone"),
)


class _Source:
    """Tensors of a checkpoint, each to be taken once.

    Attributes:
        state: Those that are left.
        moved: Those that were moved, under the names of the model.
        unused: Names of those that no mask depends on.
    """

    def __init__(self, state: Mapping[str, Tensor]):
        self.state = dict(state)
        self.moved: State = {}
        self.unused: List[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self.state

    def take(self, name: str) -> Tensor:
        if name not in self.state:
            raise InputError(
                f"the checkpoint has no {name!r}, which its layout should have. Its "
                f"other names begin with {_some(self.state)}."
            )
        return self.state.pop(name)

    def move(
        self, name: str, target: str, keys: Sequence[str] = ("weight", "bias")
    ) -> None:
        """Move the tensors ``name.key`` to ``target.key``."""
        for key in keys:
            self.moved[f"{target}.{key}"] = self.take(f"{name}.{key}")

    def move_norm(self, name: str, target: str) -> None:
        """Move a BatchNorm; its counter is missing in the oldest checkpoints."""
        self.move(name, target, ("weight", "bias", "running_mean", "running_var"))
        counter = self.state.pop(f"{name}.num_batches_tracked", torch.tensor(0))
        self.moved[f"{target}.num_batches_tracked"] = counter

    def move_linear(self, name: str, target: str) -> Tuple[int, int]:
        """Move a linear layer, or a 1-D convolution of kernel 1, which is one.

        Returns:
            The sizes of its output and input.
        """
        self.move(name, target)
        weight = self.moved[f"{target}.weight"]
        if weight.dim() == 3 and weight.size(2) == 1:
            weight = self.moved[f"{target}.weight"] = weight.squeeze(2)
        if weight.dim() != 2:
            raise InputError(
                f"{name}.weight has the shape {tuple(weight.shape)}; expected "
                "(out, in)."
            )
        return weight.size(0), weight.size(1)

    def drop(self, prefix: str) -> List[str]:
        """Remove what begins with the prefix; return its names."""
        names = [name for name in self.state if name.startswith(prefix)]
        for name in names:
            del self.state[name]
        return names

    def leave(self, prefix: str) -> None:
        """Remove what begins with the prefix, and list it as unused."""
        self.unused += self.drop(prefix)


@dataclasses.dataclass
class Converted:
    """A checkpoint in this package's terms.

    Attributes:
        layout: The layout that was recognised.
        config: What config.yaml is to say.
        visual: What visual_info.yaml is to say.
        state: Weights of the model that the config describes.
        unused: Names of the checkpoint's tensors that no mask depends on.
    """

    layout: str
    config: Dict[str, Any]
    visual: Dict[str, Any]
    state: State
    unused: List[str]


def merge(checkpoints: Iterable[Mapping[str, Any]]) -> State:
    """Put the files of a released model together under the names of one.

    Raises:
        InputError: a file holds other things than tensors, several files are not those
            of a system that is released in several, or two are the same part.
    """
    states = [_unwrap(checkpoint) for checkpoint in checkpoints]
    if len(states) == 1:
        return states[0]
    merged: State = {}
    for state in states:
        part = next((part for key, part in _PARTS.items() if key in state), None)
        if part is None:
            raise InputError(
                "of several files, each must be a part of Sound of Pixels, "
                "Co-Separation, AVPC, iQuery or DGFNet (with one of "
                f"{', '.join(_PARTS)}); one has names that begin with {_some(state)}."
            )
        if any(name.startswith(part) for name in merged):
            raise InputError(f"two files are the part {part[:-1]}; give one.")
        merged.update({part + name: value for name, value in state.items()})
    return merged


def convert(
    state: Mapping[str, Tensor],
    layout: str = "auto",
    audio: Optional[Mapping[str, int]] = None,
    condition: str = "own",
    model: Optional[Mapping[str, Any]] = None,
) -> Converted:
    """Bring a released checkpoint under this package's names.

    Args:
        state: Its tensors, see :func:`merge`.
        layout: One of LAYOUTS; "auto" recognises it by its names.
        audio: sample_rate, n_fft, hop_length, where they are not the released ones'.
        condition: "own", or "last_source": with HFRA, see HFRASeparator.
        model: warp_align_corners and stft_padding of ESPnetAVSeparationModel, where
            they are not those that the weights were trained with.

    Raises:
        InputError: an unknown layout, a tensor is missing or left over, or
            its shape does not fit.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise InputError(
            f"layout {layout!r}: expected auto or one of {', '.join(LAYOUTS)}."
        )
    found = [name for name, entry in LAYOUTS.items() if entry.fits(state)]
    if len(found) != 1:
        raise InputError(
            "the checkpoint is of no known layout. Its names begin with "
            f"{_some(state)}; known are: "
            + "; ".join(f"{name} ({e.names})" for name, e in LAYOUTS.items())
            + ". (CLIPSep's early fusion and its systems without pictures have no "
            "counterpart here.)"
        )
    if layout not in ("auto", found[0]):
        raise InputError(f"layout {layout}: the names are those of {found[0]}.")
    if condition != "own" and found[0] != "hfra":
        raise InputError(f"condition {condition!r}: {found[0]} has no such choice.")
    entry = LAYOUTS[found[0]]
    source = _Source(state)
    separator, conf, adapter = entry.convert(source)
    if source.state:
        raise InputError(
            f"{len(source.state)} tensors of the checkpoint are not part of the layout "
            f"{found[0]}: {_some(source.state)}. It is not converted: masks could "
            "depend on them."
        )
    if condition != "own":
        conf["middle_condition"] = condition
    stft = {**entry.audio, **(audio or {})}
    sample_rate = stft.pop("sample_rate")
    config = {
        "system": entry.system,
        "imported_from": f"released checkpoint, layout {found[0]}",
        "sample_rate": sample_rate,
        "encoder": "stft",
        "encoder_conf": stft,
        "decoder": "stft",
        "decoder_conf": dict(stft),
        **adapter,
        "separator": separator,
        "separator_conf": conf,
        "teacher": None,
        "teacher_conf": {},
        "criterions": [{"name": entry.criterion, "weight": 1.0}],
        "model_conf": {
            "num_log_bins": 256,
            "compression": "log",
            "log_eps": 1e-10,
            "mask_max": 1.0,
            **entry.model,
            **(model or {}),
        },
        "dataset_conf": {"num_sources": 2, "visual_frames": entry.visual_frames},
    }
    for name in ("warp_align_corners", "stft_padding"):
        value = config["model_conf"][name]
        logging.info(
            f"{name}: {value} (what the weights were trained with: "
            f"{entry.model[name]}); it changes the tracks"
        )
    for name in source.unused:
        logging.info(f"not used: {name}")
    if found[0] == "dgfnet":
        logging.warning(
            "the layout dgfnet is derived, not verified with a released program; see "
            "espnet2_avsep/sharing/released.py"
        )
    visual = dict(entry.visual)
    return Converted(found[0], config, visual, source.moved, source.unused)


def _unwrap(checkpoint: Mapping[str, Any]) -> State:
    """Return the tensors of a checkpoint, without DataParallel's prefix."""
    inner = [name for name in _WRAPPERS if isinstance(checkpoint.get(name), dict)]
    if len(inner) == 1:
        logging.info(f"the weights are under {inner[0]!r}")
        checkpoint = checkpoint[inner[0]]
    strange = [name for name, v in checkpoint.items() if not isinstance(v, Tensor)]
    if strange:
        raise InputError(
            f"the checkpoint holds other things than tensors: {_some(strange)}; "
            "expected a state dict."
        )
    if not checkpoint:
        raise InputError("the checkpoint holds no tensors; expected a state dict.")
    if all(name.startswith("module.") for name in checkpoint):
        return {name[len("module.") :]: v for name, v in checkpoint.items()}
    return dict(checkpoint)


def _some(names: Iterable[Any]) -> str:
    """Show a few names."""
    return shorten(sorted(map(str, names))) or "nothing"


@dataclasses.dataclass
class _Level:
    """Names of a level's parts; None where it has no such norm."""

    down: str
    down_norm: Optional[str]
    up: str
    up_norm: Optional[str]


def _sequential_levels(source: _Source, prefix: str) -> List[_Level]:
    """Name the levels of a U-Net whose blocks are nested Sequentials."""
    levels = [_Level(f"{prefix}model.0", None, f"{prefix}model.4", None)]
    prefix += "model.1.model"
    while f"{prefix}.3.model.1.weight" in source:
        names = (f"{prefix}.{i}" for i in (1, 2, 6, 7))
        levels.append(_Level(*names))
        prefix += ".3.model"
    levels.append(_Level(f"{prefix}.1", None, f"{prefix}.4", f"{prefix}.5"))
    return levels


def _numbered_levels(source: _Source, prefix: str) -> List[_Level]:
    """Name the levels of a U-Net of numbered parts, 1 to the number of levels."""
    number = _numbered(source, prefix + "downconv{}.weight", 1)
    return [
        _Level(
            f"{prefix}downconv{n}",
            f"{prefix}downnorm{n}" if 1 < n < number else None,
            f"{prefix}upconv{n}",
            f"{prefix}upnorm{n}" if n > 1 else None,
        )
        for n in range(1, number + 1)
    ]


def _named_levels(source: _Source, prefix: str) -> List[_Level]:
    """Name the levels of a U-Net of named parts, and leave its two unused norms."""
    levels: List[_Level] = []
    while True:
        outermost = not levels
        innermost = f"{prefix}submodule.downconv.weight" not in source
        norm: Optional[str] = f"{prefix}downnorm"
        if outermost or innermost:
            # It is there in every block; the first and the last do not call it.
            source.leave(f"{norm}.")
            norm = None
        up_norm = None if outermost else f"{prefix}upnorm"
        levels.append(_Level(f"{prefix}downconv", norm, f"{prefix}upconv", up_norm))
        if innermost:
            return levels
        prefix += "submodule."


def _unet(
    source: _Source, norm: str, levels: List[_Level], output_bias: bool = True
) -> Tuple[int, int, int]:
    """Move a U-Net.

    Returns:
        Channels of the first level, number of levels and of output maps.
    """
    source.move_norm(norm, "separator.encoder.input_norm")
    widths = []
    for n, level in enumerate(levels):
        target = f"separator.encoder.convs.{n}"
        source.move(level.down, target, ["weight"])
        widths.append(len(source.moved[f"{target}.weight"]))
        if level.down_norm:
            source.move_norm(level.down_norm, f"separator.encoder.norms.{n}")
        target = f"separator.decoder.blocks.{len(levels) - 1 - n}"
        source.move(level.up, f"{target}.conv", ["weight"])
        if level.up_norm:
            source.move_norm(level.up_norm, f"{target}.norm")
        else:
            maps = len(source.moved[f"{target}.conv.weight"])
            if output_bias:
                source.move(level.up, f"{target}.conv", ["bias"])
    if len(levels) < 2 or widths != level_widths(widths[0], len(widths)):
        raise InputError(
            f"the U-Net's levels have {widths} channels; expected each to double, up "
            "to 8 times the first."
        )
    return widths[0], len(levels), maps


# Name of the separator, its arguments, and the config's entries of the adapter.
_Result = Tuple[str, Dict[str, Any], Dict[str, Any]]
_MEAN = {"visual_adapter": "mean", "visual_adapter_conf": {}}
_MIDDLE, _LATE = "separator.middle_projection.0", "separator.late_projection.0"


def _from_sound_of_pixels(source: _Source) -> _Result:
    levels = _sequential_levels(source, "net_sound.unet_block.")
    channels, layers, maps = _unet(source, "net_sound.bn0", levels)
    source.move("net_synthesizer", "separator", ("scale", "bias"))
    _resnet(source, "net_frame.features.")
    source.move("net_frame.fc", "visual_adapter.projection")
    conf = {
        "visual_dim": maps,
        "channels": channels,
        "layers": layers,
        "end_bias": False,
    }
    adapter = {
        "visual_adapter": "resnet18_dilated",
        "visual_adapter_conf": {"embedding_dim": maps, "size": 224},
    }
    return "sound_of_pixels", conf, adapter


def _from_clipsep(source: _Source) -> _Result:
    levels = _sequential_levels(source, "sound_net.unet_block.")
    channels, layers, maps = _unet(source, "sound_net.bn0", levels)
    _, visual_dim = source.move_linear("frame_net", _LATE)
    _inner_product(source)
    source.leave("pit_nets.")
    conf = _hfra_conf("late", visual_dim, channels, layers, maps)
    return "hfra", conf, dict(_MEAN)


def _from_clipsep_middle(source: _Source) -> _Result:
    levels = _named_levels(source, "sound_net.unet_block.")
    channels, layers, maps = _unet(source, "sound_net.bn0", levels)
    if maps != 1:
        raise InputError(f"the U-Net has {maps} output maps; middle fusion has one.")
    condition, visual_dim = source.move_linear("frame_net", _MIDDLE)
    source.leave("synth_net.")
    conf = _hfra_conf("middle", visual_dim, channels, layers, condition)
    return "hfra", {**conf, "condition_dim": condition}, dict(_MEAN)


def _from_hfra(source: _Source) -> _Result:
    levels = _named_levels(source, "sound_net.unet_block.")
    channels, layers, maps = _unet(source, "sound_net.bn0", levels)
    condition, visual_dim = source.move_linear("frame_net_mid", _MIDDLE)
    source.move_linear("frame_net_late", _LATE)
    _inner_product(source)
    conf = _hfra_conf("hierarchical", visual_dim, channels, layers, maps)
    return "hfra", {**conf, "condition_dim": condition}, dict(_MEAN)


def _inner_product(source: _Source) -> None:
    for key in ("scale", "bias"):
        source.moved[f"separator.late_{key}"] = source.take(f"synth_net.{key}")


def _hfra_conf(
    fusion: str, visual_dim: int, channels: int, layers: int, width: int
) -> Dict[str, Any]:
    return {
        "visual_dim": visual_dim,
        "fusion": fusion,
        "channels": channels,
        "layers": layers,
        "width": width,
        "projection_activation": "sigmoid",
        "end_bias": False,
    }


def _resnet(source: _Source, prefix: str) -> None:
    """Take ResNet-18, whose children are numbered, without pooling and classifier."""
    for name in [n for n in source.state if n.startswith(prefix)]:
        place, _, rest = name[len(prefix) :].partition(".")
        if place in _RESNET:
            target = f"visual_adapter.features.{_RESNET[place]}.{rest}"
            source.moved[target] = source.take(name)


def _from_queries(source: _Source) -> _Result:
    levels = _numbered_levels(source, "net_sound.")
    channels, layers, maps = _unet(source, "net_sound.bn0", levels, output_bias=False)
    last = source.moved.pop(f"separator.decoder.blocks.{layers - 1}.conv.weight")
    source.moved["separator.decoder.last.conv.weight"] = last
    conf: Dict[str, Any] = {
        "channels": channels,
        "layers": layers,
        "width": maps,
        "queries": "class",
        "gate": "none",
        "fused_map": "transformer",
        "audio_attention": None,
        "attention_place": "before_norm",
        "end_bias": False,
        "output_bias": False,
        "positions": "normalised",
        "positions_in_values": False,
        "query_positions": True,
        "motion_positions": True,
        "final_norm": True,
    }
    attentions = _attentions_of_levels(source, layers)
    if attentions:
        conf["audio_attention"] = sorted(attentions, reverse=True)
    for level, name in attentions.items():
        target = f"separator.decoder.attentions.{layers - level}"
        _attention_of_maps(source, name, target)
    _resnet(source, "net_frame.features.")
    source.move("net_frame.fc", "visual_adapter.projection")
    visual_dim = len(source.moved["visual_adapter.projection.bias"])
    if attentions:
        _fusion(source, visual_dim, conf)
    _query_transformer(source, conf)
    adapter = {
        "visual_adapter": "resnet18_dilated",
        "visual_adapter_conf": {
            "embedding_dim": visual_dim,
            "size": 224,
            "train_features": False,
            "activation": "sigmoid",
        },
        "classes": _names_of_queries(conf["num_queries"]),
    }
    return "query", conf, adapter


def _names_of_queries(number: int) -> List[Optional[str]]:
    """Name the class of each query; None for a query of no class."""
    if number == len(_MUSIC) + 1:
        logging.info(
            f"{number} queries: the classes of MUSIC in alphabetical order; the last "
            "is unused. Others: change classes in config.yaml"
        )
        return [*_MUSIC, None]
    logging.info(
        f'{number} queries: their classes are named "0" to "{number - 1}"; put the '
        "names into classes of config.yaml"
    )
    return [str(n) for n in range(number)]


def _attentions_of_levels(source: _Source, layers: int) -> Dict[int, str]:
    """Find the attentions by their parameters; return level -> name."""
    found: Dict[int, str] = {}
    for key in fnmatch.filter(source.state, "net_sound.*.gn.weight"):
        name = key.removesuffix(".gn.weight")
        number = re.search(r"\d+$", name)
        level = int(number.group()) if number else 0
        if not 1 <= level <= layers or level in found:
            raise InputError(
                f"{name}: expected the name of an attention to end in the number of "
                f"its up-convolution, 1 to {layers}, each at most once."
            )
        found[level] = name
    return found


def _attention_of_maps(source: _Source, name: str, target: str) -> None:
    source.move(f"{name}.conv1x1", f"{target}.axes")
    source.move(f"{name}.gn", f"{target}.norm")
    source.move(f"{name}.conv3x3.0", f"{target}.local", ["weight"])
    source.move_norm(f"{name}.conv3x3.1", f"{target}.local_norm")
    if f"{name}.conv3x3.0.bias" in source:  # ours has none: it only moves the mean
        mean = f"{target}.local_norm.running_mean"
        bias = source.take(f"{name}.conv3x3.0.bias")
        source.moved[mean] = source.moved[mean] - bias


def _fusion(source: _Source, visual_dim: int, conf: Dict[str, Any]) -> None:
    """Move DGFNet's fusion from what is left of the sound network.

    The result of its gate is not used by the released code.
    """
    left = {k: v for k, v in source.state.items() if k.startswith("net_sound.")}
    linear = [
        k for k, v in left.items() if v.dim() in (2, 3) and v.size(1) == visual_dim
    ]
    if len(linear) == 1:
        conf["gate"] = "multiply"
        name = linear[0].removesuffix(".weight")
        source.move_linear(name, "separator.fusion.projection")
    for name, value in left.items():
        if value.dim() == 4 and len(value) == 1:
            source.leave(name.removesuffix("weight"))


def _query_transformer(source: _Source, conf: Dict[str, Any]) -> None:
    """Move the transformer with what precedes and follows it."""
    prefix = "net_maskformer."
    base = source.take(f"{prefix}query_embed.weight")
    source.moved["separator.queries.base"] = base
    number, dim = base.shape
    attention = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")

    def move(theirs: str, ours: str, *keys: Sequence[str]) -> None:
        name = f"{prefix}transformer.{theirs}"
        source.move(name, f"separator.transformer.{ours}", *keys)

    encoder = "encoder.layers.0"
    move(f"{encoder}.self_attn", "encoder.0.self_attn", attention)
    for name in ("linear1", "linear2", "norm1", "norm2"):
        move(f"{encoder}.{name}", f"encoder.0.{name}")
    layers = _numbered(source, prefix + "transformer.decoder.layers.{}.norm3.weight")
    for n in range(layers):
        theirs = f"decoder.layers.{n}"
        ours = f"layers.{n - 1}" if n else "motion_layer"
        if n:
            move(f"{theirs}.self_attn", f"{ours}.self_attention", attention)
            move(f"{theirs}.norm1", f"{ours}.self_norm")
            move(f"{theirs}.multihead_attn", f"{ours}.cross_attention", attention)
            move(f"{theirs}.norm2", f"{ours}.cross_norm")
            idle = ("cross_attn_motion", "norm4")
        else:
            move(f"{theirs}.cross_attn_motion", f"{ours}.cross_attention", attention)
            move(f"{theirs}.norm4", f"{ours}.cross_norm")
            idle = ("self_attn", "norm1", "multihead_attn", "norm2")
        for name in idle:
            source.leave(f"{prefix}transformer.{theirs}.{name}.")
        move(f"{theirs}.linear1", f"{ours}.feedforward.0")
        move(f"{theirs}.linear2", f"{ours}.feedforward.2")
        move(f"{theirs}.norm3", f"{ours}.feedforward_norm")
    move("decoder.norm", "final_norm")
    for n in range(3):
        name = f"{prefix}mask_embed.layers.{n}"
        source.move_linear(name, f"separator.mask_head.{2 * n}")
    target = "separator.queries.projection"
    _, visual_dim = source.move_linear(f"{prefix}upobj", target)
    target = "separator.transformer.motion_projection"
    _, motion_dim = source.move_linear(f"{prefix}down", target)
    conf.update(
        visual_dim=visual_dim,
        num_queries=number,
        motion=True,
        motion_dim=motion_dim,
        dim=dim,
        decoder_layers=layers - 1,
        feedforward_dim=len(
            source.moved["separator.transformer.encoder.0.linear1.bias"]
        ),
    )


def _numbered(source: _Source, name: str, first: int = 0) -> int:
    """How many of name.format(first), name.format(first + 1), ... are there."""
    numbers = itertools.count()
    return next(n for n in numbers if name.format(first + n) not in source)


def _from_co_separation(source: _Source) -> _Result:
    layers = _numbered(source, "net_unet.audionet_convlayer{}.0.weight", 1)
    for n in range(layers):
        for way, norms in (("conv", "down"), ("upconv", "up")):
            name = f"net_unet.audionet_{way}layer{n + 1}"
            source.move(f"{name}.0", f"separator.{norms}.{n}")
            if (way, n) != ("upconv", layers - 1):
                source.move_norm(f"{name}.1", f"separator.{norms}_norms.{n}")
    source.drop("net_visual.feature_extraction.0.")  # the same as conv1
    source.move("net_visual.conv1", "visual_adapter.features.conv1", ["weight"])
    _resnet(source, "net_visual.feature_extraction.")
    projection = "visual_adapter.projection"
    source.move("net_visual.conv1x1.0", f"{projection}.0")
    source.move_norm("net_visual.conv1x1.1", f"{projection}.1")
    visual_dim, values = source.move_linear("net_visual.fc", f"{projection}.4")
    source.leave("net_classifier.")
    maps = len(source.moved[f"{projection}.0.weight"])
    channels = len(source.moved["separator.down.0.weight"])
    conf = {"visual_dim": visual_dim, "channels": channels, "layers": layers}
    adapter = {
        "visual_adapter": "resnet18_co_separation",
        "visual_adapter_conf": {
            "embedding_dim": visual_dim,
            "maps": maps,
            "size": 32 * math.isqrt(values // maps),
        },
    }
    return "co_separation", conf, adapter


def _from_avpc(source: _Source) -> _Result:
    layers = _numbered(source, "net_sound.a0.{}")
    cycles = _numbered(source, "net_sound.BNUp_step.{}.weight") // max(layers, 1)
    weights = {
        "predict_visual": "DownConvs.0",
        "visual_error": "UpConvs.0",
        **{f"down.{layers - n}": f"DownConvs.{n}.conv2d" for n in range(1, layers + 1)},
        **{
            f"up.{layers - n}": f"UpConvs.{n}.convtrans2d" for n in range(1, layers + 1)
        },
    }
    for target, name in weights.items():
        source.move(f"net_sound.{name}", f"separator.{target}", ["weight"])
    norms = {"input_norm": f"BNDown.{layers}"}
    for n in range(layers):  # theirs are numbered from the top down
        level = layers - 1 - n
        for target, name in (("rate_up", "a0"), ("rate_down", "b0")):
            rate = source.take(f"net_sound.{name}.{n}")
            source.moved[f"separator.{target}.{level}"] = rate.squeeze(0)
        norms[f"start_norms.{level}"] = f"BNDown.{n}"
        norms[f"refine_norms.0.{level}"] = f"BNUp.{n}"
        for cycle in range(cycles):
            number = layers * cycle + n
            norms[f"refine_norms.{cycle + 1}.{level}"] = f"BNUp_step.{number}"
            if level > 0:
                number = (layers - 1) * cycle + n
                norms[f"predict_norms.{cycle}.{level - 1}"] = f"BNDown_step.{number}"
    for target, name in norms.items():
        source.move_norm(f"net_sound.{name}", f"separator.{target}")
    _resnet(source, "net_frame.features.")
    source.move("net_frame.fc.0", "visual_adapter.projection.0")
    source.move_norm("net_frame.fc.1", "visual_adapter.projection.1")
    maps, _, side, _ = source.moved["visual_adapter.projection.0.weight"].shape
    conf = {
        "visual_dim": maps * 4,
        "channels": len(source.moved["separator.down.0.weight"]),
        "layers": layers,
        "cycles": cycles,
        "width": maps,
    }
    adapter = {
        "visual_adapter": "resnet18_predictive_coding",
        "visual_adapter_conf": {"maps": maps, "size": 32 * (side + 1)},
    }
    return "predictive_coding", conf, adapter


@dataclasses.dataclass
class _Layout:
    """How a released system's checkpoints are recognised and converted.

    Attributes:
        system: Its name.
        names: What its tensors are called, for messages.
        needs: One name that begins with each of these is there. "*" matches any
            characters.
        convert: Takes the tensors.
        audio: sample_rate, n_fft, hop_length of the released model.
        visual: What made its visual input; which weights, its files do not say.
        model: Its model_conf, also what depends on the libraries of the time of
            training.
        criterion: What it was trained with.
        visual_frames: Pictures of a source.
        lacks: No name that begins with one of these is there; see ``needs``.
    """

    system: str
    names: str
    needs: Tuple[str, ...]
    convert: Callable[[_Source], _Result]
    audio: Dict[str, int]
    visual: Dict[str, Any]
    model: Dict[str, Any]
    criterion: str = "binary_mask_bce"
    visual_frames: int = 3
    lacks: Tuple[str, ...] = ()

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        def there(prefix: str) -> bool:
            return bool(fnmatch.filter(state, f"{prefix}*"))

        return all(map(there, self.needs)) and not any(map(there, self.lacks))


_CLIP = {
    "encoder": "open_clip",
    "model": "ViT-B-32",
    "pretrained": "openai",
    "weights": None,
    "dim": 512,
}
_FRAMES = {"encoder": "frames", "size": 224, "jpeg_quality": 90}
_AUDIO_11025 = {"sample_rate": 11025, "n_fft": 1022, "hop_length": 256}
_AUDIO_16000 = {"sample_rate": 16000, "n_fft": 1024, "hop_length": 256}
_QUERIES = {"compression": "log1p", "stft_padding": "zeros"}
_CORNERS = {"warp_align_corners": True, "stft_padding": "zeros"}
_CORNERS_REFLECT = {"warp_align_corners": True, "stft_padding": "reflect"}

LAYOUTS: Dict[str, _Layout] = {
    "sound_of_pixels": _Layout(
        "Sound of Pixels",
        "net_sound, net_frame, net_synthesizer, or a file of each",
        ("net_sound.bn0.", "net_frame.fc.", "net_synthesizer."),
        _from_sound_of_pixels,
        _AUDIO_11025,
        _FRAMES,
        _CORNERS_REFLECT,
    ),
    "clipsep": _Layout(
        "CLIPSep late",
        "sound_net.unet_block.model, frame_net, synth_net, perhaps pit_nets",
        ("sound_net.unet_block.model.", "frame_net.weight", "synth_net.scale"),
        _from_clipsep,
        _AUDIO_16000,
        _CLIP,
        _CORNERS,
    ),
    "clipsep_middle": _Layout(
        "CLIPSep middle",
        "sound_net.unet_block.downconv, frame_net",
        ("sound_net.unet_block.downconv.", "frame_net.weight"),
        _from_clipsep_middle,
        _AUDIO_16000,
        _CLIP,
        _CORNERS,
        lacks=("frame_net_mid.",),
    ),
    "hfra": _Layout(
        "HFRA",
        "sound_net.unet_block.downconv, frame_net_mid, frame_net_late, synth_net",
        ("sound_net.unet_block.downconv.", "frame_net_mid.", "frame_net_late."),
        _from_hfra,
        {"sample_rate": 11625, "n_fft": 1024, "hop_length": 256},
        _CLIP,
        _CORNERS,
    ),
    "co_separation": _Layout(
        "Co-Separation",
        "net_unet, net_visual, perhaps net_classifier: a file of each",
        ("net_unet.audionet_convlayer1.", "net_visual.conv1x1."),
        _from_co_separation,
        _AUDIO_11025,
        _FRAMES,
        _CORNERS_REFLECT,
        "ratio_mask_l1",
        1,
    ),
    "iquery": _Layout(
        "iQuery",
        "net_sound with downconv1, net_frame, net_maskformer: a file of each",
        ("net_sound.downconv1.", "net_frame.fc.", "net_maskformer.query_embed."),
        _from_queries,
        _AUDIO_11025,
        _FRAMES,
        {**_QUERIES, "warp_align_corners": False},
        "ratio_mask_l1",
        lacks=("net_sound.*.gn.",),
    ),
    "dgfnet": _Layout(
        "DGFNet",
        "as iQuery's, with attentions in net_sound: a file of each",
        (
            *("net_sound.downconv1.", "net_sound.*.gn."),
            *("net_frame.fc.", "net_maskformer.query_embed."),
        ),
        _from_queries,
        _AUDIO_11025,
        _FRAMES,
        {**_QUERIES, "warp_align_corners": True},
        "ratio_mask_l1",
    ),
    "avpc": _Layout(
        "AVPC",
        "net_sound, net_frame: a file of each",
        ("net_sound.DownConvs.", "net_sound.BNDown.", "net_frame.fc.0."),
        _from_avpc,
        _AUDIO_11025,
        _FRAMES,
        {"warp_align_corners": False, "stft_padding": "zeros"},
    ),
}

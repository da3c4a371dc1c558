"""Checkpoints that others have released, under the names of this package's networks.

Three systems share one U-Net (Zhao et al., "The Sound of Pixels", ECCV 2018), each with
names of its own. What is known of them, from the programs that write the checkpoints
(names are facts; no line of those programs is here):

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
===============  ======================================================================

The files themselves could not be had where this was written: the names were read in the
public sources, and the tests build checkpoints of these names with random weights. A
file with any other name in it is refused, by that name.

The computation is the same: BatchNorm on the input; LeakyReLU(0.2), 4x4 convolution of
stride 2 without bias, BatchNorm on the way down (level 1 has but the convolution, the
deepest no BatchNorm); ReLU, bilinear up-sampling (corners aligned), 3x3 convolution,
BatchNorm on the way up, the skip first in each concatenation; sigmoid after the
projections and after the masks. Their activations work in place, so what is skipped is
rectified already: the ReLU that follows makes that the same. One thing differs: with
``binary_mask`` they round masks after the return to linear frequency, this package
before it.
"""

import dataclasses
import logging
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

import torch
from torch import Tensor

from espnet2_avsep.errors import InputError
from espnet2_avsep.layers.unet import level_widths

State = Dict[str, Tensor]

# Checkpoints of a training program may hold the weights under one of these names.
_WRAPPERS = ("state_dict", "model_state_dict")
_SOUND_OF_PIXELS = {  # what tells the three files apart -> the network's name
    "bn0.weight": "net_sound.",
    "fc.weight": "net_frame.",
    "scale": "net_synthesizer.",
}
_RESNET = {  # place in the Sequential -> torchvision's name
    "0": "conv1",
    "1": "bn1",
    **{str(3 + n): f"layer{n}" for n in range(1, 5)},
}
_NORM = ("weight", "bias", "running_mean", "running_var")


class _Source:
    """Tensors of a checkpoint, each to be taken once."""

    def __init__(self, state: Mapping[str, Tensor]):
        self.state = dict(state)

    def __contains__(self, name: str) -> bool:
        return name in self.state

    def take(self, name: str) -> Tensor:
        if name not in self.state:
            raise InputError(
                f"the checkpoint has no {name!r}, which its layout should have. Its "
                f"other names begin with {_some(self.state)}."
            )
        return self.state.pop(name)

    def take_norm(self, name: str, target: str) -> State:
        """Take a BatchNorm; its counter is missing in the oldest checkpoints."""
        found = {f"{target}.{key}": self.take(f"{name}.{key}") for key in _NORM}
        counter = self.state.pop(f"{name}.num_batches_tracked", torch.tensor(0))
        return {**found, f"{target}.num_batches_tracked": counter}

    def drop(self, prefix: str) -> List[str]:
        """Take what begins so, unused."""
        names = [name for name in self.state if name.startswith(prefix)]
        for name in names:
            del self.state[name]
        return names


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
            of Sound of Pixels, or two are the same part.
    """
    states = [_unwrap(checkpoint) for checkpoint in checkpoints]
    if len(states) == 1:
        return states[0]
    merged: State = {}
    for state in states:
        parts = [part for key, part in _SOUND_OF_PIXELS.items() if key in state]
        if len(parts) != 1:
            raise InputError(
                "of several files, each must be a part of Sound of Pixels (with "
                f"{', '.join(_SOUND_OF_PIXELS)}); one has names that begin with "
                f"{_some(state)}."
            )
        if any(name.startswith(parts[0]) for name in merged):
            raise InputError(f"two files are the part {parts[0][:-1]}; give one.")
        merged.update({parts[0] + name: value for name, value in state.items()})
    return merged


def convert(
    state: Mapping[str, Tensor],
    layout: str = "auto",
    audio: Optional[Mapping[str, int]] = None,
    condition: str = "own",
) -> Converted:
    """Bring a released checkpoint under this package's names.

    Args:
        state: Its tensors, see :func:`merge`.
        layout: One of LAYOUTS; "auto" recognises it by its names.
        audio: sample_rate, n_fft, hop_length, where they are not the released ones'.
        condition: "own", or "last_source": with HFRA, see HFRASeparator.

    Raises:
        InputError: the layout is none of these, a tensor is missing or left over, or
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
    separator, conf, adapter, unused, weights = entry.convert(source)
    if source.state:
        raise InputError(
            f"{len(source.state)} tensors of the checkpoint are not part of the layout "
            f"{found[0]}: {_some(source.state)}. It is not converted: masks could "
            "depend on them."
        )
    if condition != "own":
        conf["middle_condition"] = condition
    config = {
        "system": entry.system,
        "imported_from": f"released checkpoint, layout {found[0]}",
        **_audio_config({**entry.audio, **(audio or {})}),
        **adapter,
        "separator": separator,
        "separator_conf": conf,
        "teacher": None,
        "teacher_conf": {},
        "criterions": [{"name": "binary_mask_bce", "weight": 1.0}],
        "model_conf": {
            "num_log_bins": 256,
            "compression": "log",
            "log_eps": 1e-10,
            "mask_max": 1.0,
        },
        "dataset_conf": {"num_sources": 2, "visual_frames": 3},
    }
    for name in unused:
        logging.info(f"not used: {name}")
    return Converted(found[0], config, dict(entry.visual), weights, unused)


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
    names = sorted(map(str, names))
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return (", ".join(names[:6]) or "nothing") + more


def _audio_config(audio: Mapping[str, int]) -> Dict[str, Any]:
    stft = {"n_fft": audio["n_fft"], "hop_length": audio["hop_length"]}
    return {
        "sample_rate": audio["sample_rate"],
        "encoder": "stft",
        "encoder_conf": stft,
        "decoder": "stft",
        "decoder_conf": dict(stft),
    }


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


def _named_levels(source: _Source, prefix: str) -> Tuple[List[_Level], List[str]]:
    """Name the levels of a U-Net of named parts, and take its two unused norms."""
    levels, unused = [], []
    while True:
        outermost = not levels
        innermost = f"{prefix}submodule.downconv.weight" not in source
        norm: Optional[str] = f"{prefix}downnorm"
        if outermost or innermost:
            # It is there in every block; the first and the last do not call it.
            unused += source.drop(f"{norm}.")
            norm = None
        up_norm = None if outermost else f"{prefix}upnorm"
        levels.append(_Level(f"{prefix}downconv", norm, f"{prefix}upconv", up_norm))
        if innermost:
            return levels, unused
        prefix += "submodule."


def _unet(
    source: _Source, norm: str, levels: List[_Level]
) -> Tuple[State, int, int, int]:
    """Take a U-Net.

    Returns:
        The weights, channels of the first level, number of levels and of output maps.
    """
    state = source.take_norm(norm, "separator.encoder.input_norm")
    widths = []
    for n, level in enumerate(levels):
        weight = source.take(f"{level.down}.weight")
        state[f"separator.encoder.convs.{n}.weight"] = weight
        widths.append(len(weight))
        if level.down_norm:
            target = f"separator.encoder.norms.{n}"
            state.update(source.take_norm(level.down_norm, target))
        else:  # where no norm follows, ours has a bias, theirs has none
            bias = weight.new_zeros(len(weight))
            state[f"separator.encoder.convs.{n}.bias"] = bias
        target = f"separator.decoder.blocks.{len(levels) - 1 - n}"
        weight = source.take(f"{level.up}.weight")
        state[f"{target}.conv.weight"] = weight
        if level.up_norm:
            state.update(source.take_norm(level.up_norm, f"{target}.norm"))
        else:
            state[f"{target}.conv.bias"] = source.take(f"{level.up}.bias")
            maps = len(weight)
    if len(levels) < 2 or widths != level_widths(widths[0], len(widths)):
        raise InputError(
            f"the U-Net's levels have {widths} channels; expected each to double, up "
            "to 8 times the first."
        )
    return state, widths[0], len(levels), maps


def _linear(source: _Source, name: str, target: str, state: State) -> Tuple[int, int]:
    """Take a linear layer; return the sizes of its output and input."""
    weight = source.take(f"{name}.weight")
    state[f"{target}.weight"] = weight
    state[f"{target}.bias"] = source.take(f"{name}.bias")
    if weight.dim() != 2:
        raise InputError(
            f"{name}.weight has the shape {tuple(weight.shape)}; expected (out, in)."
        )
    return weight.size(0), weight.size(1)


_Result = Tuple[str, Dict[str, Any], Dict[str, Any], List[str], State]
_MEAN = {"visual_adapter": "mean", "visual_adapter_conf": {}}


def _from_sound_of_pixels(source: _Source) -> _Result:
    levels = _sequential_levels(source, "net_sound.unet_block.")
    state, channels, layers, maps = _unet(source, "net_sound.bn0", levels)
    state["separator.scale"] = source.take("net_synthesizer.scale")
    state["separator.bias"] = source.take("net_synthesizer.bias")
    for name in [n for n in source.state if n.startswith("net_frame.features.")]:
        place, _, rest = name[len("net_frame.features.") :].partition(".")
        if place in _RESNET:
            target = f"visual_adapter.features.{_RESNET[place]}.{rest}"
            state[target] = source.take(name)
    for key in ("weight", "bias"):
        state[f"visual_adapter.projection.{key}"] = source.take(f"net_frame.fc.{key}")
    conf = {"visual_dim": maps, "channels": channels, "layers": layers}
    adapter = {
        "visual_adapter": "resnet18_dilated",
        "visual_adapter_conf": {"embedding_dim": maps, "size": 224},
    }
    return "sound_of_pixels", conf, adapter, [], state


def _from_clipsep(source: _Source) -> _Result:
    levels = _sequential_levels(source, "sound_net.unet_block.")
    state, channels, layers, maps = _unet(source, "sound_net.bn0", levels)
    late = "separator.late_projection.0"
    _, visual_dim = _linear(source, "frame_net", late, state)
    _inner_product(source, state)
    conf = _hfra_conf("late", visual_dim, channels, layers, maps)
    return "hfra", conf, dict(_MEAN), source.drop("pit_nets."), state


def _from_clipsep_middle(source: _Source) -> _Result:
    levels, unused = _named_levels(source, "sound_net.unet_block.")
    state, channels, layers, maps = _unet(source, "sound_net.bn0", levels)
    if maps != 1:
        raise InputError(f"the U-Net has {maps} output maps; middle fusion has one.")
    middle = "separator.middle_projection.0"
    condition, visual_dim = _linear(source, "frame_net", middle, state)
    unused += source.drop("synth_net.")
    conf = _hfra_conf("middle", visual_dim, channels, layers, condition)
    return "hfra", {**conf, "condition_dim": condition}, dict(_MEAN), unused, state


def _from_hfra(source: _Source) -> _Result:
    levels, unused = _named_levels(source, "sound_net.unet_block.")
    state, channels, layers, maps = _unet(source, "sound_net.bn0", levels)
    middle, late = "separator.middle_projection.0", "separator.late_projection.0"
    condition, visual_dim = _linear(source, "frame_net_mid", middle, state)
    _linear(source, "frame_net_late", late, state)
    _inner_product(source, state)
    conf = _hfra_conf("hierarchical", visual_dim, channels, layers, maps)
    return "hfra", {**conf, "condition_dim": condition}, dict(_MEAN), unused, state


def _inner_product(source: _Source, state: State) -> None:
    state["separator.late_scale"] = source.take("synth_net.scale")
    state["separator.late_bias"] = source.take("synth_net.bias")


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
    }


@dataclasses.dataclass
class _Layout:
    """How a released system's checkpoints are recognised and converted.

    Attributes:
        system: Its name.
        names: What its tensors are called, for messages.
        needs: One name that begins with each of these is there ...
        lacks: ... and none that begins with one of these.
        convert: Takes the tensors.
        audio: sample_rate, n_fft, hop_length of the released model.
        visual: What made its visual input; which weights, its files do not say.
    """

    system: str
    names: str
    needs: Tuple[str, ...]
    lacks: Tuple[str, ...]
    convert: Callable[[_Source], _Result]
    audio: Dict[str, int]
    visual: Dict[str, Any]

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        def there(prefix: str) -> bool:
            return any(name.startswith(prefix) for name in state)

        return all(map(there, self.needs)) and not any(map(there, self.lacks))


_CLIP = {
    "encoder": "open_clip",
    "model": "ViT-B-32",
    "pretrained": "openai",
    "weights": None,
    "dim": 512,
}
_FRAMES = {"encoder": "frames", "size": 224, "jpeg_quality": 90}

LAYOUTS: Dict[str, _Layout] = {
    "sound_of_pixels": _Layout(
        "Sound of Pixels",
        "net_sound, net_frame, net_synthesizer, or a file of each",
        ("net_sound.bn0.", "net_frame.fc.", "net_synthesizer."),
        (),
        _from_sound_of_pixels,
        {"sample_rate": 11025, "n_fft": 1022, "hop_length": 256},
        _FRAMES,
    ),
    "clipsep": _Layout(
        "CLIPSep late",
        "sound_net.unet_block.model, frame_net, synth_net, perhaps pit_nets",
        ("sound_net.unet_block.model.", "frame_net.weight", "synth_net.scale"),
        (),
        _from_clipsep,
        {"sample_rate": 16000, "n_fft": 1024, "hop_length": 256},
        _CLIP,
    ),
    "clipsep_middle": _Layout(
        "CLIPSep middle",
        "sound_net.unet_block.downconv, frame_net",
        ("sound_net.unet_block.downconv.", "frame_net.weight"),
        ("frame_net_mid.",),
        _from_clipsep_middle,
        {"sample_rate": 16000, "n_fft": 1024, "hop_length": 256},
        _CLIP,
    ),
    "hfra": _Layout(
        "HFRA",
        "sound_net.unet_block.downconv, frame_net_mid, frame_net_late, synth_net",
        ("sound_net.unet_block.downconv.", "frame_net_mid.", "frame_net_late."),
        (),
        _from_hfra,
        {"sample_rate": 11625, "n_fft": 1024, "hop_length": 256},
        _CLIP,
    ),
}

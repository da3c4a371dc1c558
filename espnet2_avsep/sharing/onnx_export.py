"""Export of a separator to ONNX, for programs without PyTorch.

The graph holds everything between the STFT and its inverse::

    magnitude (F, T) float32   of the mixture's STFT, at the model's rate
    queries   (N, D) float32   an embedding of each source
    mask      (N, F, T)        or, of complex masks, mask_real and mask_imag

so that the spectrum of track n is mask[n] times that of the mixture. The numbers of
frames T and sources N are free. What the STFT is, the graph's metadata tell.
"""

import logging
from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, nn

from espnet2_avsep.data.conditions import needed
from espnet2_avsep.data.tables.scp import PathLike, write_file
from espnet2_avsep.errors import InputError

OPSET = 18
# The largest difference between masks of the graph and of PyTorch.
TOLERANCE = 1e-4
# Sources and frames that the graph is checked with.
_CHECKED = ((1, 70), (2, 300), (4, 133))


class MaskGraph(nn.Module):
    """Masks on the linear frequency axis from magnitudes.

    Args:
        model: The model of a training (ESPnetAVSeparationModel), in eval mode.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    @property
    def outputs(self) -> List[str]:
        """Names of what forward() returns."""
        if self.model.separator.complex_masks:
            return ["mask_real", "mask_imag"]
        return ["mask"]

    def forward(self, magnitude: Tensor, queries: Tensor) -> Tuple[Tensor, ...]:
        """Compute masks (N, F, T) from (F, T) and (N, D)."""
        model = self.model
        if len(self.outputs) == 1:
            masks = _masks(model, magnitude, queries)
        else:  # without complex numbers
            feature, visual = _inputs(model, magnitude, queries)
            values, _ = model.separator.real_forward(feature, visual)
            size = model.mask_max * values[:, :, 0].sigmoid()
            phase = values[:, :, 1]
            parts = (size * phase.cos(), size * phase.sin())
            masks = tuple(model.warp.inverse(part)[0] for part in parts)
        own = torch.arange(magnitude.size(-1), device=magnitude.device)
        return tuple(mask.index_select(-1, own) for mask in masks)


def _inputs(
    model: nn.Module, magnitude: Tensor, queries: Tensor
) -> Tuple[Tensor, Tensor]:
    """What a separator gets of (F, T) and (N, D)."""
    given = model._prepare(
        model.warp(magnitude[None, None]), queries[None, :, None], {}
    )
    return given["feature"], given["visual"]


def _masks(model: nn.Module, magnitude: Tensor, queries: Tensor) -> Tuple[Tensor, ...]:
    """Masks as the model makes them, (N, F, T); of complex ones both parts."""
    logits, _ = model.separator(*_inputs(model, magnitude, queries))
    mask, _ = model._mask(logits)
    parts = (mask.real, mask.imag) if mask.is_complex() else (mask,)
    return tuple(model.warp.inverse(part)[0] for part in parts)


def export_onnx(model: nn.Module, path: PathLike, config: Dict[str, Any]) -> float:
    """Write a model's graph, and compare it with PyTorch.

    Args:
        model: The model of a training, on the CPU.
        path: The .onnx file; appears once the comparison has passed.
        config: What the graph's metadata tell besides the STFT.

    Returns:
        The largest difference of a mask, over several numbers of frames and sources.

    Raises:
        InputError: onnx, onnxscript or onnxruntime is missing; the graph takes no
            such model; the masks differ by more than TOLERANCE.
    """
    _check_model(model)
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx.export needs it)
    except ImportError as error:
        raise InputError(
            f"ONNX export needs the package {error.name}: pip install "
            "'espnet2_avsep[onnx]'."
        ) from error
    # What it warns of are steps of its optimiser, which change no value.
    logging.getLogger("onnxscript.optimizer").setLevel(logging.ERROR)
    graph = MaskGraph(model).eval()
    frames, sources = torch.export.Dim("frames"), torch.export.Dim("sources")
    example = _example(model, 3, 150)
    with torch.no_grad():
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["magnitude", "queries"],
            output_names=graph.outputs,
            dynamic_shapes={"magnitude": {1: frames}, "queries": {0: sources}},
            verbose=False,
        )
    found = program.model_proto
    encoder = model.encoder
    onnx.helper.set_model_props(
        found,
        {
            **{key: str(value) for key, value in config.items()},
            "sample_rate": str(model.sample_rate),
            "n_fft": str(encoder.n_fft),
            "hop_length": str(encoder.hop_length),
            "window": "periodic Hann, centred frames",
            "stft_padding": model.stft_padding,
        },
    )
    content = found.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for number, length in _CHECKED:
        magnitude, queries = _example(model, number, length)
        with torch.no_grad():
            expected = _masks(model, magnitude, queries)
        given = {"magnitude": magnitude.numpy(), "queries": queries.numpy()}
        for one, other in zip(session.run(None, given), expected, strict=True):
            worst = max(worst, float((torch.from_numpy(one) - other).abs().max()))
    if not worst <= TOLERANCE:
        raise InputError(
            f"the graph's masks differ from PyTorch's by {worst:.2g}; expected at most "
            f"{TOLERANCE:g}. Nothing was written."
        )
    write_file(path, content)
    return worst


def _check_model(model: nn.Module) -> None:
    """Raise where a model is not one of masks that an embedding queries."""
    separator = model.separator
    reason = None
    if not hasattr(model, "warp"):
        reason = "it separates waveforms, without masks"
    elif getattr(model.visual_adapter, "takes_frames", False):
        reason = "it takes pictures, not embeddings"
    elif needed(separator):
        wanted = " and ".join(condition.what for condition in needed(separator))
        reason = f"it needs {wanted} beside the embeddings"
    elif separator.sees_magnitude:
        reason = "it takes one source after the other, in a number of steps that varies"
    if reason is not None:
        raise InputError(f"{type(separator).__name__} cannot be exported: {reason}.")


def _example(model: nn.Module, sources: int, frames: int) -> Tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(frames)
    magnitude = torch.rand(model.warp.num_linear, frames, generator=generator)
    queries = torch.randn(sources, model.separator.visual_dim, generator=generator)
    return magnitude, queries / queries.norm(dim=-1, keepdim=True)

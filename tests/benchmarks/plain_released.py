"""The released structures in torch's own modules: the yardstick of training steps.

Written from the papers' equations and the programs' structure; weights are ours. As in
the programs, the U-Net runs once per mixture; frame network, transformer (its encoder
of the sound included) and product with the maps run once per source, and iQuery's and
DGFNet's transformer makes the masks of all queries after each of its layers. Maps are
up-sampled and concatenated before each convolution, in torch's default memory format.
"""

from types import MethodType
from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.query_transformer import map_positions, step_positions


def make_plain(model: nn.Module) -> None:
    """Let a model compute with the released structure, in place.

    Args:
        model: Of train_avsep_{clipsep_late,sound_of_pixels,iquery,dgfnet}_released.yaml
            (ESPnetAVSeparationModel).

    Raises:
        ValueError: options of another structure.
    """
    separator, adapter = model.separator, model.visual_adapter
    forwards = {
        "HFRASeparator": _clipsep_late,
        "SoundOfPixelsSeparator": _sound_of_pixels,
        "QuerySeparator": _instruments_as_queries,
    }
    name = type(separator).__name__
    if name not in forwards:
        raise ValueError(f"{name}: expected one of {tuple(forwards)}")
    if name == "HFRASeparator" and separator.middle_projection is not None:
        raise ValueError("fusion: only 'late' has one pass of the U-Net per mixture")
    if name == "QuerySeparator" and not _is_released(separator):
        raise ValueError("separator_conf: expected the options of *_released.yaml")
    for part in (separator, adapter):
        part.to(memory_format=torch.contiguous_format)
    separator.forward = MethodType(forwards[name], separator)
    if adapter.takes_frames:
        adapter.forward = MethodType(_frames_of_each_source, adapter)


def _is_released(separator: nn.Module) -> bool:
    transformer, fusion = separator.transformer, separator.fusion
    multiplies = fusion is None or (
        fusion.fused_conv is None and separator.fused_map == "transformer"
    )
    return (
        multiplies
        and separator.needs_labels
        and separator.decoder.before_norm
        == any(a is not None for a in separator.decoder.attentions)
        and transformer.positions == "normalised"
        and transformer.query_positions
        and transformer.motion_positions
        and not transformer.positions_in_values
    )


def _frames_of_each_source(adapter: nn.Module, visual: Tensor) -> Tensor:
    if not adapter.train_features:
        adapter.features.train(adapter.training)
    return torch.stack(
        [adapter._embed(part)[:, 0] for part in visual.split(1, dim=1)], dim=1
    )


def _attend(attention: nn.Module, x: Tensor) -> Tensor:
    """EMA with DGFNet's 3x3 branch, of maps (B, C, H, W)."""
    batch, _, height, width = x.shape
    grouped = x.reshape(batch * attention.groups, -1, height, width)
    rows = grouped.mean(dim=3, keepdim=True)
    columns = grouped.mean(dim=2, keepdim=True).transpose(2, 3)
    means = attention.axes(torch.cat([rows, columns], dim=2))
    rows, columns = means.split([height, width], dim=2)
    wide = grouped * rows.sigmoid() * columns.transpose(2, 3).sigmoid()
    wide = attention.norm(wide)
    local = F.relu(attention.local_norm(attention.local(grouped)))

    def weigh(one: Tensor, other: Tensor) -> Tensor:
        shares = F.adaptive_avg_pool2d(one, 1).flatten(1)[:, None].softmax(dim=2)
        return shares @ other.flatten(2)

    weight = weigh(wide, local) + weigh(local, wide)
    weight = weight.reshape(-1, 1, height, width).sigmoid()
    return (grouped * weight).reshape(x.shape)


def _maps(
    separator: nn.Module, feature: Tensor, blocks: List[nn.Module]
) -> Tuple[Tensor, List[Tensor]]:
    """Run the U-Net: its bottleneck, and the maps of each level of the decoder."""
    encoder = separator.encoder
    x = encoder.input_norm(feature)
    skips = []
    for level, (conv, norm) in enumerate(
        zip(encoder.convs, encoder.norms, strict=True)
    ):
        x = norm(conv(F.leaky_relu(x, 0.2) if level else x))
        skips.append(x)
    bottleneck = x = skips.pop()
    attentions = getattr(separator.decoder, "attentions", [None] * len(blocks))
    found = []
    for number, (block, attention) in enumerate(zip(blocks, attentions, strict=True)):
        if number:
            x = torch.cat([skips.pop(), x], dim=1)
        x = F.interpolate(
            F.relu(x), scale_factor=2, mode="bilinear", align_corners=True
        )
        x = F.conv2d(x, block.conv.weight, block.conv.bias, padding=1)
        if attention is not None:
            x = _attend(attention, x)
        norm = getattr(block, "norm", None)
        if norm is not None:
            x = norm(x)
        found.append(x)
    return bottleneck, found


def _with_maps(
    separator: nn.Module, feature: Tensor, visual: Tensor, query_of: nn.Module
) -> Tuple[Tensor, Tensor]:
    """Late fusion: products of the U-Net's maps with the query of each source."""
    padded, (bins, frames) = pad_to_multiple(feature, 2**separator.layers)
    bottleneck, maps = _maps(separator, padded, list(separator.decoder.blocks))
    logits = []
    for embedding in visual.unbind(dim=1):
        query = query_of(embedding)
        logits.append(torch.einsum("bk,bkft->bft", query, maps[-1]))
    logits = torch.stack(logits, dim=1)[..., :bins, :frames]
    return logits, bottleneck.mean(dim=(-2, -1))


def _clipsep_late(
    self: nn.Module, feature: Tensor, visual: Tensor
) -> Tuple[Tensor, Tensor]:
    logits, bottleneck = _with_maps(
        self, feature, visual, lambda x: self.late_projection(x) * self.late_scale
    )
    return logits + self.late_bias, bottleneck


def _sound_of_pixels(
    self: nn.Module, feature: Tensor, visual: Tensor
) -> Tuple[Tensor, Tensor]:
    logits, bottleneck = _with_maps(
        self, feature, visual, lambda x: x.sigmoid() * self.scale
    )
    return logits + self.bias, bottleneck


def _attention(
    attention: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    padding: Optional[Tensor] = None,
) -> Tensor:
    """torch's own module, which returns the weights, too, as DETR's layers call it."""
    return nn.MultiheadAttention.forward(
        attention, query, key, value, key_padding_mask=padding
    )[0]


def _feed_forward(layer: nn.Module, x: Tensor) -> Tensor:
    return layer.feedforward_norm(x + layer.feedforward(x))


def _decode(
    transformer: nn.Module,
    queries: Tensor,
    target: Tensor,
    audio: Tensor,
    motion: Tensor,
    padding: Tensor,
) -> List[Tensor]:
    """DETR's transformer for one source: queries (B, Q, dim) after each layer."""
    dim = transformer.dim
    rows, columns = audio.shape[-2:]
    places = map_positions(rows, columns, dim, "normalised", audio.device)
    places = places.to(audio.dtype)
    memory = transformer.input_projection(audio.flatten(2).transpose(1, 2))
    for layer in transformer.encoder:
        key = memory + places
        memory = layer.norm1(memory + _attention(layer.self_attn, key, key, memory))
        inner = layer.linear2(F.relu(layer.linear1(memory)))
        memory = layer.norm2(memory + inner)
    steps = transformer.motion_projection(motion)
    key = steps + step_positions(steps.size(1), dim, steps.device).to(steps.dtype)
    layer = transformer.motion_layer
    found = _attention(layer.cross_attention, target + queries, key, steps, padding)
    x = _feed_forward(layer, layer.cross_norm(target + found))
    results = [transformer.final_norm(x)]
    for layer in transformer.layers:
        own = x + queries
        x = layer.self_norm(x + _attention(layer.self_attention, own, own, x))
        found = _attention(layer.cross_attention, x + queries, memory + places, memory)
        x = _feed_forward(layer, layer.cross_norm(x + found))
        results.append(transformer.final_norm(x))
    return results


def _instruments_as_queries(
    self: nn.Module,
    feature: Tensor,
    visual: Tensor,
    motion: Tensor,
    motion_lengths: Tensor,
    labels: Tensor,
) -> Tuple[Tensor, Tensor]:
    padded, (bins, frames) = pad_to_multiple(feature, 2**self.layers)
    blocks = [*self.decoder.blocks, self.decoder.last]
    bottleneck, maps = _maps(self, padded, blocks)
    middle = maps[self.decoder.num_before - 1]
    batch = torch.arange(len(feature))
    steps = torch.arange(motion.size(2))
    logits = []
    for n in range(visual.size(1)):
        seen, audio = visual[:, n], middle
        if self.fusion is not None:
            audio = self.fusion.projection(seen)[:, :, None, None] * middle
        queries = self.queries.base.expand(len(feature), -1, -1)
        target = torch.zeros_like(queries)
        target[batch, labels[:, n]] = self.queries.projection(seen)
        padding = steps >= motion_lengths[:, n, None]
        decoded = _decode(
            self.transformer, queries, target, audio, motion[:, n], padding
        )
        embeddings = self.mask_head(torch.stack(decoded))  # (layers, B, Q, K)
        masks = torch.einsum("lbqk,bkft->lbqft", embeddings, maps[-1])
        logits.append(masks[-1][batch, labels[:, n]])
    logits = torch.stack(logits, dim=1)[..., :bins, :frames]
    return logits, bottleneck.mean(dim=(-2, -1))

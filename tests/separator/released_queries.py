"""The released iQuery and DGFNet as equations, one source at a time.

Written from the descriptions: Sound of Pixels' U-Net, DETR's transformer, EMA's and
DGFNet's formulas. Nothing of espnet2_avsep is used; weights are given by name.
"""

import math

import torch
from torch.nn import functional as F


def take(weights, prefix):
    """The weights whose names begin so, without that beginning."""
    prefix += "."
    return {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}


def linear(weights, x):
    return x @ weights["weight"].T + weights["bias"]


def batch_norm(weights, x):
    mean, var = (weights[f"running_{k}"][:, None, None] for k in ("mean", "var"))
    x = (x - mean) / (var + 1e-5).sqrt()
    return x * weights["weight"][:, None, None] + weights["bias"][:, None, None]


def attention_of_maps(weights, maps, groups=8):
    """EMA of maps (B, C, H, W), group by group, with DGFNet's 3x3 branch."""
    results = []
    for x in maps.chunk(groups, dim=1):
        kernel = weights["axes.weight"][:, :, 0, 0]
        bias = weights["axes.bias"][:, None]
        rows = (kernel @ x.mean(dim=3) + bias).sigmoid()  # (B, c, H)
        columns = (kernel @ x.mean(dim=2) + bias).sigmoid()  # (B, c, W)
        u = x * rows[:, :, :, None] * columns[:, :, None, :]
        mean = u.mean(dim=(2, 3), keepdim=True)
        var = (u - mean).square().mean(dim=(2, 3), keepdim=True)
        u = (u - mean) / (var + 1e-5).sqrt()
        u = u * weights["norm.weight"][:, None, None]
        u = u + weights["norm.bias"][:, None, None]
        v = F.conv2d(x, weights["local.weight"], padding=1)
        v = batch_norm(take(weights, "local_norm"), v).relu()
        a = 0
        for one, other in ((u, v), (v, u)):
            share = one.mean(dim=(2, 3)).softmax(dim=1)[:, :, None, None]
            a = a + (share * other).sum(dim=1, keepdim=True)
        results.append(x * a.sigmoid())
    return torch.cat(results, dim=1)


def unet(encoder, decoder, x, levels, middle, attended):
    """The map in the middle and the last maps; attention before the BatchNorm."""
    x = batch_norm(take(encoder, "input_norm"), x)
    maps = []
    for n in range(levels):
        x = F.leaky_relu(x, 0.2) if n else x
        x = F.conv2d(x, encoder[f"convs.{n}.weight"], stride=2, padding=1)
        if 0 < n < levels - 1:
            x = batch_norm(take(encoder, f"norms.{n}"), x)
        maps.append(x)
    x = maps.pop()
    for level in range(levels, 0, -1):
        name = f"blocks.{levels - level}" if level > 1 else "last"
        x = F.interpolate(x.relu(), scale_factor=2, mode="bilinear", align_corners=True)
        x = F.conv2d(x, decoder[f"{name}.conv.weight"], padding=1)
        if level in attended:
            x = attention_of_maps(take(decoder, f"attentions.{levels - level}"), x)
        if level > 1:
            x = batch_norm(take(decoder, f"{name}.norm"), x)
        if level == middle + 1:
            found = x
        if level > 1:
            x = torch.cat([maps.pop(), x], dim=1)
    return found, x


def normalised_sines(rows, columns, dim):
    """DETR's positions of a map, (rows * columns, dim): row's, then column's."""

    def sines(n, number):
        values = []
        for i in range(dim // 4):
            angle = 2 * math.pi * n / (number + 1e-6) / 10000 ** (2 * i / (dim // 2))
            values += [math.sin(angle), math.cos(angle)]
        return values

    table = [
        sines(row, rows) + sines(column, columns)
        for row in range(1, rows + 1)
        for column in range(1, columns + 1)
    ]
    return torch.tensor(table, dtype=torch.float64)


def sines_of_steps(number, dim):
    table = [
        [
            (math.cos if i % 2 else math.sin)(n / 10000 ** (2 * (i // 2) / dim))
            for i in range(dim)
        ]
        for n in range(number)
    ]
    return torch.tensor(table, dtype=torch.float64)


def attend(weights, query, key, value, heads):
    """Multi-head attention of (Q, dim) to (P, dim)."""
    parts = zip(
        (query, key, value),
        weights["in_proj_weight"].chunk(3),
        weights["in_proj_bias"].chunk(3),
        strict=True,
    )
    q, k, v = (x @ weight.T + bias for x, weight, bias in parts)
    found = []
    for qh, kh, vh in zip(*(x.chunk(heads, dim=1) for x in (q, k, v)), strict=True):
        found.append((qh @ kh.T / math.sqrt(qh.size(1))).softmax(dim=1) @ vh)
    return linear(take(weights, "out_proj"), torch.cat(found, dim=1))


def layer_norm(weights, x):
    x = (x - x.mean(dim=1, keepdim=True)) / (
        x.var(dim=1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    return x * weights["weight"] + weights["bias"]


def embed(weights, queries, target, audio, motion, heads):
    """DETR's transformer: embeddings (Q, dim) of queries, a map and motion steps.

    The target (Q, dim) is what is decoded; the queries are its positions.
    """
    dim = queries.size(1)
    memory = audio.flatten(1).T  # (H * W, dim)
    places = normalised_sines(*audio.shape[1:], dim)
    layer = take(weights, "encoder.0")
    key = memory + places
    memory = layer_norm(
        take(layer, "norm1"),
        memory + attend(take(layer, "self_attn"), key, key, memory, heads),
    )
    inner = linear(take(layer, "linear1"), memory).relu()
    memory = layer_norm(
        take(layer, "norm2"), memory + linear(take(layer, "linear2"), inner)
    )
    steps = linear(take(weights, "motion_projection"), motion)
    x = target
    layers = [("motion_layer", steps + sines_of_steps(len(steps), dim), steps)]
    layers += [(f"layers.{n}", memory + places, memory) for n in range(3)]
    for name, key, value in layers:
        layer = take(weights, name)
        if "self_norm.weight" in layer:
            own = x + queries
            x = x + attend(take(layer, "self_attention"), own, own, x, heads)
            x = layer_norm(take(layer, "self_norm"), x)
        query = x + queries
        x = x + attend(take(layer, "cross_attention"), query, key, value, heads)
        x = layer_norm(take(layer, "cross_norm"), x)
        inner = linear(take(layer, "feedforward.0"), x).relu()
        x = x + linear(take(layer, "feedforward.2"), inner)
        x = layer_norm(take(layer, "feedforward_norm"), x)
    return layer_norm(take(weights, "final_norm"), x)


def masks(
    weights, feature, visual, motion, labels, *, levels, middle, heads, attended=()
):
    """Mask embeddings (B, N, K) and masks (B, N, F, T) of the released networks.

    Args:
        weights: By the names of the separator's state dict.
        feature: (B, 1, F, T), multiples of 2 ** levels.
        visual: Object features after the sigmoid, (B, N, D).
        motion: (B, N, S, D_m), no padding.
        labels: (B, N).
        attended: Levels with audio attention.
    """
    middle_map, maps = unet(
        take(weights, "encoder"),
        take(weights, "decoder"),
        feature,
        levels,
        middle,
        attended,
    )
    embeddings, results = [], []
    for b in range(len(feature)):
        for n in range(visual.size(1)):
            seen = visual[b, n][None]
            fused = middle_map[b]
            if "fusion.projection.weight" in weights:
                factor = linear(take(weights, "fusion.projection"), seen)[0]
                fused = fused * factor[:, None, None]
            queries = weights["queries.base"]
            target = torch.zeros_like(queries)
            target[labels[b, n]] = linear(take(weights, "queries.projection"), seen)[0]
            inputs = (queries, target, fused, motion[b, n], heads)
            x = embed(take(weights, "transformer"), *inputs)
            for part in ("0", "2", "4"):
                x = linear(take(weights, f"mask_head.{part}"), x)
                x = x if part == "4" else x.relu()
            embeddings.append(x[labels[b, n]])
            results.append(torch.einsum("k,kft->ft", embeddings[-1], maps[b]).sigmoid())
    shape = visual.shape[:2]
    return tuple(torch.stack(y).unflatten(0, shape) for y in (embeddings, results))

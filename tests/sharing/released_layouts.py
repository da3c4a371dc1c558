"""Checkpoints of random weights by their released names, and what they compute.

The computation is written from the equations of each system, with torch's functions on
the named tensors and no network of this package.
"""

import numpy as np
import torch
from torch.nn import functional as F

CHANNELS, LEVELS, MAPS, DIM = 2, 6, 5, 7
WIDTHS = [min(2**n, 8) * CHANNELS for n in range(LEVELS)]


def random(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape)) / max(1, np.prod(shape[1:])) ** 0.5


def random_norm(rng, name, size):
    return {
        f"{name}.weight": 1 + random(rng, size) / 4,
        f"{name}.bias": random(rng, size),
        f"{name}.running_mean": random(rng, size),
        f"{name}.running_var": random(rng, size).square() + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(9),
    }


def block_names(layout, level):
    """Names of a block's convolutions and norms, of both kinds of U-Net."""
    if layout == "named":
        prefix = "submodule." * level
        return [prefix + part for part in ("downconv", "downnorm", "upconv", "upnorm")]
    prefix = "model.1." + "model.3." * (level - 1) if level else ""
    places = {0: (0, None, 4, None), LEVELS - 1: (1, None, 4, 5)}
    return [f"{prefix}model.{i}" for i in places.get(level, (1, 2, 6, 7))]


def random_unet(rng, layout, maps, condition=0):
    state = random_norm(rng, "bn0", 1)
    for level, width in enumerate(WIDTHS):
        down, down_norm, up, up_norm = (
            f"unet_block.{name}" for name in block_names(layout, level)
        )
        inside = WIDTHS[level - 1] if level else 1
        outside = WIDTHS[level - 1] if level else maps
        deepest = level == LEVELS - 1
        state[f"{down}.weight"] = random(rng, width, inside, 4, 4)
        if layout == "named" or 0 < level < LEVELS - 1:
            state.update(random_norm(rng, down_norm, width))
        below = width + condition if deepest else 2 * width
        state[f"{up}.weight"] = random(rng, outside, below, 3, 3)
        if level == 0:
            state[f"{up}.bias"] = random(rng, outside)
        else:
            state.update(random_norm(rng, up_norm, outside))
    return state


def norm(state, name, x):
    """BatchNorm; by the statistics of x where the state says "training"."""
    if "training" in state:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5)
    mean, var, weight, bias = (
        state[f"{name}.{key}"]
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-5)


def unet_maps(state, layout, x, condition=None, level=0):
    """The U-Net by its released names: maps of (B, 1, F, T)."""
    if level == 0:
        x = norm(state, "bn0", x)
    down, down_norm, up, up_norm = (
        f"unet_block.{name}" for name in block_names(layout, level)
    )
    y = x if level == 0 else F.leaky_relu(x, 0.2)
    y = F.conv2d(y, state[f"{down}.weight"], stride=2, padding=1)
    if level == LEVELS - 1:
        if condition is not None:
            tiled = condition[:, :, None, None].expand(-1, -1, *y.shape[2:])
            y = torch.cat([y, tiled], dim=1)
    else:
        y = norm(state, down_norm, y) if level else y
        y = torch.cat([y, unet_maps(state, layout, y, condition, level + 1)], dim=1)
    y = F.interpolate(y.relu(), scale_factor=2, mode="bilinear", align_corners=True)
    y = F.conv2d(y, state[f"{up}.weight"], state.get(f"{up}.bias"), padding=1)
    return norm(state, up_norm, y) if level else y


def part(state, name):
    return {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(name + ".")}


def join(**parts):
    return {f"{n}.{k}": v for n, state in parts.items() for k, v in state.items()}


def linear(rng, out, inner):
    return {"weight": 3 * random(rng, out, inner), "bias": random(rng, out)}


def inner_product(rng):
    return {"scale": random(rng, MAPS) + 1, "bias": random(rng, 1)}


def make(layout):
    """A checkpoint of random weights in float64."""
    rng = np.random.default_rng(3)
    if layout == "clipsep":
        return join(
            sound_net=random_unet(rng, "nested", MAPS),
            frame_net=linear(rng, MAPS, DIM),
            synth_net=inner_product(rng),
        )
    if layout == "clipsep_nit":
        heads = {
            f"{n}.{k}": v for n in "01" for k, v in linear(rng, MAPS, MAPS).items()
        }
        return {**make("clipsep"), **join(pit_nets=heads)}
    if layout == "clipsep_middle":
        return join(
            sound_net=random_unet(rng, "named", 1, condition=MAPS),
            frame_net=linear(rng, MAPS, DIM),
            synth_net=inner_product(rng),
        )
    return join(
        sound_net=random_unet(rng, "named", MAPS, condition=4),
        frame_net_mid=linear(rng, 4, DIM),
        frame_net_late=linear(rng, MAPS, DIM),
        synth_net=inner_product(rng),
    )


def project(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).sigmoid()


def weigh(state, name, query, maps):
    """Scaled inner product of queries (B, K) and maps, and one bias."""
    scaled = query * state[f"{name}.scale"]
    return torch.einsum("bk,bkft->bft", scaled, maps) + state[f"{name}.bias"]


def released_masks(layout, state, feature, visual, last_source=False):
    """Masks (B, N, F, T), one pass of the network per source."""
    unet = part(state, "sound_net")
    found = []
    for n in range(visual.size(1)):
        if layout == "clipsep_middle":
            condition = project(state, "frame_net", visual[:, n])
            logits = unet_maps(unet, "named", feature, condition)[:, 0]
        elif layout == "hfra":
            seen = visual[:, -1 if last_source else n]
            condition = project(state, "frame_net_mid", seen)
            maps = unet_maps(unet, "named", feature, condition)
            query = project(state, "frame_net_late", visual[:, n])
            logits = weigh(state, "synth_net", query, maps)
        else:
            query = project(state, "frame_net", visual[:, n])
            logits = weigh(
                state, "synth_net", query, unet_maps(unet, "nested", feature)
            )
        found.append(logits.sigmoid())
    return torch.stack(found, dim=1)


def resnet18(dilate):
    """torchvision's network up to its last maps, and its weights by number."""
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None)
    if dilate:
        for module in network.layer4.modules():
            if isinstance(module, torch.nn.Conv2d):
                if module.stride == (2, 2):
                    module.stride = (1, 1)
                elif module.kernel_size == (3, 3):
                    module.dilation = module.padding = (2, 2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return torch.nn.Sequential(*list(network.children())[:-2]).eval()


def maps_of(features, frames):
    """Maps (B * N * V, 512, h, w) of frames (B, N, V, 3, H, W)."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    pictures = (frames / 255 - mean[:, None, None]) / std[:, None, None]
    return features(pictures.flatten(0, 2))


def floats(state):
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def sound_of_pixels():
    """Its three files, and the frame network as torchvision has it."""
    rng = np.random.default_rng(3)
    features = resnet18(dilate=True)
    frame = {f"features.{k}": v for k, v in features.state_dict().items()}
    frame["fc.weight"] = random(rng, MAPS, 512, 3, 3)
    frame["fc.bias"] = random(rng, MAPS)
    files = [random_unet(rng, "nested", MAPS), frame, inner_product(rng)]
    return features, [floats(state) for state in files]


def sound_of_pixels_query(features, frame, frames):
    maps = maps_of(features, frames)
    maps = F.conv2d(maps, frame["fc.weight"], frame["fc.bias"], padding=1)
    return maps.unflatten(0, frames.shape[:3]).amax(dim=(2, 4, 5)).sigmoid()


def sound_of_pixels_masks(sound, synthesizer, feature, query):
    """Masks (B, N, F, T) of queries (B, N, K)."""
    state = join(s=synthesizer)
    maps = unet_maps(sound, "nested", feature)
    found = [weigh(state, "s", query[:, n], maps) for n in range(query.size(1))]
    return torch.stack(found, dim=1).sigmoid()


DOWN_UP, OBJECT = 5, 6  # levels of Co-Separation's U-Net, size of its embedding


def co_separation():
    """Its three files, and the frame network as torchvision has it."""
    rng = np.random.default_rng(4)
    widths = [2 * min(2**n, 8) for n in range(DOWN_UP)]
    unet = {}
    for n, (inside, width) in enumerate(zip([1, *widths[:-1]], widths, strict=True), 1):
        name = f"audionet_convlayer{n}"
        unet[f"{name}.0.weight"] = random(rng, width, inside, 4, 4)
        unet[f"{name}.0.bias"] = random(rng, width)
        unet.update(random_norm(rng, f"{name}.1", width))
    own = OBJECT
    for n, skip in enumerate(reversed(widths), 1):
        name, out = f"audionet_upconvlayer{n}", (widths[::-1][1:] + [1])[n - 1]
        unet[f"{name}.0.weight"] = random(rng, own + skip, out, 4, 4) * 2
        unet[f"{name}.0.bias"] = random(rng, out)
        if n < DOWN_UP:
            unet.update(random_norm(rng, f"{name}.1", out))
        own = out
    features = resnet18(dilate=False)
    visual = {f"feature_extraction.{k}": v for k, v in features.state_dict().items()}
    visual["conv1.weight"] = visual["feature_extraction.0.weight"]
    visual["conv1x1.0.weight"] = random(rng, 3, 512, 1, 1)
    visual["conv1x1.0.bias"] = random(rng, 3)
    visual.update(random_norm(rng, "conv1x1.1", 3))
    visual["fc.weight"] = random(rng, OBJECT, 3 * 2 * 2) * 3
    visual["fc.bias"] = random(rng, OBJECT)
    classifier = {
        "conv1.weight": random(rng, 64, 1, 7, 7),
        "feature_extraction.0.weight": random(rng, 64, 1, 7, 7),
        "fc.weight": random(rng, 16, 512),
    }
    return features, [floats(state) for state in (unet, visual, classifier)]


def co_separation_embedding(features, visual, frames):
    x = maps_of(features, frames)
    x = F.conv2d(x, visual["conv1x1.0.weight"], visual["conv1x1.0.bias"])
    x = norm(visual, "conv1x1.1", x).relu().flatten(1)
    x = F.linear(x, visual["fc.weight"], visual["fc.bias"])
    return x.unflatten(0, frames.shape[:3]).mean(dim=2)


def co_separation_masks(unet, feature, embedding):
    """Masks (B, N, F, T) of embeddings (B, N, K)."""
    found = []
    for e in embedding.unbind(dim=1):
        x, skips = feature, []
        for n in range(1, DOWN_UP + 1):
            name = f"audionet_convlayer{n}"
            weight, bias = unet[f"{name}.0.weight"], unet[f"{name}.0.bias"]
            x = F.conv2d(x, weight, bias, stride=2, padding=1)
            x = F.leaky_relu(norm(unet, f"{name}.1", x), 0.2)
            skips.append(x)
        y = e[:, :, None, None].expand(-1, -1, *x.shape[2:])
        for n in range(1, DOWN_UP + 1):
            name = f"audionet_upconvlayer{n}"
            weight, bias = unet[f"{name}.0.weight"], unet[f"{name}.0.bias"]
            y = torch.cat([y, skips.pop()], dim=1)
            y = F.conv_transpose2d(y, weight, bias, stride=2, padding=1)
            y = norm(unet, f"{name}.1", y).relu() if n < DOWN_UP else y.sigmoid()
        found.append(y[:, 0])
    return torch.stack(found, dim=1)


PLACES, CYCLES, VISUAL_MAPS = 7, 2, 3  # of AVPC
TOP_DOWN = [16, 8, 8, 4, 4, 2, 2]  # channels of its representations


def avpc():
    """Its two files, and the frame network as torchvision has it."""
    rng = np.random.default_rng(5)
    sound = {}
    sizes = [*TOP_DOWN, 1]
    sound["DownConvs.0.weight"] = random(rng, VISUAL_MAPS, sizes[0], 1, 1)
    sound["UpConvs.0.weight"] = random(rng, sizes[0], VISUAL_MAPS, 1, 1)
    for n in range(1, PLACES + 1):
        high, low = sizes[n - 1], sizes[n]
        sound[f"DownConvs.{n}.conv2d.weight"] = random(rng, high, low, 3, 3) * 2
        name = f"UpConvs.{n}.convtrans2d.weight"
        sound[name] = random(rng, high, low, 3, 3) * 4
    for n, size in enumerate(TOP_DOWN):
        # Rates below 0 count as 0.
        sound[f"a0.{n}"] = torch.from_numpy(rng.uniform(-0.3, 1, (1, size, 1, 1)))
        sound[f"b0.{n}"] = torch.from_numpy(rng.uniform(-0.3, 1, (1, size, 1, 1)))
        sound.update(random_norm(rng, f"BNUp.{n}", size))
        sound.update(random_norm(rng, f"BNDown.{n}", size))
        for t in range(CYCLES):
            sound.update(random_norm(rng, f"BNUp_step.{PLACES * t + n}", size))
            if n < PLACES - 1:
                name = f"BNDown_step.{(PLACES - 1) * t + n}"
                sound.update(random_norm(rng, name, size))
    sound.update(random_norm(rng, f"BNDown.{PLACES}", 1))
    features = resnet18(dilate=False)
    frame = {f"features.{k}": v for k, v in features.state_dict().items()}
    frame["fc.0.weight"] = random(rng, VISUAL_MAPS, 512, 1, 1)
    frame["fc.0.bias"] = random(rng, VISUAL_MAPS)
    frame.update(random_norm(rng, "fc.1", VISUAL_MAPS))
    return features, [floats(state) for state in (sound, frame)]


def avpc_maps(features, frame, frames):
    """Visual maps (B, N, K, 2, 2)."""
    x = F.conv2d(maps_of(features, frames), frame["fc.0.weight"], frame["fc.0.bias"])
    x = F.leaky_relu(norm(frame, "fc.1", x), 0.2)
    return x.unflatten(0, frames.shape[:3]).mean(dim=2)


def avpc_masks(sound, feature, maps):
    """Masks (B, N, F, T) of visual maps (B, N, K, 2, 2)."""
    return torch.stack(
        [avpc_logits(sound, feature, v)[:, 0] for v in maps.unbind(dim=1)], dim=1
    ).sigmoid()


def avpc_logits(sound, x, v):
    def act(x):
        return F.leaky_relu(x, 0.2)

    def down(n, x):
        weight = sound[f"DownConvs.{n}.conv2d.weight"]
        return F.max_pool2d(F.conv2d(x, weight, padding=1), 2)

    def up(n, x):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        weight = sound[f"UpConvs.{n}.convtrans2d.weight"]
        return F.conv_transpose2d(x, weight, padding=1)

    def refine(u, d, name):
        guess = act(F.conv2d(u[0], sound["DownConvs.0.weight"]))
        step = F.conv2d(v - guess, sound["UpConvs.0.weight"])
        for n in range(PLACES):
            if n > 0:
                step = up(n, u[n - 1] - d[n - 1])
            rate = sound[f"a0.{n}"].relu()
            u[n] = act(norm(sound, name(n), u[n] + rate * step))

    d = [None] * PLACES
    below = norm(sound, f"BNDown.{PLACES}", x)
    for n in reversed(range(PLACES)):
        d[n] = below = act(norm(sound, f"BNDown.{n}", down(n + 1, below)))
    u = list(d)
    refine(u, d, lambda n: f"BNUp.{n}")
    for t in range(CYCLES):
        for n in reversed(range(PLACES)):
            rate = sound[f"b0.{n}"].relu()
            if n < PLACES - 1:
                d[n] = down(n + 1, u[n + 1])
            mixed = (1 - rate) * u[n] + rate * d[n]
            if n < PLACES - 1:
                mixed = norm(sound, f"BNDown_step.{(PLACES - 1) * t + n}", mixed)
            u[n] = act(mixed)
        refine(u, d, lambda n, t=t: f"BNUp_step.{PLACES * t + n}")
    return up(PLACES, u[-1])


def grid(rows, frames, inverse):
    """Where the frequency warp reads, (1, rows, frames, 2): time, frequency."""
    y = torch.linspace(-1, 1, rows, dtype=torch.float64)
    if inverse:
        y = torch.log(10 * y + 11) / np.log(21) * 2 - 1
    else:
        y = (21 ** ((y + 1) / 2) - 11) / 10
    time = torch.linspace(-1, 1, frames, dtype=torch.float64)
    axes = torch.broadcast_tensors(time, y[:, None])
    return torch.stack(axes, dim=-1)[None].float()


def logarithm(magnitude):
    return (magnitude + 1e-10).log()


def tracks_of(masks, wav, n_fft, pad_mode, align_corners, rounded, compress=logarithm):
    """From waveform to waveforms as the released programs have it, (B, N, L)."""
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(
        wav, n_fft, 256, window=window, pad_mode=pad_mode, return_complex=True
    )
    frames = spectrum.size(-1)
    feature = F.grid_sample(
        spectrum.abs()[:, None],
        grid(256, frames, inverse=False),
        align_corners=align_corners,
    )
    mask = F.grid_sample(
        masks(compress(feature)),
        grid(n_fft // 2 + 1, frames, inverse=True),
        align_corners=align_corners,
    )
    if rounded:
        mask = (mask > 0.5).float()
    estimate = (mask * spectrum[:, None])[0]
    return torch.istft(estimate, n_fft, 256, window=window, length=wav.size(-1))[None]

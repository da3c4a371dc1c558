"""Dilated ResNet-18 on frames, trained together with the separator.

Zhao et al., "The Sound of Pixels", ECCV 2018: the last stage of ResNet-18 (He et al.,
CVPR 2016) keeps the resolution of the stage before it, its 3x3 convolutions dilated by
two instead; a 3x3 convolution makes K maps of the 512, and the maximum over all
positions and frames is the embedding.

The object features of CCoL, iQuery and DGFNet: DGFNet's paper has "a pre-trained
ResNet-18, followed by a linear layer and max pooling" (``dilate: false``,
``projection_kernel: 1``). The programs released by iQuery's and DGFNet's authors have
the dilated network and the 3x3 convolution, take the sigmoid of the maximum, and train
only the 3x3 convolution, 147 k of 11.3 M parameters (``train_features: false``,
``activation: sigmoid``). iQuery's leaves the BatchNorms of the frozen network in
training mode (``frozen_statistics: batch``).
"""

import logging
from typing import Any, Dict, Mapping, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.layers.batch_norm import STATISTICS, SourceBatchNorm2d
from espnet2_avsep.lean_imports import without_compiler
from espnet2_avsep.visual.abs_adapter import AbsVisualAdapter
from espnet2_avsep.visual.encoders.resnet_encoder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    build_resnet18,
)

# Frames are taken as 8-bit values, of whatever type.
_FULL_SCALE = 255.0
ACTIVATIONS = (None, "sigmoid")
FROZEN_STATISTICS = ("pretrained", "batch")


class DilatedResNet18(AbsVisualAdapter):
    """Frames -> embedding: (B, N, V, 3, H, W) -> (B, N, K).

    Notes:
        The weights are random until load_pretrained() is called: where trained weights
        are loaded afterwards (inference), ImageNet's are not needed.
        The parameters of ``features`` are the pretrained ones; give them their own
        learning rate with the option ``optim_groups``.

    Args:
        embedding_dim: K.
        size: Side of the network's input in pixels; frames of another size are scaled.
        pretrained: Name of torchvision weights, path of a state dict, or "random".
        dilate: Whether the last stage is dilated; without it, it is the plain network.
        projection_kernel: Side of the convolution that makes the K maps; 1 is a linear
            layer at each position.
        bn_statistics: BatchNorm statistics in training: "per_source", as where each
            source's frames are one pass of the network (Sound of Pixels), or "joint".
        train_features: Whether ResNet-18 learns; otherwise only the projection does.
        activation: "sigmoid", of the embedding, or null.
        frozen_statistics: What the BatchNorms of a ResNet-18 that does not learn
            normalise by in training: the "pretrained" statistics, which they keep, or
            those of the "batch", which they collect.
    """

    takes_frames = True
    tiny = {"size": 64, "pretrained": "random"}
    small_size = 32  # pixels a side in small configurations
    always_frozen = False  # whether ResNet-18 never learns
    normalises_head = False  # whether the projection has a BatchNorm

    def __init__(
        self,
        embedding_dim: int = 32,
        size: int = 224,
        pretrained: str = "IMAGENET1K_V1",
        dilate: bool = True,
        projection_kernel: int = 3,
        bn_statistics: str = "per_source",
        train_features: bool = True,
        activation: Optional[str] = None,
        frozen_statistics: str = "pretrained",
    ):
        super().__init__()
        with without_compiler():
            import torchvision

        network = torchvision.models.resnet18(
            weights=None, norm_layer=SourceBatchNorm2d
        )
        if dilate:
            _dilate(network.layer4)
        # Without pooling and classifier; the names stay those of torchvision.
        del network.avgpool, network.fc
        self.features = network
        if projection_kernel < 1 or projection_kernel % 2 == 0:
            raise ValueError(
                f"projection_kernel={projection_kernel}: expected an odd number."
            )
        self.projection = nn.Conv2d(
            512, embedding_dim, projection_kernel, padding=projection_kernel // 2
        )
        if bn_statistics not in STATISTICS:
            raise ValueError(
                f"bn_statistics={bn_statistics!r}: expected one of {STATISTICS}."
            )
        self.bn_statistics = bn_statistics
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}: expected null or 'sigmoid'.")
        self.activation = activation
        if frozen_statistics not in FROZEN_STATISTICS:
            raise ValueError(
                f"frozen_statistics={frozen_statistics!r}: expected one of "
                f"{FROZEN_STATISTICS}."
            )
        self.frozen_statistics = frozen_statistics
        self.train_features = train_features
        self.features.requires_grad_(train_features)
        self.size = size
        self.pretrained = pretrained
        mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1) * _FULL_SCALE
        std = torch.tensor(IMAGENET_STD).view(3, 1, 1) * _FULL_SCALE
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.to(memory_format=torch.channels_last)  # faster than contiguous maps

    @classmethod
    def small_conf(cls, conf: Mapping[str, Any]) -> Dict[str, Any]:
        """See AbsVisualAdapter.small_conf."""
        small = {**conf, "pretrained": "random", "size": cls.small_size}
        return small if cls.always_frozen else {**small, "train_features": False}

    def load_pretrained(self) -> None:
        """Load the weights that training begins with.

        Raises:
            InputError: see resnet_encoder.load_resnet18.
        """
        trained, info = build_resnet18(
            self.pretrained, option="visual_adapter_conf.pretrained:"
        )
        self.features.load_state_dict(trained.state_dict(), strict=True)
        logging.info("frame network: ResNet-18, %s", info["weights"])

    def forward(self, visual: Tensor) -> Tensor:
        """Reduce (B, N, V, 3, H, W), values 0 to 255, to (B, N, K)."""
        if visual.dim() != 6 or visual.size(3) != 3:
            raise ValueError(
                f"the visual input has the shape {tuple(visual.shape)}; this network "
                "works on frames (B, N, V, 3, H, W): pack them in stage 2 with "
                "--visual_encoder frames."
            )
        # A phase of the training may freeze the whole network: it keeps its statistics.
        learns = any(p.requires_grad for p in self.projection.parameters())
        collects = self.train_features or (learns and self.frozen_statistics == "batch")
        if not self.train_features:
            # Here, since the ESPnet model's train() puts all that is frozen into
            # evaluation mode; what freeze_param has frozen stays there.
            self.features.train(self.training and collects)
        # Whether a BatchNorm normalises by the batch.
        by_batch = self.training and (collects or self.normalises_head)
        if by_batch and self.bn_statistics == "per_source":
            parts = visual.split(1, dim=1)
            return torch.cat([self._embed(part) for part in parts], dim=1)
        return self._embed(visual)

    def _embed(self, visual: Tensor) -> Tensor:
        x = self._features(self._pixels(visual))
        return self._reduce(self.projection(x).unflatten(0, visual.shape[:3]))

    def _pixels(self, visual: Tensor) -> Tensor:
        """Scale and normalise frames (B, N, V, 3, H, W), to (B * N * V, 3, H', W')."""
        x = visual.flatten(0, 2).float()
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(
                x,
                (self.size, self.size),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
        return (x - self.mean) / self.std

    def _reduce(self, x: Tensor) -> Tensor:
        """Reduce the projected maps (B, N, V, K, h, w) to (B, N, K)."""
        x = x.amax(dim=(2, 4, 5))
        return x.sigmoid() if self.activation == "sigmoid" else x

    def _features(self, x: Tensor) -> Tensor:
        """Feature maps (M, 512, H / 16, W / 16) of (M, 3, H, W), / 32 undilated."""
        return self.features.layer4(self._first_stages(x))

    def _first_stages(self, x: Tensor) -> Tensor:
        """Maps (M, 256, H / 16, W / 16) before the last stage."""
        net = self.features
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        return net.layer3(net.layer2(net.layer1(x)))


def _dilate(stage: nn.Module) -> None:
    """Take the stride of 2 out of a stage; its further 3x3 convolutions look wider."""
    for module in stage.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if module.stride == (2, 2):
            module.stride = (1, 1)
        elif module.kernel_size == (3, 3):
            module.dilation = module.padding = (2, 2)

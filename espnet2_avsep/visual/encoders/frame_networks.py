"""Other heads on ResNet-18, trained together with the separator."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d
from espnet2_avsep.layers.initialisation import initialise
from espnet2_avsep.visual.encoders.dilated_resnet import DilatedResNet18

# ResNet-18 halves the sides of a picture five times.
_STRIDE = 32


class CoSeparationResNet18(DilatedResNet18):
    """Frames -> embedding: (B, N, V, 3, H, W) -> (B, N, K).

    Gao and Grauman, "Co-Separating Sounds of Visual Objects", ICCV 2019, as released: a
    1x1 convolution makes 128 maps of the 512, BatchNorm and ReLU follow, and a linear
    layer makes K values of all positions. Of several frames, the mean is taken (the
    release has one).

    Args:
        embedding_dim: K.
        size: Side of the network's input in pixels; frames of another size are scaled.
        pretrained: Name of torchvision weights, path of a state dict, or "random".
        maps: Number of maps before the linear layer.
        bn_statistics: See DilatedResNet18; the release passes all objects at once.
        train_features: See DilatedResNet18; the head learns always.
    """

    small_size = 64
    normalises_head = True

    def __init__(
        self,
        embedding_dim: int = 512,
        size: int = 224,
        pretrained: str = "IMAGENET1K_V1",
        maps: int = 128,
        bn_statistics: str = "joint",
        train_features: bool = True,
    ):
        super().__init__(
            embedding_dim,
            size,
            pretrained,
            dilate=False,
            bn_statistics=bn_statistics,
            train_features=train_features,
        )
        positions = (-(-size // _STRIDE)) ** 2
        self.projection = nn.Sequential(
            nn.Conv2d(512, maps, 1),
            SourceBatchNorm2d(maps),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(maps * positions, embedding_dim),
        )
        initialise(self.projection, "co_separation")

    def _reduce(self, x: Tensor) -> Tensor:
        return x.mean(dim=2)


class PredictiveCodingResNet18(DilatedResNet18):
    """Frames -> visual maps: (B, N, V, 3, H, W) -> (B, N, K * 2 * 2).

    Song and Zhang, "Visually Guided Sound Source Separation with Audio-Visual
    Predictive Coding", IEEE TNNLS 2023, as released: ResNet-18 is frozen; a convolution
    that leaves 2 x 2 positions makes K maps of the 512, BatchNorm and LeakyReLU(0.2)
    follow, and the mean over the frames is taken.

    Args:
        maps: K.
        size: Side of the network's input in pixels, at least 64; frames of another size
            are scaled.
        pretrained: Name of torchvision weights, path of a state dict, or "random".
        bn_statistics: See DilatedResNet18; the release has one pass per source.
        frozen_statistics: See DilatedResNet18; "batch" in the release.

    Raises:
        ValueError: a size or a choice out of range.
    """

    small_size = 64
    always_frozen = True
    normalises_head = True

    def __init__(
        self,
        maps: int = 16,
        size: int = 224,
        pretrained: str = "IMAGENET1K_V1",
        bn_statistics: str = "per_source",
        frozen_statistics: str = "pretrained",
    ):
        super().__init__(
            maps,
            size,
            pretrained,
            dilate=False,
            bn_statistics=bn_statistics,
            train_features=False,
            frozen_statistics=frozen_statistics,
        )
        side = -(-size // _STRIDE)
        if side < 2:
            raise ValueError(f"size={size}: expected at least {_STRIDE * 2} pixels.")
        self.projection = nn.Sequential(
            nn.Conv2d(512, maps, side - 1),
            SourceBatchNorm2d(maps),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
        )

    def _reduce(self, x: Tensor) -> Tensor:
        return x.mean(dim=2)


class CCoLResNet18(DilatedResNet18):
    """Frames -> embedding: (B, N, V, 3, H, W) -> (B, N, K + 512).

    Tian, Hu and Xu, "Cyclic Co-Learning of Sounding Object Visual Grounding and Sound
    Separation", CVPR 2021, as released: two frozen ResNet-18. The dilated one, with a
    3x3 convolution that learns, gives the K values of the query, the maximum over all
    positions and frames (their sigmoid is the separator's); the plain one gives the
    grounding network 512 values, the mean over the positions and the maximum over the
    frames.

    Notes:
        Both have the same pretrained weights, and differ in the stride and dilation of
        the last stage: the stages before it are computed once.

    Args:
        maps: K.
        size: Side of the network's input in pixels; frames of another size are scaled.
        pretrained: Name of torchvision weights, path of a state dict, or "random".
    """

    small_size = 64
    always_frozen = True

    def __init__(
        self, maps: int = 32, size: int = 224, pretrained: str = "IMAGENET1K_V1"
    ):
        super().__init__(maps, size, pretrained, train_features=False)

    def _embed(self, visual: Tensor) -> Tensor:
        x = self._first_stages(self._pixels(visual))
        shape = visual.shape[:3]
        stage = self.features.layer4
        plain = _undilated(stage, x).mean(dim=(-2, -1)).unflatten(0, shape)
        query = self._reduce(self.projection(stage(x)).unflatten(0, shape))
        return torch.cat([query, plain.amax(dim=2)], dim=-1)


def _undilated(stage: nn.Module, x: Tensor) -> Tensor:
    """Apply a dilated last stage of ResNet-18 as the plain network has it."""
    for number, block in enumerate(stage):
        stride = 2 if number == 0 else 1
        own = x
        if block.downsample is not None:
            conv, norm = block.downsample
            own = norm(F.conv2d(x, conv.weight, stride=stride))
        x = F.conv2d(x, block.conv1.weight, stride=stride, padding=1)
        x = F.conv2d(block.bn1(x).relu(), block.conv2.weight, padding=1)
        x = (block.bn2(x) + own).relu()
    return x


class SoundOfMotionsResNet18(DilatedResNet18):
    """Frames -> appearance maps: (B, N, V, 3, H, W) -> (B, N, K * places * places).

    Zhao et al., "The Sound of Motions", ICCV 2019, which takes the first picture:
    ResNet-18's maps, not pooled; a 1x1 convolution makes K of the 512 here. Of several
    frames, the maximum is taken at each place.

    Args:
        maps: K.
        places: Side of the maps that are returned; those of ResNet-18 are averaged to
            it.
        size: Side of the network's input in pixels; frames of another size are scaled.
        pretrained: Name of torchvision weights, path of a state dict, or "random".
        bn_statistics: See DilatedResNet18.
        train_features: See DilatedResNet18.
    """

    small_size = 64

    def __init__(
        self,
        maps: int = 32,
        places: int = 7,
        size: int = 224,
        pretrained: str = "IMAGENET1K_V1",
        bn_statistics: str = "per_source",
        train_features: bool = True,
    ):
        super().__init__(
            maps,
            size,
            pretrained,
            dilate=False,
            projection_kernel=1,
            bn_statistics=bn_statistics,
            train_features=train_features,
        )
        self.places = places

    def _reduce(self, x: Tensor) -> Tensor:
        x = x.amax(dim=2)  # (B, N, K, h, w)
        maps = F.adaptive_avg_pool2d(x.flatten(0, 1), self.places)
        return maps.unflatten(0, x.shape[:2]).flatten(2)

"""Classification of the separated spectrogram: it should sound like its class."""

from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d
from espnet2_avsep.lean_imports import without_compiler
from espnet2_avsep.loss.abs_criterion import AbsCriterion, SeparationOutput


class ObjectClassification(AbsCriterion):
    """Cross-entropy of a classifier on each separated spectrogram.

    Gao and Grauman, "Co-Separating Sounds of Visual Objects", ICCV 2019, its object
    consistency loss: ResNet-18 (He et al., CVPR 2016) on one channel, trained together
    with the separator, weight 0.05.

    Notes:
        The classifier is needed only in training; its weights are in the saved model
        all the same. The release starts all layers but the first from ImageNet's
        weights; here they are random.

    Args:
        num_classes: Classes of the data, and one more for what is none of them (15 + 1
            in the paper). A silent source should sound like none of them.
        compression: What the classifier sees of x = mask * mixture: "log", log(x +
            1e-10), as released, or "log1p", log(1 + x).
        pooling: Of its last maps, "maximum" (as released) or "average".
        width: Channels of the classifier's first stage; 64 is ResNet-18.
    """

    needs_labels = True

    def __init__(
        self,
        num_classes: int = 16,
        compression: str = "log",
        pooling: str = "maximum",
        width: int = 64,
    ):
        super().__init__()
        for name, value, known in (
            ("compression", compression, ("log", "log1p")),
            ("pooling", pooling, ("maximum", "average")),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}: expected one of {known}.")
        if width < 1:
            raise ValueError(f"width={width}: expected at least 1.")
        self.num_classes = num_classes
        self.network = _resnet18(width, num_classes)
        self.compression = compression
        if pooling == "maximum":
            self.network.avgpool = nn.AdaptiveMaxPool2d(1)

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,), a mean over its sources."""
        if output.labels is None:
            raise ValueError(
                "the criterion object_classification needs the classes of the sources: "
                "set dataset_conf.labels to true."
            )
        spectrum = output.mask * output.mixture  # (B, N, F, T)
        if self.compression == "log":
            spectrum = (spectrum + 1e-10).log()
        else:
            spectrum = spectrum.log1p()
        scores = self.network(spectrum.flatten(0, 1)[:, None])
        sounding = output.reference.flatten(2).any(dim=-1)
        labels = output.labels.where(sounding, self.num_classes - 1).flatten()
        loss = F.cross_entropy(scores, labels, reduction="none")
        return loss.unflatten(0, output.labels.shape).mean(dim=1)


def _resnet18(width: int, num_classes: int) -> nn.Module:
    """Build ResNet-18 on one channel, with ``width`` channels in its first stage."""
    with without_compiler():
        from torchvision.models.resnet import BasicBlock, ResNet

    class Narrow(ResNet):
        def _make_layer(self, block, planes, *args, **options):
            if planes == 64:
                self.inplanes = width  # those of the first convolution, below
            return super()._make_layer(block, planes * width // 64, *args, **options)

    network = Narrow(
        BasicBlock, [2, 2, 2, 2], num_classes=num_classes, norm_layer=SourceBatchNorm2d
    )
    network.conv1 = nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False)
    if width != 64:
        network.bn1 = SourceBatchNorm2d(width)
        network.fc = nn.Linear(8 * width, num_classes)
    return network

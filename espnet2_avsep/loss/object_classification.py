"""Classification of the separated spectrogram: it should sound like its class."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.loss.abs_criterion import AbsCriterion, SeparationOutput


class ObjectClassification(AbsCriterion):
    """Cross-entropy of a classifier on each separated spectrogram.

    Gao and Grauman, "Co-Separating Sounds of Visual Objects", ICCV 2019, its object
    consistency loss: ResNet-18 (He et al., CVPR 2016) on one channel, trained together
    with the separator, weight 0.05.

    Notes:
        The classifier sees log(1 + mask * mixture). It is needed in training alone; its
        weights stand in the saved model all the same.

    Args:
        num_classes: Classes of the data, and one more for what is none of them (15 + 1
            in the paper).
    """

    needs_labels = True

    def __init__(self, num_classes: int = 16):
        super().__init__()
        import torchvision

        self.num_classes = num_classes
        self.network = torchvision.models.resnet18(
            weights=None, num_classes=num_classes
        )
        self.network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,), a mean over its sources."""
        if output.labels is None:
            raise ValueError(
                "the criterion object_classification needs the classes of the sources: "
                "set dataset_conf.labels to true."
            )
        spectrum = torch.log1p(output.mask * output.mixture)  # (B, N, F, T)
        scores = self.network(spectrum.flatten(0, 1)[:, None])
        loss = F.cross_entropy(scores, output.labels.flatten(), reduction="none")
        return loss.unflatten(0, output.labels.shape).mean(dim=1)

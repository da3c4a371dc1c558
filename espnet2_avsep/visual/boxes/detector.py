"""Objects in pictures, by torchvision's detectors trained on COCO.

Notes:
    Co-Separation and DGFNet on MUSIC detect instruments by a Faster R-CNN of their own,
    trained on 15 classes of Open Images; DGFNet on MUSIC-21 takes Detic. COCO has no
    musical instruments: its "person" finds the players.
"""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.lean_imports import without_compiler
from espnet2_avsep.visual.boxes.box_files import Box
from espnet2_avsep.visual.pretrained.torchvision_weights import build_network

DETECTORS = {
    "fasterrcnn_resnet50_fpn_v2": "Faster R-CNN",
    "fcos_resnet50_fpn": "FCOS",
    "retinanet_resnet50_fpn_v2": "RetinaNet",
}


class Detector:
    """A torchvision detector that returns boxes with COCO's names as classes.

    Args:
        network: In eval mode maps a list of (3, H, W) in [0, 1] to a list of dicts of
            boxes (n, 4), labels (n,) and scores (n,).
        labels: Name of each class number.
        info: What it is, for logs and result files.
        device: Where it computes.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        labels: Sequence[str],
        info: Dict[str, Any],
        device: str = "cpu",
    ):
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.labels = list(labels)
        self.info = info

    @torch.inference_mode()
    def detect(self, images: Sequence[np.ndarray]) -> List[List[Box]]:
        """Find the objects of some pictures.

        Args:
            images: (H, W, 3) each, uint8, RGB.

        Returns:
            The boxes of each picture, in its own pixels.

        Raises:
            InputError: the device's memory does not suffice.
        """
        batch = [
            torch.from_numpy(np.array(image))  # a copy: images of folders are read-only
            .to(self.device)
            .permute(2, 0, 1)
            .float()
            / 255
            for image in images
        ]
        try:
            found = self.network(batch)
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                f"{self.device}: out of memory with {len(batch)} pictures a batch; "
                "give a smaller --box_batch_size."
            ) from error
        return [
            [
                Box(self.labels[label], score, tuple(corners))
                for corners, label, score in zip(
                    one["boxes"].tolist(),
                    one["labels"].tolist(),
                    one["scores"].tolist(),
                    strict=True,
                )
            ]
            for one in found
        ]


def coco_labels(model: str = "fasterrcnn_resnet50_fpn_v2") -> List[str]:
    """Return the names of the classes of torchvision's COCO weights, by number."""
    with without_compiler():
        import torchvision

    weights = torchvision.models.get_model_weights(model)
    return list(weights.COCO_V1.meta["categories"])


def load_detector(
    model: str = "fasterrcnn_resnet50_fpn_v2",
    pretrained: str = "COCO_V1",
    seed: int = 0,
    device: str = "cpu",
    cache_dir: Optional[str] = None,
) -> Detector:
    """Build a detector of torchvision's.

    Args:
        model: A key of DETECTORS.
        pretrained: The name of torchvision weights, the path of a state dict, or
            "random".
        seed: Of random weights.
        device: Where it computes.
        cache_dir: Where downloads are kept; default: torch's hub folder.

    Raises:
        InputError: unknown names, weights that are neither here nor within reach, a
            file that does not fit.
    """
    if model not in DETECTORS:
        raise InputError(
            f"--box_detector {model}: unknown; expected one of {', '.join(DETECTORS)}."
        )
    labels = coco_labels(model)
    network, loaded = build_network(
        *(model, DETECTORS[model], pretrained, "--box_pretrained", seed, cache_dir),
        effect="not trained on anything: its boxes mean nothing",
        weights_backbone=None,
        num_classes=len(labels),
    )
    info = {
        "detector": model,
        "box_pretrained": pretrained,
        "box_weights": loaded["weights"],
    }
    return Detector(network, labels, info, device)

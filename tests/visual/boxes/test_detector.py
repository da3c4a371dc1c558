import numpy as np
import pytest
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.boxes.box_files import Box
from espnet2_avsep.visual.boxes.detector import DETECTORS, Detector, load_detector
from espnet2_avsep.visual.pretrained import weights

torchvision = pytest.importorskip("torchvision")


def test_boxes_have_names_and_belong_to_their_picture():
    class Network(torch.nn.Module):
        def forward(self, images):
            assert all(0 <= float(image.max()) <= 1 for image in images)
            return [
                {
                    "boxes": torch.tensor(
                        [[0.0, 0.0, *map(float, image.shape[:0:-1])]]
                    ),
                    "labels": torch.tensor([n + 1]),
                    "scores": torch.tensor([0.5]),
                }
                for n, image in enumerate(images)
            ]

    found = Detector(Network(), ["__background__", "person", "dog"], {}).detect(
        [np.full((4, 6, 3), 255, np.uint8), np.zeros((8, 5, 3), np.uint8)]
    )
    assert found == [
        [Box("person", 0.5, (0.0, 0.0, 6.0, 4.0))],
        [Box("dog", 0.5, (0.0, 0.0, 5.0, 8.0))],
    ]


def test_random_weights_of_torchvision(caplog, tmp_path):
    """One detector for real, on a tiny picture, and its weights read back."""
    made = load_detector("fcos_resnet50_fpn", "random", seed=1)
    assert made.info["box_weights"] == "random, seed 1"
    assert "its boxes mean nothing" in caplog.text
    assert made.labels[1] == "person" and len(made.labels) == 91
    made.network.transform.min_size = (64,)
    assert len(made.detect([np.zeros((32, 48, 3), np.uint8)])) == 1
    path = tmp_path / "w.pth"
    state = made.network.state_dict()
    # The published weights were saved with frozen batch normalisation: no counters.
    published = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    assert len(published) < len(state)
    torch.save(published, path)
    again = load_detector("fcos_resnet50_fpn", str(path))
    assert again.info["box_weights"].startswith("sha256 ")
    for name, value in state.items():
        assert torch.equal(again.network.state_dict()[name], value)
    with pytest.raises(InputError, match="--box_pretrained .*does not fit RetinaNet"):
        load_detector("retinanet_resnet50_fpn_v2", str(path))


def test_names_that_nobody_knows():
    with pytest.raises(InputError, match="--box_detector yolo: unknown; .*fcos"):
        load_detector("yolo")
    with pytest.raises(InputError, match="--box_pretrained openai: .*COCO_V1"):
        load_detector(pretrained="openai")


@pytest.mark.parametrize("model", list(DETECTORS)[:1])
def test_no_network(tmp_path, monkeypatch, model):
    monkeypatch.setattr(weights, "CONNECT_TIMEOUT", 1)
    with pytest.raises(InputError) as error:
        load_detector(model, cache_dir=str(tmp_path))
    for part in (
        *("--box_pretrained COCO_V1", "Faster R-CNN", str(tmp_path), "/path/to.pt"),
        *(f"{model}_coco-dd69338a.pth", "--box_pretrained random"),
    ):
        assert part in str(error.value)

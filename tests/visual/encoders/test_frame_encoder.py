import numpy as np
import pytest
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder, Preprocessing
from espnet2_avsep.visual.frames import Resize

PLAIN = Preprocessing(Resize((8, 8)), (8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class MeanColour(torch.nn.Module):
    """Embeds a picture as the mean of each channel."""

    def forward(self, images):
        return images.mean(dim=(2, 3))


def plain_encoder(preprocessing=PLAIN, **options):
    return FrameEncoder(MeanColour(), preprocessing, {"encoder": "mean"}, **options)


def test_mean_colours():
    encoder = plain_encoder(batch_size=2)
    images = [np.full((8, 8, 3), value, np.uint8) for value in (0, 51, 255)]
    rows = encoder.encode(images)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0] * 3, [0.2] * 3, [1] * 3], atol=1e-6)
    assert encoder.dim == 3
    assert encoder.info == {"encoder": "mean", "dim": 3, "dtype": "float32"}


def test_normalisation_is_per_channel():
    preprocessing = PLAIN._replace(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    image = np.full((8, 8, 3), (51, 102, 153), np.uint8)
    row = plain_encoder(preprocessing).encode([image])[0]
    np.testing.assert_allclose(row, [0.1 / 0.5, 0.2 / 0.25, 0.3 / 2], atol=1e-6)


def test_no_pictures():
    assert plain_encoder().encode([]).shape == (0, 3)


def test_crop_is_central():
    image = np.zeros((8, 14, 3), np.uint8)
    image[:, 3:11] = 255
    assert plain_encoder().encode([image]).min() == 1


def test_padding_is_central_and_filled():
    preprocessing = PLAIN._replace(resize=Resize((8, 8), "longest"), fill=255)
    fitted = plain_encoder(preprocessing).fit(np.zeros((5, 8, 3), np.uint8))
    assert (fitted[:1] == 255).all()
    assert (fitted[1:6] == 0).all()
    assert (fitted[6:] == 255).all()


def test_tower_is_frozen():
    tower = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(192, 2), torch.nn.Dropout(0.5)
    )
    encoder = FrameEncoder(tower, PLAIN, {})
    assert not any(p.requires_grad for p in encoder.tower.parameters())
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    a, b = encoder.encode([image]), encoder.encode([image])
    np.testing.assert_array_equal(a, b)


def test_rows_do_not_depend_on_the_other_pictures():
    torch.manual_seed(0)
    tower = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.Flatten(), torch.nn.Linear(576, 33)
    )
    encoder = FrameEncoder(tower, PLAIN, {}, batch_size=5)
    images = list(np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8))
    together = encoder.encode(images)
    np.testing.assert_array_equal(together[::-1], encoder.encode(images[::-1]))
    for image, row in zip(images, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([image])[0], row)


def test_out_of_memory_names_the_option():
    class Hungry(MeanColour):
        def forward(self, images):
            if len(images) > 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return super().forward(images)

    encoder = FrameEncoder(Hungry(), PLAIN, {}, batch_size=4)
    with pytest.raises(InputError, match="4 pictures a batch; give a smaller"):
        encoder.encode([np.zeros((8, 8, 3), np.uint8)])

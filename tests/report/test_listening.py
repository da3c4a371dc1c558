import numpy as np
import pytest
from PIL import Image

from espnet2_avsep.media.container import ClipError
from espnet2_avsep.report.audible_mixture import Prompt
from espnet2_avsep.report.listening import prompt_pictures


def test_pictures_of_different_sizes_are_said_to_be_so(tmp_path):
    """One of a phone's photos is turned by its EXIF orientation."""
    exif = Image.Exif()
    for number, orientation in enumerate((1, 1, 6)):
        exif[0x112] = orientation
        image = Image.fromarray(np.zeros((60, 90, 3), np.uint8))
        image.save(tmp_path / f"{number}.png", exif=exif)
    prompt = Prompt(str(tmp_path), (0.0, 1.0), 3.0, "whole", "")
    assert prompt_pictures(prompt).shape == (120, 360, 3)
    with pytest.raises(ClipError, match="different sizes"):
        prompt_pictures(prompt._replace(times=(0.0, 2.0)))

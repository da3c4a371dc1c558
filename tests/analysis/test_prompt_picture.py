from pathlib import Path

import pytest
from PIL import Image

from espnet2_avsep.analysis.prompt_picture import prompt_picture
from espnet2_avsep.data.media import ClipError
from tests.media_fixtures import paint_number, read_number, tone, write_video


def test_video(tmp_path):
    sound = tone(2.0, 22050)
    video = write_video(tmp_path / "a.mp4", frames=50, fps=25, audio=sound)
    # Row 3 at 8 / 4 pictures a second is that of 1.5 s: frame 37 begins at 1.48 s.
    assert read_number(prompt_picture(str(video), 0, fps=8, every=4)) == 0
    assert read_number(prompt_picture(str(video), 3, fps=8, every=4)) == 37
    # Past the end the last picture is held, as in stage 2.
    assert read_number(prompt_picture(str(video), 30, fps=8, every=4)) == 49


def test_folder(tmp_path):
    for number in range(6):
        image = Image.fromarray(paint_number(100 + number))
        image.save(tmp_path / f"{number:06d}.png")
    assert read_number(prompt_picture(str(tmp_path), 2, fps=8, every=2)) == 104
    with pytest.raises(ClipError, match="no image number 7"):
        prompt_picture(str(tmp_path), 3, fps=8, every=2)


def test_no_picture(tmp_path):
    sound = write_video(tmp_path / "a.m4a", frames=0, audio=tone(1.0, 22050))
    with pytest.raises(ClipError, match="no video stream"):
        prompt_picture(str(sound), 0, fps=8, every=8)
    with pytest.raises(ClipError):
        prompt_picture(str(Path(tmp_path) / "gone.mp4"), 0, fps=8, every=8)

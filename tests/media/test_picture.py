"""Still pictures come out as a viewer shows them."""

import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompt_reader import PromptReader
from espnet2_avsep.media import picture
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.file_name import is_image_name
from espnet2_avsep.media.picture import GROUND, Resize, read_image, scale
from espnet2_avsep.visual.encoders.frame_encoder import Preprocessing
from espnet2_avsep.visual.frames import folder_frames

RNG = np.random.default_rng(0)


def smooth(height, width, channels=3):
    """A picture without the frequencies that JPEG loses."""
    small = RNG.integers(0, 256, (4, 5, channels), np.uint8).squeeze()
    return np.asarray(Image.fromarray(small).resize((width, height), Image.BICUBIC))


def as_prompt(source):
    """What an encoder is given for a prompt."""
    seen = []
    PromptReader(
        [source], 1, lambda images: seen.extend(images) or np.zeros((1, 1)), None
    )
    return seen[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_exif_orientation_in_every_reader(tmp_path, orientation, ending):
    """What is stored is the picture that the orientation's inverse gives."""
    shown = np.zeros((40, 64, 3), np.uint8)
    shown[:, :32, 0] = shown[:, 32:, 2] = 200
    shown[:16] = (0, 200, 0)
    kind = Image.Transpose
    inverse = {
        2: kind.FLIP_LEFT_RIGHT,
        3: kind.ROTATE_180,
        4: kind.FLIP_TOP_BOTTOM,
        5: kind.TRANSPOSE,
        6: kind.ROTATE_90,
        7: kind.TRANSVERSE,
        8: kind.ROTATE_270,
    }
    stored = Image.fromarray(shown)
    if orientation != 1:
        stored = stored.transpose(inverse[orientation])
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / "frames" / f"1.{ending}"
    path.parent.mkdir()
    lossless = {"lossless": True} if ending == "webp" else {}
    stored.save(
        path, exif=exif, **lossless, **({"quality": 98} if not lossless else {})
    )
    (_, frame), *_ = folder_frames(path.parent)
    found = [read_image(path), read_image(path.read_bytes()), frame]
    found += [read_image(Image.open(path)), as_prompt(str(path))]
    found += [as_prompt(Image.open(path))]
    for image in found:
        assert image.shape == shown.shape
        middle = (slice(4, None, 8), slice(4, None, 8))  # of JPEG's blocks
        difference = image[middle].astype(int) - shown[middle]
        assert np.abs(difference).max() <= (12 if ending == "jpg" else 0)


def test_damaged_exif_data_is_no_orientation(tmp_path):
    Image.fromarray(smooth(30, 40)).save(tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\xff")
    assert read_image(tmp_path / "x.jpg").shape == (30, 40, 3)


def grey_files(folder):
    ramp = np.tile(np.linspace(0, 1, 256), (8, 1))
    deep = np.rint(ramp * 65535).astype(np.uint16)
    for name in ("16.png", "16.tif", "16.jp2", "16.pgm"):
        Image.fromarray(deep).save(folder / name)
    for white in (1.0, 255.0, 65535.0):
        grey = ramp if white == 1 else np.rint(ramp * white)
        Image.fromarray(grey.astype("f4")).save(folder / f"f{white:g}.tif")
    Image.fromarray(np.rint(ramp * 65535).astype("i4")).save(folder / "32.tif")
    Image.fromarray(deep.astype(">u2")).save(folder / "big.tif")
    return sorted(folder.iterdir())


def test_deep_grey_is_scaled(tmp_path):
    expected = np.broadcast_to(np.arange(256)[None, :, None], (8, 256, 3))
    files = grey_files(tmp_path)
    assert len(files) == 9
    for path in files:
        np.testing.assert_allclose(read_image(path), expected, atol=0.5, err_msg=path)
    ramp = np.tile(np.linspace(0, 65535, 256), (8, 1)).astype(np.uint16)
    np.testing.assert_array_equal(read_image(ramp), expected)


def test_16_bit_grey_whose_white_is_zero(tmp_path):
    ramp = np.tile(np.linspace(65535, 0, 256), (8, 1)).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "x.tif", tiffinfo={262: 0})
    found = read_image(tmp_path / "x.tif")
    np.testing.assert_array_equal(found[0, :, 0], np.arange(256))


def test_white_of_signed_16_bit_grey(tmp_path):
    ramp = np.rint(np.tile(np.linspace(0, 32767, 256), (8, 1))).astype("<i2")
    tags = {256: 256, 257: 8, 258: 16, 259: 1, 262: 1, 273: 134, 277: 1, 278: 8}
    tags |= {279: ramp.nbytes, 339: 2}
    entries = b"".join(struct.pack("<HHII", n, 4, 1, v) for n, v in tags.items())
    header = struct.pack("<4sIH", b"II*\0", 8, len(tags)) + entries + bytes(4)
    assert len(header) == tags[273]
    (tmp_path / "x.tif").write_bytes(header + ramp.tobytes())
    found = read_image(tmp_path / "x.tif")
    np.testing.assert_array_equal(found[0, :, 0], np.arange(256))


@pytest.mark.parametrize("value", [np.nan, -0.5, np.inf, 1e6, 1.5, 200.5])
def test_grey_without_a_scale_is_refused(tmp_path, value):
    Image.fromarray(np.full((4, 4), value, "f4")).save(tmp_path / "x.tif")
    with pytest.raises(ClipError, match="whole numbers from 0 to 255 or 65535, are"):
        read_image(tmp_path / "x.tif")


def test_transparent_pixels_show_the_ground(tmp_path):
    """Hidden colours must not be seen: red, wholly, half and not transparent."""
    red = np.zeros((3, 4, 4), np.uint8)
    red[..., 0], red[..., 3] = 255, np.array([0, 128, 255])[:, None]
    image = Image.fromarray(red)
    image.save(tmp_path / "rgba.png")
    image.save(tmp_path / "rgba.webp", lossless=True, exact=True)
    Image.fromarray(red[..., 2:]).save(tmp_path / "la.png")
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([0, 255, 0, 255, 0, 0])
    palette.save(tmp_path / "p.png", transparency=1)
    palette.save(tmp_path / "p.gif", transparency=1)
    Image.new("RGB", (4, 3), (255, 0, 0)).save(
        tmp_path / "rgb.png", transparency=(255, 0, 0)
    )
    half = [round(c * 128 / 255 + GROUND * 127 / 255) for c in (255, 0, 0)]
    expected = np.array([[GROUND] * 3, half, [255, 0, 0]])
    for source in (tmp_path / "rgba.png", tmp_path / "rgba.webp", image, red):
        np.testing.assert_allclose(read_image(source)[:, 0], expected, atol=1)
    grey = read_image(tmp_path / "la.png")[:, 0]
    np.testing.assert_allclose(grey, [[GROUND] * 3, [half[1]] * 3, [0] * 3], atol=1)
    for name in ("p.png", "p.gif", "rgb.png"):
        assert (read_image(tmp_path / name) == GROUND).all(), name


def test_other_kinds_equal_pil(tmp_path):
    image = Image.fromarray(smooth(30, 40))
    for mode in ("L", "1", "P", "CMYK", "YCbCr", "HSV"):
        other = image.convert(mode)
        np.testing.assert_array_equal(
            read_image(other), np.asarray(other.convert("RGB"))
        )
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    difference = read_image(tmp_path / "cmyk.jpg").astype(int) - np.asarray(image)
    assert np.abs(difference).mean() < 2
    for array in (smooth(30, 40, 1), smooth(30, 40, 1)[..., None]):
        grey = read_image(array)
        assert grey.shape == (30, 40, 3)
        np.testing.assert_array_equal(grey[..., 2], array.reshape(30, 40))


def test_bands_join_without_a_seam(monkeypatch):
    image = Image.fromarray(smooth(30, 40)).convert("P")
    whole = read_image(image)
    monkeypatch.setattr(picture, "_BAND_PIXELS", 7 * 40)
    np.testing.assert_array_equal(read_image(image), whole)


@pytest.mark.parametrize("size", [(60, 90), (300, 200), (224, 224), (640, 361)])
def test_ordinary_pictures_equal_open_clip_s_preprocessing(tmp_path, size):
    image = Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8))
    image.save(tmp_path / "x.png")
    height, width = Resize().target(*size)
    expected = np.asarray(image.resize((width, height), Image.BICUBIC))
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    expected = expected[top : top + 224, left : left + 224]
    fit = Preprocessing(Resize(), (224, 224)).fit
    for found in (
        fit(read_image(tmp_path / "x.png")),
        fit(read_image(image, Resize())),
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [(1, 6000), (6000, 1), (3, 900), (700, 40)])
def test_very_long_pictures_are_not_scaled_as_a_whole(monkeypatch, size):
    image = smooth(*size) // 2 + 64  # PIL clips between its two passes
    preprocessing = Preprocessing(Resize((32, 32)), (32, 32))
    whole = preprocessing.fit(image)
    assert whole.shape == (32, 32, 3)
    monkeypatch.setattr(picture, "MAX_PIXELS", 32 * 40)
    assert Resize((32, 32)).is_huge(*size)
    parts = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image,
        "resize",
        lambda self, size, *rest: parts.append(size) or resize(self, size, *rest),
    )
    np.testing.assert_allclose(preprocessing.fit(image), whole, atol=1)
    assert parts == [(32, 32)]


def test_longest_side_of_a_very_long_picture():
    assert Resize((540, 960), "longest").target(1, 6000) == (1, 960)
    assert scale(np.zeros((6000, 1, 3), np.uint8), (540, 1)).shape == (540, 1, 3)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path):
    side = int(picture.MAX_PIXELS**0.5) + 1
    Image.new("1", (side, side)).save(tmp_path / "x.png")
    for source in (tmp_path / "x.png", np.broadcast_to(np.uint8(0), (side, side))):
        with pytest.raises(ClipError, match=f"{side} x {side} pixels; at most 50 mill"):
            read_image(source)
    with pytest.raises(InputError, match="prompt 1, .*x.png.* at most 50 million"):
        as_prompt(tmp_path / "x.png")


def test_large_jpegs_are_decoded_at_a_part_of_their_size(tmp_path, monkeypatch):
    image = smooth(160, 240)
    Image.fromarray(image).save(tmp_path / "x.jpg", quality=95)
    monkeypatch.setattr(picture, "MAX_PIXELS", 80 * 120)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 160 * 240 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_image(tmp_path / "x.jpg")
    assert found.shape == (80, 120, 3)
    half = image.reshape(80, 2, 120, 2, 3).mean((1, 3))
    assert np.abs(found - half).mean() < 2
    monkeypatch.setattr(picture, "MAX_JPEG_PIXELS", 160 * 239)
    with pytest.raises(ClipError, match="240 x 160 pixels"):
        read_image(tmp_path / "x.jpg")


def test_what_is_no_picture(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "eps.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9"
    )
    content = io.BytesIO()
    Image.fromarray(smooth(30, 40)).save(content, "PNG")
    (tmp_path / "cut.png").write_bytes(content.getvalue()[:-40])
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png"):
        with pytest.raises(ClipError, match="is a folder, a pipe or a device"):
            read_image(path)
    for name in ("text.png", "eps.png", "cut.png", "none.png"):
        with pytest.raises(ClipError, match=f"{name}: unreadable image"):
            read_image(tmp_path / name)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ClipError, match="empty.png: zero-length file"):
        read_image(tmp_path / "empty.png")
    for array in (np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(ClipError, match="expected a picture as uint8"):
            read_image(array)
    with pytest.raises(ClipError, match="expected a picture as uint8"):
        read_image(np.zeros((0, 4, 3), np.uint8))


def test_hidden_files_are_no_pictures():
    """A Mac's archive holds ._000001.jpg beside 000001.jpg."""
    names = ["000001.jpg", "a/1.PNG", "1.jfif", "._000001.jpg", ".jpg", "a/._1.png"]
    assert [is_image_name(n) for n in names] == [True] * 3 + [False] * 3


def test_no_other_module_decodes_pictures():
    package = Path(picture.__file__).parent.parent
    texts = {p: p.read_text(encoding="utf-8") for p in package.rglob("*.py")}
    readers = [p.name for p, text in texts.items() if "Image.open(" in text]
    assert readers == ["picture.py"]
    assert not [p for p, text in texts.items() if '.to_ndarray(format="rgb' in text]

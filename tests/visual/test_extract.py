import threading
from fractions import Fraction

import numpy as np
import pytest

from espnet2_avsep.media.container import ClipError
from espnet2_avsep.visual.extract import clip_pictures, encode_clips, in_background
from tests.support.media_fixtures import write_clip


def test_items_come_in_order():
    assert list(in_background(iter(range(100)), depth=3)) == list(range(100))


def test_errors_come_out_where_the_items_do():
    def items():
        yield 1
        raise ClipError("a.mp4", "broken")

    found = in_background(items(), depth=3)
    assert next(found) == 1
    with pytest.raises(ClipError, match="broken"):
        next(found)


def test_the_thread_ends_with_its_reader():
    before = set(threading.enumerate())
    found = in_background(iter(range(10**9)), depth=2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    found.close()
    # Others, of earlier tests, may end meanwhile.
    assert set(threading.enumerate()) <= before


class Doubler:
    """Stands in for an encoder: a picture's row is twice its first value."""

    batch_size = 4

    def __init__(self):
        self.batches = []

    def encode_fitted(self, images):
        self.batches.append([float(image[0]) for image in images])
        return np.array([[2 * image[0]] for image in images], np.float32)


def events(*clips):
    for key, values, error in clips:
        for value in values:
            yield key, np.array([value], np.float32)
        yield key, error


def test_batches_are_full_whatever_the_clips():
    encoder = Doubler()
    found = dict(
        encode_clips(
            encoder, events(("a", [1, 2, 3], None), ("b", [4, 5, 6, 7, 8, 9], None))
        )
    )
    assert found["a"].ravel().tolist() == [2, 4, 6]
    assert found["b"].ravel().tolist() == [8, 10, 12, 14, 16, 18]
    assert encoder.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_a_clip_that_breaks_in_its_middle_takes_no_other_along():
    error = ClipError("b.mp4", "truncated")
    found = dict(
        encode_clips(
            Doubler(),
            events(
                ("a", [1, 2, 3], None), ("b", [4, 5, 6], error), ("c", [7, 8], None)
            ),
        )
    )
    assert found["a"].ravel().tolist() == [2, 4, 6]
    assert found["b"] is error
    assert found["c"].ravel().tolist() == [14, 16]


def test_a_bad_clip_is_told_at_once():
    error = ClipError("a.mp4", "file not found")

    def endless():
        yield "a", error
        raise AssertionError("the result was to come first")

    assert next(encode_clips(Doubler(), endless())) == ("a", error)


def test_rows_that_are_no_numbers():
    (key, result), *_ = encode_clips(Doubler(), events(("a", [1, np.nan], None)))
    assert key == "a"
    assert isinstance(result, ClipError)
    assert "NaN" in result.reason


class Plain:
    """Stands in for an encoder that takes pictures as they are."""

    class preprocessing:
        resize = None

    @staticmethod
    def fit(image):
        return image


def test_parts_of_the_picture(tmp_path):
    def paint(number):
        image = np.zeros((64, 160, 3), np.uint8)
        image[:, :80, 0], image[:, 80:, 2] = 200, 200
        return image

    video = str(write_clip(tmp_path / "duet.mp4", 1.0, paint=paint))
    for region, channel in (("left", 0), ("right", 2)):
        (image,) = clip_pictures(video, video, Fraction(1), 1, Plain, region=region)
        assert image.shape == (64, 80, 3)
        middle = image[:, 10:70].mean(axis=(0, 1))
        assert middle[channel] > 150 and middle[2 - channel] < 50
    (image,) = clip_pictures(video, video, Fraction(1), 1, Plain)
    assert image.shape == (64, 160, 3)

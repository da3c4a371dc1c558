import weakref

import numpy as np
import pytest
from PIL import Image

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompt_reader import PromptReader
from espnet2_avsep.inference.prompts import (
    LEFT,
    RIGHT,
    WHOLE,
    During,
    Mean,
    Region,
    Text,
)
from tests.support.media_fixtures import paint_number, read_number, tone, write_video


def numbers(images):
    """An "encoder" that reads the number a picture shows, and its width."""
    return np.array([[read_number(i), i.shape[1]] for i in images], np.float32)


def brightness(images):
    return np.array([[i.mean(), i.shape[1]] for i in images], np.float32)


def reader(prompts, encode=numbers, dim=2):
    return PromptReader(
        prompts, dim, encode, lambda texts: np.array([[len(t), 0.0] for t in texts])
    )


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """10 pictures a second that count from 0, and 4 s of sound."""
    path = tmp_path_factory.mktemp("video") / "count.mp4"
    return write_video(path, frames=40, fps=10, audio=tone(4, 22050))


def test_region_is_read_along_the_video(video):
    read = reader([Region(video, every=0.5)])
    assert read.number == 1
    # Looks at 0.25, 0.75, 1.25, ... s show pictures 2, 7, 12, ...
    np.testing.assert_allclose(read(0.0, 1.0), [[4.5, 160]])
    np.testing.assert_allclose(read(0.5, 2.0), [[12, 160]])
    np.testing.assert_allclose(read(2.3, 2.6), [[22, 160]])  # the last look holds
    np.testing.assert_allclose(read(3.5, 9.0), [[37, 160]])
    np.testing.assert_allclose(read(7.0, 9.0), [[37, 160]])


def test_region_held(video):
    read = reader([Region(video, every=None, at=1.5)])
    for begin in (0.0, 3.0):
        np.testing.assert_allclose(read(begin, begin + 1), [[15, 160]])


def test_regions_cut_what_they_say(tmp_path):
    """A picture whose columns are 0, 1, ..., 99."""
    columns = np.broadcast_to(
        np.arange(100, dtype=np.uint8)[None, :, None], (4, 100, 3)
    )
    Image.fromarray(np.ascontiguousarray(columns)).save(tmp_path / "p.png")
    boxes = [LEFT, RIGHT, WHOLE, (0.1, 0, 0.2, 1), (0.999, 0.99, 1.0, 1.0)]
    rows = reader([Region(tmp_path / "p.png", box) for box in boxes], brightness)(0, 1)
    expected = [[24.5, 50], [74.5, 50], [49.5, 100], [14.5, 10], [99, 1]]
    np.testing.assert_allclose(rows, expected)


def test_box_that_moves(video):
    track = [(0.0, (0.0, 0, 0.5, 1)), (2.0, (0.5, 0, 1.0, 1))]
    region = Region(video, track)
    assert region.box_at(-1.0) == (0.0, 0.0, 0.5, 1.0)
    assert region.box_at(0.5) == (0.125, 0.0, 0.625, 1.0)
    assert region.box_at(5.0) == (0.5, 0.0, 1.0, 1.0)
    assert reader([region])(0, 4)[0, 1] == 80


def test_models_of_pictures_get_the_middle_look(video):
    def frames(images):
        return np.stack([i.transpose(2, 0, 1) for i in images])

    read = PromptReader([Region(video, every=0.5)], None, frames, None)
    picture = read(0.0, 1.3)[0]
    assert picture.dtype == np.uint8 and picture.shape == (3, 64, 160)
    assert read_number(picture.transpose(1, 2, 0)) == 7
    with pytest.raises(InputError, match="no picture"):
        PromptReader([Text("tuba")], None, frames, None)
    with pytest.raises(InputError, match="no picture"):
        PromptReader([np.zeros(2, np.float32)], None, frames, None)


def test_prompts_of_all_kinds(video, tmp_path):
    Image.fromarray(paint_number(9)).save(tmp_path / "nine.png")
    prompts = [
        *(paint_number(3), Image.fromarray(paint_number(4)), tmp_path / "nine.png"),
        *(str(tmp_path / "nine.png"), np.array([7.0, 8.0]), np.eye(2, dtype="f")),
        *(Text("oboe"), lambda begin, end: np.array([begin, end])),
    ]
    rows = reader(prompts)(1.0, 2.0)
    expected = [[3, 160], [4, 160], [9, 160], [9, 160], [7, 8], [0.5, 0.5]]
    expected += [[len("a photo of oboe"), 0], [1, 2]]
    np.testing.assert_allclose(rows, expected)


def test_embeddings_as_lists():
    prompts = [[1, 2.5], (3.0, 4.0), [[1.0, 2.0], [3.0, 6.0]], lambda *_: [5.0, 6.0]]
    np.testing.assert_allclose(
        reader(prompts)(0, 1), [[1, 2.5], [3, 4], [2, 4], [5, 6]]
    )
    for wrong, message in (
        *(([1.0, 2.0, 3.0], "D = 2"), ([[1.0, 2.0], [3.0]], "no array of numbers")),
        *((["a violin"], "no array of numbers"), ([], "D = 2"), ([1.0, None], "NaN")),
    ):
        with pytest.raises(InputError, match=f"prompt 1.*{message}"):
            reader([wrong])


def test_region_without_a_video(tmp_path):
    (tmp_path / "x.mp4").write_text("no video")
    for name, message in (("x.mp4", "unreadable"), ("no.mp4", "file not found")):
        with pytest.raises(InputError, match=message):
            reader([Region(tmp_path / name)])(0, 1)
    with pytest.raises(InputError, match="cannot be read as a picture"):
        reader([Region(tmp_path / "no.png")])


@pytest.mark.parametrize(
    "box",
    [
        *((0, 0, 1), (0, 0, 1, 1, 1), (0.5, 0, 0.5, 1), (0, 1, 1, 0), (-0.1, 0, 1, 1)),
        *((0, 0, 2, 1), (0, 0, float("nan"), 1), ("a", 0, 1, 1), None, 5, "0,0,1,1"),
        *([], [(0, (0, 0, 1))], [(1, WHOLE), (0, WHOLE)], [("a", WHOLE)]),
    ],
)
def test_wrong_boxes(box):
    with pytest.raises(InputError, match="region of x.mp4"):
        Region("x.mp4", box)


@pytest.mark.parametrize("options", [{"every": 0}, {"every": "1"}, {"at": -1.0}])
def test_wrong_times(options):
    with pytest.raises(InputError, match="region of x.mp4"):
        Region("x.mp4", **options)


def test_regions_of_one_video_are_decoded_once(video, monkeypatch):
    from espnet2_avsep.inference import region_reader

    opened = []

    def counted(source, *args, **options):
        opened.append(source)
        return video_frames(source, *args, **options)

    video_frames = region_reader.video_frames
    monkeypatch.setattr(region_reader, "video_frames", counted)
    read = reader([Region(video, box, every=0.5) for box in (WHOLE, LEFT, RIGHT)])
    rows = [read(0.0, 1.0), read(2.3, 4.0)]
    assert opened == [video]
    alone = reader([Region(video, LEFT, every=0.5)])
    np.testing.assert_array_equal(rows[0][1:2], alone(0.0, 1.0))
    np.testing.assert_array_equal(rows[1][1:2], alone(2.3, 4.0))


def test_looks_of_several_stretches_are_encoded_together(video):
    """Those of the next stretch are encoded ahead, so that no batch is small."""
    sizes = []

    def encode(images):
        sizes.append(len(images))
        return numbers(images)

    read = reader([Region(video, every=0.1)], encode)
    np.testing.assert_allclose(read(0.0, 0.5), [[2, 160]])
    np.testing.assert_allclose(read(0.5, 3.0), [[17, 160]])
    assert sizes == [8] * 4
    np.testing.assert_allclose(read(3.0, 9.0), [[34.5, 160]])
    assert sizes == [8] * 5


def test_looks_of_all_regions_are_encoded_together(video):
    sizes = []

    def encode(images):
        sizes.append([image.shape[1] for image in images])
        return brightness(images)

    boxes = (WHOLE, LEFT)
    read = reader([Region(video, box, every=0.5) for box in boxes], encode)
    rows = read(0.0, 1.0)
    assert sizes == [[160, 80] * 8]
    for row, box in zip(rows, boxes, strict=True):
        alone = reader([Region(video, box, every=0.5)], brightness)(0.0, 1.0)
        np.testing.assert_array_equal(row, alone[0])


def test_pictures_that_all_regions_have_seen_are_released(video, monkeypatch):
    """A copy of the shared pictures that is never advanced kept a whole video."""
    from espnet2_avsep.inference import region_reader

    seen = []

    def pictures(region):
        for n in range(200):
            image = paint_number(n)
            seen.append(weakref.ref(image))
            yield n / 10, image

    monkeypatch.setattr(region_reader, "_pictures_of", pictures)
    read = reader([Region(video, box, every=0.1) for box in (LEFT, RIGHT)], brightness)
    for n in range(19):
        read(float(n), n + 1.0)
    assert len(seen) > 180
    assert sum(image() is not None for image in seen) < 80


def test_mean_of_prompts(video, tmp_path):
    Image.fromarray(paint_number(9)).save(tmp_path / "nine.png")
    along = Region(video, every=0.5)
    mean = Mean([tmp_path / "nine.png", [3.0, 160.0], along])
    rows = reader([mean, Text("oboe")])(0.0, 1.0)
    np.testing.assert_allclose(rows[0], [(9 + 3 + 4.5) / 3, 160])
    rows = reader([lambda *_: Mean([[1.0, 2.0], [3.0, 4.0]])])(0.0, 1.0)
    np.testing.assert_allclose(rows, [[2, 3]])
    for wrong in ([], "violin.jpg"):
        with pytest.raises(InputError, match="expected a list of prompts"):
            Mean(wrong)
    with pytest.raises(InputError, match="has a time span"):
        Mean([During("violin.jpg", [(0, 1)])])
    with pytest.raises(InputError, match="several cannot be averaged"):
        PromptReader([Mean([tmp_path / "nine.png"] * 2)], None, brightness, None)


def test_region_seen_in_a_span_holds_for_the_whole_recording(video):
    # Looks at 1.25 and 1.75 s show pictures 12 and 17.
    read = reader([Region(video, every=0.5, seen=(1, 2))])
    for begin in (0.0, 3.0):
        np.testing.assert_allclose(read(begin, begin + 1), [[14.5, 160]])

    def frames(images):
        return np.stack([i.transpose(2, 0, 1) for i in images])

    read = PromptReader([Region(video, every=0.5, seen=(1, 2))], None, frames, None)
    assert read_number(read(0.0, 9.0)[0].transpose(1, 2, 0)) == 17
    with pytest.raises(InputError, match=r"seen=\(4, 5\), but .* ends after 4.0"):
        reader([Region(video, seen=(4, 5))])
    for wrong in ((2, 1), (1, 1), (-1, 1), (0, float("inf")), 3, "1-2"):
        with pytest.raises(InputError, match="seen: .*expected 0 <= begin < end"):
            Region(video, seen=wrong)


def test_time_spans_of_prompts():
    read = reader([[1.0, 2.0], During([3.0, 4.0], [(1, 2), (4.5, np.inf)])])
    np.testing.assert_allclose(read(0.0, 9.0), [[1, 2], [3, 4]])
    assert read.spans == [None, ((1, 2), (4.5, np.inf))]
    for wrong in ([(2, 1)], [(-1, 1)], [(0, float("nan"))], [("a", 1)]):
        with pytest.raises(InputError, match="0 <= begin < end"):
            During("x", wrong)
    for wrong in (3, [3], [(1, 2, 3)]):
        with pytest.raises(InputError, match="pairs in seconds"):
            During("x", wrong)
    with pytest.raises(InputError, match="at least one"):
        During("x", [])
    with pytest.raises(InputError, match="is a During, too"):
        During(During("x", [(0, 1)]), [(0, 1)])


def test_equal_pictures_are_encoded_once(monkeypatch):
    """Exactly equal ones: a change of one value makes another picture."""
    from espnet2_avsep.inference import prompt_reader, region_reader

    sizes = []

    def encode(images):
        sizes.append(len(images))
        return brightness(images)

    still, other = paint_number(3), paint_number(3)
    other[0, 0, 0] += 1
    shown = [still, still, other, still] * 4  # a look a second

    def pictures(region):
        yield from ((float(n), image.copy()) for n, image in enumerate(shown))

    monkeypatch.setattr(region_reader, "_pictures_of", pictures)
    read = reader([Region("a.mp4", WHOLE), Region("a.mp4", RIGHT)], encode)
    rows = np.stack([read(n, n + 1.0) for n in range(len(shown))])
    # The right halves are all equal, and differ in size from whole pictures.
    assert sizes == [3]
    expected = brightness(shown)
    np.testing.assert_array_equal(rows[:, 0], expected)
    np.testing.assert_array_equal(
        rows[:, 1], brightness([image[:, image.shape[1] // 2 :] for image in shown])
    )
    assert rows[1, 0, 0] != rows[2, 0, 0]
    # Not more than a number of them is remembered.
    monkeypatch.setattr(prompt_reader, "_MOST_PICTURES", 2)
    sizes.clear()
    read = reader([Region("a.mp4", WHOLE)], encode)
    many = [paint_number(n) for n in range(4)]
    for images in (many, many[2:], many[:1]):
        np.testing.assert_array_equal(read.encode_pictures(images), brightness(images))
    assert sizes == [4, 1]

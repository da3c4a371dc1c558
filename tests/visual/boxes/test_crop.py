"""Pictures cut out around boxes: stage 2 with --visual_boxes."""

import json
import types

import kaldiio
import numpy as np
import pytest
import torch
import yaml

from espnet2_avsep.bin.prepare.extract_visual import main
from espnet2_avsep.data.segment_reader import read_matrix
from espnet2_avsep.data.tables.scp import read_scp, read_skipped, write_scp
from espnet2_avsep.errors import InputError
from espnet2_avsep.visual import build, frame_packer
from espnet2_avsep.visual.boxes import detector
from espnet2_avsep.visual.boxes.box_files import Box
from espnet2_avsep.visual.boxes.crop import CropOptions, Cropper, read_classes
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder, Preprocessing
from espnet2_avsep.visual.frames import Resize
from tests.support.killed import Killed

SIZE, SIDE, HEIGHT, WIDTH = 24, 16, 64, 128
DARK = 20


def square(number):
    """Left, top, right, bottom of the bright square of a picture; it moves."""
    left = 32 + 16 * (number // 25)
    return left, 24, left + SIDE, 24 + SIDE


def paint(number):
    image = np.full((HEIGHT, WIDTH, 3), DARK, np.uint8)
    left, top, right, bottom = square(number)
    image[top:bottom, left:right] = (250, 250, 250)
    return image


class BrightDetector:
    """Finds what is bright; every third picture it is asked for is lost on it."""

    labels = ["__background__", "person"]
    info = {"detector": "bright", "box_weights": "none"}

    def __init__(self):
        self.batches = []

    def detect(self, images):
        self.batches.append(len(images))
        found = []
        for image in images:
            rows, columns = np.nonzero(image.mean(axis=2) > 128)
            corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            box = Box("person", 0.9, tuple(float(c) for c in corners))
            # A surer box of another class, and an unsure one.
            others = [
                Box("chair", 0.99, (0, 0, 8, 8)),
                Box("person", 0.1, (0, 0, 4, 4)),
            ]
            found.append([*others, box])
        return found


@pytest.fixture
def bright(monkeypatch):
    made = []

    def load(**options):
        made.append(BrightDetector())
        made[-1].options = options
        return made[-1]

    monkeypatch.setattr(detector, "load_detector", load)
    monkeypatch.setattr(
        detector, "coco_labels", lambda model: ["__background__", "person", "chair"]
    )
    return made


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    from tests.support.media_fixtures import write_clip

    folder = tmp_path_factory.mktemp("clips")
    table = {}
    for n, seconds in enumerate((2.0, 3.0)):
        path = write_clip(
            folder / f"{n}.mp4", seconds, paint=paint, options={"crf": "1"}
        )
        table[f"cello-{n}"] = str(path)
    return table


def run(table, folder, boxes, *options, encoder="frames"):
    folder.mkdir(exist_ok=True)
    write_scp(folder / "video.scp", table)
    argv = ["--video_scp", str(folder / "video.scp"), "--device", "cpu"]
    argv += ["--output_dir", str(folder / "out"), "--visual_encoder", encoder]
    argv += ["--visual_size", str(SIZE), "--visual_boxes", str(boxes)]
    return main([*argv, *map(str, options)]), folder / "out"


def pictures(out):
    table = read_scp(out / "visual.scp")
    return {k: read_matrix(v).transpose(0, 2, 3, 1) for k, v in table.items()}


def box_rows(out):
    lines = (out / "visual_boxes.tsv").read_text().splitlines()
    return [tuple(line.split("\t")) for line in lines]


def test_the_crop_is_the_object_and_nothing_else(tmp_path, clips, bright, caplog):
    status, out = run(clips, tmp_path, "detector", "--box_classes", "person")
    assert status == 0
    found = pictures(out)
    assert {k: v.shape for k, v in found.items()} == {
        "cello-0": (2, SIZE, SIZE, 3),
        "cello-1": (3, SIZE, SIZE, 3),
    }
    for images in found.values():
        assert images.min() > 200  # nothing of the dark ground
    rows = box_rows(out)
    assert [(row[0], row[1]) for row in rows] == [
        *(("cello-0", str(i)) for i in range(2)),
        *(("cello-1", str(i)) for i in range(3)),
    ]
    for row in rows:
        corners = np.array([int(value) for value in row[2:6]])
        assert np.abs(corners - square(25 * int(row[1]))).max() <= 1
        assert row[6:] == ("0.9", "person", "detector")
    info = yaml.safe_load((out / "visual_info.yaml").read_text())
    assert (info["encoder"], info["boxes"]) == ("frames", "detector")
    assert (info["detector"], info["box_weights"]) == ("bright", "none")
    assert info["box_classes"] == {"*": ["person"]}
    encoder = build.encoder_from_info(out / "visual_info.yaml")
    # All of a crop that is given to a trained model is seen, as in training.
    seen = encoder.encode([np.repeat(np.eye(3, dtype=np.uint8) * 250, 8, axis=1)])
    assert seen.shape == (1, 3, SIZE, SIZE)
    assert min(seen[0, 0, 0, 0], seen[0, 0, -1, -1]) > 200
    assert "cut out around objects; give such crops, too" in caplog.text
    assert bright[0].batches == [2, 3]
    assert bright[0].options["device"] == "cpu"


def test_a_margin_and_the_edge_of_the_picture():
    class Whole:
        preprocessing = Preprocessing(Resize((8, 8)), (8, 8))
        fit = staticmethod(lambda image: image)

    class Finds:
        def __init__(self, *corners):
            self.corners = corners

        def detect(self, images):
            return [[Box("x", 1.0, self.corners)] for _ in images]

    image = np.zeros((40, 60, 3), np.uint8)
    for corners, margin, expected in (
        ((20, 10, 30, 20), 0.0, [20, 10, 30, 20]),
        ((20, 10, 30, 30), 0.1, [19, 8, 31, 32]),
        ((20, 10, 30, 20), 5.0, [0, 0, 60, 40]),
        ((-1, -1, 61, 41), 0.0, [0, 0, 60, 40]),  # rounding
        ((10.2, 10.2, 10.4, 10.4), 0.0, [10, 10, 11, 11]),  # never nothing
        ((59.9, 39.9, 60, 40), 0.0, [59, 39, 60, 40]),
    ):
        options = CropOptions({"*": ["any"]}, margin=margin)
        cropper = Cropper(options, {}, Finds(*corners))
        (crop,) = cropper.cut("a", [(0.0, image)], Whole)
        assert crop.shape == (8, 8, 3)
        assert cropper.notes["a"] == [[*expected, 1.0, "x", "detector"]]


def test_all_of_a_box_is_in_the_crop():
    """Also for an encoder that crops its pictures to less than it scales them to."""
    ends = np.full((20, 60, 3), DARK, np.uint8)
    ends[5:15, 10:12], ends[5:15, 38:40] = 250, 250  # both ends of the box
    sizes = Resize((16, 16), "shortest", "bilinear"), (14, 14)
    encoder = FrameEncoder(torch.nn.Flatten(), Preprocessing(*sizes), {})
    files = types.SimpleNamespace(load=lambda key: None)
    cropper = Cropper(CropOptions({"*": ["any"]}), {}, files=files)
    files.load = lambda key: types.SimpleNamespace(
        at=lambda time: [Box("x", 1.0, (10, 5, 40, 15))], size=None, frames={}
    )
    (crop,) = cropper.cut("a", [(0.0, ends)], encoder)
    assert crop.shape == (14, 14, 3)
    assert crop[:, [0, -1]].min() > 150 and crop[:, 3:-3].max() < 60


def test_crops_that_lost_their_sides_are_made_again(
    tmp_path, clips, bright, monkeypatch
):
    made = []

    def encoder(**options):
        made.append(options["encoder"])
        preprocessing = Preprocessing(Resize((8, 8)), (8, 8))
        return FrameEncoder(torch.nn.Flatten(), preprocessing, {}, batch_size=4)

    monkeypatch.setattr(build, "build_encoder", encoder)
    for name, number in (("open_clip", 1), ("resnet18", 2)):
        made.clear()
        run(clips, tmp_path / name, "detector", encoder=name)
        journal = tmp_path / name / "out" / "visual.journal"
        settings, *entries = journal.read_text().splitlines(keepends=True)
        of_before = json.loads(settings)
        of_before["settings"]["cropped"].pop("whole_boxes", None)
        line = json.dumps(of_before, sort_keys=True) + "\n"
        journal.write_text("".join([line, *entries]))
        run(clips, tmp_path / name, "detector", encoder=name)
        run(clips, tmp_path / name, "detector", encoder=name)
        assert made == [name] * number


def test_which_box_is_taken():
    boxes = [Box(1, 0.5, (0, 0, 1, 1)), Box(2, 0.9, (0, 0, 2, 2))]
    boxes.append(Box(1, 0.6, (0, 0, 3, 3)))

    def best(classes, category="cello", score=0.3):
        return CropOptions(classes, score).best(category, boxes)

    assert best({"*": ["any"]}) == boxes[1]
    assert best({"*": ["1"]}) == boxes[2]
    assert best({"*": ["3", "1", "any"]}) == boxes[2]
    assert best({"*": ["3", "any"]}) == boxes[1]
    assert best({"*": ["3"]}) is None
    assert best({"*": ["1"]}, score=0.7) is None
    assert best({"cello": ["1"], "*": ["2"]}) == boxes[2]
    assert best({"tuba": ["1"], "*": ["2"]}) == boxes[1]
    assert best({"tuba": ["1"]}) is None


def test_classes_of_categories(tmp_path):
    assert read_classes(None) == {"*": ["any"]}
    assert read_classes("person, dog,any") == {"*": ["person", "dog", "any"]}
    table = tmp_path / "classes"
    table.write_text("cello 2\nguitar 4, any\n* person\n")
    expected = {"cello": ["2"], "guitar": ["4", "any"], "*": ["person"]}
    assert read_classes(str(table)) == expected
    with pytest.raises(InputError, match="missing.tsv"):  # no class of that name
        read_classes("missing.tsv")


def test_a_category_that_no_clip_is_of_is_told(tmp_path, clips, bright, caplog):
    classes, clip_names = tmp_path / "classes", tmp_path / "utt2clip"
    classes.write_text("celo chair\ncello person\n* any\n")
    write_scp(clip_names, {key: key.replace("-", "/") for key in clips})
    options = ("--box_classes", classes, "--utt2clip", clip_names)
    status, out = run(clips, tmp_path, "detector", *options)
    assert status == 0 and {row[7] for row in box_rows(out)} == {"person"}
    told = "--box_classes: no clip of this set is of celo; its clips are of cello"
    assert caplog.text.count(told) == 1


def npy_rows(*numbers):
    """Boxes of the pictures with these numbers, one a second, from 1."""
    return [[k, 2, 0.8, *square(25 * (k - 1))] for k in numbers]


def test_boxes_of_files_and_pictures_without(tmp_path, clips):
    boxes = tmp_path / "boxes"
    (boxes / "cello").mkdir(parents=True)
    np.save(boxes / "cello" / "1.mp4.npy", np.array(npy_rows(1, 3), float))
    status, out = run(clips, tmp_path, boxes)
    assert status == 0
    found, rows = pictures(out), box_rows(out)
    whole = ("0", "0", str(WIDTH), str(HEIGHT), "-", "-", "whole_frame")
    assert [row[2:] for row in rows if row[0] == "cello-0"] == [whole, whole]
    kept = [row for row in rows if row[0] == "cello-1"]
    assert kept[1][2:] == whole
    for i in (0, 2):
        expected = [str(value) for value in square(25 * i)]
        assert kept[i][2:] == (*expected, "0.8", "2", "file")
        # The codec blurs the edge by a pixel.
        assert found["cello-1"][i][2:-2, 2:-2].min() > 200
    assert found["cello-1"][1].min() < 60  # the ground around the square
    info = yaml.safe_load((out / "visual_info.yaml").read_text())
    assert (info["boxes"], info["box_fps"]) == (str(boxes), 1.0)


def test_boxes_of_smaller_pictures_are_scaled(tmp_path, clips):
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    half = [
        {
            "frame": i,
            "label": "cello",
            "score": 1,
            "box": [v / 2 for v in square(25 * (i - 1))],
        }
        for i in (1, 2)
    ]
    content = {"boxes": half, "width": WIDTH // 2, "height": HEIGHT // 2}
    (boxes / "0.json").write_text(json.dumps(content))
    table = {"cello-0": clips["cello-0"]}
    _, out = run(table, tmp_path, boxes, "--box_classes", "cello")
    for i, row in enumerate(box_rows(out)):
        assert row[2:6] == tuple(str(value) for value in square(25 * i))


def test_wrong_boxes_are_told(tmp_path, clips, capsys):
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    np.save(boxes / "0.npy", np.array([[1, 2, 0.8, 0, 0, 640, 360]], float))
    np.save(boxes / "1.npy", np.array([[1, 2, 0.8, 9, 0, 5, 60]], float))
    status, out = run(clips, tmp_path, boxes, "--allow_empty", "true")
    assert status == 0
    reasons = {row.key: row.reason for row in read_skipped(out / "visual_skipped.tsv")}
    outside = "boxes lie outside of the picture: 0, 0, 640, 360 in 128 x 64 pixels"
    assert reasons["cello-0"].startswith(outside) and "--box_size" in reasons["cello-0"]
    assert reasons["cello-1"].startswith("wrong boxes: picture 1")
    assert box_rows(out) == []
    status, out = run(clips, tmp_path, boxes, "--box_size", "640x360")
    assert status == 0 and list(pictures(out)) == ["cello-0"]
    assert run(clips, tmp_path, boxes, "--box_classes", "cello")[0] == 2
    assert "have numbers for classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--visual_boxes", "none"], "--visual_boxes none: no such folder"),
        (
            ["--box_classes", "cello,any"],
            "the detector knows no cello; it knows person",
        ),
        (["--box_classes", "__background__"], "the detector knows no __background__"),
        (["--box_classes", ","], "--box_classes ,: names no class"),
        (["--box_score", "2"], "--box_score 2.0: expected at least 0 and at most 1"),
        (["--box_margin", "-1"], "--box_margin -1.0"),
        (["--box_batch_size", "0"], "--box_batch_size 0"),
        (["--precomputed", "f.scp"], "--visual_boxes detector and --precomputed f.scp"),
    ],
)
def test_options_that_make_no_sense(tmp_path, clips, bright, capsys, options, message):
    assert run(clips, tmp_path, "detector", *options)[0] == 2
    assert message in capsys.readouterr().err


def test_size_that_cannot_be_read(tmp_path, clips, capsys):
    np.save(tmp_path / "0.npy", np.zeros((0, 7)))
    assert run(clips, tmp_path, tmp_path, "--box_size", "640")[0] == 2
    assert "--box_size 640: expected width and height" in capsys.readouterr().err


def test_a_run_goes_on_and_other_boxes_begin_anew(tmp_path, clips, bright, monkeypatch):
    _, whole = run(clips, tmp_path / "whole", "detector")
    pack, calls = frame_packer.FramePacker.pack, []

    def die(self, images):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return pack(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(frame_packer.FramePacker, "pack", die)
        with pytest.raises(Killed):
            run(clips, tmp_path / "cut", "detector")
    assert not (tmp_path / "cut" / "out" / "visual_boxes.tsv").exists()
    _, out = run(clips, tmp_path / "cut", "detector")
    for name in ("visual.ark", "visual_boxes.tsv", "visual_info.yaml"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert {row[7] for row in box_rows(out)} == {"chair"}  # the surest of any class
    built = len(bright)
    run(clips, tmp_path / "cut", "detector")
    assert len(bright) == built  # nothing was left to do
    run(clips, tmp_path / "cut", "detector", "--box_classes", "person")
    assert {row[7] for row in box_rows(out)} == {"person"}


def test_embeddings_of_crops(tmp_path, clips, bright, monkeypatch):
    class Mean(torch.nn.Module):
        def forward(self, images):
            return images.mean(dim=(2, 3))

    def encoder(**options):
        preprocessing = Preprocessing(Resize((8, 8)), (8, 8))
        return FrameEncoder(Mean(), preprocessing, {"encoder": "mean"}, batch_size=4)

    monkeypatch.setattr(build, "build_encoder", encoder)
    options = ("--box_classes", "person")
    _, out = run(clips, tmp_path, "detector", *options, encoder="open_clip")
    rows = dict(kaldiio.load_scp(str(out / "visual.scp")).items())
    assert [len(rows[key]) for key in clips] == [2, 3]
    for values in rows.values():
        np.testing.assert_allclose(values, 250 / 255, atol=0.03)
    assert len(box_rows(out)) == 5
    # One by one or together: the same.
    _, single = run(
        {"cello-1": clips["cello-1"]}, tmp_path / "b", "detector", *options,
        encoder="open_clip",
    )  # fmt: skip
    found = dict(kaldiio.load_scp(str(single / "visual.scp")).items())
    np.testing.assert_array_equal(found["cello-1"], rows["cello-1"])

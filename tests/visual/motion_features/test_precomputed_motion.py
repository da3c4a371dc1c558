import numpy as np
import pytest

from espnet2_avsep.data.tables.clip_files import ClipFiles
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.visual.motion_features.precomputed_motion import (
    MotionFiles,
    read_motion_file,
)


@pytest.fixture
def maps():
    """What iQuery writes: (1024, T, h, w)."""
    return np.random.default_rng(0).normal(size=(1024, 5, 3, 2)).astype(np.float32)


def test_places_are_pooled_by_their_maximum_whatever_the_order_of_axes(tmp_path, maps):
    expected = np.stack([maps[:, t].reshape(1024, -1).max(1) for t in range(5)])
    pooled = maps.max(axis=(2, 3))
    for n, values in enumerate((maps, maps.swapaxes(0, 1), pooled, pooled.T)):
        path = tmp_path / f"{n}.npy"
        np.save(path, values)
        found = read_motion_file(path)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((5, 512)), r"wrong shape: \(5, 512\), expected \(1024, T, h, w\)"),
        (np.zeros((1024, 7, 7)), "wrong shape"),  # T or h? nobody can tell
        (np.zeros(1024), "wrong shape"),
        (np.zeros((161, 1024)), "wrong number of steps: 161, expected 1 to 160"),
        (np.zeros((0, 1024)), "wrong number of steps: 0"),
        (np.full((2, 1024), np.nan), "NaN"),
        (np.full((2, 1024), 1e300), "NaN or infinite"),  # in float32
        (np.zeros((2, 1024), int), "no array of floating-point numbers"),
        (np.array([{"a": 1}]), "unreadable motion features"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, values, reason):
    path = tmp_path / "a.npy"
    np.save(path, values, allow_pickle=True)
    with pytest.raises(ClipError, match=reason):
        read_motion_file(path)


def test_cut_off_file(tmp_path, maps):
    path = tmp_path / "a.npy"
    np.save(path, maps)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ClipError, match="unreadable motion features"):
        read_motion_file(path)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_names_of_peers(tmp_path):
    touch(
        tmp_path,
        *("flute/a-b_c.mp4.npy", "flute/d.npy", "Male/e.mp4.npy", "f.npy"),
        *("tuba/g.npy", "flute/g.npy", "acoustic_guitar/h.npy"),
    )
    clips = {"x": "flute/a-b_c", "male-e": "Male speech/e", "y": "acoustic guitar/h"}
    files = ClipFiles(tmp_path, (".npy",), "--option", clips)

    def found(key):
        path = files.find(key)
        return path and path.relative_to(tmp_path).as_posix()

    assert found("x") == "flute/a-b_c.mp4.npy"
    assert found("flute-d") == "flute/d.npy"  # by its id
    assert found("male-e") == "Male/e.mp4.npy"  # another word for the category
    assert found("tuba-f") == "f.npy"
    assert found("tuba-g") == "tuba/g.npy"
    assert found("cello-g") is None  # which of the two?
    assert found("y") == "acoustic_guitar/h.npy"
    assert found("tuba-nothing") is None


def test_names_of_a_mac_are_found(tmp_path):
    """macOS writes accents in NFD; ids have NFC."""
    nfc, nfd = "fl\u00fbte/\u00fc", "flu\u0302te/u\u0308"
    (tmp_path / nfd).parent.mkdir()
    (tmp_path / f"{nfd}.mp4.npy").write_bytes(b"x")
    files = ClipFiles(tmp_path, (".npy",), "--option", {"a": nfc})
    assert files.find("a") == tmp_path / f"{nfd}.mp4.npy"


def test_endings_in_capitals_are_found(tmp_path):
    """A video A.MP4 has its features in A.MP4.npy; without them it was left out."""
    names = ("cello/A.MP4.npy", "cello/b.mp4.NPY", "tuba/c.MOV.NPY")
    touch(tmp_path, *names, "cello/d.MP4.npy", "cello/d.mp4.npy", "cello/E.npy")
    files = ClipFiles(tmp_path, (".npy",), "--option")
    for key, name in zip(("cello-A", "cello-b", "cello-c"), names, strict=True):
        assert files.find(key) == tmp_path / name
    assert files.find("cello-d") == tmp_path / "cello/d.mp4.npy"
    assert files.find("tuba-d") == tmp_path / "cello/d.mp4.npy"
    assert files.find("cello-e") is None  # ids have upper and lower case


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(InputError, match="--motion_precomputed .*none: no such folder"):
        MotionFiles(tmp_path / "none")
    with pytest.raises(InputError, match="holds no .npy file"):
        MotionFiles(tmp_path)
    touch(tmp_path, "flute/a.npy")
    with pytest.raises(ClipError, match="neither tuba/b.npy nor a like name"):
        MotionFiles(tmp_path).load("tuba-b")

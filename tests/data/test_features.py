import errno

import h5py
import kaldiio
import numpy as np
import pytest

from espnet2_avsep.data import features as features_module
from espnet2_avsep.data.features import FeatureWriter, PrecomputedFeatures
from espnet2_avsep.data.tables.scp import read_scp, write_scp
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import ClipError

SETTINGS = {"model": "x"}


def matrices(count=4, dim=3):
    rng = np.random.default_rng(0)
    return {
        f"cello-{i}": rng.standard_normal((i + 1, dim)).astype(np.float32)
        for i in range(count)
    }


def write_all(folder, content, settings=SETTINGS):
    with FeatureWriter(folder, settings) as writer:
        for key, matrix in content.items():
            if key not in writer.entries:
                writer.write(key, matrix)
        writer.write_tables(content)
    return folder


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_round_trip_through_kaldiio(tmp_path):
    content = matrices()
    write_all(tmp_path, content)
    loaded = kaldiio.load_scp(str(tmp_path / "visual.scp"))
    assert list(loaded) == sorted(content)
    for key, matrix in content.items():
        assert loaded[key].dtype == np.float32
        np.testing.assert_array_equal(loaded[key], matrix)
    in_order = dict(kaldiio.load_ark(str(tmp_path / "visual.ark")))
    assert list(in_order) == list(content)
    assert read_scp(tmp_path / "visual_shape") == {
        "cello-0": "1,3",
        "cello-1": "2,3",
        "cello-2": "3,3",
        "cello-3": "4,3",
    }


def test_no_table_before_the_end(tmp_path):
    with FeatureWriter(tmp_path, SETTINGS) as writer:
        writer.write("a", np.zeros((1, 2)))
    assert not (tmp_path / "visual.scp").exists()


def test_a_kill_at_any_byte_is_mended(tmp_path):
    """Whatever a crash left of ark and journal, a second run ends byte-identical."""
    content = matrices()
    # Paths are in the table, so the folder has to be the same one.
    folder = tmp_path / "features"
    expected = files(write_all(folder, content))
    ark, journal = expected["visual.ark"], expected["visual.journal"]
    lines = journal.splitlines(keepends=True)
    with FeatureWriter(folder, SETTINGS) as writer:
        ends = [entry["end"] for entry in writer.entries.values()]
    for done in range(len(content) + 1):
        begin = ends[done - 1] if done else 0
        for extra in (0, 1, 9, 20):
            for name in ("visual.scp", "visual_shape"):
                (folder / name).unlink(missing_ok=True)
            (folder / "visual.ark").write_bytes(ark[: begin + extra])
            half = lines[done + 1][:extra] if done < len(content) else b""
            (folder / "visual.journal").write_bytes(b"".join(lines[: done + 1]) + half)
            with FeatureWriter(folder, SETTINGS) as writer:
                assert len(writer.entries) == done
            assert files(write_all(folder, content)) == expected


def test_a_listed_matrix_that_is_not_whole_does_not_count(tmp_path):
    content = matrices()
    folder = tmp_path / "features"
    expected = files(write_all(folder, content))
    (folder / "visual.ark").write_bytes(expected["visual.ark"][:-1])
    with FeatureWriter(folder, SETTINGS) as writer:
        assert list(writer.entries) == list(content)[:-1]
    write_all(folder, content)
    loaded = kaldiio.load_scp(str(folder / "visual.scp"))
    np.testing.assert_array_equal(loaded["cello-3"], content["cello-3"])


def test_other_settings_begin_anew(tmp_path):
    write_all(tmp_path / "a", matrices())
    new = {"cello-9": np.ones((2, 5), np.float32)}
    write_all(tmp_path / "a", new, {"model": "y"})
    write_all(tmp_path / "b", new, {"model": "y"})
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert a["visual.ark"] == b["visual.ark"]
    assert a["visual.journal"] == b["visual.journal"]


@pytest.mark.parametrize("share", [0, 0.5])
def test_full_disk(tmp_path, monkeypatch, share):
    content = matrices()
    folder = tmp_path / "features"
    expected = files(write_all(folder, content))
    for path in folder.iterdir():
        path.unlink()

    def full(file, data):
        file.write(bytes(data)[: int(share * len(data))])
        raise OSError(errno.ENOSPC, "No space left on device")

    with FeatureWriter(folder, SETTINGS) as writer:
        writer.write("cello-0", content["cello-0"])
        monkeypatch.setattr(features_module, "_write_all", full)
        with pytest.raises(InputError, match="no space left on device"):
            writer.write("cello-1", content["cello-1"])
    assert not (folder / "visual.scp").exists()
    monkeypatch.undo()
    assert files(write_all(folder, content)) == expected


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    class Stingy:
        def __init__(self):
            self.content = b""

        def write(self, data):
            self.content += bytes(data[:3])
            return min(3, len(data))

    file = Stingy()
    features_module._write_all(file, memoryview(b"abcdefgh"))
    assert file.content == b"abcdefgh"


CLIPS = {"cello-0": "cello/0", "cello-1": "cello/1", "cello-2": "cello/2"}


def write_h5(path, content):
    with h5py.File(path, "w") as f:
        for key, matrix in content.items():
            f[key] = matrix
    return path


def test_hfra_hdf5(tmp_path):
    content = {"cello/0": np.ones((2, 4)), "cello/1": np.full((3, 4), 2, np.float16)}
    features = PrecomputedFeatures(write_h5(tmp_path / "f.h5", content), CLIPS)
    for key, clip in (("cello-0", "cello/0"), ("cello-1", "cello/1")):
        matrix = features.load(key)
        assert matrix.dtype == np.float32
        np.testing.assert_array_equal(matrix, content[clip])
    with pytest.raises(ClipError, match="cello/2 is not in the precomputed features"):
        features.load("cello-2")
    with pytest.raises(ClipError, match="cello is not in the precomputed"):
        PrecomputedFeatures(features.path, {"a": "cello"}).load("a")  # a group


@pytest.mark.parametrize("by_clip", [False, True])
def test_kaldi_scp(tmp_path, by_clip):
    write_all(tmp_path, matrices())
    path = tmp_path / "visual.scp"
    table = read_scp(path)
    if by_clip:
        table = {key.replace("-", "/"): value for key, value in table.items()}
        path = tmp_path / "clips.scp"
        write_scp(path, table)
    features = PrecomputedFeatures(path, CLIPS if by_clip else None)
    np.testing.assert_array_equal(features.load("cello-2"), matrices()["cello-2"])
    with pytest.raises(ClipError, match="is not in the precomputed features"):
        features.load("tuba-1")
    (tmp_path / "visual.ark").unlink()
    with pytest.raises(ClipError, match="unreadable"):
        features.load("cello-1")


@pytest.mark.parametrize(
    "matrix, reason",
    [
        (np.zeros(4), r"float64 of shape \(4,\), expected a float matrix"),
        (np.zeros((2, 4), int), "int64 of shape"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        (np.array([[1.0, np.nan]]), "NaN or infinite"),
        (np.array([[1.0, np.inf]]), "NaN or infinite"),
        (np.array([[1.0, 1e300]]), "NaN or infinite"),  # in float32
    ],
)
def test_matrices_that_are_none(tmp_path, matrix, reason):
    path = write_h5(tmp_path / "f.h5", {"cello/0": matrix})
    with pytest.raises(ClipError, match=reason):
        PrecomputedFeatures(path, CLIPS).load("cello-0")


def test_unusable_files_of_features(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        PrecomputedFeatures(tmp_path / "f.h5", CLIPS)
    path = tmp_path / "f.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="not readable as HDF5"):
        PrecomputedFeatures(path, CLIPS)
    with pytest.raises(InputError, match="--utt2clip"):
        PrecomputedFeatures(path)

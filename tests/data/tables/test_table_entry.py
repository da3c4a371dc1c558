import shlex
import sys

import h5py
import kaldiio
import numpy as np
import pytest

from espnet2_avsep.data.audio.audio_io import load_audio
from espnet2_avsep.data.features import PrecomputedFeatures
from espnet2_avsep.data.segment_reader import matrix_shape, read_matrix, read_row
from espnet2_avsep.data.tables.table_entry import (
    Command,
    load_matrix,
    load_npy,
    load_npz,
    open_h5,
    read_h5,
    read_sources,
    run_command,
)
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.teacher.precomputed import PrecomputedTeacher


class Harm:
    """Its pickle touches a file when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path):
    """A file that exists only if something was executed."""
    path = tmp_path / "MARK"
    yield path
    assert not path.exists()


def touching(mark):
    code = f"open({str(mark)!r}, 'w')"
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


@pytest.mark.parametrize("form", ["{} |", "| {}", "{}|", " {} | "])
def test_commands_in_tables_are_refused_with_the_option(tmp_path, mark, form):
    value = form.format(touching(mark))
    table = tmp_path / "a.scp"
    table.write_text(f"a {value}\n")
    with pytest.raises(InputError, match="a.scp, a: .*--allow_pipes true"):
        read_sources(table)
    with pytest.raises(InputError, match="--allow_pipes true"):
        load_audio(value.strip(), 8000)
    for read in (
        load_matrix,
        read_matrix,
        matrix_shape,
        lambda ref: read_row(ref, 0),
        lambda _: PrecomputedFeatures(table).load("a"),
        lambda _: PrecomputedTeacher(table),
    ):
        with pytest.raises(InputError, match="is a command, not a file"):
            read(value.strip())


def test_allowed_commands_run_without_a_shell(tmp_path, mark):
    table = tmp_path / "wav.scp"
    table.write_text(f"a printf %s 'x;touch {mark} $HOME' |\nb {tmp_path}/b.wav\n")
    sources = read_sources(table, allow_pipes=True)
    assert run_command(sources["a"]) == f"x;touch {mark} $HOME".encode()
    assert not isinstance(sources["b"], Command)
    assert run_command(Command("printf 'b\\na\\n' | sort | head -n 1 |")) == b"a\n"


@pytest.mark.parametrize(
    "command, reason",
    [
        ("printf x; touch MARK |", "needs a shell"),
        ("printf x > MARK |", "needs a shell"),
        ("printf x && touch MARK |", "needs a shell"),
        ("printf 'x |", "cannot be read"),
        ("no-such-program |", "cannot be run"),
        ("printf x | | sort |", "a program is missing"),
    ],
)
def test_what_needs_a_shell_is_refused(tmp_path, monkeypatch, command, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClipError, match=reason):
        run_command(Command(command))
    assert not list(tmp_path.iterdir())


def test_no_pickle_is_read_from_anywhere(tmp_path, mark):
    import pickle

    harm = pickle.dumps(Harm(mark))
    (tmp_path / "a.ark").write_bytes(b"k PKL" + harm)
    (tmp_path / "a.npy").write_bytes(harm)
    (tmp_path / "a.npz").write_bytes(harm)
    np.save(tmp_path / "o.npy", np.array([Harm(mark)], dtype=object))
    np.savez(tmp_path / "o.npz", a=np.array([Harm(mark)], dtype=object))
    (tmp_path / "npy.ark").write_bytes(
        b"k NPY\1\0\0\0\0" + (tmp_path / "o.npy").read_bytes()
    )
    for ref in ("a.ark:2", "a.npy", "a.npz", "o.npy", "o.npz", "npy.ark:2"):
        for read in (load_matrix, read_matrix, matrix_shape):
            with pytest.raises(InputError, match="cannot be read"):
                read(f"{tmp_path}/{ref}")
    for name in ("a", "o"):
        with pytest.raises(ValueError):
            load_npy(tmp_path / f"{name}.npy")
        with pytest.raises(ValueError):
            load_npz(tmp_path / f"{name}.npz")


@pytest.mark.parametrize("method", [None, 2, 3, 5])
def test_matrices_of_every_kind_are_those_of_kaldiio(tmp_path, method):
    matrix = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    ark = str(tmp_path / "a.ark")
    kaldiio.save_ark(
        ark, {"a": matrix, "b": matrix[::-1]}, f"{ark}.scp", compression_method=method
    )
    for value in kaldiio.load_scp(f"{ark}.scp")._dict.values():
        for ref in (value, f"{value}[1:2]", f"{value}[0:3,2:3]"):
            np.testing.assert_array_equal(load_matrix(ref), kaldiio.load_mat(ref))


def test_text_matrices_and_npy_files(tmp_path):
    matrix = np.array([[0.5, 2.0], [3.0, -1.0]], np.float32)
    kaldiio.save_ark(str(tmp_path / "t.ark"), {"a": matrix}, text=True)
    np.testing.assert_array_equal(load_matrix(f"{tmp_path}/t.ark:2"), matrix)
    np.save(tmp_path / "a.npy", matrix)
    np.save(tmp_path / "no place:².npy", matrix)
    (tmp_path / "no place:².npy").rename(tmp_path / "no place:²")
    np.testing.assert_array_equal(load_matrix(f"{tmp_path}/no place:²"), matrix)
    np.testing.assert_array_equal(load_matrix(f"{tmp_path}/a.npy"), matrix)


def test_header_that_states_more_than_the_file_has(tmp_path):
    for kind in (b"FM", b"DM", b"FV"):
        sizes = b"\4\xff\xff\xff\x7f" * (2 if kind.endswith(b"M") else 1)
        (tmp_path / "a.ark").write_bytes(b"\0B" + kind + b" " + sizes + b"\0" * 16)
        for read in (load_matrix, read_matrix):
            with pytest.raises(InputError):
                read(f"{tmp_path}/a.ark")


def test_hdf5_reads_its_own_datasets_only(tmp_path):
    """External links, external storage and virtual datasets name other files."""
    rows = np.ones((2, 3), np.float32)
    (tmp_path / "secret").write_bytes(rows.tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["x"] = rows
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["cat/ok"] = rows
        f["cat/linked"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
        f["group"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
        f.create_dataset(
            "cat/stored",
            (2, 3),
            "f4",
            external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)],
        )
        layout = h5py.VirtualLayout((2, 3), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (2, 3))
        f.create_virtual_dataset("cat/virtual", layout)
        f["cat/words"] = "text"
    with open_h5(tmp_path / "a.h5") as f:
        np.testing.assert_array_equal(read_h5(f, "cat/ok"), rows)
        for name in ("cat/linked", "group/x", "cat/stored", "cat/virtual", "cat/words"):
            with pytest.raises(ValueError):
                read_h5(f, name)
        for name in ("cat", "cat/no", "cat/ok/x"):
            with pytest.raises(KeyError):
                read_h5(f, name)


def test_stdin_is_no_file_of_a_table(tmp_path):
    """libsndfile takes the name "-" for stdin and would wait for it."""
    (tmp_path / "wav.scp").write_text("a -\n")
    with pytest.raises(InputError, match="wav.scp, line 1: '-' means stdin"):
        read_sources(tmp_path / "wav.scp")

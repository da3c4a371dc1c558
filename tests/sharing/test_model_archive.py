"""Hostile archives: each is refused, and nothing appears outside the folder."""

import stat
import struct
import zipfile
import zlib

import pytest

from espnet2_avsep.errors import InputError
from espnet2_avsep.sharing import archive
from espnet2_avsep.sharing.archive import unpack


def make_zip(path, *members, method=zipfile.ZIP_DEFLATED):
    """Members are (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", method) as z:
        for name, content in members:
            z.writestr(name, content)
    return path


def entry(name, mode, kind="regular"):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def contents(folder):
    """Everything under a folder: paths, and the content of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refuse(tmp_path, path, message, **options):
    """Unpack below tmp_path/in/deep; nothing there or around it may change."""
    cache = tmp_path / "in" / "deep"
    cache.mkdir(parents=True)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=message):
        unpack(path, cache / "model", **options)
    assert contents(tmp_path) == before


def test_files_and_folders(tmp_path):
    path = make_zip(
        tmp_path / "a.zip",
        ("meta.yaml", "a: 1\n"),
        ("images/", ""),
        ("images/loss.png", b"\x89PNG"),
        (entry("exp/a/config.yaml", stat.S_IFREG | 0o600), "b: 2\n"),
    )
    unpack(path, tmp_path / "out" / "model")
    assert contents(tmp_path / "out") == {
        "model": None,
        "model/exp": None,
        "model/exp/a": None,
        "model/exp/a/config.yaml": b"b: 2\n",
        "model/images": None,
        "model/images/loss.png": b"\x89PNG",
        "model/meta.yaml": b"a: 1\n",
    }
    # A folder that is there stays, whatever the archive says now.
    make_zip(path, ("meta.yaml", "changed"))
    unpack(path, tmp_path / "out" / "model")
    assert (tmp_path / "out/model/meta.yaml").read_text() == "a: 1\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../meta.yaml", "no plain path"),
        ("a/../../meta.yaml", "no plain path"),
        ("./meta.yaml", "no plain path"),
        ("a//meta.yaml", "no plain path"),
        ("/tmp/meta.yaml", "absolute"),
        ("//host/share/meta.yaml", "absolute"),
        ("C:/meta.yaml", "absolute"),
        ("C:\\meta.yaml", "control characters or"),
        ("..\\meta.yaml", "control characters or"),
        ("a\nb.yaml", "control characters or"),
        ("a\u202eb.yaml", "control characters or"),
        ("a" * 250 + ".yaml", "no plain path"),
        ("x.pkl", "no file of a packed model"),
        ("x.py", "no file of a packed model"),
        ("run", "no file of a packed model"),
        ("archive.zip", "no file of a packed model"),
    ],
)
def test_names(tmp_path, name, message):
    path = make_zip(tmp_path / "a.zip", ("meta.yaml", "a"), (name, "evil"))
    refuse(tmp_path, path, message)


def test_a_name_with_a_null_byte(tmp_path):
    path = make_zip(tmp_path / "a.zip", ("meta.yamlX.py", "evil"))
    path.write_bytes(path.read_bytes().replace(b"meta.yamlX.py", b"meta.yaml\0.py"))
    refuse(tmp_path, path, "control characters")


@pytest.mark.parametrize("kind", ["S_IFLNK", "S_IFIFO", "S_IFCHR", "S_IFSOCK"])
def test_links_and_devices(tmp_path, kind):
    link = entry("meta.yaml", getattr(stat, kind) | 0o777)
    path = make_zip(tmp_path / "a.zip", (link, "/etc/passwd"))
    refuse(tmp_path, path, "link or a device")


def test_a_folder_that_is_a_link(tmp_path):
    link = entry("exp/", stat.S_IFLNK | 0o777)
    path = make_zip(tmp_path / "a.zip", (link, "/tmp"), ("exp/meta.yaml", "a"))
    refuse(tmp_path, path, "link or a device")


@pytest.mark.parametrize("second", ["meta.yaml", "META.yaml", "Meta.YAML"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice(tmp_path, second):
    path = make_zip(tmp_path / "a.zip", ("meta.yaml", "a"), (second, "b"))
    refuse(tmp_path, path, "twice")


def test_composed_and_decomposed_names_are_the_same(tmp_path):
    names = ("\u00e9.yaml", "e\u0301.yaml")
    path = make_zip(tmp_path / "a.zip", *((name, "a") for name in names))
    refuse(tmp_path, path, "twice")


def test_a_file_that_is_a_folder_too(tmp_path):
    path = make_zip(tmp_path / "a.zip", ("a.yaml", "a"), ("a.yaml/b.yaml", "b"))
    refuse(tmp_path, path, "a file and a folder")


def test_declared_size(tmp_path):
    """A bomb: a kilobyte that says, truly, that it holds a megabyte."""
    path = make_zip(tmp_path / "a.zip", ("meta.yaml", bytes(1 << 20)))
    assert path.stat().st_size < 2000
    refuse(tmp_path, path, "more than 1048575 bytes", max_bytes=(1 << 20) - 1)


def test_sizes_are_added(tmp_path):
    members = [(f"{i}.yaml", bytes(1000)) for i in range(20)]
    path = make_zip(tmp_path / "a.zip", *members)
    refuse(tmp_path, path, "more than 19999 bytes", max_bytes=19999)


def test_number_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 5)
    path = make_zip(tmp_path / "a.zip", *((f"{i}.yaml", "a") for i in range(6)))
    refuse(tmp_path, path, "more than 5 files")


@pytest.mark.parametrize("keep_checksum", [True, False])
def test_actual_size(tmp_path, keep_checksum):
    """A bomb that says it holds 10 bytes, in both of its headers."""
    content = bytes(1 << 20)
    path = make_zip(tmp_path / "a.zip", ("meta.yaml", content))
    data = path.read_bytes()
    size = struct.pack("<L", 1 << 20)
    assert data.count(size) == 2
    data = data.replace(size, struct.pack("<L", 10))
    if not keep_checksum:  # of the 10 bytes that will be read
        old, new = (struct.pack("<L", zlib.crc32(c)) for c in (content, content[:10]))
        data = data.replace(old, new)
    path.write_bytes(data)
    if keep_checksum:
        refuse(tmp_path, path, "cannot be read as a packed model")
    else:
        unpack(path, tmp_path / "out")
        assert (tmp_path / "out" / "meta.yaml").stat().st_size == 10


def test_shorter_than_it_says(tmp_path):
    path = make_zip(
        tmp_path / "a.zip", ("meta.yaml", bytes(1000)), method=zipfile.ZIP_STORED
    )
    data = path.read_bytes()
    size = struct.pack("<L", 1000)
    path.write_bytes(data.replace(size * 2, size + struct.pack("<L", 2000)))
    refuse(tmp_path, path, "cannot be read as a packed model")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_methods(tmp_path, method):
    path = make_zip(tmp_path / "a.zip", ("meta.yaml", "a" * 99), method=method)
    refuse(tmp_path, path, "unusual method")


def test_encrypted(tmp_path):
    path = make_zip(tmp_path / "a.zip", ("meta.yaml", "a"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refuse(tmp_path, path, "is encrypted")


def test_no_zip_and_cut_off(tmp_path):
    whole = make_zip(tmp_path / "whole.zip", ("meta.yaml", "a" * 500))
    data = whole.read_bytes()
    for n, piece in enumerate((b"", b"PK", b"hello" * 99, data[:-30], data[40:])):
        path = tmp_path / "a.zip"
        path.write_bytes(piece)
        (tmp_path / str(n)).mkdir()
        with pytest.raises(InputError, match="cannot be read as a packed model"):
            unpack(path, tmp_path / str(n) / "model")
        assert not list((tmp_path / str(n)).iterdir())


def test_no_damage_gets_through(tmp_path):
    """Any byte of the archive changed: unpacked as it was, or an InputError."""
    path = make_zip(tmp_path / "a.zip", ("meta.yaml", "a: 1\n"), ("b.md", "words"))
    data = path.read_bytes()
    refused = 0
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x55
        path.write_bytes(changed)
        out = tmp_path / f"out{place}"
        try:
            unpack(path, out)
        except InputError:
            refused += 1
            assert not out.exists()
        else:
            assert set(contents(out).values()) <= {b"a: 1\n", b"words", None}
    assert refused > len(data) / 2
    assert all(
        p.name == "a.zip" or p.name.startswith("out") for p in tmp_path.iterdir()
    )

"""The SHA-256 of a file."""

import hashlib

import pytest

from espnet2_avsep.data.records.digest import file_sha256


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_files_of_one_and_several_blocks(size, tmp_path):
    content = b"\x01\x02\x03" * (size // 3) + b"\x04" * (size % 3)
    (tmp_path / "a").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert file_sha256(tmp_path / "a") == file_sha256(str(tmp_path / "a")) == expected

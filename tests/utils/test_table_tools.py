"""utils/{split_scp,filter_scp,utt2spk_to_spk2utt,spk2utt_to_utt2spk,apply_map}.pl."""

import pytest
from shell_tools import UTILS, run, write


def table(path, keys):
    return write(path, "".join(f"{key} /a/{key}.wav\n" for key in keys))


def sizes(paths):
    return [len(path.read_text().splitlines()) for path in paths]


@pytest.mark.parametrize(("lines", "pieces"), [(10, 3), (3, 3), (7, 1)])
def test_split_scp_is_even_and_loses_nothing(tmp_path, lines, pieces):
    source = table(tmp_path / "in.scp", [f"u{i:02d}" for i in range(lines)])
    outputs = [tmp_path / f"out.{n}" for n in range(pieces)]
    assert run(UTILS / "split_scp.pl", source, *outputs).returncode == 0
    assert "".join(path.read_text() for path in outputs) == source.read_text()
    longer = lines % pieces
    shorter = pieces - longer
    assert (
        sizes(outputs) == [lines // pieces + 1] * longer + [lines // pieces] * shorter
    )


def test_split_scp_refuses_more_pieces_than_lines(tmp_path):
    source = table(tmp_path / "in.scp", ["a", "b"])
    result = run(UTILS / "split_scp.pl", source, *[tmp_path / n for n in "123"])
    assert result.returncode == 1
    assert "2 lines cannot be split into 3 pieces" in result.stderr


def test_split_scp_one_piece(tmp_path):
    source = table(tmp_path / "in.scp", "abcde")
    second = run(UTILS / "split_scp.pl", "-j", "3", "1", source).stdout
    assert second == "c /a/c.wav\nd /a/d.wav\n"
    out = tmp_path / "out"
    run(
        UTILS / "split_scp.pl",
        "-j",
        "3",
        "2",
        "--one-based",
        "-",
        out,
        stdin=second * 3,
    )
    assert out.read_text() == second
    assert run(UTILS / "split_scp.pl", "-j", "3", "3", source).returncode == 1


def test_split_scp_keeps_speakers_together(tmp_path):
    speakers = {"s1": 5, "s2": 1, "s3": 1, "s4": 3, "s5": 2}
    utts = [(f"{s}-{i}", s) for s, n in speakers.items() for i in range(n)]
    source = table(tmp_path / "in.scp", [utt for utt, _ in utts])
    utt2spk = write(tmp_path / "utt2spk", "".join(f"{u} {s}\n" for u, s in utts))
    outputs = [tmp_path / f"out.{n}" for n in range(3)]
    option = f"--utt2spk={utt2spk}"
    assert run(UTILS / "split_scp.pl", option, source, *outputs).returncode == 0
    assert "".join(path.read_text() for path in outputs) == source.read_text()
    found = [{line.split("-")[0] for line in path.open()} for path in outputs]
    assert sum(len(one) for one in found) == len(speakers)
    assert all(found) and max(sizes(outputs)) == 5
    five = [tmp_path / f"five.{n}" for n in range(6)]
    assert "5 speakers" in run(UTILS / "split_scp.pl", option, source, *five).stderr


def test_filter_scp(tmp_path):
    keys = write(tmp_path / "keys", "b\nd 1\n\n")
    source = table(tmp_path / "in.scp", "dcba")
    tool = UTILS / "filter_scp.pl"
    assert run(tool, keys, source).stdout == "d /a/d.wav\nb /a/b.wav\n"
    assert run(tool, "--exclude", keys, source).stdout == "c /a/c.wav\na /a/a.wav\n"
    lines = "x b\ny  a\tz\n"
    assert run(tool, "-f", "2", keys, stdin=lines).stdout == "x b\n"
    assert (
        run(tool, "--exclude", "-f", "2", keys, "-", stdin=lines).stdout == "y  a\tz\n"
    )
    result = run(tool, "-f", "3", keys, stdin=lines)
    assert result.returncode == 1 and "line 1" in result.stderr
    assert "nothing.scp" in run(tool, keys, tmp_path / "nothing.scp").stderr
    assert run(tool, "--no-such", keys).returncode == 1


def test_utt2spk_and_back(tmp_path):
    utt2spk = "u1 b\nu2 a\nu3 b\n"
    spk2utt = run(UTILS / "utt2spk_to_spk2utt.pl", stdin=utt2spk).stdout
    assert spk2utt == "b u1 u3\na u2\n"
    path = write(tmp_path / "spk2utt", spk2utt)
    assert run(UTILS / "spk2utt_to_utt2spk.pl", path).stdout == "u1 b\nu3 b\nu2 a\n"
    assert "line 2" in run(UTILS / "utt2spk_to_spk2utt.pl", stdin="u a\nu b c\n").stderr
    assert "line 1" in run(UTILS / "spk2utt_to_utt2spk.pl", stdin="a\n").stderr
    assert run(UTILS / "spk2utt_to_utt2spk.pl", tmp_path / "none").returncode == 1


def test_apply_map(tmp_path):
    mapping = write(tmp_path / "map", "a A\nb B  BB\nc\n")
    tool = UTILS / "apply_map.pl"
    assert run(tool, mapping, stdin="a b c\n").stdout == "A B  BB \n"
    assert run(tool, "-f", "2", mapping, stdin="x a x\n").stdout == "x A x\n"
    assert run(tool, "-f", "2-", mapping, stdin="x a a\n").stdout == "x A A\n"
    assert run(tool, "-f", "-2", mapping, stdin="a a x\n").stdout == "A A x\n"
    assert run(tool, "-f", "2-3", mapping, stdin="x a a x\n").stdout == "x A A x\n"
    result = run(tool, mapping, stdin="a x\n")
    assert result.returncode == 1 and "x is not in" in result.stderr
    assert run(tool, "--permissive", mapping, stdin="a x\n").stdout == "A x\n"
    for wrong in ("0", "3-2", "-", "x"):
        assert run(tool, "-f", wrong, mapping, stdin="a\n").returncode == 1


def test_tables_are_bytes(tmp_path):
    """Keys in any encoding, and white space other than ASCII's, pass through."""
    keys = tmp_path / "keys"
    source = tmp_path / "in.scp"
    keys.write_bytes("g\u00e9\u00a0x\n".encode())
    source.write_bytes("g\u00e9\u00a0x /a b.wav\nother y\n".encode())
    assert (
        run(UTILS / "filter_scp.pl", keys, source).stdout == "g\u00e9\u00a0x /a b.wav\n"
    )

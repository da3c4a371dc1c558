"""utils/split_scp.pl."""

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

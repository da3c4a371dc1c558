"""Tables with a header, separated by tabs."""

import pytest

from espnet2_avsep.data.tables.tsv import read_tsv, write_tsv
from espnet2_avsep.errors import InputError


def test_round_trip_in_any_order_of_columns(tmp_path):
    path = tmp_path / "a.tsv"
    write_tsv(path, ("key", "number", "text"), [("a", 1, 'say "x"'), ("b", 2.5, "")])
    assert path.read_text() == 'key\tnumber\ttext\na\t1\tsay "x"\nb\t2.5\t\n'
    assert read_tsv(path, ("text", "key"), "fix it.") == [
        {"key": "a", "number": "1", "text": 'say "x"'},
        {"key": "b", "number": "2.5", "text": ""},
    ]


def test_white_space_in_a_value_cannot_end_it(tmp_path):
    path = tmp_path / "a.tsv"
    write_tsv(path, ["reason"], [["a\tb\nc"]])
    assert read_tsv(path, ["reason"], "") == [{"reason": "a b c"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; run stage 4."),
        ("", "must name the columns key value, separated by tabs; run stage 4."),
        ("key\tother\n", "must name the columns"),
        ("key\tvalue\ncaf\u00e9\tb\n", "cannot be read .*utf-8.*; run stage 4."),
        ("key\tvalue\na\tb\nc\n", "line 3: 1 columns; expected 2 .*; run stage 4."),
    ],
)
def test_what_is_no_such_table(tmp_path, text, message):
    path = tmp_path / "a.tsv"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=f"a.tsv.*{message}"):
        read_tsv(path, ["key", "value"], "run stage 4.")

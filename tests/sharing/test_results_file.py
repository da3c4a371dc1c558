from espnet2_avsep.sharing.results_file import read_sections, read_table, summary

TABLE = """\
Some words.

| other |  n |
| :---- | -: |
| x     |  1 |

| set  |  n |
| :--- | -: |
| test | 48 |
| live |  3 |

| set  |  n |
| :--- | -: |
| late |  9 |
"""


def test_a_table_is_found_by_its_first_column():
    rows = [{"set": "test", "n": "48"}, {"set": "live", "n": "3"}]
    assert read_table(TABLE, "set") == rows
    assert read_table(TABLE, "instrument") == read_table("", "set") == []
    assert read_table("| set | n |", "set") == []


def test_headings_in_code_do_not_split():
    text = "# Title\n**note**\n## A\na\n```\n## no\n# no\n```\n## B\nb\n"
    assert read_sections(text) == {
        "": "**note**",
        "A": "a\n```\n## no\n# no\n```",
        "B": "b",
    }


def test_a_text_of_something_else_says_nothing():
    assert summary("hello\n| a |\n") == {
        "note": "",
        "corpus": [],
        "scores": [],
        "instruments": {},
        "weights": "",
    }

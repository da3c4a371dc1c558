import pytest

from espnet2_avsep.metrics.markdown import bullets, fenced, markdown_table, plain


@pytest.mark.parametrize(
    "name, text",
    [
        ("acoustic_guitar", "acoustic_guitar"),
        ("drums & bass", "drums & bass"),
        ("x|y", "x\\|y"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("[click](javascript:x)", "[click\\](javascript:x)"),
        ("![t\\](http://x/y.png)", "![t\\\\\\](http://x/y.png)"),
        ("x\\|y", "x\\\\\\|y"),
        ("a\x1b[2Jb\x9b0m", "a\\x1b[2Jb\\x9b0m"),
        ("a\n## Scores\r\n| 99 |", "a ## Scores \\| 99 \\|"),
        ("---", "\\---"),
        ("===", "\\==="),
        ("# Scores", "\\# Scores"),
        ("***", "\\***"),
        ("_ _ _", "\\_ _ _"),
        ("```sh", "\\```sh"),
        ("~~~", "\\~~~"),
        ("- violin", "\\- violin"),
        ("> violin", "\\> violin"),
        ("12. violin", "12\\. violin"),
        ("-0.37", "-0.37"),
        ("1.5 dB", "1.5 dB"),
        ("**violin**", "**violin**"),
        ("`code` and **bold**", "`code` and **bold**"),
    ],
)
def test_names_are_only_text(name, text):
    assert plain(name) == text
    table = markdown_table([["a", "b"], [name, "1"]])
    assert table.splitlines()[2].startswith(f"| {text}")
    assert len(table.splitlines()) == 3
    assert len(bullets({"a": name, "b": 2}).splitlines()) == 2


def test_code_cannot_end_its_block():
    assert fenced("a", "sh") == "```sh\na\n```"
    assert fenced("a\x1b[2J") == "```\na\\x1b[2J\n```"
    assert fenced("a\n```\n# Scores") == "````\na\n```\n# Scores\n````"

"""Plain technical English wherever a person reads: phrases that must not come back."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READ = (".py", ".sh", ".md", ".yaml", ".yml", ".cff", ".html", ".j2", ".css", ".js")

# Phrase -> what to write.
INSTEAD = {
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\bpeers?\b(?! closed)": "other implementations",
    r"\bmanners\b": "a policy",
    r"there and back": "with the same STFT, warp and resynthesis",
    r"\bstands? for\b": "is, means, replaces",
    r"\bso many\b": "N, a number of",
    r"\bhands? (it|them|this|these|the \w+) on\b": "passes, returns",
    r"where this version was made": "in our environment",
    r"\b(it|archive|rate|name|line|layout|picture) is (?-i:none)\b": "is not a ...",
    r"\ba \w+ more for\b": "another",
    r"what cannot be[.:]": "invalid input",
    r"\bis the \w+ well\b": "health report",
    r"\b(thereof|therein|thereby|lest|upon|wherein|hitherto)\b": "plain words",
    r"\bof the embeddings alone\b|\bon \w+ alone\b|\bheaders alone\b": "only",
}
# A phrase of somebody else, or the list itself.
EXCEPT = {"tests/test_words.py", "tests/corpus/download/fake_yt_dlp.py", "LICENSE"}


def readable_files():
    try:
        names = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]
        names = [n for n in names if not n.startswith((".", "egs2/mini_music/exp"))]
    return [n for n in names if n.endswith(READ) and n not in EXCEPT]


def found_in(text):
    for phrase, instead in INSTEAD.items():
        for match in re.finditer(phrase, text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            yield f"line {line}: {match.group()!r}: write {instead}"


def test_phrases_that_must_not_come_back():
    found = [
        f"{name}, {problem}"
        for name in readable_files()
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink()
        for problem in found_in((ROOT / name).read_text(encoding="utf-8"))
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    "text", ["Mend it: run it again", "one in so many", "an archive is none.", "peers'"]
)
def test_the_list_finds_them(text):
    assert list(found_in(text))


def test_the_list_lets_plain_words_pass():
    text = "Fix it. There is none. It depends on the seed. Recommended: amended."
    assert list(found_in(text)) == []

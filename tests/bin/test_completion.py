"""`avsep completion`, asked as a shell asks when the user presses the tab key."""

import contextlib
import shutil
import subprocess

import pytest

from espnet2_avsep.bin import avsep
from espnet2_avsep.cli.commands import COMMANDS


def completed(shell, script, *words):
    """What the last of some words of a command line is completed to."""
    asked = " ".join(f"'{word}'" for word in ("avsep", *words))
    program = (
        f"{script}\nCOMP_WORDS=({asked})\nCOMP_CWORD={len(words)}\n_avsep\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    result = subprocess.run(
        [shell, "-c", program], capture_output=True, text=True, check=True
    )
    assert not result.stderr
    return result.stdout.split()


def test_bash(capsys):
    assert avsep.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "complete -o default -F _avsep avsep" in script
    for words, expected in (
        (["sc"], ["score", "scoring", "score-grounding"]),
        (["upload", "--pri"], ["--private"]),
        (["upload", "--private", "t"], ["true"]),
        (["separate", "--aud"], ["--audio_stream"]),
        (["separate", "a.mp4", "--format", ""], ["wav", "flac", "float", "mp3"]),
        (["separate", "a.mp4", "--format", "fl"], ["flac", "float"]),
        (["separate", "v"], []),  # the shell completes names of files
        (["info", "--j"], ["--json"]),
        (["info", "--aud"], []),
        (["completion", "z"], ["zsh"]),
    ):
        assert completed("bash", script, *words) == expected, words


def test_every_option_is_completed(capsys):
    avsep.main(["completion", "bash"])
    script = capsys.readouterr().out
    for name in COMMANDS:
        with contextlib.suppress(SystemExit):
            avsep.main([name, "--help"])
        page = capsys.readouterr().out
        for option in completed("bash", script, name, "--"):
            assert option in page
    assert {"--query", "--out", "--help", "--log_level"} <= {
        *completed("bash", script, "separate", "--")
    }


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh at hand")
def test_zsh_reads_the_script(capsys):
    avsep.main(["completion", "zsh"])
    script = capsys.readouterr().out
    subprocess.run(["zsh", "-c", script], check=True, capture_output=True)

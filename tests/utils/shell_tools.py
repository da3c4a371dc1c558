"""How the tests call the scripts of utils/."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UTILS = ROOT / "utils"


def environment(**extra):
    """The environment with this Python first on the PATH."""
    path = os.pathsep.join(
        [str(UTILS), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    return {
        **os.environ,
        "PATH": path,
        "LC_ALL": "C",
        "PYTHONDONTWRITEBYTECODE": "1",
        **extra,
    }


def run(*command, cwd=None, stdin="", **extra):
    """Run a command; return its CompletedProcess with text output."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(**extra),
        timeout=180,
    )


def write(path, text):
    """Write a file, with its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path

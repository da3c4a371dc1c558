"""Run a recipe for real, in a copy of its folder as one would make in ESPnet."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def copy_recipe(name: str, root: Path) -> Path:
    """Copy egs2/<name> to <root>/egs2/<name>/avsep1, links followed."""
    source, target = REPOSITORY / "egs2" / name, root / "egs2" / name / "avsep1"
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name not in ("data", "dump", "exp", "downloads"):
            subprocess.run(["cp", "-rL", path, target], check=True)
    return target


def run(folder: Path, *options: str, timeout: int = 600, **environment: str) -> str:
    """Run run.sh; return what it printed."""
    result = subprocess.run(
        ["./run.sh", *options],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    logs = sorted(folder.glob("exp/*/train.log")) + sorted(folder.glob("dump/**/*.log"))
    tails = [f"== {log}\n{log.read_text()[-2000:]}" for log in logs[:6]]
    assert result.returncode == 0, result.stdout[-6000:] + "\n".join(tails)
    return result.stdout


def scores_of(results: str) -> str:
    """Return what stage 8 prints of RESULTS.md: all before the second heading."""
    head, first, rest = results.partition("\n## ")
    return head + first + rest.partition("\n## ")[0]

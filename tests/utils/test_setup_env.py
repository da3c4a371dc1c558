"""utils/setup_env.sh, with an installer that only pretends to work."""

import os
import subprocess
import sys

from shell_tools import ROOT

UV = """\
#!/usr/bin/env bash
case "$1" in
    venv) mkdir -p .venv/bin .venv/lib/python3/site-packages ;;
    pip)
        echo "Resolved 3 packages in 1ms"
        mkdir .venv/lib/python3/site-packages/{a,b}.dist-info
        echo "Downloading torch (800MiB)"
        for _ in $(seq 100); do
            sleep 0.1
            ! grep -q "torch" "$SHOWN" || exit 1
        done
        ;;
esac
"""


def test_the_installation_tells_how_many_packages_are_installed(tmp_path):
    for name in ("setup.py", "constraints.txt", "utils/setup_env.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(UV)
    (tmp_path / "bin" / "uv").chmod(0o755)
    shown = tmp_path / "shown"
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "SETUP_INTERVAL": "0.2",
        "SHOWN": str(shown),
    }
    with open(shown, "w") as out:
        subprocess.run(
            ["bash", tmp_path / "utils" / "setup_env.sh"],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
    line = "setup: 2 of 3 packages installed; now: Downloading torch (800MiB)\n"
    assert shown.read_text().count(line) == 1

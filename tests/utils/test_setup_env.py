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
        for _ in $(seq 600); do
            sleep 0.1
            ! grep -q "torch" "$SHOWN" || exit 1
        done
        ;;
esac
"""


PIP = """\
#!/usr/bin/env bash
shown() {
    for _ in $(seq 600); do sleep 0.1; ! grep -q "$1" "$SHOWN" || return 0; done
}
case "$*" in
    -c*) echo "3.11 $0" ;;  # what it is asked for is its version and place
    -) ;;
    "-m venv"*)
        mkdir -p .venv/bin .venv/lib/python3/site-packages
        ln -s "$0" .venv/bin/python
        ;;
    *"pip>=25.3"*)
        echo "Collecting pip"
        echo "Installing collected packages: pip"
        mkdir .venv/lib/python3/site-packages/pip.dist-info
        ;;
    *)
        printf "%s\\n" "Collecting torch" "Collecting numpy" "  Downloading torch.whl"
        shown "torch.whl"
        mkdir .venv/lib/python3/site-packages/numpy.dist-info
        echo "Installing collected packages: numpy, torch"
        shown "packages: numpy"
        exit 1
        ;;
esac
"""


def progress(tmp_path, **environment):
    """Run the set-up with programs of tmp_path/bin; return what it says."""
    for name in ("setup.py", "constraints.txt", "utils/setup_env.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    shown = tmp_path / "shown"
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SETUP_INTERVAL": "0.2",
        "SHOWN": str(shown),
        **environment,
    }
    with open(shown, "w") as out:
        subprocess.run(
            ["bash", tmp_path / "utils" / "setup_env.sh"],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=180,
        )
    return shown.read_text()


def program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_uv_s_progress(tmp_path):
    program(tmp_path / "bin" / "uv", UV)
    said = progress(tmp_path, PYTHON=sys.executable)
    line = "setup: 2 of 3 packages installed; now: Downloading torch (800MiB)\n"
    assert said.count(line) == 1


def test_pip_s_progress(tmp_path):
    """pip knows the number of packages only when it has resolved them."""
    program(tmp_path / "bin" / "uv", "#!/bin/sh\nexit 1\n")
    python = program(tmp_path / "bin" / "python3.x", PIP)
    said = progress(tmp_path, PYTHON=python)
    now = "now:   Downloading torch.whl\n"
    assert said.count(f"setup: 3 packages found, not yet installed; {now}") == 1, said
    now = "now: Installing collected packages: numpy, torch\n"
    assert said.count(f"setup: 2 of 3 packages installed; {now}") == 1

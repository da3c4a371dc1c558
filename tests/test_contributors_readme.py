"""The examples of espnet2_avsep/README.md, run as they stand there."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def blocks():
    text = (ROOT / "espnet2_avsep" / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^ *```python\n(.*?)^ *```$", text, re.S | re.M)
    return [textwrap.dedent(block) for block in found]


def test_a_separator(blocks):
    names = {}
    exec(compile(blocks[0], "film_separator.py", "exec"), names)
    torch.manual_seed(0)
    separator = names["FiLMSeparator"](visual_dim=6, channels=4)
    feature, visual = torch.randn(2, 1, 16, 9), torch.randn(2, 3, 6)
    logits, bottleneck = separator(feature, visual)
    assert logits.shape == (2, 3, 16, 9) and bottleneck.shape == (2, 4)
    alone, _ = separator(feature, visual[:, 1:2])
    torch.testing.assert_close(logits[:, 1:2], alone)
    with pytest.raises(ValueError, match="visual_dim"):
        separator(feature, visual[..., :5])


def test_a_corpus(tmp_path):
    script = tmp_path / "prepare_toys.py"
    template = ROOT / "egs2" / "TEMPLATE" / "avsep1" / "prepare_my_corpus.py"
    script.write_text(template.read_text().replace("my_corpus", "toys"))
    for name in ("cars", "drums"):
        for n in range(9):
            path = tmp_path / "toys" / name / f"{n}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    words = ["--toys_dir", tmp_path / "toys", "--data_dir", tmp_path / "data"]
    run = subprocess.run(
        [sys.executable, script, *words],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    keys = set()
    for name in ("train", "valid", "test"):
        lines = (tmp_path / "data" / name / "video.scp").read_text().splitlines()
        keys |= {line.split()[0] for line in lines}
    assert keys == {f"{name}-{n}" for name in ("cars", "drums") for n in range(9)}


def test_every_example_is_python(blocks):
    assert len(blocks) == 1
    for block in blocks:
        # Statements of a function's body are examples, too.
        body = textwrap.indent(block, "    ")
        compile(f"def example():\n{body}", "README.md", "exec")

"""README's examples run as they stand, after what `make demo` leaves behind."""

import json
import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import soundfile
import yaml

from espnet2_avsep.bin import avsep
from espnet2_avsep.corpus.mini_music.corpus import Parameters
from espnet2_avsep.corpus.mini_music.duet import write_duet
from tests.support.trained_model import make_trained_folder

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPE = Path("egs2/mini_music")
MODEL = "exp/avsep_train_avsep_tfc_tdf_small_raw"


@pytest.fixture(scope="module")
def after_demo(tmp_path_factory):
    """A checkout after the demo; a tiny ResNet stands in for the encoder."""
    root = tmp_path_factory.mktemp("checkout")
    separator = {"visual_dim": 512, "channels": 8, "layers": 4, "width": 8}
    model = make_trained_folder(root / RECIPE / MODEL, separator_conf=separator)
    info = {"encoder": "resnet18", "model": "resnet18", "pretrained": "random"}
    info.update(weights="random, seed 0", seed=0)
    (model / "visual_info.yaml").write_text(yaml.safe_dump(info))
    parameters = Parameters(duration=1.5, instruments=("cello", "flute"))
    write_duet(root / RECIPE / "downloads" / "duet", "flute", "cello", parameters)
    return root


def blocks(language: str) -> list:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.S | re.M)


def test_python_example(after_demo, monkeypatch, capsys):
    monkeypatch.chdir(after_demo)
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    found = capsys.readouterr().out
    tracks = re.findall(r"PosixPath\('([^']+)'\)", found)
    assert len(tracks) == 3  # flute, cello, residual
    lengths = {soundfile.info(path).frames for path in tracks}
    assert len(lengths) == 1 and abs(lengths.pop() - 1.5 * 44100) < 3000


def test_notebook_runs_and_has_readme_s_code(after_demo, monkeypatch):
    """IPython is no requirement: what the notebook shows is kept in a list."""
    path = ROOT / RECIPE / "try_it.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    codes = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    assert blocks("python")[0].rstrip() in codes
    shown = []
    ipython = types.SimpleNamespace(
        Audio=Path, Video=lambda name, embed: Path(name), display=shown.append
    )
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    monkeypatch.chdir(after_demo / RECIPE)
    names = {}
    for code in codes:
        exec(compile(code, path.name, "exec"), names)
    assert [p.suffix for p in shown] == [".mp4", ".wav", ".wav", ".wav"]
    assert all(p.is_file() for p in shown)


def test_commands_of_separate_your_own_video(after_demo, monkeypatch, capsys):
    section = README.split("## Separate your own video")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```sh\n(.*?)^```$", section, re.S | re.M)
    lines = block.replace("\\\n", " ").splitlines()
    assert lines[0] == ". .venv/bin/activate"
    place = after_demo
    for line in lines[1:]:
        words = shlex.split(line)
        if words[0] == "cd":
            place = place / words[1]
            continue
        assert words[0] == "avsep", line
        monkeypatch.chdir(place)
        assert avsep.main(words[1:]) == 0, capsys.readouterr().err
        out = Path("duet_tracks")
        if "--out" in words:
            out = Path(words[words.index("--out") + 1])
        assert (out / "index.html").is_file() and (out / "residual.wav").is_file()


def test_the_demo_leaves_what_readme_uses():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "local/make_duet.py --output_dir downloads/duet" in makefile
    assert (ROOT / "egs2" / "mini_music" / "figures" / "panels.png").is_file()


def slugs(page: Path) -> set:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "espnet2_avsep/README.md",
        "tests/benchmarks/README.md",
        "findings/README.md",
        *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("egs2/*/README.md"))),
        *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("egs2/*/doc/*.md"))),
        "egs2/TEMPLATE/avsep1/README.md",
    ],
)
def test_links_lead_somewhere(name):
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^):]+))?\)", text):
        found = page.parent / target if target else page
        assert found.exists(), target
        if anchor:
            found = found / "README.md" if found.is_dir() else found
            assert anchor in slugs(found), f"{target}#{anchor}"


def test_pages_that_sources_name_exist():
    named = set()
    for pattern in ("conf/tuning/*.yaml", "espnet2_avsep/**/*.py", "egs2/*/*/*.sh"):
        for path in ROOT.glob(pattern):
            text = path.read_text(encoding="utf-8")
            named |= set(re.findall(r"\b(?:egs2|tests|espnet2_avsep)/[\w/]+\.md", text))
    assert "egs2/mini_music/doc/tfc_tdf.md" in named
    missing = [name for name in sorted(named) if not (ROOT / name).is_file()]
    assert missing == []


def test_named_configurations_exist():
    section = README.split("## Systems")[1].split("\n## ")[0]
    known = {p.stem for p in (ROOT / "conf" / "tuning").glob("*.yaml")}
    rows = [row.split("|")[2] for row in section.splitlines() if row.startswith("| ")]
    names = set()
    for cell in rows[1:]:
        for name in re.findall(r"`([^`]+)`", cell):
            head, _, tail = name.partition("{")
            ends = tail.rstrip("}").split(",") if tail else [""]
            names |= {head + end for end in ends}
    assert len(names) > 20
    for name in names:
        full = name if name.startswith("untrained") else f"train_avsep_{name}"
        assert full in known, full

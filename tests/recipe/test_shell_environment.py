"""path.sh, cmd.sh, run.sh and setup.sh of the recipes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shell_checkout import ROOT, Checkout

SHOW = (
    "set -euo pipefail; . ./path.sh; "
    'echo "$MAIN_ROOT|$PATH|$LC_ALL|$OMP_NUM_THREADS|$PYTHONIOENCODING|'
    '${PYTHONPATH:-}|${FROM_ESPNET:-}|${VIRTUAL_ENV:-}|${OMP_WAIT_POLICY:-}|$-"'
)
NAMES = (
    *("root", "path", "locale", "threads", "encoding"),
    *("pythonpath", "espnet", "venv", "wait_policy", "flags"),
)


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def source(folder, checkout, **extra):
    result = subprocess.run(
        ["bash", "-c", SHOW],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": "/tmp", **extra},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return dict(zip(NAMES, result.stdout.strip().split("|"), strict=True))


def test_path_sh_in_the_repository(checkout):
    shown = source(checkout.recipe, checkout)
    assert shown["root"] == str(checkout.root)
    assert shown["path"].startswith(f"{checkout.recipe}/utils:")
    assert (shown["locale"], shown["encoding"]) == ("C", "UTF-8")
    assert shown["threads"] == "1"
    assert "u" in shown["flags"] and "e" in shown["flags"]
    assert source(checkout.recipe, checkout, OMP_NUM_THREADS="3")["threads"] == "3"


def test_path_sh_lets_idle_threads_sleep_unless_the_user_has_chosen(checkout):
    def policy(**extra):
        return source(checkout.recipe, checkout, **extra)["wait_policy"]

    assert policy() == "PASSIVE"
    assert policy(OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"
    assert policy(GOMP_SPINCOUNT="1000") == ""


def test_path_sh_finds_the_package_of_the_checkout(checkout, tmp_path):
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    assert source(checkout.recipe, checkout, python=str(bare))["pythonpath"] == ""
    (checkout.root / "espnet2_avsep").mkdir()
    shown = source(checkout.recipe, checkout, python=str(bare), PYTHONPATH="/x")
    assert shown["pythonpath"] == f"{checkout.root}:/x"
    # An installed package, or one on the path already, needs nothing.
    shown = source(checkout.recipe, checkout, python="true")
    assert shown["pythonpath"] == ""


def test_path_sh_activates_the_checkouts_environment(checkout):
    activate = checkout.root / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text('VIRTUAL_ENV=ours; echo "$UNSET_ON_PURPOSE" > /dev/null\n')
    assert source(checkout.recipe, checkout)["venv"] == "ours"
    assert source(checkout.recipe, checkout, VIRTUAL_ENV="mine")["venv"] == "mine"
    assert source(checkout.recipe, checkout, CONDA_DEFAULT_ENV="mine")["venv"] == ""
    assert source(checkout.recipe, checkout, CONDA_DEFAULT_ENV="base")["venv"] == "ours"


def test_a_copy_works_in_an_espnet_checkout(checkout, tmp_path):
    espnet = tmp_path / "espnet"
    target = espnet / "egs2" / "music" / "avsep1"
    target.parent.mkdir(parents=True)
    subprocess.run(["cp", "-rL", checkout.recipe, target], check=True)
    tools = espnet / "tools"
    tools.mkdir()
    (tools / "activate_python.sh").write_text("FROM_ESPNET=${UNSET_ON_PURPOSE}yes\n")
    shown = source(target, checkout)
    assert shown["root"] == str(espnet)
    assert shown["espnet"] == "yes"
    assert shown["path"].startswith(f"{target}/utils:")
    # Nothing refers to the repository any more.
    assert not [path for path in target.rglob("*") if path.is_symlink()]
    shutil.rmtree(checkout.root / "egs2")
    checkout.recipe = target
    result = checkout.stages(1, 3)
    assert result.returncode == 0, result.stderr
    assert checkout.calls()[0]["name"] == "prepare_music"


def commands(checkout, **extra):
    script = 'set -eu; . ./path.sh; . ./cmd.sh; echo "$train_cmd|$cuda_cmd|$decode_cmd"'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=checkout.recipe,
        env=checkout.environment(**extra),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("backend", "program"),
    [("local", "run.pl"), ("stdout", "stdout.pl"), ("slurm", "slurm.pl")],
)
def test_cmd_sh(checkout, backend, program):
    shown = commands(checkout, cmd_backend=backend).stdout.strip().split("|")
    assert [words.split()[0] for words in shown] == [program] * 3
    assert shutil.which(program, path=str(checkout.recipe / "utils"))


def test_cmd_sh_refuses_what_it_cannot_run(checkout):
    assert commands(checkout).stdout.startswith("run.pl|")
    for backend, message in (("sge", "Kaldi's queue.pl"), ("pbs", "expected local, ")):
        result = commands(checkout, cmd_backend=backend)
        assert result.returncode != 0
        assert message in result.stderr


@pytest.mark.parametrize("backend", ["stdout", "slurm"])
def test_other_backends_run_the_stages(checkout, backend):
    sbatch = checkout.root / "shim" / "sbatch"
    sbatch.write_text(
        "#!/usr/bin/env bash\necho 1\nshift $(($# - 1))\nfor n in 1 2; do\n"
        '    SLURM_ARRAY_TASK_ID=$n bash "$1" || code=1\ndone\nexit ${code:-0}\n'
    )
    sbatch.chmod(0o755)
    path = f"{sbatch.parent}:{checkout.environment()['PATH']}"
    for dset in ("train", "valid", "test"):
        keys = "".join(f"clip{n} /dev/null\n" for n in (1, 2, 3))
        (checkout.recipe / "data" / dset).mkdir(parents=True)
        (checkout.recipe / "data" / dset / "wav.scp").write_text(keys)
    result = checkout.stages(3, 3, cmd_backend=backend, PATH=path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(checkout.keys("dump/raw/org/test/wav.scp")) == 3


@pytest.mark.parametrize("corpus", ["music", "mini_music"])
def test_recipes(corpus):
    recipe = ROOT / "egs2" / corpus
    links = {
        name: f"../TEMPLATE/avsep1/{name}"
        for name in ("avsep.sh", "avsep_table.sh", "cmd.sh", "path.sh", "db.sh")
    }
    links.update({name: f"../../{name}" for name in ("conf", "local", "utils")})
    for name, target in links.items():
        assert os.readlink(recipe / name) == target
        assert (recipe / name).exists()
    lines = (recipe / "run.sh").read_text().splitlines()
    assert len(lines) <= 30 and lines[-1] == '    "$@"'
    assert os.access(recipe / "run.sh", os.X_OK)
    text = (recipe / "README.md").read_text()
    assert "## RESULTS" in text and "RESULTS.md" in text


def test_mini_music_asks_for_random_weights_by_name(tmp_path):
    mini = Checkout(tmp_path / "checkout", "mini_music")
    result = mini.stages(1, 2)
    assert result.returncode == 0, result.stderr
    assert "these weights are RANDOM" in result.stdout
    args = mini.calls("avsep_extract_visual")[0]["args"]
    assert args[args.index("--visual_pretrained") + 1] == "random"


def setup(checkout, target, cwd=None):
    script = checkout.root / "egs2" / "TEMPLATE" / "avsep1" / "setup.sh"
    return subprocess.run(
        [script, target], cwd=cwd or checkout.root, capture_output=True, text=True
    )


def test_setup_makes_a_recipe_that_runs(checkout):
    result = setup(checkout, "egs2/my_corpus")
    assert result.returncode == 0, result.stderr
    assert "local/prepare_my_corpus.py" in result.stdout
    assert "MY_CORPUS=" in result.stdout
    made = checkout.root / "egs2" / "my_corpus"
    names = (
        "README.md avsep.sh avsep_table.sh cmd.sh conf db.sh local path.sh run.sh utils"
    )
    assert sorted(path.name for path in made.iterdir()) == names.split()
    prepare = checkout.root / "local" / "prepare_my_corpus.py"
    assert os.access(prepare, os.X_OK)
    assert '@corpus_command("my_corpus")' in prepare.read_text()
    checkout.recipe = made
    result = checkout.stages(1, 1, MY_CORPUS="/tmp")
    assert result.returncode == 0, result.stderr
    assert checkout.calls()[0]["name"] == "prepare_my_corpus"
    own = checkout.root / "local" / "prepare_other.py"
    own.write_text("mine")
    result = setup(checkout, "egs2/other")
    assert result.returncode == 0 and "exists already and is kept" in result.stdout
    assert own.read_text() == "mine"


@pytest.mark.parametrize(
    "gpus, given, options",
    [
        (0, {}, "--nj {} --inference_nj {} --ngpu 0"),
        (2, {}, "--nj {} --inference_nj {} --ngpu 1"),
        (2, {"CUDA_VISIBLE_DEVICES": ""}, "--nj {} --inference_nj {} --ngpu 0"),
        (2, {"CUDA_VISIBLE_DEVICES": "-1"}, "--nj {} --inference_nj {} --ngpu 0"),
        (2, {"CUDA_VISIBLE_DEVICES": "1,-1"}, "--nj {} --inference_nj {} --ngpu 1"),
        (0, {"cmd_backend": "slurm"}, "--nj 8 --inference_nj 8 --ngpu 1"),
    ],
)
def test_jobs_fit_the_machine(checkout, tmp_path, gpus, given, options):
    path = f"{tmp_path / 'bin'}:{checkout.environment()['PATH']}"
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    lines = "".join(f"echo GPU {n}: H200\n" for n in range(gpus))
    smi.write_text(f"#!/bin/sh\n{lines}exit {int(not gpus)}\n")
    smi.chmod(0o755)
    words = ("--stage", 1, "--stop_stage", 1, "--python", checkout.python)
    environment = {"MUSIC": "/tmp", "PATH": path, "OMP_NUM_THREADS": "1", **given}
    result = checkout.run(*words, **environment)
    assert result.returncode == 0, result.stderr
    cores = min(8, len(os.sched_getaffinity(0)))
    assert f"Jobs: {options.format(cores, cores)}\n" in result.stdout
    result = checkout.run(*words, "--nj", 3, "--ngpu", 2, **environment)
    assert re.search(r"Jobs: --nj 3 --inference_nj \d+ --ngpu 2\n", result.stdout)


@pytest.mark.parametrize(("given", "threads"), [((), "4"), (("3",), "3")])
def test_training_on_a_cluster_takes_the_threads_of_its_job(tmp_path, given, threads):
    """Not those of the machine that submits: of 64, 60 would wait for each other."""
    checkout = Checkout(tmp_path / "checkout")
    assert checkout.stages(1, 5).returncode == 0
    cmd = checkout.recipe / "cmd.sh"
    text = cmd.read_text().replace('cuda_cmd="slurm.pl', 'cuda_cmd="run.pl')
    cmd.unlink()
    cmd.write_text(text)
    words = [word for value in given for word in ("--train_threads", value)]
    result = checkout.stages(6, 6, *words, cmd_backend="slurm")
    assert result.returncode == 0, result.stderr
    assert checkout.calls("avsep_train")[0]["threads"] == threads


def test_setup_refuses(checkout):
    before = {path: path.stat().st_mtime_ns for path in checkout.recipe.iterdir()}
    egs2 = checkout.root / "egs2"
    for target, message in (
        ("egs2/music", "exists already"),
        ("egs2/My-Corpus", "is no name for a corpus"),
        ("elsewhere/corpus", "a recipe belongs into"),
        ("egs2/a/b/corpus", "a recipe belongs into"),
    ):
        result = setup(checkout, target)
        assert result.returncode == 2, target
        assert message in result.stderr
    assert {p: p.stat().st_mtime_ns for p in checkout.recipe.iterdir()} == before
    assert setup(checkout, "--help").returncode == 0
    assert setup(checkout, "from_here", cwd=egs2).returncode == 0
    assert Path(egs2, "from_here", "avsep.sh").exists()

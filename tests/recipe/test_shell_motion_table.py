"""motion_table.sh: what it plans, and what it does not accept."""

import signal
import subprocess

import pytest
from shell_checkout import ROOT, Checkout

from tests.support.processes import is_running, wait_until

RECIPE = ROOT / "egs2" / "mini_music"
CONDITIONS = ("", "frozen", "swapped")


def run(*options):
    command = ["./motion_table.sh", "--dry_run", "true", *options]
    return subprocess.run(command, cwd=RECIPE, capture_output=True, text=True)


def test_dry_run_plans_systems_and_conditions():
    before = sorted(RECIPE.iterdir())
    result = run("--seeds", "3", "--expdir", "e", "--train_seconds", "9")
    assert result.returncode == 0, result.stderr
    assert sorted(RECIPE.iterdir()) == before
    data, *runs, table = result.stdout.splitlines()
    assert "--stage 1 --stop_stage 5" in data
    assert "--same_instrument\\ true" in data
    systems = ("sound_of_motions", "iquery", "dgfnet", "hfra")
    planned = []
    for line in runs:
        tag = line.split("--avsep_tag ")[1].split()[0]
        change = ""
        if "--inference_tag" in line:
            change = line.split("--inference_tag ")[1].split()[0]
            assert f"--change_motion\\ {change}" in line
        assert ("--stage 6 " in line) == (not change)
        planned.append((tag, change))
        config = ROOT / line.split("--avsep_config ")[1].split()[0]
        assert config.is_file(), config
        assert "--seed\\ 3\\ --max_train_seconds\\ 9" in line
    assert planned == [
        (f"{system}_seed3", change)
        for system in systems
        for change in (CONDITIONS if system != "hfra" else ("",))
    ]
    folders = [part.split()[0] for part in table.split("--experiment ")[1:]]
    assert folders == [f"e/avsep_{tag}/{c}".rstrip("/") for tag, c in planned]


def test_kind_chooses_corpus_and_folders():
    for kind, option, folder in (
        ("rhythm", "--same_instrument\\ true", "exp/motion_only"),
        ("speed", "--bow_speed\\ true", "exp/motion_only_speed"),
    ):
        result = run("--kind", kind, "--systems", "hfra")
        assert result.returncode == 0, result.stderr
        for line in result.stdout.splitlines()[:2]:
            assert option in line and f"--expdir {folder} " in line + " "
            assert ("--mix_different_class false" in line) == (kind == "rhythm")
            # A tremolo of 4 Hz needs more rows than the 8 a second of the default.
            assert ("--motion_rate 16 " in line) == (kind == "speed")
        assert ("different_class=true" in line) == (kind == "speed")


def test_the_window_of_sound_of_motions_stays_3_seconds():
    planned = run("--kind", "speed", "--systems", "sound_of_motions iquery")
    lines = [line for line in planned.stdout.splitlines() if "--stage 6 " in line]
    assert ["window=48" in line for line in lines] == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--systems", "iquery sound_of_pixels"), "'sound_of_pixels' is not among"),
        (("--systems", ""), "expected one or more"),
        (("--seeds", "one"), "'one': expected a whole number"),
        (("--train_seconds", "0"), "--train_seconds '0'"),
        (("--kind", "pitch"), "--kind 'pitch': expected rhythm or speed"),
    ],
)
def test_bad_options(options, message):
    result = run(*options)
    assert result.returncode == 2 and message in result.stderr


def test_a_seed_that_comes_twice_is_one_training():
    """avsep_compare refuses two trainings of one seed, after hours."""
    planned = run("--seeds", "0 1 0 00", "--systems", "hfra iquery hfra")
    assert planned.returncode == 0, planned.stderr
    lines = planned.stdout.splitlines()
    assert sum("--stage 6 " in line for line in lines) == 4
    assert lines[-1].count("avsep_hfra_seed0 ") == 1


def test_a_result_of_another_configuration_is_not_taken_as_this_one(tmp_path):
    checkout = Checkout(tmp_path, "mini_music")

    def table(*options):
        checkout.forget()
        words = ["--systems", "hfra", "--python", str(checkout.python), *options]
        words += ["--run_opts", f"--python {checkout.python}"]
        result = checkout.run(*words, script="./motion_table.sh")
        assert result.returncode == 0, result.stderr
        return [call["name"] for call in checkout.calls()], result.stdout

    names, _ = table()
    assert "avsep_train" in names and "prepare_mini_music" in names
    names, printed = table()
    assert "avsep_train" not in names and "prepare_mini_music" not in names
    assert "is there already" in printed
    config = checkout.root / "conf/tuning/train_avsep_mini_hfra.yaml"
    config.write_text(config.read_text() + "patience: 7\n")
    names, printed = table("--corpus", "downloads/other")
    assert "avsep_train" in names and "prepare_mini_music" in names
    assert "another configuration" in printed


def test_ends_with_what_it_started(tmp_path):
    """A run.sh that trained went on for hours."""
    checkout = Checkout(tmp_path, "mini_music")
    words = ["--systems", "hfra", "--python", str(checkout.python)]
    words += ["--run_opts", f"--python {checkout.python}"]
    process = subprocess.Popen(
        ["./motion_table.sh", *words],
        cwd=checkout.recipe,
        env=checkout.environment(FAKE_HANGS="avsep_extract_visual"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    hanging = checkout.recipe / "hanging"
    try:
        wait_until(lambda: hanging.exists() and hanging.read_text())
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 143 and "Run the same command again" in said
        child = int(hanging.read_text())
        wait_until(lambda: not is_running(child))
    finally:
        process.kill()
        process.wait()

"""avsep_table.sh: what it plans, failures, re-runs, with a pretended Python."""

import os
import signal
import subprocess

import pytest
from shell_checkout import ROOT, Checkout, value, values

from tests.support.processes import is_running, wait_until

SYSTEMS = "hfra sound_of_pixels nmf_mfcc"


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A table of three systems, of which the one without training failed."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"), "mini_music")
    checkout.result = table(checkout, FAKE_FAILS="avsep_baseline")
    checkout.first = checkout.calls()
    checkout.forget()
    return checkout


def words(checkout):
    run_opts = f"--python {checkout.python}"
    options = ["--systems", SYSTEMS, "--seeds", "0 3", "--max_epoch", "2"]
    return [*options, "--python", str(checkout.python), "--run_opts", run_opts]


def table(checkout, *options, **extra):
    return checkout.run(*words(checkout), *options, script="./table.sh", **extra)


def test_dry_run_plans_every_system():
    """In the repository's own folder: a dry run writes nothing."""
    recipe = ROOT / "egs2" / "mini_music"
    before = sorted(recipe.iterdir())
    command = ["./table.sh", "--dry_run", "true", "--other_seeds", "7"]
    result = subprocess.run(command, cwd=recipe, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert sorted(recipe.iterdir()) == before
    lines = result.stdout.splitlines()
    data = [line for line in lines if "--stop_stage 5" in line]
    assert ["--stage 1 " in line for line in data] == [True] + 4 * [False]
    inputs = ("--nj 2", "resnet18", "--visual_every 1", "--motion_encoder s3d")
    inputs += ("--motion_encoder raft_small --motion_align segment",)
    for line, words in zip(data, inputs, strict=True):
        assert words in line and "--test_num_mixtures 32" in line
    trained = [line for line in lines if "--stage 6 " in line]
    assert len(trained) == 6 * 3 + 18
    slots = [line for line in trained if "--train_ref_nums 4 " in f"{line} "]
    assert [tag(line) for line in slots] == ["ccol_seed7"]
    moving = [line for line in trained if "--use_motion true" in line]
    names = ["dgfnet"] * 4 + ["iquery", "sound_of_motions"]
    assert all(name in line for name, line in zip(names, moving, strict=True))
    for fusion in ("_hierarchical", "_late_align", "_late", "_middle", ""):
        for seed in range(3):
            words = f"hfra{fusion}_seed{seed} --avsep_args --seed\\ {seed}\\ "
            assert sum(f"--avsep_tag {words}" in line for line in trained) == 1, words
    seeds = {
        line.split("_seed")[1].split()[0] for line in trained if "hfra" not in line
    }
    assert seeds == {"7"}
    untrained = [line for line in lines if "untrained_" in line]
    assert len(untrained) == 4 and all("--stage 7 " in line for line in untrained)
    assert all("--shuffled_tag shuffled" in line for line in trained)
    assert not any("--shuffled_tag" in line for line in data + untrained)
    assert lines[-1].count("--experiment") == 2 * 36 + 4
    for line in trained + untrained:
        config = line.split("--avsep_config ")[1].split()[0]
        name = os.path.basename(config)
        assert (ROOT / "conf" / "tuning" / name).is_file()


def test_a_new_configuration_is_in_the_table(failed):
    """Its name is written nowhere else; variants are left out."""
    for name in ("my_net", "my_net_released", "mini_my_net"):
        path = failed.root / "conf/tuning" / f"train_avsep_{name}.yaml"
        path.write_text("system: My net\n")
    result = table(failed, "--systems", "", "--dry_run", "true", "--expdir", "new")
    assert result.returncode == 0, result.stderr
    runs = [tag(line) for line in result.stdout.splitlines() if "--avsep_tag" in line]
    own = [name for name in runs if "my_net" in name]
    assert own == ["my_net_seed0", "my_net_seed3"]


def test_help_has_the_options_of_both_scripts(failed):
    result = failed.run("--help", script="./table.sh")
    assert result.returncode == 0
    own, _, other = result.stdout.partition("One table of all systems, from one")
    assert "--real_corpus " in own and "--systems " not in own
    assert '(default="0 1 2")' in other and "--flow_opts " in other


def test_dry_run_of_equal_cpu_times_and_a_real_corpus(tmp_path):
    """One seed of all systems after the other; the real corpus by the same options."""
    recipe = ROOT / "egs2" / "mini_music"
    embeddings = tmp_path / "clip.h5"
    embeddings.touch()
    options = ["--systems", "hfra_late sound_of_pixels rpca", "--seeds", "4 5"]
    options += ["--train_seconds", "60", "--real_corpus", str(tmp_path)]
    options += ["--real_embeddings", str(embeddings), "--dumpdir", "d", "--expdir", "e"]
    command = ["./table.sh", "--dry_run", "true", *options]
    result = subprocess.run(command, cwd=recipe, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    generated, real = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    for part, name in ((generated, "e"), (real, "e_real")):
        small = [line for line in part if "make_small_config" in line]
        assert len(small) == 2 and all("--train_seconds 60" in line for line in small)
        runs = [tag(line) for line in part if "--avsep_tag" in line]
        assert runs == [
            *("hfra_late_seed4", "sound_of_pixels_seed4"),
            *("hfra_late_seed5", "sound_of_pixels_seed5"),
            "rpca",
        ]
        assert f"--output_dir {name}/compare" in part[-1]
    stages = [line for line in real if "run.sh" in line]
    assert all("--corpus music --datadir d_real/data" in line for line in stages)
    clips = [line for line in stages if f"--visual_precomputed {embeddings}" in line]
    assert clips == [line for line in stages if "--dumpdir d_real/clip" in line]
    assert not any("--corpus music" in line for line in generated)


def tag(line):
    return line.split("--avsep_tag ")[1].split()[0]


def test_dry_run_of_several_numbers_of_sources():
    recipe = ROOT / "egs2" / "mini_music"
    command = ["./table.sh", "--dry_run", "true", "--systems", "hfra_late rpca"]
    command += ["--seeds", "0", "--train_ref_nums", "2 3", "--test_ref_nums", "2 3"]
    result = subprocess.run(command, cwd=recipe, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    data, _, late, rpca, compare = result.stdout.splitlines()
    numbers = "--train_ref_nums 2\\ 3 --test_ref_nums 2\\ 3"
    assert numbers in data and numbers in late
    assert "--test_ref_nums 2 " in f"{rpca} "
    assert "--set test_2src test_3src" in compare


def test_a_system_of_two_sources_is_not_in_a_table_of_three():
    """RPCA failed, and with it the table."""
    recipe = ROOT / "egs2" / "mini_music"
    command = ["./avsep_table.sh", "--dry_run", "true", "--systems", "nmf_mfcc rpca"]
    command += ["--run_opts", "--ngpu 0\n--ref-num 3"]
    result = subprocess.run(command, cwd=recipe, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    systems = [tag(line) for line in result.stdout.splitlines() if "_tag" in line]
    assert systems == ["nmf_mfcc"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--test_ref_nums", "2 9"], "expected numbers from 2 to 8"),
        (["--prepare_opts", "--no_such 1"], "unknown option --no_such"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(options, message):
    recipe = ROOT / "egs2" / "mini_music"
    command = ["./avsep_table.sh", "--systems", "sound_of_pixels", "--seeds", "0"]
    command += ["--dry_run", "true", "--expdir", "exp/none", *options]
    result = subprocess.run(command, cwd=recipe, capture_output=True, text=True)
    assert result.returncode == 2, result.stdout
    assert message in result.stderr
    assert not (recipe / "exp" / "none").exists()


def test_a_failure_is_reported_and_the_rest_goes_on(failed):
    result = failed.result
    assert result.returncode == 1
    assert "nmf_mfcc, seed none: FAILED, log: exp/table/logs/nmf_mfcc" in result.stderr
    assert "failed: nmf_mfcc (seed none)" in result.stderr
    seeds = [value(c, "--seed") for c in failed.first if c["name"] == "avsep_train"]
    assert sorted(seeds) == ["0", "0", "3", "3"]
    compared = failed.first[-1]
    assert compared["name"] == "avsep_compare"
    clip, frames = (f"exp/table/{name}/avsep_" for name in ("clip", "frames"))
    names = (f"{path}_seed{seed}" for seed in (0, 3)
             for path in (f"{clip}hfra", f"{frames}sound_of_pixels"))  # fmt: skip
    assert values(compared, "--experiment") == [
        folder for name in names for folder in (name, f"{name}/shuffled")
    ]
    note = value(compared, "--corpus_note")
    assert note.startswith("Generated corpus, not MUSIC")
    assert note.endswith("Failed, and not in the table: nmf_mfcc (seed none).")


def test_each_set_of_data_is_prepared_once_and_small_configs_are_trained(failed):
    names = [call["name"] for call in failed.first]
    assert names.count("prepare_mini_music") == names.count("prepare_music") == 1
    assert names.count("avsep_make_mixtures") == 2 * 2
    encoders = [value(c, "--visual_encoder") for c in failed.first
                if c["name"] == "avsep_extract_visual"]  # fmt: skip
    assert sorted(set(encoders)) == ["frames", "open_clip"]
    for call in failed.first:
        if call["name"] == "avsep_train":
            assert value(call, "--config").startswith("exp/table/conf/train_avsep_")
            assert values(call, "--dataset_conf")[-1] == "segment_samples=16256"
            assert call["threads"] == "1"
    scored = [c for c in failed.first if c["name"] == "avsep_scoring"]
    assert all("/scored_test" in value(c, "--output_dir") for c in scored)


def test_run_again_does_what_is_left(failed):
    result = table(failed)
    assert result.returncode == 0, result.stderr
    assert "hfra_seed3: is there already" in result.stdout
    names = [call["name"] for call in failed.calls()]
    assert names[0] == "make_small_config"
    rest = [name for name in names if name != "make_small_config"]
    assert set(rest[:-3]) == {"avsep_baseline"}
    assert rest[-3:] == ["avsep_scoring", "avsep_results", "avsep_compare"]
    assert values(failed.calls()[-1], "--experiment")[-1].endswith("avsep_nmf_mfcc")
    # The result of another configuration is not that of this one.
    failed.forget()
    config = failed.root / "conf/tuning/untrained_nmf_mfcc.yaml"
    config.write_text(config.read_text() + "num_log_bins_of_another: 1\n")
    result = table(failed)
    assert result.returncode == 0 and "nmf_mfcc.yaml or the code" in result.stdout
    names = {call["name"] for call in failed.calls()}
    assert "avsep_baseline" in names and "avsep_train" not in names
    failed.forget()
    # A dry run leaves the marker of a finished experiment in place.
    result = table(failed, "--dry_run", "true")
    assert result.returncode == 0 and "nmf_mfcc: is there already" in result.stdout
    assert table(failed).returncode == 0
    assert "avsep_baseline" not in {call["name"] for call in failed.calls()}
    failed.forget()
    # Nor are scores of another version of stage 8 in the table.
    result = table(failed, "--systems", "nmf_mfcc", FAKE_VERSIONS="8:9")
    assert result.returncode == 0 and "nmf_mfcc.yaml or the code" in result.stdout
    assert "avsep_scoring" in {call["name"] for call in failed.calls()}
    failed.forget()
    result = table(failed, "--max_epoch", "3")
    assert result.returncode == 2 and "made with other settings" in result.stderr
    assert failed.calls() == []


def test_data_of_another_corpus_or_of_other_options(failed, tmp_path):
    """Neither a table of another corpus nor the data of another version is kept."""
    result = table(failed, MINI_MUSIC=str(tmp_path))
    assert result.returncode == 2 and "made with other settings" in result.stderr
    assert f"> corpus: mini_music, {tmp_path}" in result.stderr
    assert failed.calls() == []
    marker = failed.recipe / "exp/table/clip/data_done"
    made_with = marker.read_text()
    assert made_with.startswith(
        "corpus downloads/mini_music: --dumpdir dump/table/clip "
    )
    # As a version would have written it that encoded every picture.
    marker.write_text(made_with.replace("--visual_every 8", "--visual_every 1"))
    result = table(failed)
    assert result.returncode == 0, result.stderr
    assert "Data, clip: were made with other options" in result.stdout
    assert "Data, frames: are there already" in result.stdout
    assert "sound_of_pixels_seed0: is there already" in result.stdout
    names = [call["name"] for call in failed.calls()]
    assert "avsep_make_mixtures" in names and names.count("avsep_train") == 2
    assert marker.read_text() == made_with
    failed.forget()
    # Markers of earlier versions are empty, and their settings name no corpus.
    marker.write_text("")
    settings = failed.recipe / "exp/table/settings"
    lines = settings.read_text().splitlines(keepends=True)
    settings.write_text("".join(lines[:-1]))
    assert table(failed).returncode == 0
    assert "avsep_extract_visual" not in {call["name"] for call in failed.calls()}
    assert settings.read_text() == "".join(lines)


def test_test_sets_of_the_recipe_have_tables(tmp_path):
    """Those called "test" only were compared: the table failed at its very end."""
    checkout = Checkout(tmp_path / "checkout", "mini_music")
    run_opts = f"--python {checkout.python}\n--mix_same_class true"
    script = checkout.recipe / "run.sh"
    text = script.read_text().replace('--test_sets "test"', '--test_sets "solo band"')
    script.write_text(text)
    result = table(checkout, "--systems", "nmf_mfcc", "--run_opts", run_opts)
    assert result.returncode == 0, result.stderr
    call = checkout.calls("avsep_compare")[0]
    assert call["args"][call["args"].index("--set") + 1 :][:3] == [
        *("band", "solo", "--corpus_note")
    ]


def test_settings_that_made_no_data_do_not_count(tmp_path):
    checkout = Checkout(tmp_path / "checkout", "mini_music")
    wrong = table(checkout, FAKE_FAILS="prepare_music", MINI_MUSIC=str(tmp_path))
    assert wrong.returncode == 2 and "data could not be prepared" in wrong.stderr
    result = table(checkout, "--systems", "nmf_mfcc")
    assert result.returncode == 0, result.stderr


def test_ends_with_what_it_started(tmp_path):
    checkout = Checkout(tmp_path / "checkout", "mini_music")
    process = subprocess.Popen(
        ["./table.sh", *words(checkout)],
        cwd=checkout.recipe,
        env=checkout.environment(FAKE_HANGS="avsep_train"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    hanging = checkout.recipe / "hanging"
    try:
        wait_until(lambda: hanging.exists() and hanging.read_text(), 600)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 143
        child = int(hanging.read_text())
        wait_until(lambda: not is_running(child))
    finally:
        process.kill()
        process.wait()
    assert not list(checkout.recipe.glob("exp/table/*/avsep_*/table_done"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--systems", "hfra unet"], "no conf/tuning/train_avsep_unet.yaml"),
        (["--seeds", "one"], "--seeds 'one': expected whole"),
        (["--nj", "0"], "--nj '0'"),
        (["--small", "false"], "go with --small true"),
        (["--seeds", "", "--systems", "hfra"], "nothing to do"),
    ],
)
def test_wrong_options(failed, options, message):
    result = table(failed, *options)
    assert result.returncode == 2 and message in result.stderr

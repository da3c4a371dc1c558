"""egs2/TEMPLATE/avsep1/avsep.sh: stages, options, re-runs, with a pretended Python."""

import fcntl
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from shell_checkout import ROOT, Checkout, value, values, words

from tests.support.processes import is_running, wait_until

TRAIN = ["cello-00", "cello-01", "cello-02", "tuba-00", "tuba-01", "tuba-02"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Stages 1-8 run once, one clip skipped; tests work on copies or only look."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    checkout.result = checkout.stages(1, 8, FAKE_SKIPS="tuba-01")
    return checkout


@pytest.fixture
def again(prepared, tmp_path):
    """The same folder for a second run, of its own, with no calls noted."""
    return prepared.copy(tmp_path / "checkout")


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".log"
    }


def test_all_stages(prepared):
    assert prepared.result.returncode == 0, prepared.result.stderr
    names = [call["name"] for call in prepared.calls()]
    assert names == (
        # One check of the weights, then two jobs.
        ["prepare_music"] + ["avsep_extract_visual"] * 3 + ["avsep_format_audio"] * 6
        + ["avsep_filter_clips"] + ["avsep_filter_clips", "avsep_make_mixtures"] * 2
        + ["avsep_check_leaks", "avsep_health_report"] + ["avsep_collect_stats"] * 2
        + ["avsep_made_from", "launch", "avsep_train", "avsep_made_from"]
        + ["avsep_inference"] * 4 + ["avsep_scoring"] * 2
        + ["avsep_results", "avsep_report"]
    )  # fmt: skip
    out = prepared.result.stdout
    for stage in range(1, 9):
        assert f"Stage {stage}: " in out
        assert len(re.findall(rf"\) Stage {stage} took \d+ s\n", out)) == 1
    # Of RESULTS.md, which is long, the scores.
    assert "# The results\n\n## Scores\n\nscores\n" in out and "machine" not in out
    assert "tensorboard --logdir exp/avsep_train_raw/tensorboard" in out
    assert "Successfully finished" in out
    assert "log: 'dump/raw/logs/visual.*.log'" in out
    assert "log: 'exp/avsep_train_raw/train.log'" in out
    assert "Listen, for example: the mixture dump/raw/test/wav.scp/mix00000" in out
    assert "1 left out (dump/raw/train/visual_skipped.tsv)" in out


def test_variables_of_the_environment_change_nothing(prepared, tmp_path, monkeypatch):
    """Each variable is set before it is read, whatever the user's shell exports."""
    other = Checkout(tmp_path / "checkout")
    scripts = ["egs2/TEMPLATE/avsep1/avsep.sh", "local/data.sh"]
    scripts += [f"utils/{path.name}" for path in (ROOT / "utils").glob("*.sh")]
    text = "".join((ROOT / script).read_text() for script in scripts)
    names = set(re.findall(r"\$\{?#?!?([a-z_][a-z0-9_]*)", text))
    for name in names - {"cmd_backend"}:
        monkeypatch.setenv(name, "true")
    result = other.stages(1, 8, FAKE_SKIPS="tuba-01")
    assert result.returncode == 0, result.stderr

    def calls(checkout):
        # Jobs run side by side.
        made = map(json.dumps, checkout.calls())
        return sorted(call.replace(str(checkout.root), "") for call in made)

    assert calls(other) == calls(prepared)
    assert set(snapshot(other.recipe)) == set(snapshot(prepared.recipe))


def test_files_of_each_stage(prepared):
    keys = prepared.keys
    assert keys("data/train/wav.scp") == TRAIN
    seen = [key for key in TRAIN if key != "tuba-01"]
    assert keys("dump/raw/train/visual.scp") == seen
    assert keys("dump/raw/train/visual_shape") == seen
    assert keys("dump/raw/train/visual_skipped.tsv") == ["tuba-01"]
    assert keys("dump/raw/org/train/wav.scp") == TRAIN
    assert keys("dump/raw/org/train/utt2num_samples") == TRAIN
    assert keys("dump/raw/train/spk1.scp") == seen
    assert keys("dump/raw/org/test_clips/wav.scp")
    assert keys("exp/avsep_stats_11625/train/speech_ref1_shape") == seen
    for dset in ("valid", "test"):
        folder = f"exp/avsep_train_raw/separated_{dset}"
        for n in (1, 2):
            assert keys(f"{folder}/spk{n}.scp") == [f"mix{i:05d}" for i in range(4)]
        assert (prepared.recipe / f"exp/avsep_train_raw/scored_{dset}").is_dir()


def test_options_of_the_commands(prepared):
    visual = prepared.calls("avsep_extract_visual")[0]
    assert value(visual, "--visual_model") == "ViT-B-32"
    assert value(visual, "--visual_pretrained") == "openai"
    assert (value(visual, "--fps"), value(visual, "--every")) == ("8", "8")
    audio = prepared.calls("avsep_format_audio")[0]
    assert value(audio, "--fs") == "11625"
    clips = prepared.calls("avsep_filter_clips")[0]
    assert value(clips, "--silence_dbfs") == "-60"
    assert "--min_wav_duration" not in clips["args"]
    mixtures = prepared.calls("avsep_make_mixtures")[0]
    assert value(mixtures, "--num_sources") == "2"
    assert value(mixtures, "--different_class") == "false"
    assert value(mixtures, "--clips_dir") == "dump/raw/org/valid_clips"
    assert "--num_mixtures" not in mixtures["args"]
    (report,) = prepared.calls("avsep_health_report")
    sets = report["args"][report["args"].index("--sets") + 1 :][:3]
    assert sets == ["train", "valid", "test"]
    assert value(report, "--output_dir") == "dump/raw/report"
    assert value(report, "--title") == "Health of music"


def test_training_command(prepared):
    launch = prepared.calls("launch")[0]
    assert value(launch, "--cmd") == "run.pl --name avsep_train_raw"
    assert value(launch, "--init_file_prefix") == "exp/avsep_train_raw/.dist_init_"
    train = prepared.calls("avsep_train")[0]
    assert values(train, "--train_data_path_and_name_and_type") == [
        "dump/raw/train/spk1.scp,speech_ref1,sound",
        "dump/raw/train/visual_spk1.scp,visual_ref1,kaldi_ark",
    ]
    assert values(train, "--valid_data_path_and_name_and_type") == [
        "dump/raw/valid/wav.scp,speech_mix,sound",
        "dump/raw/valid/spk1.scp,speech_ref1,sound",
        "dump/raw/valid/spk2.scp,speech_ref2,sound",
        "dump/raw/valid/visual_spk1.scp,visual_ref1,kaldi_ark",
        "dump/raw/valid/visual_spk2.scp,visual_ref2,kaldi_ark",
    ]
    stats = "exp/avsep_stats_11625"
    assert values(train, "--train_shape_file") == [
        f"{stats}/train/speech_ref1_shape",
        f"{stats}/train/visual_ref1_shape",
    ]
    assert len(values(train, "--valid_shape_file")) == 5
    assert values(train, "--dataset_conf") == ["num_sources=2", "segment_samples=65280"]
    assert value(train, "--sample_rate") == "11625"
    assert value(train, "--resume") == "true"
    assert value(train, "--output_dir") == "exp/avsep_train_raw"
    # All cores in training on the CPU, one for each parallel job.
    assert train["threads"] == str(len(os.sched_getaffinity(0)))
    assert prepared.calls("avsep_extract_visual")[0]["threads"] == "1"


def test_training_segments_may_be_shorter_than_mixtures(again):
    result = again.stages(4, 6, "--train_segment_samples", 32512)
    assert result.returncode == 0, result.stderr
    assert value(again.calls("avsep_make_mixtures")[0], "--segment_samples") == "65280"
    (train,) = again.calls("avsep_train")
    assert values(train, "--dataset_conf")[-1] == "segment_samples=32512"
    result = again.stages(6, 6, "--train_segment_samples", 65281)
    assert result.returncode == 2 and "at most --segment_samples" in result.stderr


def test_cpu_training_takes_all_cores_although_path_sh_sets_one_thread(prepared):
    # coreutils' nproc obeys OMP_NUM_THREADS; here it counts 7 cores.
    nproc = prepared.root / "utils" / "nproc"
    nproc.write_text('#!/bin/sh\necho "${OMP_NUM_THREADS:-7}"\n')
    nproc.chmod(0o755)
    for name, more in (("a", {}), ("b", {"OMP_NUM_THREADS": "2"})):
        options = ["--avsep_tag", name]
        assert prepared.stages(6, 6, *options, **more).returncode == 0
        assert prepared.calls("avsep_train")[-1]["threads"] == "7"


def test_weights_of_a_training_that_chose_by_loss(again):
    exp = again.recipe / "exp" / "avsep_train_raw"
    best = exp / "valid.si_sdr_i.best.pth"
    best.rename(exp / "valid.loss.best.pth")
    done = again.stages(7, 7)
    (exp / "valid.loss.best.pth").rename(best)
    assert done.returncode == 0, done.stdout
    assert "using valid.loss.best.pth" in done.stdout
    inference = again.calls("avsep_inference")[-1]
    assert value(inference, "--model_file") == f"exp/{exp.name}/valid.loss.best.pth"


def test_inference_and_scoring_commands(prepared):
    inference = prepared.calls("avsep_inference")[0]
    assert values(inference, "--data_path_and_name_and_type") == [
        "dump/raw/test/wav.scp,speech_mix,sound",
        "dump/raw/test/visual_spk1.scp,visual_ref1,kaldi_ark",
        "dump/raw/test/visual_spk2.scp,visual_ref2,kaldi_ark",
    ]
    assert (
        value(inference, "--model_file")
        == "exp/avsep_train_raw/valid.si_sdr_i.best.pth"
    )
    scoring = prepared.calls("avsep_scoring")[0]
    assert values(scoring, "--ref_scp") == [f"dump/raw/test/spk{n}.scp" for n in (1, 2)]
    folder = "exp/avsep_train_raw/separated_test"
    assert values(scoring, "--inf_scp") == [f"{folder}/spk{n}.scp" for n in (1, 2)]
    assert value(scoring, "--mix_scores") == "dump/raw/test/mixture_scores.tsv"
    assert values(prepared.calls("avsep_results")[0], "--set") == [
        f"{dset}:exp/avsep_train_raw/scored_{dset}:dump/raw/{dset}"
        for dset in ("test", "valid")  # the set that chose the weights comes last
    ]
    results = prepared.calls("avsep_results")[0]
    assert value(results, "--training_set") == "train:dump/raw/train"
    assert value(results, "--inference_model") == "valid.si_sdr_i.best.pth"
    assert value(results, "--corpus_note") == ""


def test_leak_check(prepared, again):
    (call,) = prepared.calls("avsep_check_leaks")
    assert values(call, "--train_set") == ["train:data/train:dump/raw/train"]
    for name in ("valid", "test"):
        assert values(call, f"--{name}_set") == [
            f"{name}:data/{name}:dump/raw/org/{name}_clips"
        ]
    assert value(call, "--output") == "dump/raw/leaks.tsv"
    assert value(call, "--strict") == "false"
    results = prepared.calls("avsep_results")[0]
    assert value(results, "--leaks") == "dump/raw/leaks.tsv"
    assert value(results, "--leak_free") == "false"
    # Strict, then none at all: what was found before is gone.
    assert again.stages(4, 4, "--leak_check", "strict").returncode == 0
    assert value(again.calls("avsep_check_leaks")[0], "--strict") == "true"
    failed = again.stages(4, 4, FAKE_FAILS="avsep_check_leaks")
    assert failed.returncode != 0
    assert not (again.recipe / "dump/raw/leaks.tsv").exists()
    again.forget()
    result = again.stages(8, 8, "--leak_check", "false")
    assert result.returncode == 0, result.stderr
    assert "--leaks" not in again.calls("avsep_results")[0]
    result = again.stages(8, 8)
    assert "leaks.tsv is missing or empty. Stage 4 writes it" in result.stderr
    result = again.stages(8, 8, "--leak_check", "false", "--leak_free", "true")
    assert result.returncode == 2
    assert "--leak_free true: wants --leak_check true" in result.stderr
    result = again.stages(8, 8, "--leak_check", "maybe")
    assert "expected true, false or strict" in result.stderr


def test_a_second_run_leaves_the_same_files(again):
    before = snapshot(again.recipe / "dump"), snapshot(again.recipe / "exp")
    result = again.stages(2, 8, FAKE_SKIPS="tuba-01")
    assert result.returncode == 0, result.stderr
    after = snapshot(again.recipe / "dump"), snapshot(again.recipe / "exp")
    for path in ("avsep_train_raw/run.sh",):
        before[1].pop(path), after[1].pop(path)
    assert after == before


def test_the_experiments_run_sh_trains_again(again):
    result = again.run(script="exp/avsep_train_raw/run.sh", MUSIC="/tmp")
    assert result.returncode == 0, result.stderr
    names = [call["name"] for call in again.calls()]
    assert names[:3] == ["avsep_made_from", "launch", "avsep_train"]


def test_a_finished_training_is_not_started(again):
    result = again.stages(6, 6, FAKE_FINISHED="yes")
    assert result.returncode == 0, result.stderr
    assert [call["name"] for call in again.calls()] == ["avsep_made_from"]
    assert "The training has ended, and nothing has changed" in result.stdout


def test_fewer_lines_than_jobs(again):
    result = again.stages(3, 3, "--nj", 50)
    assert result.returncode == 0, result.stderr
    assert len(again.calls("avsep_format_audio")) == 18
    assert again.keys("dump/raw/org/train/wav.scp") == TRAIN


def test_changed_data_leave_no_stale_lines(again):
    for name in ("wav.scp", "video.scp"):
        path = again.recipe / "data" / "train" / name
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    result = again.stages(2, 3)
    assert result.returncode == 0, result.stderr
    for path in ("visual.scp", "visual_shape"):
        assert again.keys(f"dump/raw/train/{path}") == TRAIN[1:]
    assert again.keys("dump/raw/org/train/wav.scp") == TRAIN[1:]


def test_a_refused_training_leaves_the_experiment_as_it_was(again):
    """Its log, run.sh and copies are those of the training that was done."""
    folder = again.recipe / "exp/avsep_train_raw"
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    (again.recipe / "dump/raw/train/visual_info.yaml").write_text("weights: other\n")
    result = again.stages(6, 6, FAKE_FAILS="avsep_made_from")
    assert result.returncode == 1
    assert not again.calls("launch")
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    (check,) = again.calls("avsep_made_from")
    assert again.stages(6, 6).returncode == 0
    assert check["args"] == ["training", *again.calls("avsep_train")[0]["args"]]


def test_run_sh_is_of_a_training_that_was_not_refused(again):
    """Some options are checked by the training itself, after it has been started."""
    script = again.recipe / "exp/avsep_train_raw/run.sh"
    before = script.read_bytes()
    options = ["--avsep_args", "--max_epoch none", "--avsep_tag", "train_raw"]
    assert again.stages(6, 6, *options, FAKE_FAILS="avsep_train").returncode == 1
    assert script.read_bytes() == before
    assert again.stages(6, 6, *options).returncode == 0
    assert b"--max_epoch none" in script.read_bytes()
    # The first training of a folder can be continued by its own script.
    new = ["--avsep_tag", "new"]
    assert again.stages(6, 6, *new, FAKE_FAILS="avsep_train").returncode == 1
    assert "--stage 6" in (again.recipe / "exp/avsep_new/run.sh").read_text()


def test_scores_are_of_the_options_of_the_separation(again):
    """RESULTS.md says what the tracks were separated with."""
    args = ("--inference_args", "--binary_mask true")
    result = again.stages(8, 8, *args)
    assert result.returncode == 2
    assert "stage 7 was run with ''. Run stage 7 again" in result.stderr
    assert again.stages(7, 7, *args).returncode == 0
    assert again.stages(8, 8).returncode == 0
    results = again.calls("avsep_results")[0]
    assert "--inference_args=--binary_mask true" in results["args"]
    # An interrupted separation has no scores.
    assert again.stages(7, 7, FAKE_FAILS="avsep_inference").returncode == 1
    result = again.stages(8, 8)
    assert result.returncode == 2 and "stage 7 has not been finished" in result.stderr


def test_shuffled_pictures_in_the_same_run(again):
    """In one process of each job, beside the ordinary separation."""
    result = again.stages(
        7, 8, "--shuffled_tag", "s", "--eval_valid_set", "false", "--nj", 1
    )
    assert result.returncode == 0, result.stderr
    exp = "exp/avsep_train_raw"
    for call in again.calls("avsep_inference"):
        is_shuffled = f"{exp}/s/" in value(call, "--output_dir")
        assert ("--shuffle_visual" in call["args"]) == is_shuffled
    assert again.keys(f"{exp}/s/separated_test/spk2.scp")
    scored = [value(call, "--output_dir") for call in again.calls("avsep_scoring")]
    assert scored == [f"{exp}/scored_test", f"{exp}/s/scored_test"]
    right, shuffled = again.calls("avsep_results")
    assert "--inference_args=" in right["args"]
    assert "--inference_args=--shuffle_visual class" in shuffled["args"]
    assert value(shuffled, "--output") == f"{exp}/s/RESULTS.md"
    assert len(again.calls("avsep_report")) == 1
    config = ("--avsep_config", "conf/tuning/untrained_rpca.yaml")
    result = again.stages(7, 7, "--shuffled_tag", "s", *config)
    assert result.returncode == 2 and "sees no pictures" in result.stderr


def test_a_trained_system_whose_config_has_a_base_may_be_shuffled(again):
    """It was rejected as a system without training."""
    (again.recipe / "own.yaml").write_text("base: all.yaml\n")
    (again.recipe / "all.yaml").write_text("separator: hfra\n")
    config = ("--avsep_config", "own.yaml", "--avsep_tag", "train_raw")
    result = again.stages(7, 7, "--shuffled_tag", "s", *config)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("stage", "option", "made", "by"),
    [
        (3, "--visual_model", "ViT-B-16", 2),
        (5, "--visual-every", "4", 2),
        (4, "--audio_stream", "2", 2),
        (6, "--fs", "16k", 3),
        (7, "--mix_seed", "5", 4),
        (8, "--ref_num", "3", 4),
    ],
)
def test_an_option_that_an_earlier_stage_was_not_run_with(
    again, stage, option, made, by
):
    """It would be written down in run.sh, but the data are of another value."""
    result = again.stages(stage, 8, option, made)
    assert result.returncode == 2
    assert f"stage {by} was run with" in result.stderr
    assert f"Run stage {by} again ('--stage {by}')" in result.stderr
    assert not again.calls()
    # Given as they were, or to that stage itself, they are fine.
    same = {"--visual_model": "ViT-B-32", "--visual-every": "8", "--fs": "11625"}
    same.update({"--mix_seed": "0", "--ref_num": "2", "--audio_stream": ""})
    assert again.stages(stage, stage, option, same[option]).returncode == 0


# What run.sh gives, but for options on which later stages depend.
BARE = ("--corpus", "music", "--train_set", "train", "--valid_set", "valid")
BARE += ("--test_sets", "test")


@pytest.mark.parametrize(
    ("made", "options", "stage"),
    [
        (4, ("--ref_num", "3"), 5),
        (4, ("--ref_num", "3"), 7),
        (3, ("--fs", "16000"), 4),
        (4, ("--segment_samples", "32512"), 6),
        (2, ("--audio_stream", "2"), 3),
        (4, ("--motion_align", "segment"), 6),
    ],
)
def test_an_option_that_later_stages_read_is_not_forgotten(again, made, options, stage):
    """Validation would take two sources of mixtures of three, and so on."""
    name, found = options
    with_motion = ["--use_motion", "true"] if "motion" in name else []
    kept = again.recipe / f"dump/raw/stage{made}.options"
    lines = kept.read_text().splitlines()
    lines = [line for line in lines if not line.startswith(f"{name[2:]}=")]
    kept.write_text("\n".join([*lines, f"{name[2:]}={found}"]) + "\n")
    words = [*BARE, *with_motion]
    result = again.stages(stage, 8, *words, script="./avsep.sh")
    assert result.returncode == 2
    assert f"{name} '" in result.stderr and "the default: stage" in result.stderr
    assert f"stage {made} was run with '{found}'" in result.stderr
    assert f"Give {name} '{found}' to the stages after it" in result.stderr
    assert not again.calls()
    # Where no stage reads it, it may be left out.
    if name not in ("--ref_num", "--fs"):
        last = {"--audio_stream": 4}.get(name, 7)
        assert again.stages(last, last, *BARE, script="./avsep.sh").returncode == 0
    assert again.stages(9, 9, *BARE, script="./avsep.sh").returncode == 0


def test_several_words_on_several_lines(again):
    """A folder's name with a line end broke training; test sets were left out."""
    lines = ["--avsep_args", "--max_epoch 3\n\t--seed 1", "--test_ref_nums", "2\n3"]
    lines += ["--test_sets", "valid\ntest", "--local_data_opts", "--a 1\n  --b 2"]
    assert again.stages(1, 4, *lines).returncode == 0
    for stage in (5, 7):
        result = again.stages(stage, stage + 1, *lines)
        assert result.returncode == 0, result.stderr
    train = again.calls("avsep_train")[0]
    assert value(train, "--output_dir") == "exp/avsep_train_raw_max_epoch3_seed1"
    assert (value(train, "--max_epoch"), value(train, "--seed")) == ("3", "1")
    sets = values(again.calls("avsep_results")[0], "--set")
    names = [text.partition(":")[0] for text in sets]
    assert names == ["valid_2src", "valid_3src", "test_2src", "test_3src", "valid"]
    # What an earlier version kept of such a value.
    kept = again.recipe / "data" / "stage1.options"
    kept.write_text(kept.read_text().replace(" --b", "\n  --b"))
    exp = value(train, "--output_dir")
    assert again.stages(8, 8, *lines[2:6], "--avsep_exp", exp).returncode == 0


def test_a_value_that_ends_with_an_equals_sign_is_kept(again):
    (again.recipe / "given=").write_text("x")
    assert again.stages(2, 2, "--visual_precomputed", "given=").returncode == 0
    result = again.stages(3, 3, "--visual_precomputed", "given=")
    assert result.returncode == 0, result.stderr


def test_a_number_of_sources_that_comes_twice_is_one_set(again):
    result = again.stages(4, 8, "--test_ref_nums", "2 2", "--eval_valid_set", "false")
    assert result.returncode == 0, result.stderr
    sets = values(again.calls("avsep_results")[0], "--set")
    assert sets == ["test_2src:exp/avsep_train_raw/scored_test_2src:dump/raw/test_2src"]
    assert len(again.calls("avsep_inference")) == 2


def test_a_run_that_failed_early_forgets_no_option_of_later_stages(again):
    """Stage 4's data are still those of its last run."""
    assert again.stages(1, 8, FAKE_FAILS="prepare_music").returncode == 1
    # Of the corpus, tables of some sets may be there.
    result = again.stages(5, 8)
    assert "stage 1 was begun and has not been finished" in result.stderr
    again.stages(1, 1)
    assert again.stages(2, 8, FAKE_FAILS="avsep_extract_visual").returncode == 1
    again.forget()
    for option, by in (("--mix_seed", 4), ("--visual_every", 2)):
        result = again.stages(5, 8, option, "5")
        assert result.returncode == 2 and f"stage {by} was run with" in result.stderr
    assert not again.calls()


def test_the_folder_of_the_corpus_is_that_of_stage_1(again, tmp_path):
    """It comes from the environment or from db.sh, not from the command line."""
    other = tmp_path / "corpus"
    other.mkdir()
    for stage in (2, 5, 8):
        result = again.stages(stage, 8, MUSIC=str(other))
        assert result.returncode == 2
        assert f"MUSIC={other} (environment or db.sh): stage 1 was run" in result.stderr
        assert "with '/tmp'. Run stage 1 again ('--stage 1'), or set" in result.stderr
    # Another folder for features reads the same tables.
    result = again.stages(2, 2, "--dumpdir", "dump2", MUSIC=str(other))
    assert result.returncode == 2 and not again.calls()
    # The same folder by another name, and none.
    for same in ("/tmp/../tmp/", ""):
        assert again.stages(8, 8, MUSIC=same).returncode == 0
    assert again.stages(1, 2, MUSIC=str(other)).returncode == 0
    again.forget()
    assert "stage 1 was run with" in again.stages(2, 2, MUSIC="/tmp").stderr
    db = again.recipe / "db.sh"
    text = db.read_text()
    db.unlink()
    db.write_text(text.replace("MUSIC=\n", "MUSIC=/\n", 1))
    assert "MUSIC=/ (environment or db.sh)" in again.stages(3, 3, MUSIC="").stderr
    assert not again.calls()


@pytest.mark.parametrize(
    ("stage", "key", "table"),
    [(2, "cello-01", "visual.scp"), (3, "tuba-00", "wav.scp"), (7, "mix00002", "spk1")],
)
def test_a_lost_clip_stops_the_recipe(again, stage, key, table):
    result = again.stages(stage, stage, FAKE_LOSES=key)
    assert result.returncode == 1
    assert "merge_scp.py: error: 1 keys" in result.stderr
    assert key in result.stderr and table in result.stderr


def test_a_failing_job_stops_the_recipe_and_names_its_log(again):
    result = again.stages(2, 8, FAKE_FAILS="avsep_format_audio")
    assert result.returncode == 1
    assert "avsep_format_audio was told to fail" in result.stderr
    assert "Audio of train valid test failed. log: 'dump/raw/logs/" in result.stderr
    assert not again.calls("avsep_filter_clips")


@pytest.mark.parametrize("command, reads", [("format_audio", 1), ("collect_stats", 0)])
def test_stage_1_waits_until_no_run_reads_its_tables(again, command, reads):
    """Stages 2 to 4 of several runs may read them at a time."""
    name = f"avsep_{command}"
    lock = (again.recipe / "data" / ".stage1.lock").open("a")
    with subprocess.Popen(
        ["./run.sh", "--stage", "3", "--python", again.python],
        cwd=again.recipe,
        env=again.environment(FAKE_HANGS=name, MUSIC="/tmp"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        try:
            wait_until((again.recipe / "hanging").exists)
            if reads:
                refused = again.stages(1, 1)
                assert refused.returncode == 2 and not again.calls("prepare_music")
                assert "another run is using data (stages 1 to 4)" in refused.stderr
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            else:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            run.terminate()
            lock.close()


def test_no_stage_reads_tables_that_stage_1_of_another_run_writes(again):
    with (again.recipe / "data" / ".stage1.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = again.stages(2, 8)
        assert refused.returncode == 2 and not again.calls()
        assert "another run is using data (stage 1)" in refused.stderr
        assert again.stages(5, 5).returncode == 0


def test_a_stage_without_its_forerunner_says_so(tmp_path):
    checkout = Checkout(tmp_path / "checkout")
    for stage, wanted in ((2, 1), (3, 1), (4, 2), (5, 4), (6, 4), (7, 6), (8, 7)):
        result = checkout.stages(stage, stage)
        assert result.returncode == 2
        assert f"Stage {wanted} writes it" in result.stderr
    assert checkout.calls() == []


def test_test_sets_of_several_numbers_of_sources(again):
    """Side by side, from the same clips; training has the numbers in turn."""
    result = again.stages(
        4, 8, "--train_ref_nums", "2 3", "--test_ref_nums", "2 4", "--avsep_tag", "n"
    )
    assert result.returncode == 0, result.stderr
    assert len(again.calls("avsep_filter_clips")) == 3
    made = {
        value(call, "--output_dir"): (
            value(call, "--num_sources"),
            value(call, "--clips_dir"),
        )
        for call in again.calls("avsep_make_mixtures")
    }
    assert made == {
        "dump/raw/valid": ("2", "dump/raw/org/valid_clips"),
        "dump/raw/test_2src": ("2", "dump/raw/org/test_clips"),
        "dump/raw/test_4src": ("4", "dump/raw/org/test_clips"),
    }
    leaks = again.calls("avsep_check_leaks")[0]
    assert values(leaks, "--test_set") == ["test:data/test:dump/raw/org/test_clips"]
    train = again.calls("avsep_train")[0]
    assert "num_sources=[2,3]" in values(train, "--dataset_conf")
    triples = values(train, "--valid_data_path_and_name_and_type")
    assert len(triples) == 5
    for n in (1, 2, 3, 4):
        assert again.keys(f"exp/avsep_n/separated_test_4src/spk{n}.scp")
    assert not (again.recipe / "exp/avsep_n/separated_test_2src/spk3.scp").exists()
    scored = [len(values(c, "--ref_scp")) for c in again.calls("avsep_scoring")]
    assert scored == [2, 4, 2]
    folder = "exp/avsep_n/scored_test_"
    assert values(again.calls("avsep_results")[0], "--set")[:-1] == [
        f"test_{n}src:{folder}{n}src:dump/raw/test_{n}src" for n in (2, 4)
    ]
    assert again.keys("dump/raw/test_4src/clips_of") == ["test"]
    assert not (again.recipe / "dump/raw/valid/clips_of").exists()
    assert "separated, source 4: " in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--test_ref_nums", "1 2"),
        ("--train_ref_nums", "two"),
        ("--test_ref_nums", "23"),
        ("--test_ref_nums", "2 3", "--test_mixture_list", "run.sh"),
    ],
)
def test_wrong_numbers_of_sources(again, options):
    result = again.stages(4, 4, *options)
    assert result.returncode == 2 and options[0] in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--train_ref_nums", "2 7"), "train: 6 clips, but mixtures of 7"),
        (("--test_ref_nums", "2 8"), "test: 6 clips, but mixtures of 8"),
        (("--ref_num", "7"), "train: 6 clips, but mixtures of 7"),
    ],
)
def test_stage_1_says_that_a_set_has_too_few_clips(again, options, message):
    """And not stage 4, after the hours of stage 2."""
    result = again.stages(1, 2, *options)
    assert result.returncode == 2
    assert message in result.stderr and "--valid_ratio" in result.stderr
    assert not again.calls("avsep_extract_visual")


def test_sources_of_one_class_are_a_list_of_their_own(again):
    """Beside the ordinary one, which keeps its classes, and only of test sets."""
    result = again.stages(
        4, 8, "--mix_same_class", "true", "--mix_different_class", "true"
    )
    assert result.returncode == 0, result.stderr
    found = {
        value(call, "--output_dir"): (
            "--same_class" in call["args"] and value(call, "--same_class"),
            "--different_class" in call["args"] and value(call, "--different_class"),
        )
        for call in again.calls("avsep_make_mixtures")
    }
    assert found == {
        "dump/raw/valid": (False, "true"),
        "dump/raw/test": (False, "true"),
        "dump/raw/test_same_class": ("true", False),
    }
    scored = [value(call, "--output_dir") for call in again.calls("avsep_scoring")]
    assert any(folder.endswith("scored_test_same_class") for folder in scored), scored
    wrong = again.stages(4, 4, "--mix_same_class", "sometimes")
    assert wrong.returncode == 2 and "true or false" in wrong.stderr


def test_three_sources_and_other_numbers(again):
    result = again.stages(
        4, 8, "--ref_num", 3, "--valid_num_mixtures", 2, "--test_num_mixtures", 5,
        "--mix_different_class", "true", "--min_wav_duration", "6.5",
        "--mix_silent_sources", "2,3",
        "--avsep_tag", "3", "--avsep_args", "--max_epoch 3 --optim_conf lr=0.1",
        "--inference_tag", "binary", "--inference_args", "--binary_mask true",
        "--scoring_backend", "mir_eval", "--init_param", "a.pth b.pth:x",
        "--train_threads", "7",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    valid, test = again.calls("avsep_make_mixtures")
    assert (
        value(valid, "--num_mixtures") == "2" and value(test, "--num_mixtures") == "5"
    )
    assert value(valid, "--different_class") == "true"
    assert value(test, "--silent_sources") == "2,3"
    assert value(again.calls("avsep_filter_clips")[0], "--min_wav_duration") == "6.5"
    train = again.calls("avsep_train")[0]
    assert train["args"][-8:-4] == ["--max_epoch", "3", "--optim_conf", "lr=0.1"]
    assert train["threads"] == "7"
    at = train["args"].index("--init_param")
    assert train["args"][at + 1 : at + 3] == ["a.pth", "b.pth:x"]
    assert len(values(train, "--valid_data_path_and_name_and_type")) == 7
    inference = again.calls("avsep_inference")[0]
    assert inference["args"][-2:] == ["--binary_mask", "true"]
    assert again.keys("exp/avsep_3/binary/separated_test/spk3.scp") == [
        f"mix{i:05d}" for i in range(5)
    ]
    assert value(again.calls("avsep_scoring")[0], "--backend") == "mir_eval"


def test_packed_frames(again):
    result = again.stages(
        2, 4, "--visual_encoder", "frames", "--visual_every", 1, "--visual_size", 300,
        "--mix_visual_frames", 3, "--mix_visual_stride", 24, "--dumpdir", "dump_frames",
        "--visual_args", "--jpeg_quality 95",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "300 x 300 pixels" in result.stdout and "RANDOM" not in result.stdout
    call = again.calls("avsep_extract_visual")[0]
    assert value(call, "--visual_encoder") == "frames"
    assert (value(call, "--visual_size"), value(call, "--every")) == ("300", "1")
    assert value(call, "--jpeg_quality") == "95"
    call = again.calls("avsep_make_mixtures")[0]
    assert value(call, "--visual_frames") == "3"
    assert value(call, "--visual_stride") == "24"


def test_a_config_of_visual_options(again):
    """It stands in its place: for what is before it, and not for what follows."""
    config = again.recipe / "visual's.yaml"
    text = "visual_pretrained: random\nvisual_fps: 4\nmotion_encoder:\n"
    text += "box_classes: person, $(touch MARK)\nvisual_args: --seed 3\n"
    config.write_text(text)
    result = again.stages(
        2, 2, "--visual_fps", 6, "--visual_every", 2, "--motion_encoder", "s3d",
        "--visual-config", config.name, "--visual_every", 1, "--visual_boxes", ".",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    call = again.calls("avsep_extract_visual")[0]
    assert value(call, "--visual_pretrained") == "random"
    assert (value(call, "--fps"), value(call, "--every")) == ("4", "1")
    assert value(call, "--box_classes") == "person, $(touch MARK)"
    assert value(call, "--seed") == "3"
    assert not again.calls("avsep_extract_motion")
    assert not list(again.root.rglob("MARK"))
    again.forget()
    # As if its options were given.
    config.write_text(text.replace("fps: 4", "fps: 5"))
    result = again.stages(5, 5, "--visual_config", config.name)
    assert result.returncode == 2
    assert "--visual_fps '5': stage 2 was run with '4'" in result.stderr
    for text, message in (
        ("visual_fsp: 5", "unknown option --visual_fsp"),
        ("visual_dtype: half", "expected float32 or bfloat16"),
        ("stage: 5", "has 'stage'; expected only visual_*, box_*, motion_*, mix_"),
        ("visual_fps: [5]", "visual_fps is [5]; expected a word or a number"),
    ):
        config.write_text(f"{text}\n")
        result = again.stages(2, 2, "--visual_config", config.name)
        assert result.returncode in (1, 2) and message in result.stderr
    result = again.stages(2, 2, "--visual_config", "none.yaml")
    assert "--visual_config 'none.yaml': no such file" in result.stderr
    assert not again.calls()


@pytest.mark.parametrize("name", ["frames", "objects"])
def test_committed_configs_of_visual_options(again, name):
    config = f"conf/visual_{name}.yaml"
    result = again.stages(2, 4, "--visual_config", config, "--dumpdir", "other")
    assert result.returncode == 0, result.stderr
    assert (
        value(again.calls("avsep_extract_visual")[-1], "--visual_encoder") == "frames"
    )
    assert value(again.calls("avsep_make_mixtures")[-1], "--visual_frames") == "3"
    assert bool(again.calls("avsep_extract_motion")) == (name == "objects")


def test_a_system_without_training(again):
    config = "conf/tuning/untrained_nmf_mfcc.yaml"
    result = again.stages(
        5, 8, "--avsep_config", config, "--inference_args", "--assignment order"
    )
    assert result.returncode == 0, result.stderr
    assert "nothing to do" in result.stdout
    names = {call["name"] for call in again.calls()}
    expected = {"avsep_baseline", "avsep_scoring", "avsep_results", "avsep_report"}
    assert names == expected
    folder = "exp/avsep_untrained_nmf_mfcc_raw"
    call = again.calls("avsep_baseline")[0]
    assert value(call, "--config") == f"{folder}/config.yaml"
    assert values(call, "--data_path_and_name_and_type") == [
        "dump/raw/test/wav.scp,speech_mix,sound",
        "dump/raw/test/spk1.scp,speech_ref1,sound",
        "dump/raw/test/spk2.scp,speech_ref2,sound",
    ]
    assert call["args"][-2:] == ["--assignment", "order"]
    written = (again.recipe / folder / "config.yaml").read_text()
    assert written.startswith(f"config: {config}\n") and "trained: false" in written
    results = again.calls("avsep_results")[0]
    assert "--inference_args=--assignment order" in results["args"]
    noted = again.recipe / folder / "inference_args"
    assert noted.read_text() == "--assignment order\n"
    # A trained experiment is not made over.
    result = again.stages(7, 7, "--avsep_config", config, "--avsep_tag", "train_raw")
    assert result.returncode == 2 and "holds a trained system" in result.stderr
    result = again.stages(7, 7, "--avsep_config", config, "--avsep_args", "--a b")
    assert result.returncode == 2 and "without training" in result.stderr


def test_a_base_is_resolved_in_the_copy_of_a_config(again):
    """Its base is not in the experiment's folder, so that it could not be read."""
    own = again.recipe / "my_masks.yaml"
    base = again.recipe / "untrained_ideal_ratio_mask.yaml"
    base.write_text((ROOT / "conf/tuning" / base.name).read_text())
    text = f"base: {base.name}\nsystem: Mine\nbaseline_conf:\n  max_ratio: 2.0\n"
    own.write_text(text)
    result = again.stages(7, 7, "--avsep_config", own.name)
    assert result.returncode == 0, result.stderr
    config = yaml.safe_load(
        (again.recipe / "exp/avsep_my_masks_raw/config.yaml").read_text()
    )
    assert config["config"] == own.name and "base" not in config
    assert config["trained"] is False and config["system"] == "Mine"
    assert config["baseline_conf"] == {"max_ratio": 2.0}
    assert config["encoder_conf"] == {"n_fft": 1024, "hop_length": 256}


def test_lists_of_mixtures(again, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("a.wav,b.wav\n")
    assert again.stages(4, 4, "--test_mixture_list", pairs).returncode == 0
    valid, test = again.calls("avsep_make_mixtures")
    assert "--list" not in valid["args"]
    assert value(test, "--list") == str(pairs)
    again.forget()
    assert again.stages(4, 4, "--valid_mixture_list", pairs).returncode == 0
    valid, test = again.calls("avsep_make_mixtures")
    assert value(valid, "--list") == str(pairs)
    assert "--list" not in test["args"]


def test_real_mixtures_are_separated_and_not_scored(again):
    result = again.stages(1, 8, "--real_sets", "duet")
    assert result.returncode == 0, result.stderr
    assert value(again.calls("prepare_music")[0], "--real_sets") == "duet"
    visual = again.calls("avsep_extract_visual")[-1]
    assert "duet" not in str(visual["args"])
    (make,) = again.calls("avsep_make_real_mixtures")
    assert value(make, "--prompts") == "class_mean"
    assert value(make, "--train_dir") == "dump/raw/train"
    assert "--visual_dir" not in make["args"]
    separated = again.calls("avsep_inference")[-1]
    assert "dump/raw/duet/visual_spk2.scp,visual_ref2,kaldi_ark" in separated["args"]
    assert len(again.keys("exp/avsep_train_raw/separated_duet/spk2.scp")) == 6
    assert len(again.calls("avsep_scoring")) == 2
    (results,) = again.calls("avsep_results")
    assert value(results, "--real_set") == (
        "duet:exp/avsep_train_raw/separated_duet:dump/raw/duet"
    )
    (report,) = again.calls("avsep_report")
    assert value(report, "--real_sets") == "duet"
    assert "Listen, for example: the mixture dump/raw/duet/wav.scp" in result.stdout


def test_real_mixtures_prompted_by_halves(again):
    options = ("--real_sets", "duet", "--duet_prompts", "halves")
    result = again.stages(1, 4, *options)
    assert result.returncode == 0, result.stderr
    call = again.calls("avsep_extract_visual")[-1]
    assert words(call, "--region") == ["whole"] * 3 + ["left", "right"]
    folders = [Path(folder).parent for folder in words(call, "--output_dir")]
    assert folders == [
        Path("dump/raw", part, "visual_split2")
        for part in ("train", "valid", "test", "duet/left", "duet/right")
    ]
    assert words(call, "--wav_scp")[-2:] == ["data/duet/wav.scp"] * 2
    (make,) = again.calls("avsep_make_real_mixtures")
    assert values(make, "--visual_dir") == [
        "dump/raw/duet/left",
        "dump/raw/duet/right",
    ]
    features = again.recipe / "features.h5"
    features.touch()
    result = again.stages(2, 2, *options, "--visual_precomputed", features)
    assert result.returncode == 2 and "must see the halves" in result.stderr


def test_precomputed_features(again):
    features = again.root / "features.h5"
    features.touch()
    result = again.stages(2, 2, "--visual_precomputed", features)
    assert result.returncode == 0, result.stderr
    call = again.calls("avsep_extract_visual")[0]
    assert value(call, "--precomputed") == str(features)
    assert value(call, "--utt2clip") == "data/train/utt2clip"
    assert "--visual_model" not in call["args"]
    result = again.stages(2, 2, "--visual_precomputed", "/no/such.h5")
    assert result.returncode == 2 and "/no/such.h5" in result.stderr


def test_motion_features(again):
    options = ("--motion_encoder", "r2plus1d_18", "--motion_pretrained", "random",
               "--motion_args", "--seed 3",
               "--motion_align", "segment", "--avsep_tag", "motion")  # fmt: skip
    result = again.stages(2, 7, *options)
    assert result.returncode == 0, result.stderr
    assert "these weights are RANDOM, the network" in result.stdout
    calls = again.calls("avsep_extract_motion")
    assert len(calls) == 3  # a check of the weights, two jobs
    assert value(calls[0], "--motion_encoder") == "r2plus1d_18"
    assert value(calls[0], "--motion_pretrained") == "random"
    assert [value(call, "--seed") for call in calls] == ["3"] * 3
    assert words(calls[1], "--wav_scp") == [
        f"data/{dset}/wav.scp" for dset in ("train", "valid", "test")
    ]
    assert again.keys("dump/raw/train/motion.scp") == TRAIN
    dirs = [value(c, "--condition_dir") for c in again.calls("avsep_filter_clips")]
    assert dirs == [f"motion:dump/raw/{dset}" for dset in ("train", "valid", "test")]
    for call in again.calls("avsep_make_mixtures"):
        assert value(call, "--motion_align") == "segment"
    (train,) = again.calls("avsep_train")
    part = "data_path_and_name_and_type"
    motion = "dump/raw/train/motion_spk1.scp,motion_ref1,kaldi_ark"
    assert motion in values(train, f"--train_{part}")
    assert "motion_align=segment" in values(train, "--dataset_conf")
    motions = [t for t in values(train, f"--valid_{part}") if "motion" in t]
    assert motions == [
        f"dump/raw/valid/motion_spk{n}.scp,motion_ref{n},kaldi_ark" for n in (1, 2)
    ]
    stats = "exp/avsep_stats_11625/valid/motion_ref2_shape"
    assert stats in values(train, "--valid_shape_file")
    inference = values(again.calls("avsep_inference")[0], f"--{part}")
    assert "dump/raw/test/motion_spk2.scp,motion_ref2,kaldi_ark" in inference
    folder = again.recipe / "exp/avsep_motion"
    assert "motion: r2plus1d_18" in (folder / "motion_info.yaml").read_text()
    # The same data for a system that wants no motion, and again for one that does.
    for use, number in (("false", 0), ("true", 2)):
        again.forget()
        assert again.stages(5, 5, "--use_motion", use).returncode == 0
        calls = again.calls("avsep_collect_stats")
        assert str(calls[1]["args"]).count(",motion_ref") == number


def test_a_further_condition(again):
    """Its tables of stage 2 are somebody else's; stages 4 to 7 need no change."""
    for dset in ("train", "valid", "test"):
        for end in (".scp", "_info.yaml", "_skipped.tsv"):
            text = (again.recipe / f"dump/raw/{dset}/visual{end}").read_text()
            (again.recipe / f"dump/raw/{dset}/depth{end}").write_text(text)
    result = again.stages(4, 7, "--conditions", "depth", "--avsep_tag", "depth")
    assert result.returncode == 0, result.stderr
    filtered = again.calls("avsep_filter_clips")
    assert value(filtered[0], "--condition_dir") == "depth:dump/raw/train"
    (train,) = again.calls("avsep_train")
    given = values(train, "--train_data_path_and_name_and_type")
    assert given[-1] == "dump/raw/train/depth_spk1.scp,depth_ref1,kaldi_ark"
    given = values(again.calls("avsep_inference")[0], "--data_path_and_name_and_type")
    assert given[-1] == "dump/raw/test/depth_spk2.scp,depth_ref2,kaldi_ark"
    assert (again.recipe / "exp/avsep_depth/depth_info.yaml").is_file()
    for options, message in (
        (("--conditions", "depth colour"), "colour.scp is missing or empty"),
        (("--conditions", "*"), "--conditions '*'"),
    ):
        result = again.stages(4, 4, *options)
        assert result.returncode == 2 and message in result.stderr


def test_crops_around_boxes_and_given_motion_features(again, tmp_path):
    result = again.stages(
        2, 2, "--visual_encoder", "frames", "--visual_boxes", tmp_path,
        "--box_classes", "person,any", "--box_margin", "0.1",
        "--motion_precomputed", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    call = again.calls("avsep_extract_visual")[0]
    assert value(call, "--visual_boxes") == str(tmp_path)
    assert value(call, "--box_classes") == "person,any"
    assert value(call, "--box_margin") == "0.1" and "--box_size" not in call["args"]
    assert value(call, "--utt2clip") == "data/train/utt2clip"
    folder = again.recipe / "dump/raw/train"
    rows = [line.split("\t") for line in (folder / "visual_boxes.tsv").open()]
    assert [(row[0], row[1]) for row in rows] == [(k, r) for k in TRAIN for r in "01"]
    assert "6 of 12 pictures have no box and stay whole" in result.stdout
    info = (folder / "visual_info.yaml").read_text()
    assert "box_rows: 12\nbox_rows_whole: 6\n" in info
    call = again.calls("avsep_extract_motion")[0]
    assert value(call, "--motion_precomputed") == str(tmp_path)
    assert value(call, "--utt2clip") == "data/train/utt2clip"
    assert "--motion_encoder" not in call["args"] and "--wav_scp" not in call["args"]
    # Whole pictures again: no table of boxes that are gone.
    assert again.stages(2, 2).returncode == 0
    assert not (folder / "visual_boxes.tsv").exists()


def test_weights_that_cannot_be_had_end_stage_2_before_its_jobs(again):
    options = ("--visual_pretrained", "no_such_tag")
    result = again.stages(2, 2, *options, FAKE_NO_WEIGHTS="error: no such tag")
    assert result.returncode != 0
    assert result.stderr.count("error: no such tag") == 1
    (check,) = again.calls("avsep_extract_visual")
    assert "--check_weights" in check["args"]
    again.forget()
    # Features of these weights are there: they may be gone since.
    assert again.stages(2, 2, FAKE_NO_WEIGHTS="error: gone").returncode == 0
    assert len(again.calls("avsep_extract_visual")) == 2


def test_sets_of_fewer_clips_than_jobs_have_no_piece_for_the_last_ones(again):
    table = again.recipe / "data/test/video.scp"
    lines = table.read_text().splitlines(keepends=True)
    for name in ("video.scp", "wav.scp"):
        (table.parent / name).write_text("".join(lines[:1]))
    result = again.stages(2, 2, "--nj", 3)
    assert result.returncode == 0, result.stderr
    pieces = again.recipe / "dump/raw/test/logs"
    sizes = [(pieces / f"video.{n}.scp").stat().st_size for n in (1, 2, 3)]
    assert sizes[0] > 0 and sizes[1:] == [0, 0]
    assert not (again.recipe / "dump/raw/test/visual_split1/2").exists()
    assert len(again.keys("dump/raw/test/visual.scp")) == 1


@pytest.mark.parametrize("option", ["--visual_boxes", "--motion_precomputed"])
def test_folders_that_are_not_there(prepared, option):
    calls = len(prepared.calls())
    result = prepared.stages(2, 2, option, "/no/such")
    assert result.returncode == 2 and f"{option} '/no/such': " in result.stderr
    assert len(prepared.calls()) == calls


def test_motion_that_was_not_made(again):
    result = again.stages(4, 4, "--use_motion", "true")
    assert result.returncode == 2
    assert "dump/raw/train/motion.scp is missing" in result.stderr
    assert "Stage 2 writes it" in result.stderr


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        (["--avsep_args", "--max_epoch 2 --optim_conf lr=1e-3"],
         "avsep_train_raw_max_epoch2_optim_conflr1e-3"),
        (["--avsep_args", "--init a/b:c,[d]"], "avsep_train_raw_inita_b_c__d_"),
        (["--avsep_config", "conf/tuning/train_avsep_mini.yaml"],
         "avsep_train_avsep_mini_raw"),
        (["--avsep_tag", "mine"], "avsep_mine"),
        (["--expdir", "elsewhere", "--avsep_exp", "exp/here"], "here"),
    ],
)  # fmt: skip
def test_experiment_folder(again, options, folder):
    result = again.stages(5, 6, *options)
    assert result.returncode == 0, result.stderr
    train = again.calls("avsep_train")[0]
    assert value(train, "--output_dir") == f"exp/{folder}"


def test_long_tags_are_cut_and_stay_apart(again):
    names = set()
    for last in "ab":
        long = f"--separator_conf {'x' * 300}={last}"
        assert again.stages(5, 6, "--avsep_args", long).returncode == 0
        names.add(value(again.calls("avsep_train")[-1], "--output_dir"))
    assert len(names) == 2 and all(len(name) < 200 for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stage=2"], "a word of its own"),
        (["--no_such_option", "1"], "unknown option --no_such_option"),
        (["--skip_train", "yes"], "expected true or false"),
        (["--gpu_inference", "1"], "expected true or false"),
        (["--stage", "two"], "--stage 'two': expected a whole number"),
        (["--nj", "0"], "--nj '0': expected a whole number, 1 or more"),
        (["--nj", "-1"], "--nj '-1'"),
        (["--num_nodes", "2"], "cmd_backend=local (environment or cmd.sh) trains on"),
        (["--ref_num", "1"], "2 or more"),
        (["--fs", "11.6k"], "--fs '11.6k'"),
        (
            ["--inference_tag", "a", "--shuffled_tag", "a"],
            "would replace the first one",
        ),
        (["--silence_dbfs", "quiet"], "--silence_dbfs 'quiet': expected a number"),
        (["--min_wav_duration", "5s"], "--min_wav_duration '5s': expected a number"),
        (["--visual_fps", "1.2.3"], "--visual_fps '1.2.3': expected a number"),
        (["--audio_format", "mp3"], "expected wav or flac"),
        (["--scoring_backend", "museval"], "expected fast or mir_eval"),
        (["--visual_device", "gpu"], "expected auto, cpu or cuda"),
        (["--visual_dtype", "float16"], "expected float32 or bfloat16"),
        (["--motion_encoder", "i3d"], "expected s3d, r2plus1d_18, mvit_v2_s"),
        (["--motion_encoder", "s3d", "--motion_precomputed", "."], "one of the two"),
        (
            ["--visual_boxes", ".", "--visual_precomputed", "y"],
            "before they are encoded",
        ),
        (["--visual_boxes", ".", "--real_sets", "duet"], "which box is whose"),
        (["--motion_align", "crop"], "expected whole or segment"),
        (["--motion_precomputed", ".", "--motion_align", "segment"], "first 160 s"),
        (["--use_motion", "yes"], "--use_motion 'yes': expected true or false"),
        (["--use_motion", "true", "--real_sets", "duet"], "whose motion it is cannot"),
        (["--train_set", ""], "--train_set is required"),
        (["--test_sets", "train"], "'train' is the training set and"),
        (["--test_mixture_list", "/no/list"], "/no/list': no such file"),
        (["--duet_prompts", "text"], "expected class_mean or halves"),
        (["--real_sets", "test"], "'test' is among --real_sets and another set too"),
        (["--real_sets", "duet", "--ref_num", "3"], "duets have two sources"),
        (["--download_model", "a/b", "--skip_packing", "false"], "packed already"),
        (["--skip_upload_hf", "false"], "--hf_repo <user>/<name> says where to"),
        (["--hf_dry_run", "maybe"], "expected true or false"),
        (["--avsep_config", "conf/none.yaml"], "conf/none.yaml': no such file"),
        (["--python", "no_such_python"], "there is no such program"),
        (["extra"], "'extra' is not an option"),
        (["--train_set", "my/train"], "'my/train': expected one word without '/'"),
        (["--valid_set", "my valid"], "'my valid': expected one word"),
        (["--test_sets", "test -x"], "'-x': expected one word"),
        (["--real_sets", "a:b"], "'a:b': expected one word"),
        (
            ["--test_sets", "test test_same_class", "--mix_same_class", "true"],
            "two sets have the name 'test_same_class'",
        ),
        # Parts of options are separated by these: "test:<scores>:<data>".
        (["--dumpdir", "a,b"], "'a,b/raw': expected a folder without ':' and ','"),
        (["--datadir", "a:b"], "'a:b': expected a folder without"),
        # Of a launcher's jobs, the first would get /scratch/1_77/x.h5.
        (["--visual_precomputed", "/scratch/JOB_77/x.h5"], "expected no 'JOB' in it"),
        (["--dumpdir", "/scratch/JOB_77"], "--dumpdir '/scratch/JOB_77': expected no"),
        (["--inference_tag", "lr:1"], "'exp/avsep_train_raw/lr:1': expected a folder"),
        (["--stop_stage", "1"], "--stage 2 --stop_stage 1: no stage is left to run"),
    ],
)
def test_bad_options(prepared, options, message):
    calls = len(prepared.calls())
    result = prepared.stages(2, 8, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(prepared.calls()) == calls


def test_missing_package_is_named(prepared):
    script = prepared.root / "shim" / "bare"
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    result = prepared.stages(2, 8, "--python", script)
    assert result.returncode == 2
    assert "has no espnet2 or no espnet2_avsep" in result.stderr


def test_without_a_health_report(again):
    again.forget()
    assert again.stages(4, 4, "--health_report", "false").returncode == 0
    assert not again.calls("avsep_health_report")
    # That of the clips before is gone.
    assert not (again.recipe / "dump/raw/report/index.html").exists()


def test_report_of_the_results(prepared, again):
    (report,) = prepared.calls("avsep_report")
    assert value(report, "--experiment") == "exp/avsep_train_raw"
    sets = report["args"][report["args"].index("--sets") + 1 :]
    assert sets[:3] == ["test", "valid", "--real_sets"]
    assert value(report, "--leaks") == "dump/raw/leaks.tsv"
    assert value(report, "--output_dir") == "exp/avsep_train_raw/report"
    options = ["--leak_check", "false", "--report_mixtures", "3"]
    assert again.stages(8, 8, *options).returncode == 0
    (report,) = again.calls("avsep_report")
    assert "--leaks" not in report["args"] and value(report, "--max_mixtures") == "3"
    again.forget()
    assert again.stages(8, 8, "--report", "false").returncode == 0
    assert not again.calls("avsep_report") and again.calls("avsep_results")
    # That of the scores before is gone.
    assert not (again.recipe / "exp/avsep_train_raw/report/index.html").exists()


def test_skipping(again):
    skips = ["--skip_data_prep", "true", "--skip-train", "true"]
    result = again.stages(1, 8, *skips)
    assert result.returncode == 0, result.stderr
    assert "Skip stages 1-4" in result.stdout and "Skip stages 5 and 6" in result.stdout
    names = {call["name"] for call in again.calls()}
    stage_8 = {"avsep_scoring", "avsep_results", "avsep_report"}
    assert names == {"avsep_made_from", "avsep_inference", *stage_8}
    again.forget()
    assert again.stages(1, 8, *skips, "--skip_eval", "true").returncode == 0
    assert again.calls() == []


def test_packing_and_upload(again):
    result = again.stages(9, 10)
    assert result.returncode == 0 and again.calls() == []
    assert "Skip stage 9 (packing); --skip_packing false does it" in result.stdout
    assert "Skip stage 10" in again.stages(10, 10).stdout
    result = again.stages(9, 9, "--skip_packing", "false")
    assert result.returncode == 0, result.stderr
    (call,) = again.calls("avsep_pack")
    exp = "exp/avsep_train_raw"
    packed = f"{exp}/avsep_train_raw_valid.si_sdr_i.best.zip"
    assert value(call, "--outpath") == packed and packed in result.stdout
    assert value(call, "--results") == f"{exp}/RESULTS.md"
    assert value(call, "--inference_model") == "valid.si_sdr_i.best.pth"
    upload = ("--skip_upload_hf", "false", "--hf_repo", "me/it")
    result = again.stages(10, 10, *upload, "--hf_dry_run", "true")
    assert result.returncode == 0, result.stderr
    assert f"What would be: {exp}/hf_repo" in result.stdout
    result = again.stages(10, 10, *upload, "--hf_license", "cc-by-4.0")
    assert "Published: https://huggingface.co/me/it" in result.stdout
    dry, real = again.calls("avsep_upload")
    assert value(dry, "--packed_model") == value(real, "--packed_model") == packed
    assert (value(dry, "--dry_run"), value(real, "--dry_run")) == ("true", "false")
    assert (value(dry, "--license"), value(real, "--license")) == ("", "cc-by-4.0")
    assert value(real, "--hf_repo") == "me/it"


def test_packing_needs_what_went_before(again):
    upload = ("--skip_upload_hf", "false", "--hf_repo", "me/it")
    result = again.stages(10, 10, *upload)
    assert result.returncode == 2 and "Stage 9 writes it" in result.stderr
    (again.recipe / "exp/avsep_train_raw/RESULTS.md").unlink()
    result = again.stages(9, 9, "--skip_packing", "false")
    assert result.returncode == 0 and "packed without scores" in result.stdout
    assert "--results" not in again.calls("avsep_pack")[0]["args"]
    result = again.stages(9, 9, "--skip_packing", "false", "--avsep_tag", "other")
    assert result.returncode == 2 and "Stage 6 writes it" in result.stderr
    config = ("--avsep_config", "conf/tuning/untrained_rpca.yaml")
    result = again.stages(9, 9, "--skip_packing", "false", *config)
    assert result.returncode == 2 and "nothing to pack" in result.stderr


@pytest.mark.parametrize(
    "name",
    [
        "a;touch${IFS}MARK;$(touch${IFS}MARK)`touch${IFS}MARK`|&>MARK",
        'it\'s $(touch MARK) `touch MARK` \\ "é\u00a0" *;touch MARK #',
    ],
    ids=["one word", "blanks and quotes"],
)
def test_names_in_options_are_not_run(again, name):
    """Launchers hand words without blanks to a shell as they are (Kaldi's way)."""
    given, folder = f"{name}.given", name.replace("/", "_")
    (again.recipe / given).write_text("trained: true\n")
    options = [
        *(
            "--dumpdir",
            f"d {folder}",
            "--expdir",
            f"e{folder}",
            "--inference_tag",
            folder,
        ),
        *("--visual_precomputed", given, "--test_mixture_list", given),
        *("--avsep_config", given, "--corpus_note", f"Costs $5; {name}"),
    ]
    result = again.stages(1, 9, "--skip_packing", "false", *options)
    assert result.returncode == 0, result.stderr
    assert not list(again.root.rglob("MARK"))
    called = {
        "avsep_extract_visual": ("--precomputed", given),
        "avsep_make_mixtures": ("--list", given),
        "avsep_train": ("--config", given),
        "avsep_results": ("--corpus_note", f"Costs $5; {name}"),
        "avsep_report": ("--dump_dir", f"d {folder}/raw"),
        "avsep_pack": ("--avsep_exp", f"e{folder}/avsep_{given}_raw"),
    }
    for command, (option, expected) in called.items():
        assert value(again.calls(command)[-1], option) == expected


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("user/model-1@x", "avsep_downloaded_user_model-1_x"),
        ("packed/avsep_a_best.zip", "avsep_downloaded_a_best"),
    ],
)
def test_a_published_model(again, model, folder):
    (again.recipe / "packed").mkdir()
    (again.recipe / "packed/avsep_a_best.zip").touch()
    result = again.stages(5, 10, "--download_model", model)
    assert result.returncode == 0, result.stderr
    names = {call["name"] for call in again.calls()}
    assert {"avsep_fetch_model", "avsep_inference", "avsep_scoring"} <= names
    assert not {"avsep_collect_stats", "avsep_train", "launch"} & names
    (fetch,) = again.calls("avsep_fetch_model")
    assert value(fetch, "--model") == model
    assert value(fetch, "--output_dir") == f"exp/{folder}"
    assert values(fetch, "--made_by") == [
        "dump/raw/test/visual_info.yaml",
        "dump/raw/valid/visual_info.yaml",
    ]
    inference = again.calls("avsep_inference")[0]
    assert value(inference, "--train_config") == f"exp/{folder}/config.yaml"
    assert value(inference, "--model_file") == f"exp/{folder}/best.safetensors"
    results = again.calls("avsep_results")[0]
    assert value(results, "--inference_model") == "best.safetensors"
    again.forget()
    assert again.stages(8, 8, "--download_model", model).returncode == 0
    assert again.calls("avsep_results")[0]["args"] == results["args"]


def test_a_model_that_cannot_be_had(again):
    options = ("--download_model", "user/model", "--avsep_tag", "mine")
    result = again.stages(7, 8, *options, FAKE_FAILS="avsep_fetch_model")
    assert result.returncode == 1
    assert "avsep_fetch_model was told to fail" in result.stderr
    assert not again.calls("avsep_inference")


def test_kilohertz(again):
    assert again.stages(3, 3, "--fs", "16k").returncode == 0
    assert value(again.calls("avsep_format_audio")[0], "--fs") == "16000"


def test_the_same_set_for_valid_and_test(again):
    assert again.stages(8, 8, "--test_sets", "valid test").returncode == 0
    assert len(again.calls("avsep_scoring")) == 2


def test_progress_is_shown(again):
    """Jobs go on when it has been."""
    job, shown = again.root / "shim" / "slow", again.root / "shown"
    job.write_text(
        '#!/usr/bin/env bash\n[ "$1" = -c ] || { echo "12:00 INFO: 17 of 20 clips"; '
        'echo "a warning"; for _ in $(seq 600); do '
        f'! grep -q "17 of 20" {shown} || break; sleep 0.1; done; }}\n'
        f'exec {again.python} "$@"\n'
    )
    job.chmod(0o755)
    options = ["--python", job, "--progress_interval", 1, "--nj", 1]
    options += ["--expdir", "of two words"]
    with shown.open("w") as out:
        result = again.stages(5, 5, *options, stdout=out)
    assert result.returncode == 0, result.stderr
    assert "    collect_stats.log: 17 of 20 clips" in shown.read_text()


@pytest.mark.parametrize(
    ("script", "stage", "name"),
    [
        ("./run.sh", 1, "prepare_music"),
        ("./run.sh", 2, "avsep_extract_visual"),
        ("./run.sh", 6, "avsep_train"),
        ("exp/avsep_train_raw/run.sh", 6, "avsep_train"),
    ],
)
def test_stopping_the_recipe_stops_its_jobs(again, script, stage, name):
    words = ["--stage", stage, "--stop_stage", stage, "--python", again.python]
    process = subprocess.Popen(
        [script, "--ngpu", "0", *map(str, words)],
        cwd=again.recipe,
        env=again.environment(FAKE_HANGS=name, MUSIC="/tmp"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    mark = again.recipe / "hanging"
    mark.unlink(missing_ok=True)

    def hangs():
        assert process.poll() is None
        return mark.exists() and mark.read_text()

    wait_until(hangs, 60)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143
    go_on = f"Run the same command again (or with '--stage {stage}') to go on"
    assert f"Stopped in stage {stage}. {go_on}" in err
    pid = int(mark.read_text())
    wait_until(lambda: not is_running(pid), 60)
    # And it can be run again.
    assert again.stages(stage, stage).returncode == 0


def options_of(script):
    """Name -> default of the options that a script declares before it parses them."""
    head = script.read_text().partition("parse_options.sh")[0]
    found = re.findall(r'^([a-z]\w*)=("[^"]*"|[^ "$(]*) +# ', head, re.MULTILINE)
    return {name: default.strip('"') for name, default in found}


OPTIONS = {
    line.partition("=")[0]: line.partition("=")[2]
    for line in (Path(__file__).parent / "avsep_options.txt").read_text().splitlines()
}


def test_options_and_their_defaults(prepared):
    """None is lost, and no default changes unnoticed."""
    assert options_of(prepared.recipe / "avsep.sh") == OPTIONS


def test_help(prepared):
    result = prepared.run("--help", script="./avsep.sh")
    assert result.returncode == 0
    assert result.stdout.startswith("Audio-visual sound separation")
    shown = re.findall(r"^    --(\w+) +# (.+)$", result.stdout, re.MULTILINE)
    assert [name for name, _ in shown] == list(OPTIONS)
    for name, default in OPTIONS.items():
        text = result.stdout.partition(f"    --{name} ")[2].partition("\n    --")[0]
        assert (f'(default="{default}")' in text) == bool(default), name
    assert "# Stage 4: clips and fixed mixtures" in result.stdout
    assert all(len(line) <= 105 for line in result.stdout.splitlines())


def test_contract_option_names(prepared):
    """The names that stages.md and ESPnet's users rely on."""
    shown = prepared.run("--help", script="./avsep.sh").stdout
    names = (
        "stage stop_stage skip_data_prep skip_train skip_eval skip_packing "
        "skip_upload_hf ngpu num_nodes nj inference_nj gpu_inference dumpdir expdir "
        "python local_data_opts audio_format fs min_wav_duration max_wav_duration "
        "avsep_exp avsep_tag avsep_config avsep_args ref_num init_param inference_args "
        "inference_model inference_tag download_model scoring_opts train_set valid_set "
        "test_sets hf_repo hf_license hf_private hf_dry_run"
    )
    for name in names.split():
        assert f"    --{name} " in shown, name

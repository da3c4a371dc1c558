"""local/data.sh: which script is run on which folder, and what is checked after."""

import fcntl

import pytest
from shell_checkout import Checkout, value


@pytest.fixture
def music(tmp_path):
    (tmp_path / "my music").mkdir()
    return Checkout(tmp_path / "checkout")


def prepare(checkout, *arguments, **extra):
    words = ["--python", checkout.python, *arguments]
    return checkout.run(*words, script="local/data.sh", **extra)


def test_the_environment_names_the_folder(music, tmp_path):
    folder = str(tmp_path / "my music")
    result = prepare(music, "--splits", "s", "--test-sets", "test other", MUSIC=folder)
    assert result.returncode == 0, result.stderr
    (call,) = music.calls()
    assert call["name"] == "prepare_music"
    assert value(call, "--music_dir") == folder
    assert value(call, "--splits") == "s"
    assert value(call, "--train_set") == "train"
    assert value(call, "--test_sets") == "test other"
    assert value(call, "--data_dir") == "data"
    for dset in ("train", "valid", "test", "other"):
        assert f"data/{dset}: 6 utterances, all is well" in result.stdout
        assert f"data/{dset}: 6 clips, 0 left out" in result.stdout


def test_db_sh_names_the_folder_and_the_environment_wins(music, tmp_path):
    db = music.recipe / "db.sh"
    text = db.read_text()
    db.unlink()
    db.write_text(text.replace("MUSIC=\n", f'MUSIC="{tmp_path}/my music"\n', 1))
    assert prepare(music).returncode == 0
    assert prepare(music, MUSIC="").returncode == 0
    assert prepare(music, MUSIC=str(tmp_path)).returncode == 0
    folders = [value(call, "--music_dir") for call in music.calls()]
    assert folders == [f"{tmp_path}/my music"] * 2 + [str(tmp_path)]


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("", "Fill in MUSIC=<folder> in db.sh, or set it in the environment"),
        ("", "With MUSIC=downloads it is fetched"),
        ("/no/such", "MUSIC=/no/such: no such folder"),
    ],
)
def test_no_folder(music, folder, message):
    result = prepare(music, MUSIC=folder)
    assert result.returncode == 2
    assert message in result.stderr.replace("\n", " ")
    assert music.calls() == []


def test_downloads_are_fetched_first(music):
    options = "--nj 2 --only cello tuba"
    result = prepare(music, "--download_opts", options, MUSIC="downloads")
    assert result.returncode == 0, result.stderr
    fetch, read = music.calls()
    assert fetch["name"] == "avsep_download"
    assert fetch["args"] == [
        *("--corpus", "music", "--output_dir", "downloads/music", "--nj", "2"),
        *("--only", "cello", "tuba"),
    ]
    assert value(read, "--music_dir") == "downloads/music"
    failed = prepare(music, MUSIC="downloads", FAKE_FAILS="avsep_download")
    assert failed.returncode == 1
    assert len(music.calls("prepare_music")) == 1


def test_a_real_set_is_prepared_and_checked_too(music, tmp_path):
    result = prepare(music, "--real_sets", "duet", MUSIC=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert value(music.calls()[0], "--real_sets") == "duet"
    assert "data/duet: 6 utterances, all is well" in result.stdout
    assert (music.recipe / "data/duet/utt2pair").exists()


def test_mini_music_is_generated_and_then_read_as_music(tmp_path):
    mini = Checkout(tmp_path / "checkout", "mini_music")
    result = prepare(mini, "--seed", "3")
    assert result.returncode == 0, result.stderr
    generate, read = mini.calls()
    assert generate["name"] == "prepare_mini_music"
    assert generate["args"] == ["--corpus_dir", "downloads/mini_music", "--seed", "3"]
    assert read["name"] == "prepare_music"
    assert value(read, "--music_dir") == "downloads/mini_music"
    assert value(read, "--splits") == "downloads/mini_music/splits"
    assert "--seed" not in read["args"]
    prepare(mini, MINI_MUSIC=str(tmp_path / "else where"))
    assert value(mini.calls()[-1], "--music_dir") == str(tmp_path / "else where")


@pytest.mark.parametrize("lock", ["data/.stage1.lock", "downloads/.mini_music.lock"])
def test_two_runs_do_not_write_one_folder_at_a_time(tmp_path, lock):
    mini = Checkout(tmp_path / "checkout", "mini_music")
    path = mini.recipe / lock
    path.parent.mkdir()
    with path.open("a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        refused = prepare(mini)
        assert refused.returncode == 2 and not mini.calls()
        assert "Error: another run is using" in refused.stderr
        assert f"(the lock is {lock})" in refused.stderr
    result = prepare(mini)  # a lock ends with the process that holds it
    assert result.returncode == 0, result.stderr
    assert path.exists()


def test_corpus_is_the_folders_name_unless_given(tmp_path):
    mini = Checkout(tmp_path / "checkout", "mini_music")
    assert prepare(mini, "--corpus", "music", MUSIC="/tmp").returncode == 0
    assert [call["name"] for call in mini.calls()] == ["prepare_music"]
    result = prepare(mini, "--corpus", "nothing")
    assert result.returncode == 2
    assert "there is no local/prepare_nothing.py" in result.stderr


def test_a_new_corpus_needs_no_change_of_data_sh(music):
    (music.root / "local" / "prepare_avenue.py").touch()
    result = prepare(music, "--corpus", "avenue", AVENUE="/tmp")
    assert result.returncode == 0, result.stderr
    (call,) = music.calls()
    assert (call["name"], value(call, "--avenue_dir")) == ("prepare_avenue", "/tmp")


def test_commands_that_a_corpus_script_writes(music):
    """Stage 1 refused them whatever --allow_pipes said."""
    python = music.root / "shim" / "with_commands"
    python.write_text(
        f'#!/usr/bin/env bash\n{music.python} "$@" || exit\n[ "$1" = -c ] || '
        "sed -i 's/ .*/ sph2pipe -f wav x.sph |/' data/*/wav.scp\n"
    )
    python.chmod(0o755)
    result = music.stages(1, 1, "--python", python)
    assert result.returncode == 1 and "has a command for a file" in result.stderr
    result = music.stages(1, 1, "--python", python, "--allow_pipes", "true")
    assert result.returncode == 0, result.stderr
    assert "allow_pipes" not in music.calls()[-1]["args"]


def test_failures_are_passed_on(music):
    result = prepare(music, MUSIC="/tmp", FAKE_FAILS="prepare_music")
    assert result.returncode == 1
    assert "prepare_music was told to fail" in result.stderr


def test_outside_a_recipe(music):
    (music.recipe / "path.sh").unlink()
    result = prepare(music, MUSIC="/tmp")
    assert result.returncode == 2
    assert "run this in a recipe's folder" in result.stderr
    assert prepare(music, "--train_set").returncode == 2
    assert "Usage" in prepare(music, "--help").stdout


def test_local_data_opts_reach_the_corpus_script(music):
    options = ["--local_data_opts", "--split_ratio 0.8"]
    assert music.stages(1, 1, *options).returncode == 0
    assert value(music.calls()[0], "--split_ratio") == "0.8"


def test_the_record_of_stage_1_is_the_same_however_it_was_run(music, tmp_path):
    """By itself or by avsep.sh; a later stage compares its options with it."""
    record = music.recipe / "data" / "stage1.options"
    folder = str(tmp_path / "my music")
    assert prepare(music, "--split_ratio", "0.8", MUSIC=folder).returncode == 0
    alone = record.read_text()
    assert "local_data_opts=--split_ratio 0.8\n" in alone
    options = ["--local_data_opts", "--split_ratio 0.8"]
    assert music.stages(1, 1, *options, MUSIC=folder).returncode == 0
    assert record.read_text() == alone
    other = ["--local_data_opts", "--split_ratio 0.7"]
    result = music.stages(2, 2, *other, MUSIC=folder)
    assert result.returncode == 2
    assert "stage 1 was run with '--split_ratio 0.8'" in result.stderr

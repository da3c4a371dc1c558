"""The mini recipe, stages 1 to 8 with the real commands, on a few generated clips."""

import csv
import math

import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.tables.scp import read_scp
from tests.recipe.real_recipe import copy_recipe, run, scores_of

OPTIONS = (
    "--local_data_opts",
    "--train_takes 2 --valid_takes 1 --test_takes 1 --duration 2",
    *("--segment_samples", "16256", "--train_segment_samples", "16256"),
    *("--nj", "1", "--inference_nj", "2"),
    *("--valid_num_mixtures", "4", "--test_num_mixtures", "6"),
    *("--avsep_tag", "tiny"),
    *("--avsep_args", "--max_epoch 2 --num_iters_per_epoch 4 --batch_size 4"),
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = copy_recipe("mini_music", tmp_path_factory.mktemp("espnet"))
    printed = run(folder, "--stage", "1", "--stop-stage", "8", *OPTIONS)
    return folder, printed


def rows(path):
    with path.open() as f:
        return list(csv.DictReader(f, delimiter="\t"))


def test_every_source_is_scored(recipe):
    folder, printed = recipe
    for dset, num_mixtures in (("valid", 4), ("test", 6)):
        table = rows(folder / f"exp/avsep_tiny/scored_{dset}/scores.tsv")
        assert len(table) == 2 * num_mixtures
        assert {row["status"] for row in table} == {"ok"}
        for name in ("sdr", "sir", "sar", "si_sdr", "sdr_mix", "sdr_i"):
            assert all(math.isfinite(float(row[name])) for row in table), name
    results = (folder / "exp/avsep_tiny/RESULTS.md").read_text()
    assert "randomly initialised" in results and "Generated corpus" in results
    sha256 = (folder / "dump/raw/test/mixtures.sha256").read_text().split()[0]
    assert sha256 in results and scores_of(results) in printed


def test_page_of_the_results(recipe):
    report = recipe[0] / "exp/avsep_tiny/report"
    page = (report / "index.html").read_text()
    assert "Generated corpus" in page and "loss over the epochs" in page
    assert len(list(report.glob("media/*/*/mixture.flac"))) == 10
    assert len(list(report.glob("media/*/*/prompt*.jpg"))) == 20


def test_leaks_are_looked_for(recipe):
    folder, _ = recipe
    assert rows(folder / "dump/raw/leaks.tsv") == []
    results = (folder / "exp/avsep_tiny/RESULTS.md").read_text()
    assert "* leaks of test: 0 of 6 mixtures hold a clip" in results


def test_clips_are_counted(recipe):
    folder, _ = recipe
    for dset in ("train", "valid", "test"):
        listed = read_scp(folder / f"data/{dset}/wav.scp")
        assert (folder / f"dump/raw/{dset}/skipped.tsv").read_text() == ""
        visual = read_scp(folder / f"dump/raw/{dset}/visual.scp")
        assert list(visual) == list(listed)
    page = (folder / "dump/raw/report/index.html").read_text()
    assert "Health of mini_music" in page and "black videos" not in page
    assert len(list((folder / "dump/raw/report/pictures").glob("*/*.jpg"))) > 10


def test_mixtures_are_the_sum_of_their_sources(recipe):
    folder, _ = recipe
    tables = [
        read_scp(folder / f"dump/raw/test/{name}.scp")
        for name in ("wav", "spk1", "spk2")
    ]
    for key in tables[0]:
        mixture, *sources = (
            soundfile.read(folder / table[key], dtype="float32")[0] for table in tables
        )
        assert len(mixture) == len(sources[0])
        np.testing.assert_allclose(mixture, sources[0] + sources[1], atol=1e-6)


def test_training_left_what_it_should(recipe):
    folder, _ = recipe
    exp = folder / "exp/avsep_tiny"
    for name in ("config.yaml", "checkpoint.pth", "run.sh", "visual_info.yaml"):
        assert (exp / name).exists(), name
    assert len(list((exp / "pictures").glob("*/*.png"))) >= 2
    assert list((exp / "tensorboard").rglob("events.*"))


def test_a_trained_folder_separates_pictures(recipe):
    """The README's six lines, with pictures as prompts."""
    from espnet2_avsep import SeparateAV

    folder, _ = recipe
    separate = SeparateAV.from_pretrained(folder / "exp/avsep_tiny")
    path = next(iter(read_scp(folder / "dump/raw/test/wav.scp").values()))
    mixture, fs = soundfile.read(folder / path, dtype="float32")
    pictures = np.random.default_rng(0).integers(0, 255, (2, 90, 120, 3), np.uint8)
    tracks = separate(mixture, list(pictures), fs=fs)
    assert tracks.shape == (2, len(mixture)) and np.isfinite(tracks).all()


def test_second_run_changes_nothing(recipe):
    folder, _ = recipe
    patterns = ("dump/**/*.scp", "dump/**/*.wav", "dump/**/*.tsv", "exp/**/*.wav")
    patterns += ("exp/**/*.tsv", "exp/**/*.pth", "data/**/*", "downloads/**/*.mp4")
    files = [p for pattern in patterns for p in folder.glob(pattern) if p.is_file()]
    before = {path: path.read_bytes() for path in files}
    assert len(before) > 100
    run(folder, "--stage", "1", "--stop_stage", "8", *OPTIONS)
    for path, content in before.items():
        assert path.read_bytes() == content, path

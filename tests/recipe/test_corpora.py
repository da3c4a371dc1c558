"""Stand-ins of the corpora in their published layouts, stages 1 to 8 for real.

A tiny network is trained once, in one iteration, on MUSIC; the other recipes separate
with it. Features are given, so that no encoder is loaded.
"""

import csv
import math

import h5py
import numpy as np
import pytest
import soundfile
import yaml

from espnet2_avsep.data.tables.scp import read_scp, read_skipped
from tests.recipe.real_recipe import copy_recipe, run, scores_of
from tests.support import corpus_layouts as layouts
from tests.support.media_fixtures import write_clip
from tests.support.tiny_corpus import DIM, FS, MODEL_OPTIONS, SEGMENT

SETS = {
    "MUSIC": {
        "train": ["cello/c0", "cello/c1", "flute/f0", "flute/f1"],
        "val": ["cello/c2", "flute/f2"],
        "test": ["cello/c3", "flute/f3", "cello/c4"],
    },
    "VGGSOUND": {
        "train": ["dog barking/aaaaaaaaaaa_000030", "wind chime/bbbbbbbbbbb_000001"]
        + [f"dog barking/v{i:010d}_000005" for i in range(4)],
        "val": [],
        "test": [
            "police car (siren)/ccccccccccc_000200",
            "dog barking/ddddddddddd_000000",
        ],
    },
    "AVE": {
        "train": ["Church bell/b0", "Bark/d0"],
        "val": ["Church bell/b1", "Bark/d1"],
        "test": ["Male speech, man speaking/m0", "Church bell/b2"],
    },
}
DUETS = ["cello flute/d0", "flute cello/d1", "cello flute/gone"]


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Videos of 1.2 s, one tone each, and features of all clips."""
    folder = tmp_path_factory.mktemp("media")
    names = [n for lists in SETS.values() for n in layouts.everything(lists)] + DUETS
    videos = {}
    options = {"fps": 5, "rate": 8000, "options": {"preset": "ultrafast"}}
    with h5py.File(folder / "features.h5", "w") as features:
        rng = np.random.default_rng(0)
        for n, name in enumerate(names):
            path = folder / f"{n}.mp4"
            videos[name] = write_clip(path, 1.2, 150.0 + 30 * n, **options)
            features[name] = rng.normal(size=(2, DIM)).astype(np.float32)
    (folder / "train.yaml").write_text(
        yaml.safe_dump({**MODEL_OPTIONS, "max_epoch": 1, "num_iters_per_epoch": 1})
    )
    return folder, layouts.Media(videos)


def recipe(name, root, media, corpus, *options, stages=(1, 8), **environment):
    """Run a recipe on a stand-in; return its folder and what it printed."""
    folder = copy_recipe(name, root)
    printed = run(
        folder,
        *("--stage", str(stages[0]), "--stop_stage", str(stages[1])),
        *("--nj", "1", "--inference_nj", "1", "--ngpu", "0"),
        *("--fs", str(FS), "--segment_samples", str(SEGMENT)),
        *("--visual_precomputed", str(media / "features.h5")),
        *("--avsep_config", str(media / "train.yaml")),
        *options,
        **{name.upper(): str(corpus)},
        **environment,
    )
    return folder, printed


def scores(folder, dset="test"):
    paths = list(folder.glob(f"exp/*/**/scored_{dset}/scores.tsv"))
    with paths[0].open() as f:
        return list(csv.DictReader(f, delimiter="\t"))


@pytest.fixture(scope="module")
def music(tmp_path_factory, media):
    """MUSIC with duets and a pair list, trained."""
    root = tmp_path_factory.mktemp("music")
    folder, put = media
    lists = SETS["MUSIC"]
    gone = ["cello/c4", DUETS[2]]
    corpus = layouts.json_videos(root / "MUSIC", lists, put, duets=DUETS, gone=gone)
    layouts.write_splits(corpus / "splits", lists, {"val": "valid"})
    pairs = root / "testsep.csv"
    pairs.write_text(
        "/cello/c3.wav, /flute/f3.wav\n/flute/f3.wav, /cello/c3.wav\n"
        "/cello/c4.wav, /flute/f3.wav\n"
    )
    options = ("--test_mixture_list", str(pairs), "--real_sets", "duet")
    return recipe("music", root, folder, corpus, *options, "--avsep_tag", "tiny")


def test_music_with_a_list_of_pairs(music):
    folder, printed = music
    rows = scores(folder)
    assert [(r["mix_id"], r["instrument"]) for r in rows] == [
        *(("mix00000", "cello"), ("mix00000", "flute")),
        *(("mix00001", "flute"), ("mix00001", "cello")),
    ]
    assert all(r["status"] == "ok" and math.isfinite(float(r["sdr"])) for r in rows)
    results = (folder / "exp/avsep_tiny/RESULTS.md").read_text()
    assert scores_of(results) in printed
    assert "* train: 4 of 4 listed clips are there, 4 are used" in results
    assert (
        "* test: 2 of 3 listed clips are there (missing: video not found: 1)" in results
    )
    assert (
        "mixtures from testsep.csv, SHA-256 " in results and ": 2 of 3 made" in results
    )
    assert "clip not in the set (mixture)" in results


def test_duets_are_separated_and_not_scored(music):
    folder, _ = music
    results = (folder / "exp/avsep_tiny/RESULTS.md").read_text()
    assert "* real mixtures: 2, separated and not scored" in results
    assert "* duet: 2 of 3 listed clips are there" in results
    mixtures = read_scp(folder / "dump/raw/duet/wav.scp")
    assert list(mixtures) == ["cello_flute-d0", "flute_cello-d1"]
    for n in (1, 2):
        tracks = read_scp(folder / f"exp/avsep_tiny/separated_duet/spk{n}.scp")
        assert list(tracks) == list(mixtures)
        for key in mixtures:
            assert f"{tracks[key]}" and soundfile.info(folder / tracks[key]).frames == (
                soundfile.info(folder / mixtures[key]).frames
            )
    assert not list(folder.glob("exp/*/scored_duet"))


CASES = {
    "music21": lambda root, put: layouts.csv_tree(
        root, SETS["MUSIC"], put, layouts.LAYOUTS["sound_of_pixels"]
    ),
    "vggsound": lambda root, put: layouts.vggsound_archives(
        root, SETS["VGGSOUND"], put
    ),
    "ave": lambda root, put: layouts.ave(root, SETS["AVE"], put),
}


@pytest.mark.parametrize("name", CASES)
def test_other_corpora_with_the_same_network(tmp_path, media, music, name):
    folder, put = media
    corpus = CASES[name](tmp_path / "corpus", put)
    exp = tmp_path / "exp"
    trained = music[0] / "exp" / "avsep_tiny"
    exp.mkdir()
    for file in ("config.yaml", "valid.si_sdr_i.best.pth"):
        (exp / file).write_bytes((trained / file).resolve().read_bytes())
    extra = {
        # One set for validation and test, which spares the stages of the other.
        "music21": ("--valid_set", "test"),
        "vggsound": (
            "--local_data_opts",
            f"--extract_dir {tmp_path}/cache --valid_ratio 0.6",
        ),
        "ave": ("--valid_set", "test"),
    }[name]
    recipe_folder, printed = recipe(
        *(name, tmp_path, folder, corpus),
        *("--avsep_exp", str(exp), "--skip_train", "true", *extra),
        *("--valid_num_mixtures", "2", "--test_num_mixtures", "2"),
        # MUSIC's run has these.
        *("--report", "false", "--health_report", "false", "--leak_check", "false"),
    )
    with (exp / "scored_test" / "scores.tsv").open() as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    assert len(rows) == 4
    assert all(r["status"] == "ok" and math.isfinite(float(r["sdr"])) for r in rows)
    listed = {
        "music21": SETS["MUSIC"],
        "vggsound": SETS["VGGSOUND"],
        "ave": SETS["AVE"],
    }[name]
    n = len(listed["test"])
    results = (exp / "RESULTS.md").read_text()
    assert scores_of(results) in printed
    assert f"* test: {n} of {n} listed clips are there, {n} are used" in results
    clips = read_scp(recipe_folder / "data/test/utt2clip")
    assert sorted(clips.values()) == sorted(listed["test"])
    assert read_skipped(recipe_folder / "dump/raw/test/skipped.tsv") == []

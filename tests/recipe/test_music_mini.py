"""egs2/music on a small corpus of real recordings, where one is at hand.

The corpus is looked for at $MUSIC_MINI, or at ../shared/music_mini beside the checkout:
videos/<category>/<id>.mp4, MUSIC_solo_videos.json, splits/, standin_clip.h5.
"""

import csv
import math
import os
from pathlib import Path

import pytest

from espnet2_avsep.data.tables.scp import read_scp
from tests.recipe.real_recipe import REPOSITORY, copy_recipe, run

CORPUS = Path(os.environ.get("MUSIC_MINI", REPOSITORY.parent / "shared" / "music_mini"))
pytestmark = pytest.mark.skipif(
    not (CORPUS / "MUSIC_solo_videos.json").exists(),
    reason=f"no corpus of real recordings at {CORPUS}",
)


def test_stages_1_to_8(tmp_path):
    folder = copy_recipe("music", tmp_path)
    run(
        folder,
        *("--stage", "1", "--stop_stage", "8", "--ngpu", "0"),
        *("--nj", "2", "--inference_nj", "1"),
        *("--visual_precomputed", str(CORPUS / "standin_clip.h5")),
        *("--avsep_config", "conf/tuning/train_avsep_mini.yaml"),
        *("--avsep_tag", "tiny", "--test_num_mixtures", "6"),
        *("--health_max_videos", "12"),
        *("--avsep_args", "--max_epoch 1 --num_iters_per_epoch 3 --batch_size 4"),
        MUSIC=str(CORPUS),
    )
    counts = {}
    for dset in ("train", "valid", "test"):
        listed = read_scp(folder / f"data/{dset}/wav.scp")
        skipped = (folder / f"dump/raw/{dset}/skipped.tsv").read_text().splitlines()
        clips = "dump/raw/train" if dset == "train" else f"dump/raw/org/{dset}_clips"
        kept = read_scp(folder / clips / "wav.scp")
        counts[dset] = len(listed)
        assert len(kept) + len(skipped) == len(listed)
    assert counts == {"train": 50, "valid": 15, "test": 20}
    with (folder / "exp/avsep_tiny/scored_test/scores.tsv").open() as f:
        table = list(csv.DictReader(f, delimiter="\t"))
    assert len(table) == 12
    assert all(row["status"] == "ok" for row in table)
    assert all(math.isfinite(float(row["sdr"])) for row in table)

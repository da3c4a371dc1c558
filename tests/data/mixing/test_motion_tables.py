"""Stage 4 with motion features: which clips are kept, which rows a mixture gets."""

import numpy as np
import pytest
import yaml

from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.data.mixing.mixtures import make_mixtures
from espnet2_avsep.data.segment_reader import read_matrix
from espnet2_avsep.data.tables.scp import read_scp, read_skipped
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import (
    FS,
    write_ark,
    write_corpus,
    write_stages,
    write_table,
)

SEGMENT = 8000  # 1 s of clips of 2 s and a little more
ROWS = 8  # four a second


@pytest.fixture
def stages(tmp_path):
    """Twelve clips; clip n's motion rows are (n, row, 0); the last has none."""
    corpus = write_corpus(tmp_path / "clips")
    folders = write_stages(tmp_path, corpus)
    keys = list(corpus.audio)
    matrices = {}
    for n, key in enumerate(keys[:-1]):
        matrices[key] = np.zeros((ROWS, 3), np.float32)
        matrices[key][:, 0], matrices[key][:, 1] = n, np.arange(ROWS)
    write_ark(folders["visual_dir"] / "motion", matrices)
    skipped = folders["visual_dir"] / "motion_skipped.tsv"
    skipped.write_text(f"{keys[-1]}\tmotion\tno motion features: neither\n")
    return folders, keys


def keep(folders, output_dir, motion=True):
    motion_dir = folders["visual_dir"] if motion else None
    limits = Limits(FS, SEGMENT)
    filter_clips(**folders, output_dir=output_dir, limits=limits, motion_dir=motion_dir)
    return output_dir


def make(clips_dir, output_dir, **options):
    return make_mixtures(clips_dir, output_dir, FS, 2, SEGMENT, **options)


def tree(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_clips_without_motion_are_left_out_and_counted(tmp_path, stages):
    folders, keys = stages
    output = keep(folders, tmp_path / "kept")
    motion = read_scp(folders["visual_dir"] / "motion.scp")
    assert read_scp(output / "motion_spk1.scp") == motion
    assert list(read_scp(output / "wav.scp")) == sorted(keys[:-1])
    (row,) = read_skipped(output / "skipped.tsv")
    assert (row.key, row.stage) == (keys[-1], "motion")
    counts = yaml.safe_load((output / "counts.yaml").read_text())
    assert counts["skipped"] == {"motion": {"no motion features": 1}}
    # Not asked for: no clip is left out for it, and the old table is gone.
    keep(folders, output, motion=False)
    assert len(read_scp(output / "wav.scp")) == len(keys)
    assert not (output / "motion_spk1.scp").exists()


def test_a_clip_that_motion_lost_is_an_error(tmp_path, stages):
    folders, _ = stages
    (folders["visual_dir"] / "motion_skipped.tsv").write_text("")
    with pytest.raises(InputError, match="motion.scp lacks 1 clips"):
        keep(folders, tmp_path / "kept")


def test_motion_of_two_encoders(tmp_path, stages):
    folders, keys = stages
    table = read_scp(folders["visual_dir"] / "motion.scp")
    write_ark(tmp_path / "other", {"x": np.ones((ROWS, 5), np.float32)})
    table[keys[2]] = read_scp(tmp_path / "other.scp")["x"]
    write_table(folders["visual_dir"] / "motion.scp", table)
    with pytest.raises(InputError, match="3 values, .* 5 .*one encoder"):
        keep(folders, tmp_path / "kept")


def test_rows_of_mixtures(tmp_path, stages):
    folders, keys = stages
    clips = keep(folders, tmp_path / "kept")
    whole, segment = tmp_path / "whole", tmp_path / "segment"
    assert make(clips, whole)["mixtures"]["motion_align"] == "whole"
    make(clips, segment, motion_align="segment")
    lines = (whole / "mixtures.tsv").read_text().splitlines()
    names, *rows = (line.split("\t") for line in lines)
    lengths = {k: int(v) for k, v in read_scp(clips / "utt2num_samples").items()}
    for row in (dict(zip(names, values, strict=True)) for values in rows):
        for n in (1, 2):
            clip, start = row[f"clip{n}"], int(row[f"start{n}"])
            refs = [
                read_scp(folder / f"motion_spk{n}.scp")[row["mix_id"]]
                for folder in (whole, segment)
            ]
            all_rows, cut = (read_matrix(ref) for ref in refs)
            assert (all_rows[:, 0] == keys.index(clip)).all()
            assert all_rows[:, 1].tolist() == list(range(ROWS))
            # Row i is at (i + 1/2) / ROWS of the clip.
            times = (np.arange(ROWS) + 0.5) / ROWS * lengths[clip]
            inside = np.flatnonzero((times >= start) & (times < start + SEGMENT))
            assert 0 < len(inside) < ROWS
            np.testing.assert_array_equal(cut, all_rows[inside])


def test_a_second_run_and_one_without_motion(tmp_path, stages):
    folders, _ = stages
    clips, output = keep(folders, tmp_path / "kept"), tmp_path / "out"
    make(clips, output, motion_align="segment")
    before = tree(output)
    make(clips, output, motion_align="segment")
    assert tree(output) == before
    make(clips, output)
    assert not list(output.glob("data/motion*"))
    assert (output / "data" / "state.sha256").read_bytes() != before[
        "data/state.sha256"
    ]
    keep(folders, clips, motion=False)
    make(clips, output)
    assert not list(output.rglob("motion*"))


def test_unknown_alignment(tmp_path, stages):
    clips = keep(stages[0], tmp_path / "kept")
    with pytest.raises(InputError, match="motion_align is 'crop'; expected whole or"):
        make(clips, tmp_path / "out", motion_align="crop")

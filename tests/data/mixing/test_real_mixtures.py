import hashlib

import kaldiio
import numpy as np
import pytest
import soundfile
import yaml

from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.data.mixing.real_mixtures import class_means, make_real_mixtures
from espnet2_avsep.data.tables.scp import read_scp, read_skipped
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import (
    FS,
    write_ark,
    write_corpus,
    write_stages,
    write_table,
)

SEGMENT = 8000
LIMITS = Limits(FS, SEGMENT)


@pytest.fixture
def train(tmp_path):
    """Clip number n of flute (0-3), tuba (4-7), piano (8-11) has rows (n, i, 0, 0)."""
    corpus = write_corpus(tmp_path / "clips")
    filter_clips(
        **write_stages(tmp_path / "train", corpus),
        output_dir=tmp_path / "kept",
        limits=LIMITS,
    )
    return tmp_path / "kept"


@pytest.fixture
def duets(tmp_path):
    """Two duets that can be used, one that is short, one of an unknown instrument."""
    data, wavs = tmp_path / "data", tmp_path / "org"
    data.mkdir()
    wavs.mkdir()
    pairs = {
        "flute_tuba-a": ("flute tuba", 16000),
        "tuba_flute-b": ("tuba flute", 16001),
        "flute_tuba-c": ("flute tuba", SEGMENT - 1),
        "erhu_flute-d": ("erhu flute", 16000),
    }
    write_table(data / "utt2pair", {key: pair for key, (pair, _) in pairs.items()})
    (data / "skipped.tsv").write_text("flute_tuba-e\tdata\tvideo not found\n")
    (data / "source.yaml").write_text("listed: 5\nfound: 4\n")
    table = {}
    for key, (_, length) in pairs.items():
        table[key] = str(wavs / f"{key}.wav")
        samples = np.arange(length, dtype=np.int16)
        soundfile.write(table[key], samples, FS, subtype="PCM_16")
    write_table(wavs / "wav.scp", table)
    write_table(wavs / "utt2num_samples", {key: n for key, (_, n) in pairs.items()})
    (wavs / "skipped.tsv").write_text("")
    return {"data_dir": data, "wav_dir": wavs, "output_dir": tmp_path / "out"}


def test_means_of_classes(train):
    means = class_means(train, {"flute", "tuba", "erhu"})
    assert set(means) == {"flute", "tuba"}
    np.testing.assert_allclose(means["flute"], [1.5, 4.5, 0, 0])
    np.testing.assert_allclose(means["tuba"], [5.5, 4.5, 0, 0])


def test_prompted_by_the_means_of_the_instruments(tmp_path, train, duets):
    counts = make_real_mixtures(**duets, limits=LIMITS, train_dir=train)
    out = tmp_path / "out"
    mixtures = read_scp(out / "wav.scp")
    assert list(mixtures) == ["flute_tuba-a", "tuba_flute-b"]
    for key, start in (("flute_tuba-a", 4000), ("tuba_flute-b", 4000)):
        samples, rate = soundfile.read(mixtures[key], dtype="float32")
        assert rate == FS
        np.testing.assert_array_equal(
            samples * 2**15, np.arange(start, start + SEGMENT)
        )
    first = kaldiio.load_scp(str(out / "visual_spk1.scp"))
    second = kaldiio.load_scp(str(out / "visual_spk2.scp"))
    np.testing.assert_allclose(first["flute_tuba-a"], [[1.5, 4.5, 0, 0]])
    np.testing.assert_allclose(second["flute_tuba-a"], [[5.5, 4.5, 0, 0]])
    np.testing.assert_allclose(first["tuba_flute-b"], [[5.5, 4.5, 0, 0]])
    reasons = {row.key: row.reason for row in read_skipped(out / "skipped.tsv")}
    assert reasons == {
        "flute_tuba-c": "shorter than a segment: 7999 samples, 8000 needed",
        "erhu_flute-d": "no training clip of: erhu",
        "flute_tuba-e": "video not found",
    }
    assert counts == yaml.safe_load((out / "counts.yaml").read_text())
    assert (counts["listed"], counts["kept"], counts["left_out"]) == (5, 2, 3)
    assert counts["source"] == {"listed": 5, "found": 4}
    lines = (out / "real_mixtures.tsv").read_text().splitlines()
    assert lines[0].split("\t") == [
        "mix_id",
        "spk1",
        "spk2",
        "prompt1",
        "prompt2",
        "start",
    ]
    assert lines[1].split("\t") == ["flute_tuba-a", *("flute", "tuba") * 2, "4000"]
    digest = hashlib.sha256((out / "real_mixtures.tsv").read_bytes()).hexdigest()
    assert (out / "mixtures.sha256").read_text().split() == [
        digest,
        "real_mixtures.tsv",
    ]


def test_again_the_same_bytes_and_other_prompts_another_state(tmp_path, train, duets):
    def run():
        make_real_mixtures(**duets, limits=LIMITS, train_dir=train)
        files = sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())
        return {path: path.read_bytes() for path in files}

    before = run()
    assert run() == before
    matrices = {
        k: v + 1 for k, v in kaldiio.load_scp(str(train / "visual_spk1.scp")).items()
    }
    write_ark(tmp_path / "other", matrices)
    (train / "visual_spk1.scp").write_bytes((tmp_path / "other.scp").read_bytes())
    after = run()
    state = tmp_path / "out" / "data" / "state.sha256"
    assert after[state] != before[state]


def test_prompted_by_the_halves_of_the_picture(tmp_path, duets):
    keys = list(read_scp(duets["data_dir"] / "utt2pair"))
    folders = []
    for n, side in enumerate(("left", "right")):
        rows = np.stack([np.full(3, 10 * n + row, np.float32) for row in range(6)])
        folder = tmp_path / side
        folder.mkdir()
        good = [key for key in keys if (key, side) != ("tuba_flute-b", "right")]
        write_ark(folder / "visual", dict.fromkeys(good, rows))
        folders.append(folder)
    (folders[1] / "visual_skipped.tsv").write_text("tuba_flute-b\tvisual\tno picture\n")
    counts = make_real_mixtures(
        **duets, limits=LIMITS, prompts="halves", visual_dirs=folders
    )
    # No instrument needs to be known, and the row is that of the segment's middle.
    assert counts["kept"] == 2 and counts["skipped"]["visual"] == {"no picture": 1}
    for n in (1, 2):
        table = kaldiio.load_scp(str(tmp_path / "out" / f"visual_spk{n}.scp"))
        np.testing.assert_array_equal(table["erhu_flute-d"], [[10 * (n - 1) + 3] * 3])
    text = (tmp_path / "out" / "real_mixtures.tsv").read_text()
    assert "erhu_flute-d\terhu\tflute\tleft half\tright half\t4000\n" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": "text"}, "expected class_mean or halves"),
        ({}, "give --train_dir"),
        ({"prompts": "halves", "visual_dirs": []}, "once for each source"),
    ],
)
def test_options_that_do_not_fit(duets, options, message):
    with pytest.raises(InputError, match=message):
        make_real_mixtures(**duets, limits=LIMITS, **options)


def test_nothing_left_and_tables_that_lack_a_clip(tmp_path, train, duets):
    (train / "utt2spk").write_text(
        (train / "utt2spk").read_text().replace(" flute", " harp")
    )
    with pytest.raises(InputError, match="none of the 5 real mixtures is left"):
        make_real_mixtures(**duets, limits=LIMITS, train_dir=train)
    assert len(read_skipped(tmp_path / "out" / "skipped.tsv")) == 5
    assert not (tmp_path / "out" / "counts.yaml").exists()
    wavs = duets["wav_dir"] / "wav.scp"
    wavs.write_text("".join(wavs.read_text().splitlines(True)[1:]))
    with pytest.raises(InputError, match="neither in the tables"):
        make_real_mixtures(**duets, limits=LIMITS, train_dir=train)

import logging
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import yaml

from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.data.tables.scp import read_scp, read_skipped
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import (
    FS,
    write_ark,
    write_corpus,
    write_stages,
    write_table,
)

LIMITS = Limits(fs=FS, segment_samples=8000)


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "clips", ["flute", "tuba"], 4)


@pytest.fixture
def stages(tmp_path, corpus):
    return write_stages(tmp_path, corpus)


def run(stages, output_dir, limits=LIMITS):
    """Filter; return the counts and key -> reasons of this stage."""
    counts = filter_clips(**stages, output_dir=output_dir, limits=limits)
    rows = read_skipped(output_dir / "skipped.tsv")
    return counts, {row.key: row.reason for row in rows if row.stage == "filter"}


def rewrite(corpus, stages, key, samples, subtype="PCM_16"):
    soundfile.write(corpus.audio[key], samples, FS, subtype=subtype)
    lengths = dict(corpus.num_samples)
    lengths[key] = len(samples)
    write_table(stages["wav_dir"] / "utt2num_samples", lengths)


def without(path: Path, key: str) -> None:
    table = {k: v for k, v in read_scp(path).items() if k != key}
    write_table(path, table)


def test_all_clips_are_kept(tmp_path, corpus, stages):
    output = tmp_path / "out"
    counts, reasons = run(stages, output)
    assert counts == {"listed": 8, "kept": 8, "left_out": 0, "skipped": {}}
    assert yaml.safe_load((output / "counts.yaml").read_text()) == counts
    assert reasons == {}
    assert read_scp(output / "wav.scp") == corpus.audio
    assert (output / "spk1.scp").read_bytes() == (output / "wav.scp").read_bytes()
    assert read_scp(output / "visual_spk1.scp") == corpus.visual
    assert read_scp(output / "utt2spk") == corpus.category
    assert read_scp(output / "spk2utt") == {
        spk: " ".join(f"{spk}-video{i}" for i in range(4)) for spk in ("flute", "tuba")
    }
    lengths = {k: str(v) for k, v in corpus.num_samples.items()}
    assert read_scp(output / "utt2num_samples") == lengths
    assert set(read_scp(output / "visual_shape").values()) == {"10,4"}
    assert (output / "skipped.tsv").read_text() == ""


def test_each_unusable_clip_has_its_reason(tmp_path, corpus, stages):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 16000).astype(np.float32)
    rewrite(corpus, stages, "flute-video0", noise[:7999])
    lengths = dict(corpus.num_samples, **{"flute-video0": 7999})
    soundfile.write(corpus.audio["flute-video1"], noise * 5e-3, FS, subtype="FLOAT")
    lengths["flute-video1"] = 16000
    noise[12345] = np.nan
    soundfile.write(corpus.audio["flute-video2"], noise, FS, subtype="FLOAT")
    lengths["flute-video2"] = 16000
    Path(corpus.audio["flute-video3"]).write_bytes(b"no audio")
    damaged = Path(corpus.audio["tuba-video0"])
    damaged.write_bytes(damaged.read_bytes()[:20000])
    write_table(stages["wav_dir"] / "utt2num_samples", lengths)
    base = tmp_path / "none"
    write_ark(base, {"tuba-video1": np.zeros((0, 4), np.float32)})
    visual = dict(corpus.visual, **read_scp(f"{base}.scp"))
    write_table(stages["visual_dir"] / "visual.scp", visual)

    counts, reasons = run(stages, tmp_path / "out")
    kinds = {key: reason.split(":")[0] for key, reason in reasons.items()}
    assert kinds == {
        "flute-video0": "shorter than a segment",
        "flute-video1": "silent",
        "flute-video2": "NaN or infinite samples",
        "flute-video3": "unreadable audio file",
        "tuba-video0": "damaged audio file",
        "tuba-video1": "no visual rows",
    }
    assert "7999 samples, 8000 needed" in reasons["flute-video0"]
    assert "RMS -66.0 dB" in reasons["flute-video1"]
    assert (counts["listed"], counts["kept"], counts["left_out"]) == (8, 2, 6)
    assert counts["skipped"] == {"filter": dict.fromkeys(sorted(kinds.values()), 1)}
    assert set(read_scp(tmp_path / "out" / "wav.scp")) == {"tuba-video2", "tuba-video3"}


def test_limits_of_duration(tmp_path, corpus, stages):
    # 16000 + 128 n samples: 2.000, 2.016, ... s
    limits = LIMITS._replace(min_wav_duration=2.016, max_wav_duration=2.09)
    counts, reasons = run(stages, tmp_path / "out", limits)
    assert reasons == {
        "flute-video0": "shorter than min_wav_duration: 2.00 s, 2.016 s needed",
        "tuba-video2": "longer than max_wav_duration: 2.10 s, 2.09 s allowed",
        "tuba-video3": "longer than max_wav_duration: 2.11 s, 2.09 s allowed",
    }
    assert counts["kept"] == 5


def test_silence_is_measured_over_the_whole_clip(tmp_path, corpus, stages):
    """Longer than a block: the level is that of all blocks together."""
    samples = np.zeros(600_000, np.float32)
    samples[-600:] = 0.1  # mean square 1e-5: -50 dB
    rewrite(corpus, stages, "flute-video0", samples, "FLOAT")
    assert run(stages, tmp_path / "a", LIMITS._replace(silence_dbfs=-50.1))[1] == {}
    reasons = run(stages, tmp_path / "b", LIMITS._replace(silence_dbfs=-49.9))[1]
    assert reasons["flute-video0"].startswith("silent: RMS -50.0 dB")


def test_skips_of_all_stages_are_merged_and_counted(tmp_path, corpus, stages):
    for stage, path in (
        ("data", stages["data_dir"] / "skipped.tsv"),
        ("audio", stages["wav_dir"] / "skipped.tsv"),
        ("visual", stages["visual_dir"] / "visual_skipped.tsv"),
    ):
        rows = {
            "data": "flute-gone1\tdata\tno such file: a.mp4\n"
            "flute-gone2\tdata\tno such file: b.mp4\nharp-gone\tdata\tlisted twice\n",
            "audio": "flute-video0\taudio\tno audio\nold-clip\taudio\tno audio\n",
            "visual": "flute-video0\tvisual\tcorrupt\nflute-video1\tvisual\tcorrupt\n"
            "flute-video1\tvisual\tcorrupt\n",
        }[stage]
        path.write_text(rows)
    without(stages["wav_dir"] / "wav.scp", "flute-video0")
    for key in ("flute-video0", "flute-video1"):
        without(stages["visual_dir"] / "visual.scp", key)
    counts, reasons = run(stages, tmp_path / "out")
    assert reasons == {}
    assert counts == {
        "listed": 11,
        "kept": 6,
        "left_out": 5,
        "skipped": {
            "audio": {"no audio": 1},
            "data": {"listed twice": 1, "no such file": 2},
            "visual": {"corrupt": 2},
        },
    }
    assert len(read_skipped(tmp_path / "out" / "skipped.tsv")) == 6


@pytest.mark.parametrize(
    "name", ["org/wav.scp", "org/utt2num_samples", "dump/visual.scp"]
)
def test_a_lost_clip_is_an_error(tmp_path, stages, name):
    without(tmp_path / name, "tuba-video1")
    with pytest.raises(InputError, match=f"{name} lacks 1 clips.*tuba-video1"):
        run(stages, tmp_path / "out")


def test_a_clip_both_usable_and_skipped_is_an_error(tmp_path, stages):
    (stages["wav_dir"] / "skipped.tsv").write_text("tuba-video1\taudio\tno audio\n")
    with pytest.raises(InputError, match="1 clips are usable and yet.*tuba-video1"):
        run(stages, tmp_path / "out")
    assert not (tmp_path / "out" / "counts.yaml").exists()


def test_clips_that_are_not_listed_any_more_are_passed_over(
    tmp_path, corpus, stages, caplog
):
    without(stages["data_dir"] / "utt2spk", "tuba-video1")
    with caplog.at_level(logging.WARNING):
        counts, _ = run(stages, tmp_path / "out")
    assert counts["listed"] == counts["kept"] == 7
    assert "1 clips of the wav table are not in" in caplog.text


def test_embedding_widths_that_differ(tmp_path, corpus, stages):
    base = tmp_path / "wide"
    write_ark(base, {"tuba-video1": np.zeros((10, 5), np.float32)})
    visual = dict(corpus.visual, **read_scp(f"{base}.scp"))
    write_table(stages["visual_dir"] / "visual.scp", visual)
    with pytest.raises(
        InputError, match="flute-video0 have 4 values, those of tuba-video1 5"
    ):
        run(stages, tmp_path / "out")


@pytest.mark.parametrize("channels, rate", [(1, 16000), (2, FS)])
def test_another_format_is_an_error(tmp_path, corpus, stages, channels, rate):
    samples = np.ones((16000, channels)) * 0.1
    soundfile.write(corpus.audio["flute-video1"], samples, rate)
    with pytest.raises(InputError, match="flute-video1.wav.*expected 8000 Hz, 1 chan"):
        run(stages, tmp_path / "out")


def test_nothing_left(tmp_path, stages):
    limits = LIMITS._replace(segment_samples=10**6)
    with pytest.raises(InputError, match="none of the 8 clips.*shorter than a segment"):
        run(stages, tmp_path / "out", limits)
    assert len(read_skipped(tmp_path / "out" / "skipped.tsv")) == 8


def test_everything_skipped_by_stage_1(tmp_path, stages):
    (stages["data_dir"] / "utt2spk").write_text("")
    (stages["data_dir"] / "skipped.tsv").write_text("a-b\tdata\tno such file\n")
    with pytest.raises(InputError, match="none of the 1 clips"):
        run(stages, tmp_path / "out")


def test_missing_tables_are_named(tmp_path, stages):
    (stages["visual_dir"] / "visual.scp").unlink()
    with pytest.raises(InputError, match="visual.scp: no such file"):
        run(stages, tmp_path / "out")


def test_bad_number_of_samples(tmp_path, corpus, stages):
    lengths = dict(corpus.num_samples, **{"tuba-video1": "x"})
    write_table(stages["wav_dir"] / "utt2num_samples", lengths)
    with pytest.raises(InputError, match="tuba-video1 has 'x'"):
        run(stages, tmp_path / "out")


def test_again_into_the_folder_of_stage_2(tmp_path, corpus, stages):
    """A training set: visual_shape is both stage 2's and ours; options may change."""
    output = stages["visual_dir"]
    write_table(output / "visual_shape", dict.fromkeys(corpus.visual, "10,4"))
    counts, _ = run(stages, output, LIMITS._replace(segment_samples=16500))
    assert counts["kept"] == 4
    counts, _ = run(stages, output)
    assert counts["kept"] == 8
    first = {p.name: p.read_bytes() for p in output.iterdir()}
    run(stages, output)
    assert first == {p.name: p.read_bytes() for p in output.iterdir()}
    assert not list(output.glob(".*"))


def test_summary_of_each_class(tmp_path, stages, caplog):
    (stages["data_dir"] / "skipped.tsv").write_text("harp-x\tdata\tno such file\n")
    with caplog.at_level(logging.INFO):
        run(stages, tmp_path / "out", LIMITS._replace(segment_samples=16500))
    assert "flute: 0 of 4 clips kept" in caplog.text
    assert "tuba: 4 of 4 clips kept" in caplog.text
    assert "harp: 0 of 1 clips kept" in caplog.text


def test_compressed_visual_features(tmp_path, corpus, stages):
    base = tmp_path / "small"
    matrix = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with kaldiio.WriteHelper(
        f"ark,scp:{base}.ark,{base}.scp", compression_method=2
    ) as writer:
        writer["tuba-video1"] = matrix
    visual = dict(corpus.visual, **read_scp(f"{base}.scp"))
    write_table(stages["visual_dir"] / "visual.scp", visual)
    run(stages, tmp_path / "out")
    assert read_scp(tmp_path / "out" / "visual_shape")["tuba-video1"] == "20,4"

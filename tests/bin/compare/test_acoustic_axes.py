import csv
import json
import math

import numpy as np
import pytest
import soundfile

from espnet2_avsep.bin.compare.acoustic_axes import main
from espnet2_avsep.data.tables.scp import write_scp
from espnet2_avsep.metrics.score_table import METRICS, ScoreRow, finish, summarise
from espnet2_avsep.scoring.score_files import write_scores
from espnet2_avsep.scoring.set_scores import result_text

FS = 8000
# Instrument -> amplitudes of its harmonics.
TIMBRES = {"flute": [1.0], "horn": [1.0, 1.0], "oboe": [0.5, 1.0, 1.0, 1.0]}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of each timbre, a silent one, and one too short for a frame."""
    folder = tmp_path_factory.mktemp("clips")
    time = np.arange(FS) / FS
    wav, spk = {}, {}

    def add(key, instrument, wave):
        wav[key], spk[key] = folder / f"{key}.wav", instrument
        soundfile.write(wav[key], wave, FS, subtype="FLOAT")

    for instrument, amplitudes in TIMBRES.items():
        for take, f0 in enumerate((220.0, 262.0)):
            wave = sum(
                a * np.sin(2 * np.pi * n * f0 * time)
                for n, a in enumerate(amplitudes, 1)
            )
            add(f"{instrument}-{take}", instrument, 0.2 * wave)
    add("horn-silent", "horn", np.zeros(FS))
    add("horn-short", "horn", np.ones(1000))
    add("drum-0", "drum", np.eye(1, FS, FS // 2)[0])
    write_scp(folder / "wav.scp", wav)
    write_scp(folder / "utt2spk", spk)
    return folder


def scored(folder, **sdr):
    """An experiment: for each instrument, the SDR of its sources."""
    target = folder / "scored_test"
    target.mkdir(parents=True)
    rows = []
    for name, values in sdr.items():
        for n, value in enumerate(values):
            row = ScoreRow(f"{name}{n}", 1, f"{name}-{n}", name)
            for metric in METRICS:
                setattr(row, metric, float(value))
                setattr(row, f"{metric}_mix", 0.0)
            finish(row)
            rows.append(row)
    write_scores(target / "scores.tsv", rows)
    head = {"backend": "fast", "list_sha256": "l", "sound_sha256": "s"}
    text = result_text(head, summarise(rows, 10))
    (target / "result_test.txt").write_text(text)
    return folder


def run(clips, out, *more):
    options = ["--clips_dir", clips, "--output_dir", out, "--resamples", "200"]
    return main([*map(str, [*options, *more])])


def test_axes_and_fusions(clips, tmp_path, capsys):
    middle = scored(tmp_path / "m", flute=[9, 9], horn=[5, 5], gong=[1, 1])
    late = scored(tmp_path / "l", flute=[4, 4], horn=[8, 2], gong=[1, 1])
    out = tmp_path / "out"
    more = ["--experiment", f"middle={middle}", "--experiment", f"late={late}"]
    assert run(clips, out, *more, "--segment_seconds", "0.6", "--segments", "2") == 0
    summary = json.loads((out / "acoustic_axes.json").read_text())
    flute, horn = summary["instruments"]["flute"], summary["instruments"]["horn"]
    assert flute["amplitude_ratio"]["mean"] == pytest.approx(math.sqrt(2), rel=1e-3)
    assert flute["harmonic_complexity"]["mean"] == pytest.approx(0, abs=0.01)
    # Equal energies in harmonics 1 and 2: 1 - (1 + 1 / 2) / 2.
    assert horn["harmonic_complexity"]["mean"] == pytest.approx(0.25, abs=0.01)
    expected = 1 - (0.25 + 1 / 2 + 1 / 3 + 1 / 4) / 3.25
    oboe = summary["instruments"]["oboe"]
    assert oboe["harmonic_complexity"]["mean"] == pytest.approx(expected, abs=0.01)
    assert summary["instruments"]["drum"]["amplitude_ratio"]["mean"] > 40
    assert flute["best"] == "middle" and flute["lead"]["mean"] == 5
    assert flute["lead"]["interval"] == [5, 5]
    assert (horn["clips"], horn["sources"]) == (2, 2)
    # One clip each way: the lead is not clear.
    assert horn["lead"]["mean"] == 0 and horn["lead"]["interval"][0] < 0
    assert oboe["sources"] == 0 and "best" not in oboe
    assert summary["scored_but_not_measured"] == ["gong"]
    assert summary["skipped"] == {"shorter than 2048 samples": 1, "silent": 1}
    assert all(row["of"] == "late - middle" for row in summary["correlations"])
    text = (out / "acoustic_axes.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "sum(E_i / i)" in text and "not among the clips measured: gong" in text
    assert (out / "acoustic_axes.png").read_bytes().startswith(b"\x89PNG")
    with (out / "acoustic_axes_clips.tsv").open() as f:
        rows = {row["clip"]: row for row in csv.DictReader(f, delimiter="\t")}
    assert rows["horn-silent"]["reason"] == "silent"
    assert rows["flute-0"]["segments"] == "2" and len(rows) == 9
    again = tmp_path / "again"
    options = ["--segment_seconds", "0.6", "--segments", "2", "--nj", "2"]
    assert run(clips, again, *more, *options) == 0
    for path in out.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_without_experiments(clips, tmp_path):
    assert run(clips, tmp_path, "--plots", "false", "--segments", "1") == 0
    text = (tmp_path / "acoustic_axes.md").read_text()
    assert "best" not in text and "flute" in text
    assert not (tmp_path / "acoustic_axes.png").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--nj", "0"], "at least 1"),
        (["--segment_seconds", "0.1"], "at least 0.5"),
        (["--fmin", "500", "--fmax", "400"], "expected less than --fmax 400"),
        (["--clips_dir", "CLIPS"], "give each clip once"),
        (["--experiment", "nowhere"], "stage 8"),
    ],
)
def test_mistakes_are_explained(clips, tmp_path, capsys, more, message):
    more = [part.replace("CLIPS", str(clips)) for part in more]
    assert run(clips, tmp_path, *more) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_to_measure(tmp_path, capsys):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(FS), FS)
    write_scp(tmp_path / "wav.scp", {"x": path})
    write_scp(tmp_path / "utt2spk", {"x": "oud"})
    assert run(tmp_path, tmp_path / "out") == 2
    assert "1 of them: silent" in capsys.readouterr().err

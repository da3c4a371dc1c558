import numpy as np
import pytest
import soundfile
import yaml

from espnet2_avsep.bin.compare.spectrogram_panels import main
from espnet2_avsep.data.records.made_from import make_record, write_record
from espnet2_avsep.data.tables.scp import write_scp
from espnet2_avsep.metrics.score_table import METRICS, ScoreRow, finish
from espnet2_avsep.scoring import spectrogram_panels
from espnet2_avsep.scoring.score_files import write_scores
from tests.support.media_fixtures import read_number, write_video

FS, LENGTH = 8000, 8000


def sine(path, hertz, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = level * np.sin(2 * np.pi * hertz * np.arange(LENGTH) / FS)
    soundfile.write(path, wave, FS, subtype="FLOAT")
    return path


@pytest.fixture
def corpus(tmp_path):
    """Two mixtures of two sources, a video of one clip, one scored experiment."""
    dump, data = tmp_path / "dump" / "test", tmp_path / "data" / "test"
    keys = ["m0", "m1"]
    for name, hertz in [("wav", 500), ("spk1", 300), ("spk2", 700)]:
        paths = {k: sine(dump / name / f"{k}.wav", hertz, 0.3) for k in keys}
        write_scp(dump / f"{name}.scp", paths)
    lines = ["mix_id clip1 spk1 start1 frame1 clip2 spk2 start2 frame2"]
    lines += [f"{key} oud-a oud 0 2 ney-b ney 0 0" for key in keys]
    (dump / "mixtures.tsv").write_text("\n".join(lines).replace(" ", "\t") + "\n")
    (dump / "visual_info.yaml").write_text(yaml.safe_dump({"fps": 8, "every": 8}))
    write_scp(dump / "visual_shape", {"oud-a": "3,4", "ney-b": "3,4"})
    video = write_video(tmp_path / "a.mp4", frames=75)
    write_scp(data / "video.scp", {"oud-a": video, "ney-b": tmp_path / "gone.mp4"})
    exp = tmp_path / "exp"
    for n, hertz in [(1, 310), (2, 690)]:
        folder = exp / "separated_test"
        paths = {k: sine(folder / f"spk{n}" / f"{k}.wav", hertz, 0.1) for k in keys}
        write_scp(folder / f"spk{n}.scp", paths)
    (exp / "config.yaml").write_text("system: HFRA\n")
    rows = []
    for source in (1, 2):
        row = ScoreRow("m0", source, "c", "i")
        for metric in METRICS:
            setattr(row, metric, 7.0 * source)
            setattr(row, f"{metric}_mix", 0.0)
        finish(row)
        rows.append(row)
    write_scores(exp / "scored_test" / "scores.tsv", rows)
    return tmp_path


def run(corpus, *more):
    options = ["--dump_dir", corpus / "dump", "--data_dir", corpus / "data"]
    options += ["--output_dir", corpus / "out", "--experiment", corpus / "exp"]
    return main([*map(str, [*options, *more])])


def panels(figure):
    """The panels by (row, title)."""
    axes = [axis for axis in figure.axes if axis.get_title()]
    half = len(axes) // 2
    return {(n // half, axis.get_title()): axis for n, axis in enumerate(axes)}


def test_grid(corpus, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        spectrogram_panels,
        "write_figures",
        lambda folder, figures: drawn.extend(figures.items()),
    )
    assert run(corpus, "--num", "1") == 0
    [(name, figure)] = drawn
    assert name == "panels_m0.png"
    found = panels(figure)
    assert list(found) == [
        *((0, t) for t in ("oud", "mixture", "HFRA, SDR 7.0 dB", "reference: oud")),
        *((1, t) for t in ("ney", "mixture", "HFRA, SDR 14.0 dB", "reference: ney")),
    ]
    # Row 2 at one picture a second: frame 50 of 25 a second.
    assert read_number(np.asarray(found[0, "oud"].images[0].get_array())) == 50
    assert found[1, "ney"].texts[0].get_text().startswith("no picture")
    level = {
        title: axis.images[0].get_array()[:, 15]
        for title, axis in found.items()
        if axis.images
    }
    axis = found[0, "mixture"]
    labels = [text.get_text() for text in axis.get_yticklabels()]
    rows = dict(zip(labels, axis.get_yticks(), strict=True))
    assert level[0, "mixture"].argmax() == pytest.approx(rows["500"], abs=2.5)
    assert level[0, "mixture"].max() == pytest.approx(0, abs=0.2)
    estimate = level[0, "HFRA, SDR 7.0 dB"]
    # A third of the mixture's level.
    assert estimate.max() == pytest.approx(20 * np.log10(1 / 3), abs=1.5)
    assert level[1, "reference: ney"].argmax() > estimate.argmax() + 20


def test_written_without_pictures(corpus):
    assert run(corpus, "--pictures", "false") == 0
    files = sorted((corpus / "out").iterdir())
    assert [f.name for f in files] == ["panels_m0.png", "panels_m1.png"]
    content = files[0].read_bytes()
    assert content.startswith(b"\x89PNG")
    assert run(corpus, "--mix_id", "m0", "--pictures", "false") == 0
    assert files[0].read_bytes() == content


def test_tracks_of_other_mixtures_are_not_drawn(corpus, capsys):
    """The set was made again since they were separated."""
    record = make_record(7, {"speech_mix": corpus / "dump/test/wav.scp"}, {}, {})
    write_record(corpus / "exp" / "separated_test", record)
    assert run(corpus, "--num", "1", "--pictures", "false") == 0
    sine(corpus / "dump/test/wav/m0.wav", 600, 0.3)
    assert run(corpus, "--num", "1", "--pictures", "false") == 2
    assert "Run stage 7 again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--mix_id", "m9"], "is not among the 2 mixtures"),
        (["--num", "0"], "at least 1"),
        (["--set", "valid"], "valid/mixtures.tsv: no such file"),
        (["--experiment", "EXP"], "'HFRA' is taken"),
        (["--experiment", "b=DUMP"], "separated_test/spk1.scp: no such file"),
    ],
)
def test_mistakes_are_explained(corpus, capsys, more, message):
    names = {"EXP": str(corpus / "exp"), "DUMP": str(corpus / "dump")}
    for name, path in names.items():
        more = [part.replace(name, path) for part in more]
    assert run(corpus, *more) == 2
    assert message in capsys.readouterr().err
    assert not (corpus / "out").exists()

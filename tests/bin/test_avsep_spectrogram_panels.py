import numpy as np
import pytest
import soundfile
import yaml

from espnet2_avsep.bin import avsep_spectrogram_panels
from espnet2_avsep.bin.avsep_spectrogram_panels import main
from espnet2_avsep.bin.score_files import write_scores
from espnet2_avsep.data.scp import write_scp
from espnet2_avsep.metrics.score_table import METRICS, ScoreRow, finish
from tests.frame_fixtures import pack, write_frames
from tests.media_fixtures import read_number, write_video

FS, LENGTH = 8000, 8000


def sine(path, hertz, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = level * np.sin(2 * np.pi * hertz * np.arange(LENGTH) / FS)
    soundfile.write(path, wave, FS, subtype="FLOAT")
    return path


@pytest.fixture
def corpus(tmp_path):
    """Two mixtures of two sources, a video of one clip, one scored experiment."""
    data = tmp_path / "dump"
    keys = ["m0", "m1"]
    for name, hertz in [("wav", 500), ("spk1", 300), ("spk2", 700)]:
        paths = {k: sine(data / name / f"{k}.wav", hertz, 0.3) for k in keys}
        write_scp(data / f"{name}.scp", paths)
    lines = ["mix_id clip1 spk1 start1 frame1 clip2 spk2 start2 frame2"]
    lines += [f"{key} oud-a oud 0 2 ney-b ney 0 0" for key in keys]
    (data / "mixtures.tsv").write_text("\n".join(lines).replace(" ", "\t") + "\n")
    (data / "visual_info.yaml").write_text(yaml.safe_dump({"fps": 8, "every": 8}))
    video = write_video(tmp_path / "a.mp4", frames=75)
    write_scp(tmp_path / "video.scp", {"oud-a": video, "ney-b": tmp_path / "gone.mp4"})
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
            setattr(row, metric, 7.25 * source)
            setattr(row, f"{metric}_mix", 0.0)
        finish(row)
        rows.append(row)
    write_scores(exp / "scored_test" / "scores.tsv", rows)
    return tmp_path


def run(corpus, *more):
    options = ["--data_dir", corpus / "dump", "--output_dir", corpus / "out"]
    options += ["--experiment", corpus / "exp", "--n_fft", "256", "--hop_length", "64"]
    return main([*map(str, [*options, "--num_log_bins", "64", *more])])


@pytest.fixture
def drawn(monkeypatch):
    """The grids that were drawn."""
    grids = []

    def write(folder, figures):
        grids.extend(figures.items())

    monkeypatch.setattr(avsep_spectrogram_panels, "write_figures", write)
    return grids


def panels(figure):
    """Titles of the panels, row by row, and the panels by (row, title)."""
    axes = [a for a in figure.axes if a.get_title()]
    half = len(axes) // 2
    return {
        (n, axis.get_title()): axis
        for n, row in enumerate((axes[:half], axes[half:]))
        for axis in row
    }


def test_grid(corpus, drawn):
    assert run(corpus, "--video_scp", corpus / "video.scp", "--num", "1") == 0
    [(name, figure)] = drawn
    assert name == "panels_m0.png"
    found = panels(figure)
    assert list(found) == [
        *((0, t) for t in ("oud", "mixture", "HFRA, SDR 7.2 dB", "reference")),
        *((1, t) for t in ("ney", "mixture", "HFRA, SDR 14.5 dB", "reference")),
    ]
    # Row 2 at one picture a second: frame 50 of 25 a second.
    assert read_number(found[0, "oud"].images[0].get_array()) == 50
    assert "not found" in found[1, "ney"].texts[0].get_text() or (
        "no picture" in found[1, "ney"].texts[0].get_text()
    )
    level = {k: a.images[0].get_array() for k, a in found.items() if a.images}
    ticks = found[0, "mixture"]
    rows = dict(
        zip(
            [t.get_text() for t in ticks.get_yticklabels()],
            ticks.get_yticks(),
            strict=True,
        )
    )
    column = level[0, "mixture"][:, 60]
    assert column.argmax() == pytest.approx(rows["500"], abs=1.5)
    assert column.max() == pytest.approx(0, abs=0.1)
    estimate = level[0, "HFRA, SDR 7.2 dB"][:, 60]
    # A third of the mixture's level.
    assert estimate.max() == pytest.approx(20 * np.log10(1 / 3), abs=1.5)
    assert level[1, "reference"][:, 60].argmax() > estimate.argmax()


def test_written_without_pictures(corpus):
    assert run(corpus) == 0
    files = sorted((corpus / "out").iterdir())
    assert [f.name for f in files] == ["panels_m0.png", "panels_m1.png"]
    content = files[0].read_bytes()
    assert content.startswith(b"\x89PNG")
    assert run(corpus, "--mix_id", "m0") == 0
    assert files[0].read_bytes() == content


def test_packed_frames_are_the_pictures(corpus, drawn):
    refs = write_frames(corpus / "visual.ark", {"m0": pack(3, 5), "m1": pack(4, 5)})
    for n in (1, 2):
        write_scp(corpus / "dump" / f"visual_spk{n}.scp", refs)
    assert run(corpus, "--mix_id", "m1") == 0
    image = panels(drawn[0][1])[0, "oud"].images[0].get_array()
    red, green, _ = image.mean(axis=(0, 1))
    assert (round(red / 10), round(green / 10)) == (4, 2)  # clip, middle frame


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--mix_id", "m9"], "is not among the 2 mixtures"),
        (["--num", "0"], "at least 1"),
        (["--set", "valid"], "separated_valid"),
        (["--experiment", "EXP"], "'HFRA' is taken"),
    ],
)
def test_mistakes_are_explained(corpus, capsys, more, message):
    more = [part.replace("EXP", str(corpus / "exp")) for part in more]
    assert run(corpus, *more) == 2
    assert message in capsys.readouterr().err
    assert not (corpus / "out").exists()

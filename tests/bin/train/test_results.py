import hashlib

import pytest

from espnet2_avsep.bin.train.results import main
from espnet2_avsep.corpus.leaks.table import Leak, write_leaks
from espnet2_avsep.data.records.made_from import make_record, write_record
from espnet2_avsep.data.tables.scp import Skipped, write_skipped
from espnet2_avsep.metrics.score_table import METRICS, ScoreRow, finish, summarise
from espnet2_avsep.scoring.results import corpus_notes, is_random
from espnet2_avsep.scoring.score_files import write_scores
from espnet2_avsep.scoring.set_scores import result_text

CONFIG = """\
config: conf/tuning/train_avsep_hfra.yaml
separator: hfra
seed: 17
teacher: clap
teacher_conf: {checkpoint: 630k-audioset-best.pt}
"""
INFO = "encoder: open_clip\npretrained: openai\nweights: abc123\n"
COUNTS = """\
listed: 9
kept: 7
left_out: 2
skipped:
  filter: {silent: 1}
  visual: {no frames: 1}
mixtures: {listed: 3, made: 2, skipped: {clip not in the set: 1}}
"""


SOURCE = """\
source:
  layout: videos, JSON list
  split: 'lists in x'
  list: test.txt
  list_file_sha256: f00d
  list_sha256: beef
  listed: 9
  found: 8
  missing: {video not found: 1}
"""
LISTED = (
    "mixtures: {listed: 3, made: 2, skipped: {}, list: /lists/pairs.csv, "
    "list_sha256: cafe}\n"
)


def make_row(mix_id, source, instrument, sdr, reason=""):
    row = ScoreRow(mix_id, source, "clip", instrument, reason=reason)
    for name in METRICS:
        setattr(row, name, sdr)
        setattr(row, f"{name}_mix", 1.0)
    finish(row)
    return row


LIST = "mix_id\tclip1\tspk1\tclip2\tspk2\n" + "".join(
    f"{key}\tc1\ttuba\tc2\tharp\n" for key in ("m0", "m1")
)


class Experiment:
    """A trained, separated and scored experiment, as stages 1 to 8 leave it."""

    def __init__(self, path):
        self.exp = path / "exp" / "avsep_hfra_raw"
        self.scored = self.exp / "scored_test"
        self.dump = path / "dump" / "raw" / "test"
        for folder in (self.scored, self.dump):
            folder.mkdir(parents=True)
        (self.exp / "config.yaml").write_text(CONFIG)
        (self.exp / "7epoch.pth").write_bytes(b"weights")
        (self.exp / "valid.si_sdr_i.best.pth").symlink_to("7epoch.pth")
        (self.exp / "run.sh").write_text("#!/bin/bash\n./run.sh --stage 6\n")
        (self.dump / "mixtures.tsv").write_text(LIST)
        (self.dump / "visual_info.yaml").write_text(INFO)
        (self.dump / "counts.yaml").write_text(COUNTS)
        self.digest = hashlib.sha256(LIST.encode()).hexdigest()
        self.score()

    def score(self, digest=None):
        rows = [
            make_row("m0", 1, "tuba", 5.0),
            make_row("m0", 2, "harp", 7.0),
            make_row("m1", 1, "harp", 9.0),
            make_row("m1", 2, "tuba", 0.0, "silent estimate: x.wav"),
        ]
        write_scores(self.scored / "scores.tsv", rows)
        head = {
            "backend": "fast",
            "list_sha256": digest or self.digest,
            "estimates_clipped": 2,
            "samples_clipped": 31,
            "bootstrap": "10000 resamples of the mixtures, seed 3",
        }
        text = result_text(head, summarise(rows, seed=3))
        (self.scored / "result_test.txt").write_text(text)

    def run(self, *more, spec=None):
        spec = spec or f"test:{self.scored}:{self.dump}"
        return main(["--avsep_exp", str(self.exp), "--set", spec, *more])

    def text(self, *more):
        assert self.run(*more) == 0
        return (self.exp / "RESULTS.md").read_text()


@pytest.fixture
def experiment(tmp_path):
    return Experiment(tmp_path)


def cells(text, first):
    """Cells of the table lines that begin with a word."""
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    return [line for line in lines if line and line[0] == first]


def test_sets_of_several_numbers_of_sources(experiment):
    """A table by number of sources, where the sets differ in it."""
    scored = experiment.exp / "scored_test_3src"
    dump = experiment.dump.parent / "test_3src"
    for folder in (scored, dump):
        folder.mkdir()
    rows = [make_row("m0", n, "tuba", 1.0 + n, "") for n in (1, 2, 3)]
    write_scores(scored / "scores.tsv", rows)
    listed = "mix_id\tclip1\tspk1\tclip2\tspk2\tclip3\tspk3\nm0\ta\tb\ta\tb\ta\tb\n"
    head = {"list_sha256": hashlib.sha256(listed.encode()).hexdigest()}
    (scored / "result_test_3src.txt").write_text(result_text(head, summarise(rows)))
    (dump / "mixtures.tsv").write_text(listed)
    leaks = experiment.exp / "leaks.tsv"
    write_leaks(leaks, [Leak("same_video", "test", "clip", "train", "clip", "v")])
    (dump / "clips_of").write_text("test\n")
    spec = f"test_3src:{scored}:{dump}"
    text = experiment.text("--set", spec, "--leaks", str(leaks))
    assert cells(text, "set")[0][:4] == ["set", "sources", "n", "skipped"]
    assert cells(text, "test")[0][:4] == ["test", "2", "3", "1"]
    assert cells(text, "test_3src")[0][:6] == [
        *("test_3src", "3", "3", "0", "1.00", "3.00")
    ]
    # The clips are those of test, whose leaks they share.
    assert "leaks of test_3src: 1 of 1 mixtures" in text


def test_scores(experiment):
    text = experiment.text()
    assert text.splitlines()[2] == (
        "test: SDRi 6.00 dB [5.00, 8.00], SDR 7.00 dB, 3 of 4 sources scored."
    )
    assert cells(text, "test")[0] == [
        *("test", "3", "1", "1.00", "7.00", "7.00", "7.00", "7.00"),
        "6.00 [5.00, 8.00]",
    ]
    assert cells(text, "mixture") == [["mixture"] + ["1.00"] * 4]
    assert cells(text, "estimate") == [["estimate"] + ["7.00 [6.00, 9.00]"] * 4]
    assert cells(text, "harp") == [
        ["harp", "2", "0", "1.00", "8.00", "8.00", "8.00", "8.00", "7.00"]
    ]
    assert cells(text, "silent estimate") == [["silent estimate", "1"]]
    assert "sources: 4: 3 scored, 1 skipped" in text
    assert "31 samples in 2 estimates" in text
    assert "backend fast" in text
    assert "10000 resamples of the mixtures, seed 3" in text


def test_silent_sources_are_counted_and_have_their_leakage(experiment):
    rows = [make_row("m0", n, "tuba", 4.0 + n) for n in (1, 2)]
    rows += [make_row("m1", n, "harp", 6.0) for n in (1, 2)]
    rows[1] = ScoreRow("m0", 2, "clip2", "tuba", leakage=-20.0)
    rows[3] = ScoreRow("m1", 2, "clip2", "harp", leakage=-30.0)
    for row in rows:
        finish(row)
    write_scores(experiment.scored / "scores.tsv", rows)
    text = experiment.text()
    assert cells(text, "set")[0][-1] == "silent sources: n, leakage"
    (line,) = cells(text, "test")[:1]
    assert line[:3] == ["test", "2", "0"] and line[-1] == "2, -25.00"
    assert "sources: 4: 2 scored, 0 skipped, 2 silent by intention" in text
    assert "mixture: -25.00 [-30.00, -20.00] dB" in text
    assert cells(text, "harp")[0][:3] == ["harp", "1", "0"]


def test_answers_on_what_sounds_have_their_table(experiment):
    assert "which picture sounds" not in experiment.text()
    folder = experiment.exp / "grounded_test"
    folder.mkdir()
    rows = ["mix_id sound source sounds probability"]
    rows += ["m0 source 1 1 0.9", "m1 source 1 1 0.4", "m0 source 1 0 0.1"]
    rows += ["m1 source 2 0 0.2", "m0 mixture 1 1 0.5"]
    text = "".join(row.replace(" ", "\t") + "\n" for row in rows)
    (folder / "grounding.tsv").write_text(text)
    text = experiment.text()
    assert "### test: which picture sounds" in text
    lines = text[text.index("### test") :].splitlines()
    found = [[c.strip() for c in line.split("|")[1:-1]] for line in lines[4:9]]
    assert [row[1:] for row in found] == [
        ["2", "50.0 [0.0, 100.0]"],
        ["2", "100.0 [100.0, 100.0]"],
        ["", "75.0"],
        ["1", "100.0"],
        ["0", "n/a"],
    ]
    (folder / "grounding.tsv").write_text("mix_id\tsound\nm0\tsource\n")
    assert experiment.run() == 2


def test_what_made_the_scores(experiment):
    text = experiment.text()
    weights = hashlib.sha256(b"weights").hexdigest()
    for line in (
        "* tag: hfra_raw",
        "* config: conf/tuning/train_avsep_hfra.yaml",
        "* seed: 17",
        "* model: valid.si_sdr_i.best.pth -> 7epoch.pth",
        f"* SHA-256 of the weights: {weights}",
        "* test: encoder: open_clip, pretrained: openai, weights: abc123",
        "* teacher: clap",
        "* checkpoint: 630k-audioset-best.pt",
        f"* SHA-256 of mixtures.tsv: {experiment.digest}",
        "./run.sh --stage 6",
    ):
        assert line in text.splitlines()
    for name in ("date", "python", "espnet", "torch", "espnet2_avsep", "GPU"):
        assert f"\n* {name}: " in text
    assert "random" not in text
    assert "another list" not in text


def test_a_system_without_training(experiment):
    config = experiment.exp / "config.yaml"
    config.write_text(
        "config: conf/tuning/untrained_rpca.yaml\ntrained: false\nsystem: RPCA\n"
        "baseline: rpca\nassignment: oracle\n"
    )
    lines = experiment.text().splitlines()
    assert "* system: RPCA" in lines
    assert "* training: none; visual inputs are not looked at" in lines
    assert any("by the references (oracle)" in line for line in lines)
    assert not any("encoder" in line or "Teacher" in line for line in lines)
    text = experiment.text("--inference_args=--assignment order")
    assert "in the order in which they come" in text and "oracle" not in text
    assert "* separated with: `--assignment order`" in text
    config.write_text("trained: false\nbaseline: ideal_binary_mask\n")
    assert "made from the true sources" in experiment.text()


def test_clips_that_were_left_out(experiment, tmp_path):
    train = tmp_path / "dump" / "raw" / "train"
    train.mkdir()
    write_skipped(
        train / "skipped.tsv",
        [
            Skipped("a", "audio", "unreadable: x"),
            Skipped("b", "audio", "unreadable: y"),
        ],
    )
    text = experiment.text("--training_set", f"train:{train}")
    assert ["test", "9", "7", "2", "1"] in cells(text, "test")
    assert ["test", "filter", "silent", "1"] in cells(text, "test")
    assert ["test", "visual", "no frames", "1"] in cells(text, "test")
    assert ["test", "mixture list", "clip not in the set (mixture)", "1"] in cells(
        text, "test"
    )
    assert ["train", "audio", "unreadable", "2"] in cells(text, "train")


def test_corpus_note_stands_at_the_top(experiment):
    text = experiment.text("--corpus_note", "Stand-in corpus, not MUSIC.")
    assert text.split("\n\n")[1] == "**Stand-in corpus, not MUSIC.**"
    assert text.splitlines()[4].startswith("test: SDRi 6.00 dB [5.00, 8.00]")


def test_random_encoder_and_teacher_are_said_in_bold(experiment):
    (experiment.dump / "visual_info.yaml").write_text(
        "encoder: open_clip\npretrained: random\nweights: random, seed 0\n"
    )
    config = CONFIG.replace("630k-audioset-best.pt", "random")
    (experiment.exp / "config.yaml").write_text(config)
    text = experiment.text()
    assert "**randomly initialised encoder, not CLIP**" in text
    assert "**randomly initialised teacher, not CLAP**" in text


def test_random_is_told_from_names_that_hold_the_word():
    assert is_random("random")
    assert is_random("random, seed 0")
    assert is_random({"weights": {"file": "Random"}})
    assert not is_random("exp/random_search/best.pt")
    assert not is_random({"pretrained": "openai", "seed": 0, "weights": None})


def test_scores_of_another_list_are_refused(experiment, capsys):
    experiment.score(digest="0123")
    assert experiment.run() == 2
    error = capsys.readouterr().err
    assert "the scores are of another list of mixtures (SHA-256 0123)" in error
    assert "Run stages 7 and 8 again" in error


@pytest.mark.parametrize("change", ["missing", "doubled", "unknown"])
def test_a_missing_or_doubled_row_is_not_another_mean(experiment, capsys, change):
    path = experiment.scored / "scores.tsv"
    lines = path.read_text().splitlines(keepends=True)
    if change == "missing":
        lines.pop(3)
    elif change == "doubled":
        lines.append(lines[3])
    else:
        lines[3] = lines[3].replace("m1", "m7", 1)
    path.write_text("".join(lines))
    assert experiment.run() == 2
    error = capsys.readouterr().err
    what = {"missing": "are missing", "doubled": "come more than once"}
    assert what.get(change, "are missing") in error
    assert "m1, source 1" in error and "score again (stage 8)" in error
    assert not (experiment.exp / "RESULTS.md").exists()


def test_missing_details_are_said(experiment):
    for name in ("config.yaml", "valid.si_sdr_i.best.pth", "run.sh"):
        (experiment.exp / name).unlink()
    for name in ("visual_info.yaml", "counts.yaml"):
        (experiment.dump / name).unlink()
    text = experiment.text()
    assert "no config.yaml in avsep_hfra_raw" in text
    assert "valid.si_sdr_i.best.pth (no such file)" in text
    assert "not known (no visual_info.yaml" in text
    assert ["test", "unknown", "unknown", "unknown", ""] in cells(text, "test")
    assert "## Command" not in text


def test_no_teacher(experiment):
    (experiment.exp / "config.yaml").write_text("teacher: null\nseed: 0\n")
    assert "## Teacher\n\nNone." in experiment.text()


def test_precomputed_teacher_says_what_made_it(experiment):
    (experiment.exp / "config.yaml").write_text(
        f"teacher: precomputed\nteacher_conf: {{scp: {experiment.dump}/teacher.scp}}\n"
    )
    assert "* embeddings: not known" in experiment.text()
    (experiment.dump / "teacher_info.yaml").write_text(
        "teacher: HTSAT-tiny, random, seed 0\n"
    )
    text = experiment.text()
    assert "* embeddings: HTSAT-tiny, random, seed 0" in text
    assert "**randomly initialised teacher, not CLAP**" in text


def test_encoder_may_be_described_beside_the_model(experiment):
    (experiment.dump / "visual_info.yaml").rename(experiment.exp / "visual_info.yaml")
    assert "* test: encoder: open_clip" in experiment.text()


def test_bad_input(experiment, capsys, tmp_path):
    def error(spec=None):
        assert experiment.run(spec=spec) == 2
        return capsys.readouterr().err

    assert "expected NAME:SCOREDIR:DUMPDIR" in error("test")
    assert "is not a folder" in error(f"test:{tmp_path / 'none'}:{experiment.dump}")
    (experiment.exp / "config.yaml").write_text("[1, 2")
    assert "is not valid YAML" in error()
    (experiment.exp / "config.yaml").write_text("- 1\n")
    assert "expected a mapping" in error()
    (experiment.exp / "config.yaml").write_text(CONFIG)
    (experiment.dump / "mixtures.tsv").unlink()
    assert "mixtures.tsv: no such file" in error()
    (experiment.dump / "mixtures.tsv").write_text(LIST)
    (experiment.scored / "result_test.txt").unlink()
    assert "0 files result_*.txt" in error()
    experiment.score()
    (experiment.scored / "scores.tsv").unlink()
    assert "scores.tsv: no such file" in error()
    assert main(["--avsep_exp", str(tmp_path / "no"), "--set", "a:b:c"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (experiment.exp / "RESULTS.md").exists()


def test_results_of_other_settings_go_elsewhere(experiment, tmp_path):
    experiment.score()
    first = experiment.text()
    assert experiment.run("--output", str(tmp_path / "binary" / "RESULTS.md")) == 0
    assert (tmp_path / "binary" / "RESULTS.md").read_text() == first
    (experiment.exp / "RESULTS.md").unlink()
    assert experiment.run("--output", str(tmp_path / "other.md")) == 0
    assert not (experiment.exp / "RESULTS.md").exists()


def test_leaks_are_counted_and_left_out(experiment, tmp_path):
    """Three mixtures; the clip of one is trained on, and raises the mean."""
    rows = [
        make_row("m0", 1, "tuba", 12.0),
        make_row("m0", 2, "harp", 14.0),
        make_row("m1", 1, "harp", 3.0),
        make_row("m1", 2, "tuba", 5.0),
        make_row("m2", 1, "harp", 1.0),
        make_row("m2", 2, "tuba", 3.0),
    ]
    for row in rows:
        row.clip = f"{row.instrument}-{row.mix_id}"
    listed = f"{LIST}m2\tc1\ttuba\tc2\tharp\n"
    (experiment.dump / "mixtures.tsv").write_text(listed)
    experiment.score(digest=hashlib.sha256(listed.encode()).hexdigest())
    write_scores(experiment.scored / "scores.tsv", rows)
    path = tmp_path / "leaks.tsv"
    write_leaks(
        path,
        [
            Leak("same_audio", "test", "harp-m0", "train", "harp-x", ""),
            Leak("same_video", "test", "harp-m0", "train", "harp-m0", ""),
            Leak("same_video", "valid", "harp-m1", "train", "harp-m1", ""),
            Leak("two_labels", "test", "tuba-m2", "train", "harp-m2", ""),
        ],
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    text = experiment.text("--leaks", str(path))
    line = (
        "* leaks of test: 1 of 3 mixtures hold a clip whose video or sound an earlier"
    )
    assert f"{line} set has (leaks.tsv, SHA-256 {digest})" in text
    assert [row[1:5] for row in cells(text, "test")[:1]] == [["6", "0", "1.00", "6.33"]]
    assert len(cells(text, "estimate")) == 1

    text = experiment.text("--leaks", str(path), "--leak_free", "true")
    assert [row[1:5] for row in cells(text, "test")[:2]] == [
        ["6", "0", "1.00", "6.33"],
        ["4", "0", "1.00", "3.00"],
    ]
    assert "The 2 mixtures that hold no leaking clip:" in text
    assert [row[1] for row in cells(text, "estimate")] == [
        "6.33 [2.00, 13.00]",
        "3.00 [2.00, 4.00]",
    ]
    assert [row[1:4] for row in cells(text, "harp")] == [
        ["3", "0", "1.00"],
        ["2", "0", "1.00"],
    ]


def test_leaks_that_were_not_looked_for(experiment, capsys, tmp_path):
    assert "* leaks of test: not looked for" in experiment.text()
    assert experiment.run("--leak_free", "true") == 2
    assert "wants --leaks" in capsys.readouterr().err
    assert experiment.run("--leaks", str(tmp_path / "none.tsv")) == 2
    assert "none.tsv: no such file; stage 4 writes it" in capsys.readouterr().err


def test_when_everything_leaks(experiment, tmp_path):
    path = tmp_path / "leaks.tsv"
    write_leaks(path, [Leak("same_video", "test", "clip", "train", "clip", "")])
    text = experiment.text("--leaks", str(path), "--leak_free", "true")
    assert "2 of 2 mixtures hold a clip" in text
    assert cells(text, "test")[1][1:4] == ["0", "0", "n/a"]


def test_lists_and_how_much_of_them_is_there(experiment, tmp_path):
    assert "## Corpus" not in experiment.text()
    counts = COUNTS[: COUNTS.index("mixtures:")] + LISTED + SOURCE
    (experiment.dump / "counts.yaml").write_text(counts)
    train = tmp_path / "train"
    train.mkdir()
    (train / "counts.yaml").write_text("listed: 1\nkept: 1\n" + SOURCE)
    text = experiment.text("--training_set", f"train:{train}")
    line = (
        "* test: 8 of 9 listed clips are there (missing: video not found: 1), 7 are "
        "used; layout: videos, JSON list; split: lists in x; SHA-256 of the list of "
        "clips beef; test.txt, SHA-256 f00d; mixtures from pairs.csv, SHA-256 cafe: 2 "
        "of 3 made"
    )
    assert line in text.splitlines()
    assert "* train: 8 of 9 listed clips are there" in text


def test_real_mixtures_are_named_and_not_scored(
    experiment, tmp_path, monkeypatch, capsys
):
    dump, separated = tmp_path / "duet", tmp_path / "separated"
    for folder in (dump, separated):
        folder.mkdir()
    (dump / "wav.scp").write_text("a-1 mix1.wav\nb-2 mix2.wav\n")
    (dump / "counts.yaml").write_text("listed: 3\nkept: 2\nleft_out: 1\nskipped: {}\n")
    option = ("--real_set", f"duet:{separated}:{dump}")
    assert experiment.run(*option) == 2  # not separated
    for n in (1, 2):
        (separated / f"spk{n}.scp").write_text(f"a-1 one{n}.wav\nb-2 two{n}.wav\n")
    text = experiment.text(*option)
    assert "## duet\n\n* real mixtures: 2, separated and not scored" in text
    assert "* for example: mix1.wav, one1.wav, one2.wav" in text
    assert len(cells(text, "duet")) == 1  # among the clips left out, not the scores
    assert cells(text, "duet")[0][1:4] == ["3", "2", "1"]
    write_record(separated, make_record(7, {"speech_mix": dump / "wav.scp"}, {}, {}))
    (dump / "wav.scp").write_text("a-1 mix1.wav\nc-3 mix3.wav\n")
    for name in ("mix1.wav", "mix3.wav"):
        (tmp_path / name).write_text("sound")
    monkeypatch.chdir(tmp_path)
    assert experiment.run(*option) == 2
    assert "Run stage 7 again" in capsys.readouterr().err


def test_notes_of_the_corpus_are_found_for_a_comparison(experiment, tmp_path):
    experiment.text("--corpus_note", "Stand-in corpus, not MUSIC.")
    folders = [experiment.exp, tmp_path / "none", experiment.exp]
    assert corpus_notes(folders) == "Stand-in corpus, not MUSIC."
    experiment.text()
    assert corpus_notes(folders) == ""

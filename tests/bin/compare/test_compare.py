import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from espnet2_avsep.bin.compare.compare import main
from espnet2_avsep.data.records.made_from import (
    make_record,
    record_path,
    write_record,
)
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.score_table import METRICS, ScoreRow, finish, summarise
from espnet2_avsep.scoring.comparison_tables import experiment_line
from espnet2_avsep.scoring.config_curve import curve_points
from espnet2_avsep.scoring.experiments import read_experiment
from espnet2_avsep.scoring.score_files import write_scores
from espnet2_avsep.scoring.set_scores import result_text

PUBLISHED = [
    {
        "corpus": "MUSIC",
        "sdr": 6.72,
        "sir": 12.60,
        "sar": 10.21,
        "source": "HFRA, table 1",
        "protocol": "2 sources, 118 videos",
    }
]


def make(folder, sdr, sound="s1", backend="fast", dset="test", count=2, **config):
    """An experiment of mixtures of some sources, as stage 8 leaves it."""
    scored = folder / f"scored_{dset}"
    scored.mkdir(parents=True)
    rows = []
    for n, value in enumerate(sdr):
        name = ("tuba", "harp")[n % 2]
        row = ScoreRow(f"m{n // count}", n % count + 1, f"{name}-{n}", name)
        for metric in METRICS:
            setattr(row, metric, float(value))
            setattr(row, f"{metric}_mix", 1.0)
        finish(row)
        rows.append(row)
    write_scores(scored / "scores.tsv", rows)
    head = {"backend": backend, "list_sha256": "l", "sound_sha256": sound}
    (scored / f"result_{dset}.txt").write_text(result_text(head, summarise(rows, 10)))
    if config:
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return str(folder)


@pytest.fixture
def two(tmp_path):
    a = make(
        tmp_path / "a",
        [4, 6, 8, 10],
        system="HFRA",
        published=PUBLISHED,
        config="conf/a.yaml",
        seed=3,
    )
    b = make(
        tmp_path / "b",
        [1, 2, 3, 4],
        system="NMF | x",
        trained=False,
        assignment="oracle",
    )
    return [a, b]


def run(experiments, out, *more):
    argv = ["--output_dir", str(out), "--resamples", "100"]
    for experiment in experiments:
        argv += ["--experiment", experiment]
    return main([*argv, *more])


def read(path):
    with path.open() as f:
        return list(csv.reader(f))


def test_tables_and_pictures(two, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(two, out, "--corpus", "MUSIC", "--corpus_note", "A toy.") == 0
    header, mixture, a, b = read(out / "compare_test.csv")
    a, b = dict(zip(header, a, strict=True)), dict(zip(header, b, strict=True))
    assert mixture[:3] == ["mixture", "4", "1.00"]
    assert (a["system"], a["n"], a["SDR"], a["SDRi"]) == ("HFRA", "4", "7.00", "6.00")
    assert float(a["SDR low"]) <= 7 <= float(a["SDR high"])
    assert [a[f"published {m}"] for m in ("SDR", "SIR", "SAR")] == [
        *("6.72", "12.60", "10.21")
    ]
    assert a["protocol"] == "HFRA, table 1: 2 sources, 118 videos"
    assert b["published SDR"] == "" and b["SDR"] == "2.50"
    _, sdr, _ = read(out / "compare_test_differences.csv")
    assert sdr[:4] == ["HFRA", "NMF | x (oracle order)", "SDR", "4.50"]
    assert sdr[-1] == "yes"
    assert read(out / "compare_test_instruments.csv")[1:] == [
        ["harp", "2", "1.00", "8.00", "3.00", "HFRA"],
        ["tuba", "2", "1.00", "6.00", "2.00", "HFRA"],
    ]
    text = (out / "compare_test.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "**A toy.**" in text and "over the 4 sources of 2 mixtures" in text
    assert r"NMF \| x" in text and "(oracle)" in text and "seed 3" in text
    assert "only where those are of the same corpus" in text
    for name in ("scores", "instruments"):
        picture = out / f"compare_test_{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.name in text


def test_again_gives_the_same_bytes(two, tmp_path):
    for name in "xy":
        assert run(two, tmp_path / name) == 0
    files = sorted((tmp_path / "x").iterdir())
    assert len(files) == 6
    for path in files:
        assert path.read_bytes() == (tmp_path / "y" / path.name).read_bytes()


def test_names(two, tmp_path):
    tagged = make(tmp_path / "a" / "shuffled", [1, 1, 1, 1])
    bare = make(tmp_path / "bare", [1, 1, 1, 1])
    plain = make(tmp_path / "old" / "tag", [1, 1, 1, 1])
    (tmp_path / "old" / "config.yaml").write_text("seed: 1\n")
    experiments = [*two, tagged, bare, f"mine={bare}", plain]
    assert run(experiments, tmp_path / "out", "--plots", "false") == 0
    names = [line[0] for line in read(tmp_path / "out" / "compare_test.csv")]
    assert names[2:] == [
        *("HFRA", "HFRA (shuffled)", "bare", "mine", "old (tag)"),
        "NMF | x (oracle order)",
    ]


def test_upper_bounds_do_not_compete(two, tmp_path):
    bound = make(tmp_path / "ideal", [20, 20, 20, 20], system="Ideal", trained=False)
    (tmp_path / "b" / "inference_args").write_text("--assignment order\n")
    assert run([*two, bound], tmp_path / "out", "--plots", "false") == 0
    header, *lines = read(tmp_path / "out" / "compare_test_instruments.csv")
    assert header[3:] == [
        *("HFRA", "NMF | x (in order of output)", "Ideal (upper bound)", "best")
    ]
    assert [line[-1] for line in lines] == ["HFRA", "HFRA"]
    text = (tmp_path / "out" / "compare_test.md").read_text()
    assert "separated with `--assignment order`" in text
    assert "an upper bound, not a system" in text


def test_systems_of_one_score_are_both_best(tmp_path):
    """Of two equal ones the first was called the best."""
    folders = [
        f"{name}={make(tmp_path / name, scores)}"
        for name, scores in (("A", [1, 2, 3, 4]), ("B", [0, 0, 0, 0]))
    ]
    folders.append(f"C={make(tmp_path / 'C', [1, 2, 3, 4])}")
    assert run(folders, tmp_path / "out", "--plots", "false") == 0
    _, *lines = read(tmp_path / "out" / "compare_test_instruments.csv")
    assert [line[-1] for line in lines] == ["A, C", "A, C"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sound": "s2"}, "other mixtures"),
        ({"backend": "mir_eval"}, "scored by mir_eval"),
        ({"system": "HFRA"}, "have one name"),
        ({"system": "HFRA", "seed": 4, "optim": "sgd"}, "differ in config, optim"),
        ({"system": "mixture"}, "the name of the mixtures"),
        ({"sdr": [1, 2]}, "lists other sources"),
    ],
)
def test_what_cannot_be_compared_is_refused(two, tmp_path, capsys, changes, message):
    other = make(tmp_path / "other", **{"sdr": [1, 2, 3, 4], **changes})
    assert run([*two, other], tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_separation_that_was_begun_again_is_refused(two, tmp_path, capsys):
    """Swapped pictures would stand in the table as an ordinary run."""
    folder = tmp_path / "a" / "swapped"
    make(folder, [1, 2, 3, 4])
    noted, separated = folder / "inference_args", folder / "separated_test"
    noted.write_text("--shuffle_visual class\n")
    write_record(separated, make_record(7, {}, {}, {}))
    files = {"separation": record_path(separated)}
    write_record(folder / "scored_test", make_record(8, {}, files, {}))
    assert read_experiment(str(folder), "test").group == "swapped pictures"
    noted.unlink()  # by stage 7
    record_path(separated).unlink()
    assert run([*two, str(folder)], tmp_path / "out") == 2
    assert "Run stages 7 and 8 again" in capsys.readouterr().err
    noted.write_text("--shuffle_visual class\n")
    assert read_experiment(str(folder), "test").group == "swapped pictures"


def test_a_moved_experiment_is_not_taken_for_one_that_was_begun_again(tmp_path):
    """Without avsep.sh, nothing notes the options of the separation."""
    make(tmp_path / "a", [1, 2, 3, 4])
    separated = tmp_path / "a" / "separated_test"
    write_record(separated, make_record(7, {}, {}, {}))
    files = {"separation": record_path(separated)}
    write_record(tmp_path / "a" / "scored_test", make_record(8, {}, files, {}))
    moved = (tmp_path / "a").rename(tmp_path / "b")
    assert read_experiment(str(moved), "test").options == ""
    record_path(moved / "separated_test").unlink()
    with pytest.raises(InputError, match="Run stages 7 and 8 again"):
        read_experiment(str(moved), "test")
    (moved / "separated_test").rmdir()  # to save space
    assert read_experiment(str(moved), "test").options == ""


def test_missing_scores_and_unknown_corpora(two, tmp_path, capsys):
    assert run(two, tmp_path / "out", "--set", "valid") == 2
    assert "scored_valid" in capsys.readouterr().err
    assert run(two, tmp_path / "out", "--corpus", "AVE") == 2
    assert "there are scores on MUSIC" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"published": 3},
        {"published": [{"sdr": 1}]},
        {"published": [{"corpus": "MUSIC", "sdr": 1.0, "sir": None}]},
        {"published": [{"corpus": "MUSIC", "sar": "9.5 dB"}]},
        {"max_epoch": "many"},
        {"max_train_seconds": "a minute"},
        {"accum_grad": 0.5},
    ],
)
def test_a_config_with_values_of_other_kinds_is_named(tmp_path, wrong):
    folder = make(tmp_path / "a", [1, 2], **wrong)
    with pytest.raises(InputError, match=rf"config.yaml: {next(iter(wrong))} is "):
        read_experiment(folder, "test")


def test_the_steps_of_a_training_are_those_that_it_made(tmp_path):
    """Early stopping ends before max_epoch."""
    config = {"max_epoch": 50, "num_iters_per_epoch": 10, "batch_size": 4, "seed": 1}
    one = read_experiment(make(tmp_path / "a", [1, 2], **config), "test")
    assert "500 steps of 4 mixtures" in experiment_line(one)
    (tmp_path / "a" / "latest.pth").symlink_to("20epoch.pth")
    assert "200 steps of 4 mixtures" in experiment_line(one)
    other = read_experiment(make(tmp_path / "b", [1, 2], **config), "test")
    both = one._replace(trainings=(one, other))
    assert "200 to 500 steps of 4 mixtures" in experiment_line(both)


def test_batches_of_accumulated_gradients_are_one_step(tmp_path):
    """The last batch of 10 makes no step of 3."""
    config = {"max_epoch": 5, "num_iters_per_epoch": 10, "batch_size": 4}
    folder = make(tmp_path / "a", [1, 2], **config, accum_grad=3)
    text = experiment_line(read_experiment(folder, "test"))
    assert "15 steps of 3 x 4 mixtures" in text


def seeds_of_a(tmp_path, **more):
    """Three trainings of one system; the mixtures have 1 dB."""
    same = {"system": "A", "max_epoch": 2, "num_iters_per_epoch": 50, "batch_size": 4}
    same.update(teacher_conf={"checkpoint": "random"}, **more)
    scores = {0: [4, 6, 8, 10], 1: [1, 3, 5, 7], 2: [1, 3, 5, 4]}
    return [
        make(tmp_path / f"a{seed}", sdr, **same, seed=seed, output_dir=f"exp/a{seed}")
        for seed, sdr in scores.items()
    ]


def test_seeds_of_a_system_are_one_line(two, tmp_path):
    out = tmp_path / "out"
    assert run([*seeds_of_a(tmp_path), two[1]], out, "--plots", "false") == 0
    header, _, a, b = read(out / "compare_test.csv")
    a, b = dict(zip(header, a, strict=True)), dict(zip(header, b, strict=True))
    # Seed by seed: means 7, 4 and 3.25 dB; the mixtures have 1 dB.
    assert (a["SDR"], a["SDRi"], a["n"]) == ("4.75", "3.75", "4")
    assert [a[f"SDRi of seeds, {m}"] for m in ("min", "max")] == ["2.25", "6.00"]
    assert (a["seeds"], b["seeds"], b["SDRi of seeds, min"]) == ("3", "", "")
    # The sources' own means over the seeds are 2, 4, 6 and 7 dB, those of b 1 to 4.
    _, sdr, _ = read(out / "compare_test_differences.csv")
    assert sdr[:4] == ["A", "NMF | x (oracle order)", "SDR", "2.25"]
    # Mixtures of two: differences (1 + 2) / 2 and (3 + 3) / 2 are all there is to draw.
    assert sdr[4:6] == ["1.50", "3.00"]
    text = (out / "compare_test.md").read_text()
    assert "3 [2.25, 6.00]" in text and "means over them" in text
    assert "seeds 0, 1, 2, 100 steps of 4 mixtures, teacher random" in text
    for seed in range(3):
        assert f"`{tmp_path / f'a{seed}'}`" in text


def swapped(experiment, sdr):
    """The experiment's run with the pictures of other sources."""
    folder = Path(experiment) / "shuffled"
    make(folder, sdr)
    (folder / "inference_args").write_text("--shuffle_visual class\n")
    return str(folder)


def test_learned_means_above_the_mixture_and_above_swapped_pictures(two, tmp_path):
    """One system learned; one ignores the pictures; one is below the mixture (1 dB)."""
    seeds = seeds_of_a(tmp_path)
    deaf = make(tmp_path / "deaf", [4, 6, 8, 10], system="Deaf")
    bad = make(tmp_path / "bad", [0, 0.5, 0, 0.5], system="Bad")
    experiments = [two[1], deaf, bad, *seeds]
    experiments += [swapped(deaf, [4, 6, 8, 10.5]), swapped(bad, [-9, -9, -9, -9])]
    experiments += [swapped(seed, [0, 0, 1, 1]) for seed in seeds]
    out = tmp_path / "out"
    assert run(experiments, out, "--plots", "false") == 0
    header, _, *lines = read(out / "compare_test.csv")
    lines = {line[0]: dict(zip(header, line, strict=True)) for line in lines}
    assert [(n, x["group"], x["learned"]) for n, x in lines.items()] == [
        ("Deaf", "system", "no"),
        ("Bad", "system", "no"),
        ("A", "system", "yes"),
        ("Deaf (shuffled)", "swapped pictures", ""),
        ("Bad (shuffled)", "swapped pictures", ""),
        ("A (shuffled)", "swapped pictures", ""),
        ("NMF | x (oracle order)", "with references", ""),
    ]
    # Means of A over its seeds: 2, 4, 6, 7 dB; swapped 0, 0, 1, 1; mixtures of two.
    a = lines["A"]
    assert (a["SDRi, swapped pictures"], a["SDRi - swapped"]) == ("-0.50", "4.25")
    assert (a["SDRi - swapped low"], a["SDRi - swapped high"]) == ("3.00", "5.50")
    assert lines["Deaf"]["SDRi - swapped"] == "-0.12"
    assert float(lines["Bad"]["SDRi - swapped low"]) > 0
    text = (out / "compare_test.md").read_text()
    main, shuffled, oracles = text.split("\n| system ")[1:4]
    assert "4.25 [3.00, 5.50]" in main and "swapped) both lie above 0" in text
    assert "A (shuffled)" in shuffled and "NMF" not in main + shuffled
    assert "NMF" in oracles
    instruments = read(out / "compare_test_instruments.csv")
    assert not any("shuffled" in name for name in instruments[0])
    assert {line[-1] for line in instruments[1:]} == {"Deaf"}


def test_a_seed_that_comes_twice_is_refused(tmp_path, capsys):
    same = make(tmp_path / "again", [1, 2, 3, 4], system="B", seed=1)
    other = make(tmp_path / "other", [1, 2, 3, 4], system="B", seed=1)
    assert run([same, other], tmp_path / "out") == 2
    assert "the seed 1 comes twice" in capsys.readouterr().err


def test_of_many_systems_the_page_shows_differences_from_the_first(tmp_path):
    experiments = [
        make(tmp_path / name, [n, n, n, n], system=name)
        for n, name in enumerate("abcdefg")
    ]
    out = tmp_path / "out"
    assert run(experiments, out, "--plots", "false") == 0
    assert len(read(out / "compare_test_differences.csv")) == 1 + 2 * 21
    section = (out / "compare_test.md").read_text().split("## ")[1]
    assert section.startswith("Differences") and section.count("\n| a ") == 12
    assert "\n| b " not in section and "compare_test_differences.csv" in section


def alignment(weight):
    entry = {"name": "alignment"}
    if weight is not None:
        entry["weight"] = weight
    return {"criterions": [{"name": "spectrogram_l1"}, entry], "system": f"w{weight}"}


def test_scores_over_lambda(tmp_path):
    weights = {"big": 10, "small": 0.3, "none": None}
    sdr = {"big": [1, 1, 2, 2], "small": [3, 3, 4, 4], "none": [5, 5, 6, 6]}
    experiments = [
        make(tmp_path / n, sdr[n], **alignment(w)) for n, w in weights.items()
    ]
    experiments.append(make(tmp_path / "off", [0, 0, 1, 1], system="off"))
    key = "criterions.alignment.weight"
    out = tmp_path / "out"
    assert run(experiments, out, "--over", key, "--over_missing", "0") == 0
    header, *lines = read(out / "compare_test_over.csv")
    assert header[:3] == [key, "system", "SDR"]
    # In the order of numbers; a criterion without a weight has the weight 1.
    assert [line[:3] for line in lines] == [
        *(["0", "off", "0.50"], ["0.3", "w0.3", "3.50"]),
        *(["1", "wNone", "5.50"], ["10", "w10", "1.50"]),
    ]
    assert float(lines[0][3]) <= 0.5 <= float(lines[0][4])
    text = (out / "compare_test.md").read_text()
    assert f"## Over {key}" in text and "![compare_test_over.png]" in text
    assert (out / "compare_test_over.png").read_bytes().startswith(b"\x89PNG")


def test_points_of_a_curve_are_numbers_in_their_order_then_words():
    values = {"a": "late", "b": 10, "c": 2.0, "d": "1e-3", "e": "early"}
    configs = {name: {"x": {"y": value}} for name, value in values.items()}
    scores = {name: {"sdr": float(n)} for n, name in enumerate(values)}
    points = curve_points(configs, SimpleNamespace(mean=scores, interval=scores), "x.y")
    assert [(point.value, point.system) for point in points] == [
        *(("0.001", "d"), ("2", "c"), ("10", "b"), ("early", "e"), ("late", "a")),
    ]
    assert [point.mean["sdr"] for point in points] == [3, 2, 1, 4, 0]


def test_what_no_curve_can_be_drawn_over(tmp_path, capsys):
    experiment = make(tmp_path / "a", [1, 2], **alignment(2))
    for key, message in [
        ("criterions.alignment.rate", "--over_missing"),
        ("criterions.alignment", "a single value"),
        ("nothing.at.all", "has no such value"),
    ]:
        assert run([experiment], tmp_path / "out", "--over", key) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_table_by_number_of_sources(tmp_path, capsys):
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, system, scores in ((a, "A", [4, 6, 8, 10]), (b, "B", [1, 2, 3, 4])):
        make(folder, scores, system=system, dset="test_2src")
    make(a, [2, 3, 4, 5, 6, 7], system="A", dset="test_3src", count=3, sound="s3")
    out = tmp_path / "out"
    sets = ["--set", "test_2src", "test_3src"]
    assert run([str(a), str(b)], out, *sets) == 0
    assert (out / "compare_test_3src.md").is_file()
    header, *lines = read(out / "compare_by_sources.csv")
    found = {(line[0], line[2]): dict(zip(header, line, strict=True)) for line in lines}
    assert set(found) == {
        *(("test_2src", name) for name in ("mixture", "A", "B")),
        *(("test_3src", name) for name in ("mixture", "A")),
    }
    three = found["test_3src", "A"]
    assert (three["sources"], three["n"], three["SDR"], three["SDRi"]) == (
        *("3", "6", "4.50", "3.50"),
    )
    assert found["test_2src", "mixture"]["SAR"] == ""
    assert found["test_2src", "mixture"]["SDRi"] == ""
    text = (out / "compare_by_sources.md").read_text()
    table = [[c.strip() for c in x.split("|")[1:-1]] for x in text.splitlines()]
    table = [row for row in table if row and not row[0].startswith(":")]
    assert table[0] == ["system", "test_2src: 2", "test_3src: 3"]
    assert table[1] == ["mixture (SDR)", "1.00", "1.00"]
    assert table[2] == ["A", "6.00 [4.00, 8.00]", "3.50 [2.00, 5.00]"]
    assert table[3] == ["B", "1.50 [0.50, 2.50]", "n/a"]
    assert "3 sources, 6 of 6 sources of 2 mixtures" in text
    assert (out / "compare_by_sources.png").read_bytes().startswith(b"\x89PNG")
    # One that is scored on none of the sets is an error.
    make(tmp_path / "c", [1, 2, 3, 4], system="C")
    assert run([str(a), str(tmp_path / "c")], out, *sets) == 2
    assert "there is no" in capsys.readouterr().err

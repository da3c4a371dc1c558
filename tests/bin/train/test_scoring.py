import csv
import hashlib
import os

import numpy as np
import pytest
import soundfile

from espnet2_avsep.bin.train.scoring import main
from espnet2_avsep.data.mixing.mixture_table import read_sources
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.bss_eval import bss_eval
from espnet2_avsep.metrics.score_table import METRICS, SCORES
from espnet2_avsep.scoring import set_scores
from espnet2_avsep.scoring.score_files import read_scores

FS, L = 8000, 1200
KEYS = ("mix00000", "mix00001", "mix00002")
SPK = [("tuba", "harp"), ("harp", "oboe"), ("oboe", "tuba")]


class Folder:
    """A little scored set, of which a test may spoil something before it runs."""

    def __init__(self, path):
        self.path = path
        rng = np.random.default_rng(0)
        self.wavs = {}
        for key in KEYS:
            references = 0.1 * rng.standard_normal((2, L))
            noise = 0.01 * rng.standard_normal((2, L))
            self.wavs[key, "wav"] = references.sum(0)
            for n in (1, 2):
                estimate = references[n - 1] + 0.1 * references[2 - n] + noise[n - 1]
                self.wavs[key, f"spk{n}"] = references[n - 1]
                self.wavs[key, f"inf{n}"] = estimate
        for key, name in self.wavs:
            self.write(key, name)
        for name in ("wav", "spk1", "spk2", "inf1", "inf2"):
            self.write_scp(name, KEYS)
        self.write_list()

    def wav(self, key, name):
        return self.path / f"{key}_{name}.wav"

    def write(self, key, name, samples=None, rate=FS):
        if samples is None:
            samples = self.wavs[key, name]
        soundfile.write(self.wav(key, name), samples, rate, subtype="FLOAT")

    def write_scp(self, name, keys):
        lines = [f"{key} {self.wav(key, name)}\n" for key in keys]
        (self.path / f"{name}.scp").write_text("".join(lines))

    def write_list(self, keys=KEYS):
        lines = ["mix_id\tclip1\tspk1\tstart1\tframe1\tclip2\tspk2\tstart2\tframe2"]
        for key, (a, b) in zip(keys, SPK, strict=True):
            lines.append(f"{key}\t{a}-x\t{a}\t0\t0\t{b}-y\t{b}\t0\t0")
        (self.path / "mixtures.tsv").write_text("\n".join(lines) + "\n")

    def run(self, *more, name="scored_test", refs=("spk1", "spk2"), infs=None):
        argv = []
        for ref in refs:
            argv += ["--ref_scp", str(self.path / f"{ref}.scp")]
        for inf in infs or ("inf1", "inf2"):
            argv += ["--inf_scp", str(self.path / f"{inf}.scp")]
        argv += ["--mix_scp", str(self.path / "wav.scp")]
        argv += ["--mixtures", str(self.path / "mixtures.tsv")]
        argv += ["--mix_scores", str(self.path / "mixture_scores.tsv")]
        argv += ["--output_dir", str(self.path / name)]
        return main([*argv, *more])

    def rows(self, name="scored_test"):
        rows = read_scores(self.path / name / "scores.tsv")
        return {(row.mix_id, row.source): row for row in rows}

    def result(self, name="test"):
        return (self.path / f"scored_{name}" / f"result_{name}.txt").read_text()

    def bytes(self):
        folder = self.path / "scored_test"
        return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def score_by_mir_eval(references, estimates):
    from espnet2_avsep.metrics.bss_eval import bss_eval_by_mir_eval

    pairs = [(0, 0), (1, 1)]
    scores = bss_eval_by_mir_eval([references], [estimates], pairs)
    return np.stack([value[0] for value in scores[:3]])


def float32(*signals):
    return [np.asarray(signal, np.float32).astype(np.float64) for signal in signals]


def test_scores_are_those_of_mir_eval(folder, capsys):
    assert folder.run() == 0
    rows = folder.rows()
    assert list(rows) == [(key, n) for key in KEYS for n in (1, 2)]
    for key in KEYS:
        references = float32(*(folder.wavs[key, f"spk{n}"] for n in (1, 2)))
        estimates = float32(*(folder.wavs[key, f"inf{n}"] for n in (1, 2)))
        mixture = float32(folder.wavs[key, "wav"]) * 2
        of_estimates = score_by_mir_eval(references, estimates)
        of_mixture = score_by_mir_eval(references, mixture)
        for n in (0, 1):
            row = rows[key, n + 1]
            assert row.status == "ok"
            got = [row.sdr, row.sir, row.sar]
            assert got == pytest.approx(of_estimates[:, n], abs=1e-5)
            got = [row.sdr_mix, row.sir_mix]
            assert got == pytest.approx(of_mixture[:2, n], abs=1e-5)
            assert row.sdr_i == pytest.approx(row.sdr - row.sdr_mix, abs=1e-5)
            reference, estimate = references[n], estimates[n]
            gain = estimate @ reference / (reference @ reference)
            residual = estimate - gain * reference
            si_sdr = 10 * np.log10(
                ((gain * reference) ** 2).sum() / (residual**2).sum()
            )
            assert row.si_sdr == pytest.approx(si_sdr, abs=1e-5)
            assert row.si_sdr_i == pytest.approx(row.si_sdr - row.si_sdr_mix, abs=1e-5)
    assert (rows["mix00001", 2].clip, rows["mix00001", 2].instrument) == (
        "oboe-y",
        "oboe",
    )
    assert capsys.readouterr().out.strip() == folder.result().strip()


def test_result_averages_and_counts(folder):
    folder.write_scp("inf2", KEYS[:2])
    folder.run()
    text = folder.result()
    head = dict(line.split(": ", 1) for line in text.split("\n\n")[0].splitlines())
    digest = hashlib.sha256((folder.path / "mixtures.tsv").read_bytes()).hexdigest()
    assert head["list_sha256"] == digest
    assert head["set"] == "test"
    assert head["backend"] == "fast"
    assert (head["mixtures"], head["sources"]) == ("3", "6")
    assert (head["scored"], head["skipped"]) == ("5", "1")
    assert "  1 x missing estimate\n" in text
    ok = [row for row in folder.rows().values() if row.status == "ok"]
    cells = [[c.strip() for c in line.split("|")] for line in text.splitlines()]
    of_mixture = next(line for line in cells if "mixture" in line)
    of_estimate = next(line for line in cells if "estimate" in line)
    assert float(of_mixture[2]) == pytest.approx(
        np.mean([row.sdr_mix for row in ok]), abs=0.006
    )
    assert float(of_estimate[2].split()[0]) == pytest.approx(
        np.mean([row.sdr for row in ok]), abs=0.006
    )
    tuba = [row.sdr for row in ok if row.instrument == "tuba"]
    assert "| tuba       |      1 |       1 |" in text
    assert f"{np.mean(tuba):.2f}" in text


def test_mir_eval_backend_gives_the_same_table(folder):
    folder.run()
    folder.run("--backend", "mir_eval", name="scored_again")
    mine, other = folder.rows(), folder.rows("scored_again")
    for key, row in mine.items():
        for name in SCORES:
            if name != "sar_mix":  # that of rounding errors
                got = getattr(row, name), getattr(other[key], name)
                assert got[0] == pytest.approx(got[1], abs=2e-6)
    assert "backend: mir_eval" in folder.result("again")


def test_batches_change_nothing_and_a_second_run_is_identical(folder):
    folder.write("mix00001", "inf1", folder.wavs["mix00001", "inf1"][:-100])
    folder.run()
    first = folder.bytes()
    folder.run("--batch_size", "1", "--num_threads", "1")
    assert folder.bytes() == first
    (folder.path / "mixture_scores.tsv").unlink()
    folder.run("--batch_size", "2")
    assert folder.bytes() == first


def test_references_are_cut_to_the_estimate(folder):
    folder.write("mix00000", "inf1", folder.wavs["mix00000", "inf1"][:-256])
    folder.run()
    cut = slice(0, L - 256)
    references = float32(*(folder.wavs["mix00000", f"spk{n}"][cut] for n in (1, 2)))
    estimates = float32(*(folder.wavs["mix00000", f"inf{n}"][cut] for n in (1, 2)))
    scores = score_by_mir_eval(references, estimates)
    for n in (1, 2):
        assert folder.rows()["mix00000", n].sdr == pytest.approx(
            scores[0, n - 1], abs=1e-5
        )


def test_estimates_are_clipped_and_counted(folder):
    loud = folder.wavs["mix00000", "inf1"].copy()
    loud[[3, 5, 7]] = (2.5, -1.5, 1.0)
    folder.write("mix00000", "inf1", loud)
    folder.run()
    assert "estimates_clipped: 1\nsamples_clipped: 2\n" in folder.result()
    references = float32(*(folder.wavs["mix00000", f"spk{n}"] for n in (1, 2)))
    clipped = np.clip(float32(loud, folder.wavs["mix00000", "inf2"]), -1, 1)
    expected = score_by_mir_eval(references, clipped)[0, 0]
    assert folder.rows()["mix00000", 1].sdr == pytest.approx(expected, abs=1e-5)


# The mixtures' own scores


def cache_rows(folder):
    with (folder.path / "mixture_scores.tsv").open(newline="") as f:
        title = f.readline()
        return title, list(csv.DictReader(f, delimiter="\t"))


def tamper(folder):
    """Put a value into the cache that shows whether it is used."""
    path = folder.path / "mixture_scores.tsv"
    lines = path.read_text().splitlines()
    for n in range(2, len(lines)):
        fields = lines[n].split("\t")
        fields[3] = "-77.0"
        lines[n] = "\t".join(fields)
    path.write_text("\n".join(lines) + "\n")


def sdr_of_mixtures(folder):
    return [row.sdr_mix for row in folder.rows().values()]


def test_scores_of_mixtures_are_kept(folder):
    folder.run()
    title, rows = cache_rows(folder)
    digest = hashlib.sha256((folder.path / "mixtures.tsv").read_bytes()).hexdigest()
    assert title == f"# list_sha256={digest} mixtures=3 backend=fast version=2\n"
    assert [row["mix_id"] for row in rows] == [key for key in KEYS for _ in (1, 2)]
    assert [float(row["sdr"]) for row in rows] == pytest.approx(
        sdr_of_mixtures(folder), abs=1e-6
    )
    tamper(folder)
    folder.wav("mix00001", "wav").unlink()  # not read any more
    before = os.stat(folder.path / "mixture_scores.tsv")
    folder.run(name="scored_test")
    assert set(sdr_of_mixtures(folder)) == {-77.0}
    after = os.stat(folder.path / "mixture_scores.tsv")
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize(
    "change", ["list", "backend", "garbage", "half a row", "empty"]
)
def test_stale_scores_of_mixtures_are_computed_again(folder, change):
    folder.run()
    fresh = sdr_of_mixtures(folder)
    tamper(folder)
    path = folder.path / "mixture_scores.tsv"
    more = []
    if change == "list":
        text = (folder.path / "mixtures.tsv").read_text()
        (folder.path / "mixtures.tsv").write_text(text.replace("tuba-x", "tuba-z"))
    elif change == "backend":
        more = ["--backend", "mir_eval"]
    elif change == "garbage":
        path.write_bytes(b"\xff\xfe\x00 no table")
    elif change == "half a row":
        path.write_text(path.read_text()[:-25])
    else:
        path.write_text("")
    folder.run(*more)
    assert sdr_of_mixtures(folder) == pytest.approx(fresh, abs=2e-6)
    assert len(cache_rows(folder)[1]) == 6


def test_a_second_run_computes_nothing(folder, monkeypatch, capsys):
    folder.run()
    printed, before = capsys.readouterr().out, folder.bytes()
    with monkeypatch.context() as patch:
        patch.setattr(set_scores, "MixtureScorer", None)
        folder.run()
    assert capsys.readouterr().out == printed and folder.bytes() == before
    # What it was made from, or has made, has changed.
    (folder.path / "scored_test" / "scores.tsv").write_text("edited")
    folder.run()
    assert folder.bytes() == before
    folder.write("mix00001", "inf1", folder.wavs["mix00001", "wav"])
    folder.run()
    assert folder.bytes() != before


def test_other_options_of_the_scores_compute_again(folder):
    folder.write("mix00001", "inf1", folder.wavs["mix00001", "inf1"][:-100])
    folder.run()
    assert "skipped: 0\n" in folder.result()
    folder.run("--max_length_difference", "99")
    assert "skipped: 1\n" in folder.result()
    folder.run("--seed", "1")
    assert "skipped: 0\n" in folder.result() and "seed 1\n" in folder.result()


def test_changed_reference_makes_its_row_stale(folder):
    folder.run()
    tamper(folder)
    folder.write("mix00001", "spk1", folder.wavs["mix00001", "spk1"] * 0.5)
    folder.run()
    stale = [value == -77.0 for value in sdr_of_mixtures(folder)]
    assert stale == [True, True, False, False, True, True]


def test_scores_of_mixtures_grow_with_the_keys(folder):
    (folder.path / "keys").write_text("mix00002 x\n")
    folder.run("--key_file", str(folder.path / "keys"))
    assert [key for key, _ in folder.rows()] == ["mix00002"] * 2
    assert len(cache_rows(folder)[1]) == 2
    folder.run()
    assert [row["mix_id"] for row in cache_rows(folder)[1]] == [
        key for key in KEYS for _ in (1, 2)
    ]


# What cannot be scored


def spoil_estimate(folder, kind):
    key, estimate = "mix00001", folder.wavs["mix00001", "inf2"]
    path = folder.wav(key, "inf2")
    if kind == "missing key":
        folder.write_scp("inf2", ["mix00000", "mix00002"])
    elif kind == "missing file":
        path.unlink()
    elif kind == "empty file":
        path.write_bytes(b"")
    elif kind == "garbage":
        path.write_bytes(b"this is no wav file at all")
    elif kind == "no samples":
        folder.write(key, "inf2", np.zeros(0))
    elif kind == "silent":
        folder.write(key, "inf2", np.zeros(L))
    elif kind == "NaN":
        folder.write(key, "inf2", np.where(np.arange(L) == 9, np.nan, estimate))
    elif kind == "stereo":
        folder.write(key, "inf2", np.stack([estimate, estimate], 1))
    elif kind == "rate":
        folder.write(key, "inf2", rate=16000)
    elif kind == "short":
        folder.write(key, "inf2", estimate[:-257])
    elif kind == "long":
        folder.write(key, "inf2", np.pad(estimate, (0, 257)))


@pytest.mark.parametrize(
    "kind,reason",
    [
        ("missing key", "missing estimate: source 2"),
        ("missing file", "unreadable wav: "),
        ("empty file", "unreadable wav: "),
        ("garbage", "unreadable wav: "),
        ("no samples", "lengths differ: "),
        ("silent", "silent estimate: "),
        ("NaN", "NaN or infinite samples: "),
        ("stereo", "not mono: "),
        ("rate", "sampling rates differ: "),
        ("short", "lengths differ: "),
        ("long", "lengths differ: "),
    ],
)
def test_bad_estimate_is_skipped_alone(folder, kind, reason):
    spoil_estimate(folder, kind)
    # mir_eval itself would refuse all estimates of the mixture for one silent one.
    backend = "mir_eval" if kind == "silent" else "fast"
    assert folder.run("--backend", backend) == 0
    rows = folder.rows()
    bad = rows.pop(("mix00001", 2))
    assert bad.status == "skipped"
    assert bad.reason.startswith(reason)
    assert all(np.isnan(getattr(bad, name)) for name in METRICS)
    assert np.isfinite(bad.sdr_mix)
    assert all(row.status == "ok" for row in rows.values())
    assert f"  1 x {reason.split(': ')[0]}\n" in folder.result()
    if kind in ("short", "long"):
        assert "mix00001_inf2.wav" in bad.reason
        assert "mix00001_spk2.wav" in bad.reason


@pytest.mark.parametrize(
    "name,samples,reason",
    [
        ("spk1", np.zeros(L), "silent reference: source 1"),
        ("spk1", "spk2", "identical references: sources 1 and 2"),
        ("spk2", "part", "references differ in length"),
        ("wav", np.zeros(L), "silent mixture: "),
        ("wav", "part", "mixture does not fit its references: "),
        ("wav", None, "unreadable wav: "),
        ("spk2", None, "unreadable wav: "),
    ],
)
def test_bad_mixture_is_skipped_as_a_whole(folder, name, samples, reason):
    if isinstance(samples, str) and samples == "part":
        samples = folder.wavs["mix00001", name][:-1]
    elif isinstance(samples, str):
        samples = -2 * folder.wavs["mix00001", samples]
    if samples is None:
        folder.wav("mix00001", name).unlink()
    else:
        folder.write("mix00001", name, samples)
    assert folder.run() == 0
    rows = folder.rows()
    for n in (1, 2):
        bad = rows.pop(("mix00001", n))
        assert bad.status == "skipped"
        assert bad.reason.startswith(reason)
    assert all(row.status == "ok" for row in rows.values())
    assert f"  2 x {reason.split(': ')[0]}" in folder.result()


def test_too_short_signals_are_skipped(folder):
    for name in ("wav", "spk1", "spk2", "inf1", "inf2"):
        folder.write("mix00002", name, folder.wavs["mix00002", name][:513])
    folder.run()
    reasons = [folder.rows()["mix00002", n].reason for n in (1, 2)]
    assert all(r.startswith("too short: 513 samples; 2 sources") for r in reasons)


def test_mixtures_that_lack_different_estimates_keep_to_their_own_sources(folder):
    """Each has one estimate, so that they could be scored in one batch."""
    folder.write_scp("inf1", KEYS[1:])
    folder.write_scp("inf2", [KEYS[0], KEYS[2]])
    folder.run()
    rows = folder.rows()
    skipped = [key for key, row in rows.items() if row.status == "skipped"]
    assert skipped == [("mix00000", 1), ("mix00001", 2)]
    for key, n in (("mix00000", 1), ("mix00001", 0)):  # n: 0-based
        names = ("spk1", "spk2", f"inf{n + 1}", "wav")
        signals = np.stack(float32(*(folder.wavs[key, name] for name in names)))[None]
        pairs = [(0, n), (1, 0), (1, 1)]  # of estimate and mixture
        scores = bss_eval(signals[:, :2], signals[:, 2:], pairs)
        row = rows[key, n + 1]
        expected = [score[0, 0] for score in scores[:3]]
        assert [row.sdr, row.sir, row.sar] == pytest.approx(expected, abs=1e-5)
        of_mixture = [rows[key, m].sdr_mix for m in (1, 2)]
        assert of_mixture == pytest.approx(scores.sdr[0, 1:].tolist(), abs=1e-5)


def test_mixture_without_wavs_is_counted(folder):
    for name in ("wav", "spk1", "spk2"):
        folder.write_scp(name, KEYS[:2])
    folder.run()
    rows = folder.rows()
    assert rows["mix00002", 1].reason.startswith("missing reference: ")
    assert "skipped: 2\n" in folder.result()


def test_perfect_estimates_have_finite_scores(folder):
    folder.run(infs=("spk1", "spk2"))
    for row in folder.rows().values():
        assert row.status == "ok"
        assert row.sdr > 140


def test_nothing_to_score_is_an_error(folder, capsys):
    folder.run()
    for key in KEYS:
        for name in ("inf1", "inf2"):
            folder.wav(key, name).unlink()
    assert folder.run() == 2
    assert "none of 6 sources could be scored: unreadable wav (6)" in (
        capsys.readouterr().err
    )
    assert len(folder.rows()) == 6
    assert not (folder.path / "scored_test" / "result_test.txt").exists()


def test_wrong_tables_are_refused(folder, capsys):
    def error(*more, **options):
        assert folder.run(*more, **options) == 2
        return capsys.readouterr().err

    assert "2 --ref_scp and 1 --inf_scp" in error(infs=("inf1",))
    assert "1 --ref_scp and 1 --inf_scp" in error(refs=("spk1",), infs=("inf1",))
    assert "lists mixtures of 2 sources" in error(
        refs=("spk1", "spk2", "spk2"), infs=("inf1", "inf2", "inf2")
    )
    assert "--batch_size 0: expected at least 1" in error("--batch_size", "0")
    assert "--seed -1: expected at least 0" in error("--seed", "-1")
    assert "no such file" in error("--key_file", str(folder.path / "none"))
    (folder.path / "keys").write_text("\n")
    assert "is empty" in error("--key_file", str(folder.path / "keys"))
    (folder.path / "keys").write_text("mix00009\n")
    assert "does not list: mix00009" in error("--key_file", str(folder.path / "keys"))
    folder.write_scp("inf1", [*KEYS, "mix00009"])
    assert "inf1.scp has 1 key(s)" in error()
    folder.write_scp("inf1", [])
    assert "is empty" in error()
    folder.write_scp("inf1", KEYS)
    folder.write_scp("spk2", KEYS[:2])
    assert "spk2.scp lacks 1 of the keys" in error()
    folder.write_scp("spk2", KEYS)
    folder.write_scp("wav", KEYS[:2])
    assert "wav.scp lacks 1 of the keys" in error()
    (folder.path / "wav.scp").unlink()
    assert "wav.scp: no such file" in error()
    assert not (folder.path / "scored_test").exists()


@pytest.mark.parametrize(
    "text,message",
    [
        (None, "no such file"),
        ("", "first line must name"),
        ("a\tb\n", "first line must name"),
        ("mix_id\tclip1\tspk1\n", "lists no mixtures"),
        ("mix_id\tclip1\tspk1\nmix0\tx\n", "line 2: 2 columns; expected 3"),
        ("mix_id\tclip1\tspk1\nm\tx\ty\nm\tx\ty\n", "comes a second time"),
    ],
)
def test_wrong_lists_are_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "list").write_text(text)
    with pytest.raises(InputError, match=message):
        read_sources(tmp_path / "list")


@pytest.mark.parametrize("text", ["", "mix_id\tsource\n", None])
def test_wrong_score_tables_are_refused(folder, text):
    path = folder.path / "scores.tsv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="scores.tsv"):
        read_scores(path)


def test_damaged_score_table_is_refused(folder):
    folder.run()
    path = folder.path / "scored_test" / "scores.tsv"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(InputError, match="line 7"):
        read_scores(path)


def with_third_source(folder, silent="1"):
    """Add a third source that is silent in all mixtures but by its picture."""
    leak = {}
    for key in KEYS:
        mixture = folder.wavs[key, "wav"]
        leak[key] = 0.1 * mixture if key != KEYS[2] else np.zeros(L)
        for name, samples in (("spk3", np.zeros(L)), ("inf3", leak[key])):
            folder.wavs[key, name] = samples
            folder.write(key, name)
    for name in ("spk3", "inf3"):
        folder.write_scp(name, KEYS)
    lines = (folder.path / "mixtures.tsv").read_text().splitlines()
    lines[0] += "\tclip3\tspk3\tstart3\tframe3\tsilent1\tsilent2\tsilent3"
    lines[1:] = [f"{line}\tsax-z\tsax\t0\t0\t0\t0\t{silent}" for line in lines[1:]]
    (folder.path / "mixtures.tsv").write_text("\n".join(lines) + "\n")
    return {"refs": ("spk1", "spk2", "spk3"), "infs": ("inf1", "inf2", "inf3")}


@pytest.mark.parametrize("backend", ["fast", "mir_eval"])
def test_silent_source_is_scored_by_what_leaks_into_its_track(folder, backend):
    """Not by an SDR; the sounding sources score as if it were not there."""
    folder.run("--backend", backend)
    alone = folder.rows()
    (folder.path / "mixture_scores.tsv").unlink()
    options = with_third_source(folder)
    assert folder.run("--backend", backend, **options) == 0
    rows = folder.rows()
    for key in KEYS:
        for n in (1, 2):
            found, expected = rows[key, n], alone[key, n]
            assert found.status == expected.status == "ok"
            for name in SCORES:
                assert getattr(found, name) == getattr(expected, name)
        row = rows[key, 3]
        assert (row.status, row.reason) == ("silent", "")
        assert all(np.isnan(getattr(row, name)) for name in SCORES)
        # A tenth of the mixture is -20 dB; zeros have the lowest value.
        expected = -60 if key == KEYS[2] else -20
        assert row.leakage == pytest.approx(expected, abs=1e-4)
    text = folder.result()
    assert "sources: 9\nscored: 6\nskipped: 0\nsilent_sources: 3\n" in text
    assert "Silent sources: 3. Energy of their tracks relative to the mixture: " in text
    assert "-33.33" in text
    # Another system: the mixtures' own scores come from the file.
    assert folder.run("--backend", backend, name="scored_again", **options) == 0
    scores = [folder.path / f"scored_{name}/scores.tsv" for name in ("again", "test")]
    assert scores[0].read_bytes() == scores[1].read_bytes()


def test_silent_source_before_those_that_sound(folder):
    folder.run()
    alone = folder.rows()
    with_third_source(folder)
    names = ("clip{}", "spk{}", "start{}", "frame{}")
    title = [name.format(n) for n in (1, 2, 3) for name in names]
    lines = ["\t".join(["mix_id", *title, "silent1", "silent2", "silent3"])]
    for key, (a, b) in zip(KEYS, SPK, strict=True):
        sources = [f"{clip}\t{clip}\t0\t0" for clip in ("sax", a, b)]
        lines.append("\t".join([key, *sources, "1\t0\t0"]))
    (folder.path / "mixtures.tsv").write_text("\n".join(lines) + "\n")
    order = {"refs": ("spk3", "spk1", "spk2"), "infs": ("inf3", "inf1", "inf2")}
    assert folder.run(**order) == 0
    rows = folder.rows()
    for key in KEYS:
        assert rows[key, 1].status == "silent"
        for n in (1, 2):
            for name in SCORES:
                assert getattr(rows[key, n + 1], name) == getattr(alone[key, n], name)


def test_only_a_listed_source_may_be_silent(folder):
    options = with_third_source(folder, silent="0")
    assert folder.run(**options) == 2
    assert folder.rows()[KEYS[0], 1].reason.startswith("silent reference: source 3")
    folder.write_list()
    options = with_third_source(folder)
    folder.write(KEYS[0], "spk3", 0.1 * np.ones(L))
    folder.run(**options)
    reasons = [folder.rows()[KEYS[0], n].reason for n in (1, 2, 3)]
    assert all(r.startswith("silent source sounds: source 3") for r in reasons)


def test_source_that_is_alone_has_no_sdr_and_its_silent_partner_a_leakage(folder):
    lines = (folder.path / "mixtures.tsv").read_text().splitlines()
    lines[0] += "\tsilent1\tsilent2"
    lines[1:] = [f"{line}\t0\t1" for line in lines[1:]]
    (folder.path / "mixtures.tsv").write_text("\n".join(lines) + "\n")
    for key in KEYS:
        folder.write(key, "spk2", np.zeros(L))
        folder.write(key, "wav", folder.wavs[key, "spk1"])
    folder.run()
    for key in KEYS:
        first, second = (folder.rows()[key, n] for n in (1, 2))
        assert first.status == "skipped"
        assert first.reason.startswith("alone in its mixture: source 1")
        estimate, mixture = float32(folder.wavs[key, "inf2"], folder.wavs[key, "spk1"])
        expected = 10 * np.log10((estimate**2).sum() / (mixture**2).sum())
        assert second.leakage == pytest.approx(expected, abs=1e-5)
    assert "silent_sources: 3" in folder.result()


def test_tables_without_silent_sources_are_as_they_were(folder):
    folder.run()
    header = (folder.path / "scored_test/scores.tsv").read_text().splitlines()[0]
    assert "leakage" not in header and header.endswith("status\treason")
    assert "ilent sources: " not in folder.result()
    assert "silent_sources: " not in folder.result()

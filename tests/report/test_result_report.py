import re
import shutil
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from PIL import Image

from espnet2_avsep.bin.train.report import main
from espnet2_avsep.bin.train.results import main as write_results
from espnet2_avsep.report.audible_mixture import choose_mixtures, evenly
from espnet2_avsep.report.listening import file_name
from espnet2_avsep.report.render import inline
from espnet2_avsep.report.result_page import TOP_ROWS, pair_id
from espnet2_avsep.scoring.score_files import read_scores
from tests.report.page_reader import Page, browse, check_on_a_phone
from tests.report.scored_experiment import FS, HOSTILE, SAMPLES, ScoredCorpus, tone
from tests.support.chromium import needs_chromium


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return ScoredCorpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def single(corpus):
    """The page of one system, with a duet."""
    system = corpus.add_system("hfra", system="HFRA", separator="hfra")
    corpus.add_duet(system)
    folder = system / "report"
    options = corpus.options(system, output=folder)
    assert main([*options, "--real_sets", "duet", "--max_mixtures", "4"]) == 0
    return folder


@pytest.fixture(scope="module")
def several(corpus, single):
    """The page of two systems, the second one 2 dB better."""
    better = corpus.add_system("better", 2.0, system="Better & <i>", trained=False)
    folder = corpus.root / "both"
    options = corpus.options(single.parent, better, output=folder)
    assert main([*options, "--max_mixtures", "2"]) == 0
    return folder


def read(folder):
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_numbers_are_those_of_the_score_table(corpus, single):
    page = read(single)
    rows = read_scores(single.parent / "scored_test" / "scores.tsv")
    table = page.tables["test: 12 sources"]
    assert len(table) == len(rows) == 12
    for line, row in zip(table[:11], rows, strict=False):
        scores = (row.sdr_mix, row.sdr, row.sir, row.sar, row.si_sdr, row.sdr_i)
        expected = [row.mix_id, str(row.source), row.instrument, row.clip]
        assert line == [*expected, *(f"{score:.2f}" for score in scores), ""]
    assert table[11][5:] == ["", "", "", "", "", "silent estimate: x"]


def test_tables_are_those_of_the_results(corpus, single):
    exp, page = single.parent, read(single)
    spec = f"test:{exp / 'scored_test'}:{corpus.dump}"
    output = corpus.root / "RESULTS.md"
    assert (
        write_results(["--avsep_exp", str(exp), "--set", spec, "--output", str(output)])
        == 0
    )
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in output.read_text().splitlines()
        if line.startswith("|")
    ]
    for caption in ("instruments", "mixture, estimate, improvement", "not scored"):
        table = page.tables[f"test: {caption}"]
        assert table and all(line in lines for line in table), caption
    overall = page.tables[
        "Means in dB over the n scored sources of all mixtures, 95 % interval"
    ]
    assert overall[0][:2] == ["test", "11"] and overall[0] in lines
    text = " ".join(page.text)
    assert corpus.digest in text and "12: 11 scored, 1 skipped" in text


def test_best_and_worst(single):
    page = read(single)
    by = "mean SDRi, dB"
    best = page.tables[f"Best mixtures of test, by {by}"]
    assert best[0] == ["mix00005", "cello, tuba", "4.00"]  # its tuba was not scored
    assert best[1] == ["mix00004", "cello, tuba", "3.56"]
    assert page.tables[f"Worst mixtures of test, by {by}"] == [
        ["mix00000", "cello, tuba", "-0.44"]
    ]


def test_what_is_heard_is_what_was_scored(corpus, single):
    folder = single / "media" / "test" / "mix00005"
    audio, fs = soundfile.read(folder / "mixture.flac")
    assert fs == FS
    np.testing.assert_allclose(audio, tone(300) + tone(900), atol=2**-15)
    audio, _ = soundfile.read(folder / "system1_estimate2.flac")
    np.testing.assert_allclose(audio, tone(900) + tone(300, 0.02), atol=2**-15)
    audio, _ = soundfile.read(folder / "reference1.flac")
    np.testing.assert_allclose(audio, tone(300), atol=2**-15)


def test_spectrograms_and_masks(single):
    folder = single / "media" / "test" / "mix00005"

    def read_levels(name):
        image = Image.open(folder / name)
        return np.asarray(image, float)[::-1] / 255

    mixture = read_levels("mixture.png")
    assert mixture.shape == (256, SAMPLES // 256 + 1)
    reference = read_levels("reference1.png")
    low, high = (
        reference.mean(axis=1).argmax(),
        read_levels("reference2.png").mean(1).argmax(),
    )
    assert low < high
    # The mixture's loudest is white; a source alone has nothing where the other one is.
    assert mixture.max() == 1 and reference[high].max() < 0.5
    masks = [read_levels(f"system1_mask{n}.png") for n in (1, 2)]
    middle = mixture.shape[1] // 2
    assert masks[0][low, middle] > 0.95 and masks[0][high, middle] < 0.2
    assert masks[1][high, middle] > 0.95 and masks[1][low, middle] < 0.2
    assert masks[0][-1, middle] == 0  # nothing in the mixture there


def test_pictures_that_prompted(corpus, single):
    page = read(single)
    text = " ".join(page.text)
    image = Image.open(single / "media/test/mix00005/prompt1.jpg")
    # Row 1 of four, of a folder of four pictures: in it the square is 60 bright.
    assert image.size == (213, 120)
    assert abs(np.asarray(image.convert("L"))[45, 72] - 60) < 10
    assert "prompt: cello-2 at 1.00 s" in text
    # mix00001 has the clip whose video is gone.
    assert (single / "media/test/mix00001/mixture.flac").exists()
    assert not (single / "media/test/mix00001/prompt2.jpg").exists()
    assert "prompt: tuba-1 at 2.00 s; no picture: file not found" in text


def test_links_resolve_and_nothing_comes_from_elsewhere(single, several):
    for folder in (single, several):
        page = read(folder)
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(set(ids)) == len(ids)
        seen = set()
        for _, attrs in page.tags:
            assert not any(k.startswith("on") for k in attrs)
            assert re.fullmatch(r"bottom: [\d.]+%", attrs.get("style", "bottom: 0%"))
            for name in ("src", "href"):
                link = attrs.get(name)
                if link is None:
                    continue
                assert not re.match(r"[a-z]+:|/", link) and ".." not in link, link
                if link.startswith("#"):
                    assert link[1:] in ids
                else:
                    assert (folder / unquote(link)).is_file(), link
                    seen.add((folder / unquote(link)).resolve())
        media = {p for p in (folder / "media").rglob("*.*") if p.suffix != ".journal"}
        assert {path.resolve() for path in media} <= seen
        assert "http" not in (folder / "index.html").read_text(encoding="utf-8")


def test_hostile_names_are_text(single, several):
    for folder in (single, several):
        page = read(folder)
        assert HOSTILE.replace(" ", "") in str(page.tables["test: 12 sources"])
        assert all("onerror" not in attrs for _, attrs in page.tags)
        assert {attrs["loading"] for attrs in page.all("img")} == {"lazy"}
    assert "<i>" not in (several / "index.html").read_text()
    for name in ("..", "a/b", "a b", "ä", "", "x" * 300):
        safe = file_name(name)
        assert re.fullmatch(r"[\w-]{1,90}", safe, re.ASCII)
    assert file_name("a/b") != file_name("a_b") == "a_b"
    assert inline("<a> **b** `<c>` **") == (
        "&lt;a&gt; <b>b</b> <code>&lt;c&gt;</code> **"
    )


def test_page_can_be_read_by_all(single, several):
    for folder in (single, several):
        page = read(folder)
        assert len(page.all("h1")) == 1 and page.all("html") == [{"lang": "en"}]
        assert len(page.all("caption")) == len(page.all("table"))
        for image in page.all("img"):
            assert image["alt"]
        for link in page.all("a"):
            if link.get("class") == "sound":
                assert link["aria-label"]
        for svg in page.all("svg"):
            assert svg["role"] == "img" and svg["aria-label"]
        assert not page.all("audio")  # made where a mixture is opened


def test_training_curves(single, corpus):
    page = read(single)
    titles = [svg["aria-label"] for svg in page.all("svg")]
    assert titles[1:] == [
        "loss over the epochs of HFRA",
        "si_sdr over the epochs of HFRA",
    ]
    points = re.findall(r"<title>(.*?)</title>", (single / "index.html").read_text())
    assert "train, epoch 2: 0.1" in points and "valid, epoch 1: 0.228" in points
    assert "valid, epoch 1: 4.5" in points
    assert not any("nan" in point for point in points)


def test_intervals_of_instruments(single, several):
    points = re.findall(r"<title>(.*?)</title>", (single / "index.html").read_text())
    (cello,) = (point for point in points if point.startswith("cello"))
    assert re.fullmatch(r"cello, HFRA: 1\.50 \[0\.\d\d, 2\.\d\d\]", cello)
    # The tuba's last source was not scored.
    (tuba,) = (point for point in points if point.startswith("tuba"))
    assert tuba.startswith(("tuba, HFRA: 2.12 [", "tuba, HFRA: 2.13 ["))
    points = re.findall(r"<title>(.*?)</title>", (several / "index.html").read_text())
    assert any(
        p.startswith("cello, Better &amp; &lt;i&gt; (upper bound): 3.50 [")
        for p in points
    )


def test_systems_side_by_side(several):
    page = read(several)
    rows = page.tables["test: 12 sources"]
    assert rows[0][4:] == ["1.00", "0.00", "2.00", "-2.00", ""]
    assert rows[11][5:] == ["", "", "", "silent estimate: x"]
    differences = next(t for c, t in page.tables.items() if "first - second" in c)
    assert differences[0][:4] == ["HFRA", "Better & <i> (upper bound)", "SDR", "-2.00"]
    assert page.tables["test: systems"][1][:2] == ["HFRA", "11"]
    names = [p.name for p in (several / "media/test").glob("*/system*_estimate*.flac")]
    assert len(names) == 8 and {name[6] for name in names} == {"1", "2"}
    assert "does not look at them" in " ".join(page.text)


def test_bounds_have_tables_and_figures_of_their_own(several):
    page = read(several)
    words = "Means in dB over the n scored sources of all mixtures, 95 % interval"
    bounds = "bounds and oracles, made or ordered with the references"
    (system,), (bound,) = (
        page.tables[f"{words}: systems"],
        page.tables[f"{words}: {bounds}"],
    )
    assert system[0] == "test, HFRA" and bound[0].startswith("test, Better")
    figures = [svg["aria-label"] for svg in page.all("svg")]
    assert [f.rpartition(", ")[2] for f in figures[:1]] == ["systems"]
    assert figures[1].endswith(bounds)


def test_real_mixtures_have_players_and_no_scores(corpus, single):
    page = read(single)
    assert any(a.get("id") == pair_id("duet", "cello_tuba-x") for _, a in page.tags)
    folder = single / "media" / "duet" / "cello_tuba-x"
    assert not list(folder.glob("reference*"))
    assert len(list(folder.glob("*.flac"))) == 3
    assert "mean embedding of the training clips of cello" in " ".join(page.text)
    whole = Image.open(folder / "prompt1.jpg").size
    corpus.add_duet(single.parent, "halves")
    options = corpus.options(single.parent, output=corpus.root / "halves")
    assert main([*options, "--real_sets", "duet", "--max_mixtures", "1"]) == 0
    half = Image.open(corpus.root / "halves/media/duet/cello_tuba-x/prompt2.jpg").size
    assert half == (whole[0] - whole[0] // 2, whole[1])
    assert "prompted by the right half" in " ".join(read(corpus.root / "halves").text)


def test_again_gives_the_same_bytes_and_goes_on(corpus, tmp_path):
    system = corpus.add_system("again")
    options = corpus.options(system, output=tmp_path / "r")
    assert main([*options, "--max_mixtures", "3"]) == 0
    before = files(tmp_path / "r")
    place = tmp_path / "r/media/test"
    kept = sorted(path.name for path in place.iterdir())
    assert len(kept) == 3
    # As if killed: half a file, a temporary one, no page.
    (place / kept[0] / "mixture.flac").write_bytes(b"half")
    (place / kept[0] / ".mixture.flac.x.tmp").write_text("half")
    (tmp_path / "r/index.html").unlink()
    stamp = (place / kept[1] / "mixture.flac").stat().st_mtime_ns
    assert main([*options, "--max_mixtures", "3"]) == 0
    journal = tmp_path / "r/media/media.journal"
    after = files(tmp_path / "r")
    assert {**after, journal: b""} == {**before, journal: b""}
    assert (place / kept[1] / "mixture.flac").stat().st_mtime_ns == stamp
    # Fewer mixtures: what is not wanted any more goes.
    assert main([*options, "--max_mixtures", "1"]) == 0
    assert len(list(place.iterdir())) == 1
    # Another sound under the same name is heard.
    path = system / f"separated_test/data/spk1/{next(place.iterdir()).name}.wav"
    soundfile.write(path, tone(500), FS, subtype="FLOAT")
    assert main([*options, "--max_mixtures", "1"]) == 0
    audio, _ = soundfile.read(next(place.iterdir()) / "system1_estimate1.flac")
    np.testing.assert_allclose(audio, tone(500), atol=2**-15)


def test_a_large_set_makes_a_light_page(tmp_path):
    corpus = ScoredCorpus(tmp_path, number=250, sounds=False)
    system = corpus.add_system("s")
    folder = tmp_path / "r"
    assert main([*corpus.options(system, output=folder), "--max_mixtures", "0"]) == 0
    # So 1,000 mixtures take less than a megabyte.
    assert (folder / "index.html").stat().st_size < 250_000
    page = read(folder)
    assert len(page.tables["test: 500 sources"]) == 500 <= TOP_ROWS
    assert not page.all("img")


def test_choice_of_mixtures():
    scores = {f"m{n}": float(n) for n in range(20)}
    chosen = choose_mixtures(scores, 8)
    assert chosen[:2] == ["m19", "m18"] and chosen[-2:] == ["m1", "m0"]
    assert chosen[2:6] == ["m15", "m11", "m7", "m3"]
    assert choose_mixtures(scores, 0) == [] and len(choose_mixtures(scores, 1)) == 1
    assert choose_mixtures({"b": 1.0, "a": 1.0}, 5) == ["a", "b"]
    assert evenly("abcdef", 2) == ["b", "e"] and evenly("ab", 3) == ["a", "b"]


def test_bad_input(corpus, single, tmp_path, capsys):
    system = single.parent
    options = corpus.options(system, output=tmp_path)

    def error(*words):
        assert main(list(words)) == 2
        return capsys.readouterr().err

    assert "expected sets, each once" in error(*options, "--real_sets", "test")
    assert "--max_mixtures -1" in error(*options, "--max_mixtures", "-1")
    assert "scored_nowhere" in error(*options, "--sets", "nowhere")
    both = [word for word in options if word not in ("--output_dir", str(tmp_path))]
    assert "--output_dir" in error(*both, "--experiment", f"x={system}")
    assert "give another name" in error(*options, "--experiment", str(system))
    copy = tmp_path / "copy"
    shutil.copytree(system, copy, ignore=shutil.ignore_patterns("report"))
    options = corpus.options(copy, output=tmp_path / "r")
    scp = copy / "separated_test" / "spk2.scp"
    lines = scp.read_text().splitlines(keepends=True)
    scp.write_text("".join(lines[1:]))
    assert "mix00000 is missing" in error(*options)
    soundfile.write(tmp_path / "other.wav", tone(500), 2 * FS)
    wrong = [f"{line.split()[0]} {tmp_path / 'other.wav'}\n" for line in lines]
    scp.write_text("".join(wrong))
    assert "16000 Hz" in error(*options)
    assert not (tmp_path / "r" / "index.html").exists()


@needs_chromium
def test_on_a_phone(single, several, tmp_path):
    for n, folder in enumerate((single, several)):
        check_on_a_phone(folder / "index.html", tmp_path / str(n))


@needs_chromium
def test_in_chromium(corpus, several, tmp_path):
    found, console = browse(
        several / "index.html",
        """
        const all = (name, from = document) => [...from.querySelectorAll(name)];
        const table = all("table").find((t) => t.caption.textContent.includes(": 12 "));
        const shown = () => [...table.tBodies[0].rows].filter((r) => !r.hidden);
        const column = (n) => shown().map((r) => r.cells[n].textContent).join();
        const field = document.querySelector("input[type=search]");
        const count = document.querySelector("output");
        const type = (text) => {
          field.value = text;
          field.dispatchEvent(new Event("input"));
          return [shown().length, count.textContent];
        };
        const words = ["tuba mix00002", "SDR,HFRA<1", "<img", ""];
        const filters = words.map(type);
        table.tHead.rows[0].cells[5].querySelector("button").click();
        const order = column(5);
        const none = all("audio").length;
        const link = document.querySelector("a[href^='#pair-']");
        link.click();
        for (let n = 0; n < 200 && !document.querySelector("[open] audio"); n++) {
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        const pair = document.querySelector("details.pair[open]");
        const players = all("audio", pair);
        await Promise.all(players.map((p) => p.readyState ? 0 :
          new Promise((good, bad) => {
            p.addEventListener("loadedmetadata", good);
            p.addEventListener("error", () => bad(new Error(`${p.src} fails`)));
          })));
        const images = all("img", pair);
        for (const image of images) image.loading = "eager";
        await Promise.allSettled(images.map((i) => i.decode()));
        players[0].currentTime = 0.25;
        players[0].dispatchEvent(new Event("play"));
        const names = performance.getEntriesByType("resource").map((e) => e.name);
        return {
          filters, order, none, players: players.length,
          focus: document.activeElement === pair.querySelector("summary"),
          labels: players.every((p) => p.controls && p.getAttribute("aria-label")),
          seconds: players.map((p) => p.duration),
          broken: images.filter((i) => !i.naturalWidth).length, images: images.length,
          foreign: names.filter((n) => !n.startsWith("file:")),
          wide: document.documentElement.scrollWidth > innerWidth,
        };
        """,
        tmp_path / "profile",
    )
    assert not console, console
    assert found["filters"] == [
        [1, "1 of 12 rows"],
        [1, "1 of 12 rows"],
        [1, "1 of 12 rows"],
        [12, "12 of 12 rows"],
    ]
    *numbers, last = found["order"].split(",")
    assert last == "" and len(numbers) == 11
    assert list(map(float, numbers)) == sorted(map(float, numbers), reverse=True)
    assert found["none"] == 0 and found["players"] == 7 and found["labels"]
    assert found["seconds"] == pytest.approx([SAMPLES / FS] * 7, abs=1e-3)
    assert found["images"] >= 11 and not found["broken"]
    assert found["focus"] and not found["foreign"] and not found["wide"]

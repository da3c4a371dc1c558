import json
import re
import shutil

import pytest

from espnet2_avsep.bin.prepare.health_report import main
from espnet2_avsep.data.tables.scp import Skipped, write_skipped
from espnet2_avsep.errors import InputError
from espnet2_avsep.report.health_page import TOP
from espnet2_avsep.report.health_report import write_health_report
from espnet2_avsep.report.prepared_set import read_prepared_set, reason_kind
from tests.report.health_corpus import FS, write_health_corpus
from tests.report.page_reader import Page, browse, check_on_a_phone
from tests.support.chromium import needs_chromium

SETS = ["train", "test"]


@pytest.fixture
def corpus(tmp_path):
    return write_health_corpus(tmp_path)


def report(corpus, **options):
    write_health_report(SETS, **corpus, fs=FS, **options)
    return Page((corpus["output_dir"] / "index.html").read_text(encoding="utf-8"))


def test_tables_hold_the_numbers_of_the_corpus(corpus):
    page = report(corpus)
    assert page.tables["Clips of each set"] == [
        ["train", "9", "3", "6", "2", "0.01", "0"],
        ["test", "1", "1", "0", "1", "0.00", "0"],
    ]
    assert page.tables["3 classes"] == [
        ["cello", "2", "0", "3", "1", "33.3%"],
        ["oboe", "0", "0", "5", "5", "100.0%"],
        ["tuba", "1", "1", "2", "0", "0.0%"],
    ]
    missing = page.tables["Clips left out, by stage and reason"]
    assert missing[0][:5] == [
        *("train", "prepare", "no file", "5"),
        "oboe-0, oboe-1, oboe-2 and 2 more",
    ]
    assert missing[1][:4] == ["train", "filter", "silent", "1"]
    assert page.tables["Silent clips: 1"][0][0] == "cello-b"
    assert page.tables["Clipped clips: 1"] == [
        ["cello-a", "train", "720 samples at full scale (1.00%)"]
    ]


def test_pictures_are_judged_and_shown(corpus):
    page = report(corpus)
    # cello-b, the black one, was left out as silent: it is not looked at.
    assert page.tables["Frozen clips: 1"][0][0] == "cello-<c>"
    assert [row[:2] for row in page.tables["One colour clips: 2"]] == [
        ["tuba-a", "test"],
        ["tuba-a", "train"],
    ]
    images = page.all("img")
    assert len(images) == 4
    for image in images:
        assert image["alt"]
    sources = {image["src"] for image in images}
    assert "pictures/train/cello-%3Cc%3E.jpg" in sources
    files = {p.name for p in (corpus["output_dir"] / "pictures/train").glob("*.jpg")}
    assert files == {"cello-a.jpg", "cello-<c>.jpg", "tuba-a.jpg"}


def test_page_needs_nothing_from_elsewhere(corpus):
    page = report(corpus)
    for attrs in (attrs for _, attrs in page.tags):
        for name in ("src", "href"):
            link = attrs.get(name, "")
            assert not re.match(r"[a-z]+:|//|/", link), link
            if name == "href" and link and not link.startswith("#"):
                assert (corpus["output_dir"] / link).is_file()
    assert "http" not in (corpus["output_dir"] / "index.html").read_text()


def test_page_can_be_read_by_all(corpus):
    page = report(corpus)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table")) > 4
    names = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for link in page.all("a"):
        if link["href"].startswith("#"):
            assert link["href"][1:] in names
    for svg in page.all("svg"):
        assert svg["role"] == "img" and "clips" in svg["aria-label"]
    style = (corpus["output_dir"] / "index.html").read_text()
    assert "prefers-color-scheme: dark" in style
    colours = dict(re.findall(r"--(\w+): (#\w+);", style.split("}")[0]))
    dark = dict(re.findall(r"--(\w+): (#\w+);", style.split("dark)")[1].split("}")[0]))
    for theme in (colours, dark):
        for ink in ("ink", "soft", "accent", "warn", "second", "third"):
            assert contrast(theme[ink], theme["paper"]) >= 4.5, ink


def contrast(one, other):
    """Contrast ratio of WCAG 2."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    a, b = sorted((luminance(one), luminance(other)))
    return (b + 0.05) / (a + 0.05)


def test_plain_files_beside(corpus):
    report(corpus)
    folder = corpus["output_dir"]
    health = json.loads((folder / "health.json").read_text())
    assert health["sets"]["train"]["listed"] == 9
    assert health["sets"]["train"]["seconds"] == 29.5
    assert health["findings"] == {
        "clipped": 1,
        "frozen": 1,
        "one colour": 2,
        "silent": 1,
    }
    flagged = (folder / "flagged.tsv").read_text().splitlines()
    assert flagged[0] == "set\tclip\tfinding\tdetail" and len(flagged) == 6
    assert "train\toboe\t5\t0" in (folder / "classes.tsv").read_text()


def test_again_gives_the_same_bytes(corpus):
    def snapshot():
        folder = corpus["output_dir"]
        return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    report(corpus)
    before = snapshot()
    (corpus["output_dir"] / ".index.html.x.tmp").write_text("half")
    report(corpus)
    assert snapshot() == before


def test_leaks(corpus, tmp_path):
    assert "The leak check was not run." in report(corpus).text
    path = tmp_path / "leaks.tsv"
    head = "kind\tset\tclip\tother_set\tother_clip\tevidence\n"
    path.write_text(head)
    assert "The leak check found none." in report(corpus, leaks=path).text
    row = "same video\ttest\ttuba-a\ttrain\ttuba-a\tsame id"
    path.write_text(head + (row + "\n") * 70)
    page = report(corpus, leaks=path)
    caption = f"70 cases: 70 of kind same video; the first {TOP}"
    assert page.tables[caption] == [row.split("\t")] * TOP
    path.write_text("a\tb\n")
    with pytest.raises(InputError, match="other_clip"):
        report(corpus, leaks=path)


def test_mixtures_are_summed_up_and_a_changed_list_is_seen(corpus):
    import hashlib

    folder = corpus["dump_dir"] / "test"
    (folder / "mixtures.tsv").write_text("mix_id\n")
    digest = hashlib.sha256(b"mix_id\n").hexdigest()
    (folder / "mixtures.sha256").write_text(f"{digest}  mixtures.tsv\n")
    (folder / "counts.yaml").write_text(
        f"mixtures: {{made: 6, listed: 7, skipped: {{clip not in the set: 1}}, "
        f"sha256: '{digest}', seed: 3, num_sources: 2}}\n"
    )
    # Mixtures that could not be made are no clips.
    write_skipped(folder / "skipped.tsv", [Skipped("mix00003", "mixture list", "x")])
    row = report(corpus).tables["Mixtures that are the same for every system"][0]
    assert row[:5] == ["test", "6", "7", "1 clip not in the set", "2"]
    assert row[-3:] == ["drawn with seed 3", digest, "yes"]
    (folder / "mixtures.tsv").write_text("mix_id\nother\n")
    page = report(corpus)
    assert page.tables["Mixtures that are the same for every system"][0][-1] == "NO"
    assert page.tables["Clips of each set"][1][:4] == ["test", "1", "1", "0"]


def test_a_large_corpus_makes_a_small_page(corpus):
    rows = []
    for n in range(20_000):
        reason = f"reason {'abcdefgh'[n % 8] * (n % 90)}"
        rows.append(Skipped(f"class{n % 700}-{n}", "prepare", reason))
    write_skipped(corpus["dump_dir"] / "train" / "skipped.tsv", rows)
    page = report(corpus)
    assert (corpus["output_dir"] / "index.html").stat().st_size < 400_000
    missing = page.tables["Clips left out, by stage and reason"]
    assert len(missing) == TOP + 1 and missing[-1][2] == "other reasons"
    assert sum(int(row[3]) for row in missing) == 20_000


def test_before_the_later_stages(corpus, tmp_path):
    shutil.rmtree(corpus["dump_dir"])
    page = report(corpus, max_videos=0)
    assert page.tables["Clips of each set"][0][1:4] == ["9", "4", "5"]
    assert "Not known before stage 3." in page.text
    assert any("visual.scp (stage 2)" in text for text in page.text)


@pytest.mark.parametrize(
    "reason, kind",
    [
        ("silent: RMS -80.0 dB", "silent"),
        ("truncated (2.0 s of 3.0 s of media can be read)", "truncated"),
        ("12 samples are NaN", "# samples are NaN"),
        ("no mp4 file", "no mp4 file"),
    ],
)
def test_kinds_of_reasons(reason, kind):
    assert reason_kind(reason) == kind


def test_bad_input(corpus, tmp_path, capsys):
    options = ["--data_dir", str(corpus["data_dir"]), "--fs", str(FS)]
    options += ["--dump_dir", str(corpus["dump_dir"]), "--output_dir", str(tmp_path)]
    assert main(["--sets", "nowhere", *options]) == 2
    assert "Run stage 1" in capsys.readouterr().err
    assert main(["--sets", "train", "train", *options]) == 2
    assert main(["--sets", "train", *options, "--max_videos", "-1"]) == 2
    assert "max_videos" in capsys.readouterr().err
    info = corpus["dump_dir"] / "train" / "visual_info.yaml"
    info.write_text("- a\n")
    with pytest.raises(InputError, match="visual_info"):
        read_prepared_set("train", corpus["data_dir"], corpus["dump_dir"], FS)


@needs_chromium
def test_on_a_phone(corpus, tmp_path):
    report(corpus)
    check_on_a_phone(corpus["output_dir"] / "index.html", tmp_path / "profile")


@needs_chromium
def test_sorting_in_chromium(corpus, tmp_path):
    report(corpus)
    found, console = browse(
        corpus["output_dir"] / "index.html",
        """
        const table = [...document.querySelectorAll("table")].find(
          (t) => t.caption.textContent === "3 classes");
        const rows = table.tBodies[0].rows;
        const column = (n) => [...rows].map((r) => r.cells[n].textContent);
        const button = (n) => table.tHead.rows[0].cells[n].querySelector("button");
        const orders = [];
        for (const n of [3, 3, 0, 5]) {
          button(n).click();
          const sorted = table.tHead.querySelectorAll("[aria-sort]").length;
          orders.push([n, column(n).join(), sorted]);
        }
        for (const image of document.images) image.loading = "eager";
        await Promise.allSettled([...document.images].map((i) => i.decode()));
        const broken = [...document.images].filter((i) => !i.naturalWidth);
        const wide = document.documentElement.scrollWidth > window.innerWidth;
        return {orders, broken: broken.length, wide};
        """,
        tmp_path / "profile",
    )
    assert found["orders"] == [
        [3, "5,3,2", 1],
        [3, "2,3,5", 1],
        [0, "cello,oboe,tuba", 1],
        [5, "100.0%,33.3%,0.0%", 1],
    ]
    assert not found["broken"] and not found["wide"] and not console

"""Official lists: fetched from a server of this machine, checked, read."""

import functools
import hashlib
import http.server
import json
import threading

import h5py
import pytest

from espnet2_avsep.corpus.download import catalogue
from espnet2_avsep.corpus.download.catalogue import CORPORA, Video
from espnet2_avsep.corpus.download.metadata import get_metadata
from espnet2_avsep.errors import InputError

IDS = [f"-_id{n:07d}" for n in range(6)]
ANNOTATIONS = [
    f"Church bell&{IDS[0]}&good&0&10",
    f"Male speech, man speaking&{IDS[1]}&good&3&9",
    f"Bark&{IDS[0]}&good&2&4",
    f"Bark&{IDS[2]}&good&0&10",
]
AUDIOSET = f"""\
# Segments csv created Sun Mar  5 10:54:31 2017
# YTID, start_seconds, end_seconds, positive_labels
{IDS[0]}, 30.000, 40.000, "/m/09x0r,/t/dd00088"
{IDS[5]}, 0.000, 10.000, "/m/09x0r"
{IDS[1]}, 120.000, 130.000, "/m/09x0r"
"""


@pytest.fixture
def published(tmp_path):
    """A folder with everything as it is published."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name, lists in {
        "MUSIC_solo_videos.json": {"cello": IDS[:2], "erhu": [IDS[2]]},
        "MUSIC_duet_videos.json": {"cello acoustic_guitar": IDS[3:5]},
        "MUSIC21_solo_videos.json": {"pipa": IDS[:3]},
    }.items():
        (folder / name).write_text(json.dumps({"version": 1.0, "videos": lists}))
    (folder / "vggsound.csv").write_text(
        f'{IDS[0]},30,"people sobbing, crying",test\n{IDS[0]},7,dog barking,train\n'
    )
    (folder / "Annotations.txt").write_text("\n".join(ANNOTATIONS) + "\n")
    for name, rows in {"train": [2, 0], "val": [3], "test": [1]}.items():
        with h5py.File(folder / f"{name}_order.h5", "w") as f:
            f["order"] = rows
    (folder / "balanced_train_segments.csv").write_text(AUDIOSET)
    (folder / "unbalanced_train_segments.csv").write_text("# none\n")
    (folder / "eval_segments.csv").write_text("# none\n")
    return folder


@pytest.fixture
def server(published, monkeypatch):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(published))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{httpd.server_port}/"
        for name, corpus in CORPORA.items():
            files = {file: url + file for file in corpus.files}
            monkeypatch.setitem(CORPORA, name, corpus._replace(files=files))
        yield published
        httpd.shutdown()
        thread.join()


def test_official_addresses():
    """Checked by hand in November 2026."""
    music = "https://raw.githubusercontent.com/roudimit/MUSIC_dataset/master/"
    for corpus, files in {
        "music": ["MUSIC_solo_videos.json", "MUSIC_duet_videos.json"],
        "music21": ["MUSIC21_solo_videos.json"],
    }.items():
        assert CORPORA[corpus].files == {name: music + name for name in files}
    assert (
        CORPORA["vggsound"]
        .files["vggsound.csv"]
        .endswith("hche11/VGGSound/master/data/vggsound.csv")
    )
    assert (
        CORPORA["ave"]
        .files["Annotations.txt"]
        .endswith("YapengTian/AVE-ECCV18/master/data/Annotations.txt")
    )


@pytest.mark.parametrize("corpus", CORPORA)
def test_lists_are_fetched_once(server, tmp_path, corpus):
    digests = get_metadata(corpus, tmp_path / "out")
    assert list(digests) == list(CORPORA[corpus].files)
    for name, digest in digests.items():
        content = (server / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == content
        assert digest == hashlib.sha256(content).hexdigest()
    for path in server.iterdir():
        path.unlink()
    assert get_metadata(corpus, tmp_path / "out") == digests


def test_given_lists_need_no_network(published, tmp_path):
    digests = get_metadata("vggsound", tmp_path / "out", published)
    assert set(digests) == {"vggsound.csv"}
    with pytest.raises(InputError, match="has no MUSIC21_solo.*published at https"):
        get_metadata("music21", tmp_path / "out", tmp_path)


def test_what_cannot_be_fetched(server, tmp_path):
    (server / "vggsound.csv").unlink()
    with pytest.raises(InputError, match="vggsound.csv: cannot be fetched.*404"):
        get_metadata("vggsound", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_music(published):
    assert CORPORA["music"].read(published) == [
        Video(f"cello/{IDS[0]}", IDS[0], ("cello",)),
        Video(f"cello/{IDS[1]}", IDS[1], ("cello",)),
        Video(f"erhu/{IDS[2]}", IDS[2], ("erhu",)),
        Video(f"cello acoustic_guitar/{IDS[3]}", IDS[3], ("cello acoustic_guitar",)),
        Video(f"cello acoustic_guitar/{IDS[4]}", IDS[4], ("cello acoustic_guitar",)),
    ]


def test_vggsound(published):
    assert CORPORA["vggsound"].read(published) == [
        Video(f"{IDS[0]}_000030", IDS[0], ("people sobbing, crying",), 30.0),
        Video(f"{IDS[0]}_000007", IDS[0], ("dog barking",), 7.0),
    ]


def test_ave_takes_starts_from_audioset_and_splits_from_the_orders(published, tmp_path):
    get_metadata("ave", tmp_path / "out", published)
    assert CORPORA["ave"].read(tmp_path / "out") == [
        Video(IDS[0], IDS[0], ("Church bell", "Bark"), 30.0),
        Video(IDS[1], IDS[1], ("Male speech, man speaking",), 120.0),
        Video(IDS[2], IDS[2], ("Bark",), None),
    ]
    for name, rows in {"train": [2, 0], "val": [3], "test": [1]}.items():
        text = (tmp_path / "out" / f"{name}Set.txt").read_text()
        assert text == "".join(ANNOTATIONS[row] + "\n" for row in rows)


def test_ave_from_an_archive_needs_no_starts(published, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    # As the archive has it, with a header and with lists of its own.
    head = "Category&VideoID&Quality&StartTime&EndTime"
    (given / "Annotations.txt").write_text("\n".join([head, *ANNOTATIONS]) + "\n")
    for name in ("train", "val", "test"):
        (given / f"{name}Set.txt").write_text(ANNOTATIONS[0] + "\n")
    get_metadata("ave", tmp_path / "out", given, archive=True)
    assert [v.start for v in CORPORA["ave"].read(tmp_path / "out")] == [None] * 3
    assert (tmp_path / "out" / "valSet.txt").read_text() == ANNOTATIONS[0] + "\n"


@pytest.mark.parametrize(
    ("corpus", "name", "content", "message"),
    [
        ("music21", "MUSIC21_solo_videos.json", "<html>", "expected .*videos"),
        ("music21", "MUSIC21_solo_videos.json", '{"a": 1}', "expected .*videos"),
        ("music21", "MUSIC21_solo_videos.json", '{"videos": {"a": ["x"]}}', "id 'x'"),
        ("music21", "MUSIC21_solo_videos.json",
         '{"videos": {"../a": ["0123456789a"]}}', "id '../a' has a '/'"),
        ("music21", "MUSIC21_solo_videos.json",
         '{"videos": {"": ["0123456789a"]}}', "id '' is empty"),
        ("music21", "MUSIC21_solo_videos.json",
         '{"videos": {"..": ["0123456789a"]}}', "begins with '.'"),
        ("music21", "MUSIC21_solo_videos.json",
         r'{"videos": {"a": ["0123456789\n"]}}', "has control characters"),
        ("music21", "MUSIC21_solo_videos.json",
         r'{"videos": {"a\u0000b": ["0123456789a"]}}', "has control characters"),
        ("music21", "MUSIC21_solo_videos.json",
         '{"videos": {"a": ["/etc/passwd"]}}', "has a '/'"),
        ("vggsound", "vggsound.csv", "0123456789a,3,dog\n", "line 1"),
        ("vggsound", "vggsound.csv", "0123456789a,3,dog,valid\n", "line 1"),
        ("vggsound", "vggsound.csv", "0123456789a,x,dog,train\n", "line 1"),
        ("ave", "Annotations.txt", "Bark&0123456789a&good&0\n", "line 1"),
        ("ave", "balanced_train_segments.csv", f"{IDS[0]}, x\n", "line 1"),
    ],
)  # fmt: skip
def test_other_forms_are_refused(published, corpus, name, content, message):
    (published / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}.*{message}.*not the published file"):
        CORPORA[corpus].read(published)


def test_wrong_order_is_refused(published):
    with h5py.File(published / "val_order.h5", "w") as f:
        f["order"] = [4]
    with pytest.raises(InputError, match="val_order.h5: row 4"):
        catalogue.write_ave_splits(published)

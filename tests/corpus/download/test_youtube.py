"""What is asked of yt-dlp, and what its messages are taken for."""

import sys
import types
from pathlib import Path

import pytest

from espnet2_avsep.corpus.download.video_error import TRANSIENT, VideoError, classify
from espnet2_avsep.corpus.download.youtube import YoutubeFetcher, import_yt_dlp
from espnet2_avsep.errors import InputError
from tests.corpus.download.fake_yt_dlp import MESSAGES

HEIGHTS = (144, 240, 360, 480, 1080)


def entry(name, height=None, vcodec="none", acodec="none", **more):
    return {
        "format_id": name,
        "url": "x",
        "height": height,
        "vcodec": vcodec,
        "acodec": acodec,
        **more,
    }


PICTURES = [entry(f"v{h}", h, "avc1.4d401e") for h in HEIGHTS]
VP9 = [entry(f"vp{h}", h, "vp9") for h in HEIGHTS]
SOUNDS = [
    entry("low", acodec="mp4a.40.5", abr=48),
    entry("high", acodec="mp4a.40.2", abr=129),
    entry("opus", acodec="opus", abr=160),
    entry("dubbed", acodec="mp4a.40.2", abr=200, language_preference=-10),
]


def chosen(formats, **options):
    selected = YoutubeFetcher(**options).choose({"formats": formats})
    return [entry["format_id"] for entry in selected]


def test_best_format_within_the_height():
    assert chosen(PICTURES + VP9 + SOUNDS) == ["v360", "high"]
    assert chosen(PICTURES + VP9 + SOUNDS, max_height=300) == ["v240", "high"]
    assert chosen(VP9 + SOUNDS, max_height=2000) == ["vp1080", "high"]
    # All are higher: the smallest.
    assert chosen(PICTURES[3:] + SOUNDS) == ["v480", "high"]
    assert chosen(VP9[:1] + SOUNDS[2:3]) == ["vp144", "opus"]


def test_one_file_where_it_is_as_good():
    both = entry("18", 360, "avc1.42001E", "mp4a.40.2")
    assert chosen([both, *PICTURES, *SOUNDS]) == ["18"]
    assert chosen([both, *PICTURES, *SOUNDS], max_height=480) == ["v480", "high"]
    assert chosen([both, *SOUNDS]) == ["18"]
    # A site that does not say what its files hold.
    assert chosen([{"format_id": "0", "url": "x"}]) == ["0"]


def test_sound_of_compressed_dynamic_range_is_taken_last():
    """Of two files of one kind, that with "stable volume" was taken by its bit rate."""
    drc = entry("140-drc", acodec="mp4a.40.2", abr=129.6)
    plain = entry("140", acodec="mp4a.40.2", abr=129.5)
    opus = entry("251", acodec="opus", abr=130)
    for sounds in ([drc, plain], [plain, drc], [drc, opus]):
        wanted = "251" if opus in sounds else "140"
        assert chosen([*PICTURES, *sounds]) == ["v360", wanted]
    assert chosen([*PICTURES, drc]) == ["v360", "140-drc"]


def test_no_usable_format():
    assert chosen([entry("storyboard", 27, "none", "none", ext="mhtml")]) == []
    assert chosen([{**PICTURES[0], "url": None}]) == []
    with pytest.raises(VideoError, match="no audio"):
        chosen(PICTURES)


def test_options_are_passed_on(tmp_path):
    beats = []
    fetcher = YoutubeFetcher(
        cookies="c.txt",
        cookies_from_browser="firefox:work",
        proxy="socks5://localhost:1080",
        rate_limit=2048,
        options=(("source_address", "0.0.0.0"),),
    )
    parameters = fetcher.parameters(tmp_path, lambda: beats.append(1))
    for key, value in {
        "cookiefile": "c.txt",
        "cookiesfrombrowser": ("firefox", "work", None, None),
        "proxy": "socks5://localhost:1080",
        "ratelimit": 2048,
        "source_address": "0.0.0.0",
        "continuedl": True,
    }.items():
        assert parameters[key] == value
    parameters["progress_hooks"][0]({"status": "downloading"})
    assert beats == [1]
    plain = YoutubeFetcher().parameters(tmp_path, lambda: None)
    assert not {"cookiefile", "cookiesfrombrowser", "proxy", "ratelimit"} & set(plain)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        *((text, kind) for kind, text in MESSAGES.items()),
        ("Join this channel to get access to members-only content", "members only"),
        ("This video requires payment to watch", "members only"),
        ("This live event will begin in 3 days.", "live"),
        ("Video unavailable. This content isn’t available, try again later. The "
         "current session has been rate-limited by YouTube", "rate limited"),
        ("unable to download video data: HTTP Error 403: Forbidden", "bot check"),
        ("Read timed out.", "network"),
        ("The read operation timed out", "network"),
        ("[Errno -2] Name or service not known: getaddrinfo failed", "network"),
        ("Requested format is not available. Use --list-formats", "no usable format"),
        ("Video unavailable", "removed"),
        ("Private video", "private"),
        ("something new", "unknown error"),
    ],
)  # fmt: skip
def test_messages_are_told_apart(message, kind):
    kind = {"terminated": "removed", "copyright": "geo-blocked"}.get(kind, kind)
    error = classify(f"\x1b[0;31mERROR:\x1b[0m [youtube] dQw4w9WgXcQ: {message}")
    assert error.kind == kind
    assert error.detail.startswith(" ".join(message.split())[:40])


def test_what_may_pass_is_tried_again():
    assert {"network", "stalled", "truncated", "rate limited"} <= TRANSIENT
    assert not {"removed", "private", "geo-blocked", "age-restricted"} & TRANSIENT


def test_the_file_of_cookies_stays_as_it_is(tmp_path, monkeypatch):
    """yt-dlp saves its cookies when it ends: every worker has a copy."""
    given = tmp_path / "cookies.txt"
    given.write_text("given")

    class YoutubeDL:
        def __init__(self, parameters):
            self.path = Path(parameters["cookiefile"])
            assert self.path.read_text() == "given"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.path.write_text("changed")

        def extract_info(self, url):
            return {"requested_downloads": [{"filepath": "a.mp4"}], "duration": 3}

    errors = types.SimpleNamespace(YoutubeDLError=RuntimeError)
    module = types.SimpleNamespace(YoutubeDL=YoutubeDL, utils=errors)
    monkeypatch.setitem(sys.modules, "yt_dlp", module)
    fetched = YoutubeFetcher(cookies=str(given))("x", tmp_path, lambda: None)
    assert fetched == ([Path("a.mp4")], 3)
    assert given.read_text() == "given"


def test_missing_yt_dlp_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(InputError, match=r"pip install 'yt-dlp\[default\]'"):
        import_yt_dlp()

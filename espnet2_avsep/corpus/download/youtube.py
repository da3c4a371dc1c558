"""One video from YouTube through yt-dlp, without the ffmpeg program."""

import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from espnet2_avsep.corpus.download.video_error import VideoError, classify
from espnet2_avsep.errors import InputError

# Codecs, as yt-dlp names them, that an mp4 file holds and FFmpeg's libraries decode.
_VIDEO = ("avc1", "h264", "vp9", "vp09", "av01", "hev1", "hvc1")
_AUDIO = ("mp4a", "opus", "aac")
# Seconds between two requests of yt-dlp for one video.
_SLEEP_REQUESTS = 0.75


class Fetched(NamedTuple):
    """What came of one video.

    Attributes:
        parts: A file with picture and sound, or one of each.
        duration: Seconds that the site states for the video; None where it does not.
    """

    parts: List[Path]
    duration: Optional[float]


@dataclass(frozen=True)
class YoutubeFetcher:
    """Fetches videos with yt-dlp; a callable that can be given to other processes.

    Picture and sound are fetched as they are published, mostly as two files: yt-dlp
    would need ffmpeg to put them together, and ``clip_writer`` does not.

    Args:
        max_height: Lines of the picture; the best format that has no more is taken, or
            the smallest where all have more.
        cookies: File of cookies in Netscape's format.
        cookies_from_browser: Browser to take cookies from, as yt-dlp writes it.
        proxy: URL of a proxy.
        rate_limit: Bytes a second of each worker.
        socket_timeout: Seconds without an answer.
        url: Where a video is, with {} for its id.
        options: Further parameters of yt_dlp.YoutubeDL.
    """

    max_height: int = 360
    cookies: Optional[str] = None
    cookies_from_browser: Optional[str] = None
    proxy: Optional[str] = None
    rate_limit: Optional[int] = None
    socket_timeout: float = 30.0
    url: str = "https://www.youtube.com/watch?v={}"
    options: Tuple[Tuple[str, Any], ...] = ()

    def __call__(
        self, video_id: str, folder: Path, beat: Callable[[], None]
    ) -> Fetched:
        """Fetch a video into a folder; half a file that is there goes on.

        Args:
            video_id: YouTube's id.
            folder: Gets the files.
            beat: Called whenever something came, to show that nothing has stalled.

        Raises:
            VideoError: the video cannot be had.
        """
        yt_dlp = import_yt_dlp()
        with tempfile.TemporaryDirectory() as private:
            parameters = self.parameters(folder, beat)
            if self.cookies is not None:
                # yt-dlp writes to it, and others are at work.
                copy = Path(private) / "cookies.txt"
                parameters["cookiefile"] = shutil.copyfile(self.cookies, copy)
            with yt_dlp.YoutubeDL(parameters) as client:
                try:
                    info = client.extract_info(self.url.format(video_id))
                except yt_dlp.utils.YoutubeDLError as error:
                    raise classify(str(error)) from error
        if not info or "requested_downloads" not in info:
            raise VideoError("unknown error", "yt-dlp returned nothing")
        parts = [Path(part["filepath"]) for part in info["requested_downloads"]]
        return Fetched(parts, info.get("duration"))

    def parameters(self, folder: Path, beat: Callable[[], None]) -> Dict[str, Any]:
        """Return the parameters of yt_dlp.YoutubeDL."""
        parameters: Dict[str, Any] = {
            "format": self.choose,
            "outtmpl": {"default": str(folder / "%(format_id)s.%(ext)s")},
            "logger": _Log(),
            "quiet": True,
            "noprogress": True,
            "noplaylist": True,
            "continuedl": True,
            "cachedir": False,
            "updatetime": False,
            "fixup": "never",
            "retries": 3,
            "fragment_retries": 3,
            "socket_timeout": self.socket_timeout,
            "sleep_interval_requests": _SLEEP_REQUESTS,
            "progress_hooks": [lambda _: beat()],
        }
        for name, value in (
            ("cookiefile", self.cookies),
            ("proxy", self.proxy),
            ("ratelimit", self.rate_limit),
        ):
            if value is not None:
                parameters[name] = value
        if self.cookies_from_browser is not None:
            # browser[:profile]
            browser, _, profile = self.cookies_from_browser.partition(":")
            parameters["cookiesfrombrowser"] = (browser, profile or None, None, None)
        parameters.update(self.options)
        return parameters

    def choose(self, context: Dict[str, Any]) -> Iterator[Dict[str, Any]]:
        """Choose formats, as yt-dlp's parameter ``format`` may be a function.

        One file with picture and sound where it is as good as the two apart; mp4 and
        aac before others, since every program reads them.

        Raises:
            VideoError: there are pictures, but no sound.
        """
        formats = [f for f in context["formats"] if f.get("url")]
        both = [f for f in formats if _has(f, "vcodec", _VIDEO, True)]
        both = [f for f in both if _has(f, "acodec", _AUDIO, True)]
        pictures = [f for f in formats if f.get("acodec") == "none"]
        pictures = [f for f in pictures if _has(f, "vcodec", _VIDEO)]
        sounds = [f for f in formats if f.get("vcodec") == "none"]
        sounds = [f for f in sounds if _has(f, "acodec", _AUDIO)]
        single = max(both, key=self._rank, default=None)
        picture = max(pictures, key=self._rank, default=None)
        sound = max(sounds, key=_sound_rank, default=None)
        if picture is not None and sound is None and single is None:
            raise VideoError("no audio")
        if picture is None or sound is None:
            if single is not None:
                yield single
            return
        if single is not None and self._rank(single)[:2] >= self._rank(picture)[:2]:
            yield single
            return
        yield picture
        yield sound

    def _rank(self, entry: Dict[str, Any]) -> Tuple:
        height = entry.get("height") or 0
        fits = height <= self.max_height
        return (
            fits,
            height if fits else -height,
            str(entry.get("vcodec")).startswith("avc1"),
            entry.get("tbr") or 0,
        )


class _Log:
    """What yt-dlp says; its errors are raised and told by whoever catches them."""

    def debug(self, message: str) -> None:
        logging.debug("yt-dlp: %s", message)

    info = warning = error = debug


def _has(
    entry: Dict[str, Any], name: str, known: Tuple[str, ...], unnamed: bool = False
) -> bool:
    codec = entry.get(name)
    return str(codec).startswith(known) or (unnamed and codec is None)


def _sound_rank(entry: Dict[str, Any]) -> Tuple:
    # The original language before dubbed ones, as yt-dlp ranks them.
    return (
        entry.get("language_preference") or -1,
        # YouTube's copies with "stable volume": their dynamic range is compressed.
        not str(entry.get("format_id")).endswith("-drc"),
        str(entry.get("acodec")).startswith("mp4a"),
        entry.get("abr") or entry.get("tbr") or 0,
    )


def import_yt_dlp() -> Any:
    """Import yt-dlp.

    Raises:
        InputError: it is not installed.
    """
    try:
        import yt_dlp
    except ImportError as error:
        raise InputError(
            f"yt-dlp is not installed ({error}); videos are fetched with it. Install "
            "it with: pip install 'yt-dlp[default]' (the extra "
            "espnet2_avsep[download]). For YouTube it also wants a JavaScript "
            "runtime, for example deno, on the PATH."
        ) from error
    return yt_dlp

"""Open media files, and say plainly why one cannot be used."""

import contextlib
import os
from pathlib import Path
from typing import Iterator, Union

from espnet2_avsep.errors import InputError

PathLike = Union[str, "os.PathLike[str]"]

# What may be opened: files that hold their own content. Lists of other files (concat,
# HLS, DASH, SDP, ...), scripts, devices and network streams are not among them.
_FORMATS = (
    "3gp,aa,aac,aax,ac3,ac4,adx,aiff,amr,amrnb,amrwb,ape,apng,aptx,asf,asf_o,au,av1,"
    "avi,caf,cavsvideo,dfpwm,dirac,dnxhd,dsf,dts,dtshd,dv,eac3,evc,flac,flic,flv,g722,"
    "gif,gsm,gxf,h261,h263,h264,hevc,iff,ilbc,ircam,ivf,ivr,kux,live_flv,lc3,loas,m4v,"
    "matroska,mjpeg,mjpeg_2000,mlp,mmf,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,mpegvideo,mtv,"
    "mxf,nistsphere,nsv,nut,obu,ogg,oma,osq,pva,qoa,rka,rm,roq,shn,smk,sox,tak,truehd,"
    "tta,ty,vc1,vivo,voc,vqf,vvc,w64,wav,webm,wtv,wv,wve,xwma,yuv4mpegpipe"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}


class ClipError(InputError):
    """A clip that cannot be used for what is in, or not in, one of its files.

    Steps leave such a clip out, count it and write the reason down.

    Args:
        path: The file.
        reason: Why, in a few words.
        remedy: How to fix it.
    """

    def __init__(self, path: PathLike, reason: str, remedy: str = ""):
        super().__init__(f"{path}: {reason}." + (f" {remedy}" if remedy else ""))
        self.reason = reason


@contextlib.contextmanager
def open_media(path: PathLike) -> Iterator["av.container.InputContainer"]:  # noqa: F821
    """Open a media file for reading.

    Raises:
        ClipError: the file is missing, of zero length, not readable as media, or a
            list of other files.
    """
    import av

    _check_file(Path(path))
    try:
        container = av.open(
            local_url(path), metadata_errors="replace", options=_OPTIONS
        )
    except av.error.ArgumentError as error:  # what format_whitelist leaves out
        raise ClipError(
            path,
            "no supported media file",
            "A sound or a video was expected, no still picture and no list of other "
            "files (ffconcat, m3u8, sdp); convert it to mp4 or wav.",
        ) from error
    except (OSError, av.error.FFmpegError, ValueError) as error:
        raise ClipError(
            path,
            f"unreadable ({first_line(error)})",
            "A media file that FFmpeg knows was expected; fetch the file again.",
        ) from error
    with container:
        yield container


def local_url(path: PathLike) -> str:
    """Return the name by which FFmpeg opens a local file, whatever its name looks like.

    Without it ``12:30.mp4`` is a URL of the protocol "12".
    """
    return f"file:{path}"


def _check_file(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # no permission, or no name of a file
        reason = getattr(error, "strerror", None) or str(error)
        raise ClipError(f"{str(path)[:80]!r}", f"unreadable ({reason})") from error
    if path.is_dir():
        raise ClipError(path, "is a folder, not a media file")
    if not path.exists():
        raise ClipError(path, "file not found", "Correct the path.")
    if not path.is_file():
        raise ClipError(path, "is a pipe or a device, not a regular file")
    if path.stat().st_size == 0:
        raise ClipError(path, "zero-length file", "Fetch the file again.")


def first_line(error: Exception) -> str:
    """Return an error's own words, one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if str(text).startswith("Error number"):  # of a decoder, without words
        return "damaged data"
    return str(text).splitlines()[0]

"""Whether a fetched file is what it should be."""

from pathlib import Path
from typing import Any, Dict, Optional

from espnet2_avsep.data.download.metadata import sha256
from espnet2_avsep.data.download.video_error import VideoError
from espnet2_avsep.data.media import (
    COMPLETE_SHARE,
    ClipError,
    audio_stream,
    open_media,
    packet_end,
    probe,
    video_stream,
)

# A whole video may differ from what the site states by 2 s or 2 %: sites round, and
# picture and sound end at different times.
_SECONDS, _SHARE = 2.0, 0.02
# A section of 10 s may lack 1 s at its end.
_SECTION_LACKS = 1.0


def verify(
    path: Path, stated: Optional[float] = None, section: Optional[float] = None
) -> Dict[str, Any]:
    """Check a file: it opens, has sound and pictures, and is as long as it should be.

    All packets are read, and the first of each stream decoded.

    Args:
        path: The file.
        stated: Seconds that the site states for the whole video, if it does.
        section: Seconds that a section should last.

    Returns:
        bytes, sha256, duration (s), fps and sample_rate (Hz) for the manifest.

    Raises:
        VideoError: with the kind of what is wrong.
    """
    import av

    try:
        info = probe(path)
        if not info.has_audio:
            raise VideoError("no audio")
        if not info.has_video:
            raise VideoError("no video")
        ends = _read_through(path)
    except ClipError as error:
        raise VideoError("unreadable", error.reason) from error
    except av.error.FFmpegError as error:
        raise VideoError("truncated", str(error)) from error
    for kind, header in (
        ("audio", info.audio_duration),
        ("video", info.video_duration),
    ):
        if header is not None and ends[kind] < COMPLETE_SHARE * header:
            raise VideoError(
                "truncated", f"{ends[kind]:.1f} of {header:.1f} s of {kind} are there"
            )
    longest = max(ends.values())
    if section is not None:
        shortest = min(ends.values())
        if shortest < section - _SECTION_LACKS:
            raise VideoError(
                "section beyond the end", f"{shortest:.1f} of {section:g} s are there"
            )
    elif stated is not None and abs(longest - stated) > max(_SECONDS, _SHARE * stated):
        kind = "truncated" if longest < stated else "wrong duration"
        raise VideoError(kind, f"{longest:.1f} s, {stated:g} s were stated")
    return {
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
        "duration": round(ends["audio"], 3),
        "fps": round(info.fps, 3) if info.fps else None,
        "sample_rate": info.sample_rate,
    }


def _read_through(path: Path) -> Dict[str, float]:
    """Return the seconds of sound and of picture whose packets are there."""
    with open_media(path) as container:
        streams = {"audio": audio_stream(container), "video": video_stream(container)}
        kinds = {stream.index: kind for kind, stream in streams.items()}
        ends = dict.fromkeys(streams, 0.0)
        starts: Dict[str, float] = {}
        decoded = dict.fromkeys(streams, False)
        for packet in container.demux(*streams.values()):
            kind = kinds[packet.stream_index]
            if not decoded[kind]:
                decoded[kind] = bool(packet.decode())
            if packet.pts is None:
                continue
            begin = float(packet.pts * packet.time_base)
            starts[kind] = min(starts.get(kind, begin), begin)
            ends[kind] = max(ends[kind], packet_end(packet))
    for kind, found in decoded.items():
        if not found:
            raise VideoError("unreadable", f"no {kind} can be decoded")
    return {kind: ends[kind] - max(starts.get(kind, 0.0), 0.0) for kind in ends}

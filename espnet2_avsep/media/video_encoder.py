"""Encode a video's pictures again, so that players show what they showed before."""

from fractions import Fraction
from typing import Dict, Optional

import numpy as np

from espnet2_avsep.media.orientation import (
    TRANSPOSED,
    UPRIGHT,
    orientation_of,
    upright,
)
from espnet2_avsep.media.to_rgb import ToRGB, has_alpha

# Values of FFmpeg's AVColorRange and AVColorSpace.
_LIMITED, _FULL, _BT601 = 1, 2, 6
_ANY_TIME_BASE = Fraction(1, 90000)


class VideoEncoder:
    """Encodes pictures as H.264 in a stream of an open mp4.

    They are turned upright, and put on a grey ground where they are transparent. Their
    times, the shape of their pixels, and their colours with their tags stay as they
    are; an odd width or height loses a pixel.

    Args:
        container: The open mp4.
        stream: The source's stream.
        first: The first picture.
        options: Of x264.
    """

    def __init__(
        self,
        container: "av.container.OutputContainer",  # noqa: F821
        stream: "av.video.stream.VideoStream",  # noqa: F821
        first: "av.VideoFrame",  # noqa: F821
        options: Optional[Dict[str, str]] = None,
    ):
        from av.video.reformatter import Interpolation, VideoReformatter

        rate = stream.average_rate or stream.guessed_rate or 25
        self._out = container.add_stream("libx264", rate=rate, options=options or {})
        self._orientation = orientation_of(first)
        self._to_rgb = ToRGB() if has_alpha(first) else None
        self._width, self._height = (
            max(2, size // 2 * 2) for size in (first.width, first.height)
        )
        aspect = stream.sample_aspect_ratio or Fraction(1)
        self._out.width, self._out.height = self._width, self._height
        if self._orientation in TRANSPOSED:
            self._out.width, self._out.height = self._height, self._width
            aspect = 1 / aspect
        if self._to_rgb is not None:  # which turns the pictures
            self._orientation = UPRIGHT
            self._width, self._height = self._out.width, self._out.height
        self._out.pix_fmt = "yuv420p"
        encoder = self._out.codec_context
        encoder.sample_aspect_ratio = aspect
        time_base = stream.time_base
        if not time_base or time_base.numerator != 1 or time_base < Fraction(1, 10**6):
            time_base = _ANY_TIME_BASE
        self._out.time_base = encoder.time_base = self._time_base = time_base
        self._colours(encoder, first)
        self._reformatter = VideoReformatter()
        self._interpolation = (
            Interpolation.BICUBIC
            | Interpolation.FULL_CHR_H_INT
            | Interpolation.ACCURATE_RND
        )
        self._last: Optional[int] = None

    def _colours(self, encoder, first: "av.VideoFrame") -> None:  # noqa: F821
        """Take over the tags of the source; RGB becomes BT.601 of limited range."""
        kind = first.format
        self._is_rgb = kind.is_rgb or kind.has_palette or self._to_rgb is not None
        self._range = _LIMITED
        if self._is_rgb:
            encoder.colorspace, encoder.color_range = _BT601, _LIMITED
            return
        tagged = first.color_range
        if tagged == _FULL or first.format.name.startswith("yuvj"):
            self._range = tagged = _FULL
        encoder.color_range, encoder.colorspace = tagged, first.colorspace
        encoder.color_primaries = first.color_primaries
        encoder.color_trc = first.color_trc

    def encode(self, time: Fraction, frame: "av.VideoFrame") -> list:  # noqa: F821
        """Return the packets that are ready.

        Args:
            time: When the picture is shown, in s; not before the one before.
            frame: The picture.
        """
        import av

        shown_for = (frame.duration or 0) * (frame.time_base or 0)
        if self._to_rgb is not None:
            frame = av.VideoFrame.from_ndarray(self._to_rgb(frame), format="rgb24")
        frame = self._reformatter.reformat(
            frame,
            width=self._width,
            height=self._height,
            format="yuv420p",
            dst_colorspace=_BT601 if self._is_rgb else None,
            src_color_range=_FULL if self._is_rgb else self._range,
            dst_color_range=self._range,
            interpolation=self._interpolation,
            threads=1,
        )
        if self._orientation != UPRIGHT:
            frame = _turned(frame, self._orientation)
        pts = round(time / self._time_base)
        if self._last is not None:
            pts = max(pts, self._last + 1)
        self._last = pts
        frame.pts, frame.time_base, frame.pict_type = pts, self._time_base, 0
        frame.duration = round(shown_for / self._time_base)
        return self._out.encode(frame)

    def flush(self) -> list:
        """Return the packets that are left."""
        return self._out.encode()


def _turned(frame: "av.VideoFrame", orientation: int) -> "av.VideoFrame":  # noqa: F821
    """Return a picture in yuv420p turned upright."""
    import av

    planes = [upright(_rows(p)[:, : p.width], orientation) for p in frame.planes]
    turned = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], "yuv420p")
    for plane, values in zip(turned.planes, planes, strict=True):
        rows = np.zeros_like(_rows(plane))
        rows[: plane.height, : plane.width] = values
        plane.update(rows.tobytes())
    return turned


def _rows(plane: "av.video.plane.VideoPlane") -> np.ndarray:  # noqa: F821
    """Return a plane as an array of its rows, what is behind each row included."""
    rows = np.frombuffer(plane, np.uint8)
    return rows.reshape(-1, plane.line_size)[: plane.height]

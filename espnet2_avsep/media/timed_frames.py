"""Decoded pictures of a video, each with the time at which it is shown."""

from fractions import Fraction
from typing import Iterable, Iterator, Optional, Tuple


def is_out_of_order(stream: "av.video.stream.VideoStream") -> bool:  # noqa: F821
    """Tell whether pictures are decoded in another order than shown, without stamps.

    In AVI, packets have no time stamps but their order.
    """
    is_avi = stream.container.format.name == "avi"
    return is_avi and bool(stream.codec_context.has_b_frames)


def timed_frames(
    packets: Iterable["av.Packet"],  # noqa: F821
    stream: "av.video.stream.VideoStream",  # noqa: F821
    skip_damaged: bool = False,
) -> Iterator[Tuple[Fraction, "av.VideoFrame"]]:  # noqa: F821
    """Decode a video stream; yield each picture with its time on the file's clock in s.

    Args:
        packets: Those of the file, from clock.packets; of other streams, too.
        stream: The stream, which is decoded from its beginning.
        skip_damaged: Whether packets that cannot be decoded are left out, so that the
            picture before is shown on.

    Raises:
        av.error.FFmpegError: the file is damaged here.
    """
    import av

    decoder = stream.codec_context
    # The decoder gives a picture for each packet, at that packet's time, later by a
    # constant delay.
    out_of_order = is_out_of_order(stream)
    if out_of_order:
        decoder.thread_count = 1  # else the delay is not constant
    step = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
    first: Optional[int] = None
    time: Optional[Fraction] = None
    for packet in packets:
        if packet.stream_index != stream.index:
            continue
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if not skip_damaged:
                raise
            continue
        for frame in frames:
            first = frame.dts if first is None else first
            if out_of_order and frame.dts is not None:
                time = (frame.dts - first) * frame.time_base
            elif out_of_order or frame.pts is None:
                time = Fraction(0) if time is None else time + step
            else:
                time = frame.pts * frame.time_base
            yield time, frame

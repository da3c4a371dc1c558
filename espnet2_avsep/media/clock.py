"""The clock of a file: packets of all streams with time stamps that never jump.

In formats whose time stamps may start anew (MPEG-TS, MPEG-PS, Ogg: files that were
joined, broadcasts that were cut) the times of packets fall back or leap ahead. What
follows such a jump comes right after what was before, as in players; one offset holds
for all streams, so that sound and picture stay together.
"""

from fractions import Fraction
from typing import Dict, Iterator, List

# A stream's time that falls back by more, or is ahead of the whole file by more, has
# jumped (the limits of the ffmpeg command: 0.1 s and -dts_delta_threshold 10).
_BACK, _AHEAD = Fraction(1, 10), 10


def clock_begin(container) -> Fraction:
    """Return the time in s on an open file's clock at which players begin.

    The clock of MPEG-TS, MPEG-PS and Ogg, where a broadcast was cut, begins anywhere:
    its first time stamp counts as the beginning. Other clocks begin at 0.
    """
    if not _may_jump(container):
        return Fraction(0)
    return Fraction(container.start_time or 0, 10**6)


def _may_jump(container) -> bool:
    from av.format import Flags

    return bool(container.format.flags & Flags.ts_discont.value)


def packets(container, *streams) -> Iterator["av.Packet"]:  # noqa: F821
    """Yield the packets of an open file, their time stamps on the file's clock.

    Args:
        container: The file, from open_media.
        *streams: Those to read; none given: all.

    Raises:
        av.error.FFmpegError: the file is damaged here.
    """
    joiner = _Joiner() if _may_jump(container) else None
    for packet in container.demux(*streams):
        if joiner is not None:
            joiner.shift(packet)
        yield packet


def packet_end(packet) -> float:
    """Return the time in s at which a packet's content ends, on the file's clock."""
    time = packet.dts if packet.pts is None else packet.pts
    if time is None:
        return 0.0
    if packet.duration:
        return float((time + packet.duration) * packet.time_base)
    shown = frame_seconds(packet.stream) if packet.stream.type == "video" else 0
    return float(time * packet.time_base + shown)


def frame_seconds(stream) -> Fraction:
    """Return how long a picture of a video stream is shown on average, in s."""
    rate = getattr(stream, "average_rate", None)
    return 1 / Fraction(rate) if rate else Fraction(0)


class _Joiner:
    """Shifts packets so that no stream's times jump."""

    def __init__(self) -> None:
        self.offsets: List[Fraction] = [Fraction(0)]  # of each segment in s
        self.segment: Dict[int, int] = {}  # stream -> its current segment
        self.ends: Dict[int, Fraction] = {}  # stream -> where its last packet ended

    def shift(self, packet: "av.Packet") -> None:  # noqa: F821
        index = packet.stream_index
        segment = self.segment.setdefault(index, len(self.offsets) - 1)
        if packet.dts is not None:
            if abs((packet.pts or packet.dts) - packet.dts) * packet.time_base > _AHEAD:
                # Of MPEG-PS: one of the two is from before the jump.
                packet.pts = packet.dts + (packet.duration or 0)
            time = packet.dts * packet.time_base
            if self._jumps(index, time + self.offsets[segment]):
                segment += 1
                if segment == len(self.offsets):
                    self.offsets.append(self.ends[index] - time)
                self.segment[index] = segment
            duration = (packet.duration or 0) * packet.time_base
            self.ends[index] = time + self.offsets[segment] + duration
        offset = round(self.offsets[segment] / packet.time_base)
        if offset:
            packet.pts = None if packet.pts is None else packet.pts + offset
            packet.dts = None if packet.dts is None else packet.dts + offset

    def _jumps(self, index: int, time: Fraction) -> bool:
        if index not in self.ends:
            return False
        if time < self.ends[index] - _BACK:
            return True
        return time > max(self.ends.values()) + _AHEAD

"""Why a video could not be had, in a few kinds that can be counted."""

import re
from typing import Tuple

# Kind -> words of YouTube's and yt-dlp's messages, looked for in this order: what is
# more special comes first ("private" videos are "unavailable" too).
_SIGNS: Tuple[Tuple[str, str], ...] = (
    ("disk full", r"no space left|disk quota|read-only file system"),
    ("no JavaScript runtime", r"no supported javascript runtime|n challenge solving"),
    ("rate limited", r"http error 429|too many requests|rate-limited|try again later"),
    ("bot check", r"not a bot|captcha|login_required|http error 403"),
    ("age-restricted", r"confirm your age|age.restricted|inappropriate for some users"),
    (
        "geo-blocked",
        r"(in|from) your (country|location|region)|geo.?restrict|not available in",
    ),
    ("private", r"private video|video is private"),
    (
        "members only",
        r"members?[- ]only|join this channel|requires payment|\brental\b|purchase",
    ),
    ("no usable format", r"requested format|no video formats|drm"),
    (
        "removed",
        r"removed|terminated|no longer available|video unavailable|does not exist"
        r"|copyright|account .* closed|not available|isn.t available|deleted"
        r"|http error 4(04|10)|incomplete youtube id|invalid video id",
    ),
    ("live", r"live event|premieres in|is (live|upcoming)|offline"),
    (
        "network",
        r"timed? ?out|connection|network|resolve|unreachable|getaddrinfo|ssl|tls"
        r"|http error 5\d\d|incomplete ?read|remote end|eof occurred|proxy|broken pipe",
    ),
)
# What may be gone a little later: tried again, also by the next run.
TRANSIENT = frozenset(
    (
        *("rate limited", "bot check", "network", "stalled", "truncated"),
        *("no JavaScript runtime", "crashed", "unreadable", "unknown error"),
    )
)
# What says nothing of the video but of us: many in a row end the run.
OURS = frozenset(
    ("rate limited", "bot check", "network", "stalled", "no JavaScript runtime")
)


class VideoError(Exception):
    """A video that could not be had.

    Args:
        kind: One of a few words that are counted, e.g. "removed".
        detail: What was said, in one line.
    """

    def __init__(self, kind: str, detail: str = ""):
        detail = " ".join(detail.split())
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail

    def __reduce__(self):
        return VideoError, (self.kind, self.detail)


def classify(message: str) -> VideoError:
    """Turn a message of yt-dlp into a failure of a known kind."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message)
    text = re.sub(r"^ERROR: (\[[^\]]+\] [^ :]+: )?", "", text.strip())
    words = text.lower().replace("’", "'")
    for kind, pattern in _SIGNS:
        if re.search(pattern, words):
            return VideoError(kind, text[:200])
    return VideoError("unknown error", text[:200])

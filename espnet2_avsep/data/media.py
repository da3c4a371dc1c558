"""Names that moved to media/."""

from espnet2_avsep.media.clock import (  # noqa: F401
    frame_seconds,
    packet_end,
)
from espnet2_avsep.media.complete import (  # noqa: F401
    COMPLETE_SHARE,
    check_complete,
    check_container_complete,
    tolerate_decode_error,
)
from espnet2_avsep.media.container import (  # noqa: F401
    ClipError,
    PathLike,
    open_media,
)
from espnet2_avsep.media.stream import (  # noqa: F401
    MediaInfo,
    probe,
    video_stream,
)

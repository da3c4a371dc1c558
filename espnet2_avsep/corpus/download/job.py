"""One video from the site to its place: fetch, put together, check, rename."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from espnet2_avsep.corpus.download.catalogue import SECTION, Video
from espnet2_avsep.corpus.download.clip_writer import write_clip
from espnet2_avsep.corpus.download.verify import verify
from espnet2_avsep.corpus.download.video_error import OURS, VideoError
from espnet2_avsep.corpus.download.youtube import Fetched

# (YouTube's id, folder for the parts, what to call when something came) -> parts
Fetcher = Callable[[str, Path, Callable[[], None]], Fetched]


@dataclass(frozen=True)
class VideoJob:
    """Gets single videos; a callable that can be given to other processes.

    Args:
        output_dir: Videos go to its folder videos/, what is not finished to partial/.
        fetch: Fetches the parts of a video; None: what is not there is missing.
        sections: Whether sections are kept, not whole videos.
    """

    output_dir: Path
    fetch: Optional[Fetcher]
    sections: bool

    def path(self, video: Video) -> Path:
        """Return where a video goes."""
        return self.output_dir / "videos" / f"{video.key}.mp4"

    def __call__(self, video: Video, beat: Callable[[], None]) -> Dict[str, Any]:
        """Get a video, unless it is there and whole.

        Args:
            video: Which.
            beat: Called whenever something came.

        Returns:
            See ``verify``.

        Raises:
            VideoError: it cannot be had, or is not what it should be.
        """
        path = self.path(video)
        if path.is_file():
            try:
                return self._verify(path)
            except VideoError:  # somebody else's: it stays until it can be replaced
                if self.fetch is None:
                    raise
        if self.fetch is None:
            raise VideoError("not in the archive")
        if self.sections and video.start is None:
            raise VideoError("start not known", "in none of AudioSet's lists")
        partial = self.output_dir / "partial" / video.key
        partial.mkdir(parents=True, exist_ok=True)
        whole = partial / "whole.mp4.tmp"
        try:
            fetched = self.fetch(video.video_id, partial, beat)
            write_clip(fetched.parts, whole, video.start, SECTION)
            beat()
            fields = self._verify(whole, None if self.sections else fetched.duration)
        except VideoError as failure:
            if failure.kind not in OURS:  # else the next attempt goes on
                shutil.rmtree(partial, ignore_errors=True)
            raise
        with whole.open("rb") as f:
            os.fsync(f.fileno())
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.replace(path)
        shutil.rmtree(partial, ignore_errors=True)
        return fields

    def _verify(self, path: Path, stated: Any = None) -> Dict[str, Any]:
        return verify(path, stated, SECTION if self.sections else None)

"""A yt-dlp that fetches from a folder, and fails when and as it is told to.

It is put into sys.modules; worker processes are forked and inherit it. What it does to
the n-th attempt at a video is the n-th word of the video's script (the last one goes
on); how many attempts there were is kept in files, since every worker has its own copy.
"""

import os
import time
import types
from pathlib import Path

# What YouTube says, by the kind that it is to be counted as.
MESSAGES = {
    "removed": "Video unavailable. This video has been removed by the uploader",
    "terminated": "Video unavailable. This video is no longer available because the "
    "YouTube account associated with this video has been terminated.",
    "private": "Private video. Sign in if you've been granted access to this video.",
    "geo-blocked": "Video unavailable. The uploader has not made this video available "
    "in your country",
    "copyright": "Video unavailable. This video contains content from SME, who has "
    "blocked it in your country on copyright grounds",
    "age-restricted": "Sign in to confirm your age. This video may be inappropriate "
    "for some users. Use --cookies-from-browser or --cookies for the authentication.",
    "bot check": "Sign in to confirm you’re not a bot. Use --cookies-from-browser or "
    "--cookies for the authentication.",
    "rate limited": "Unable to download webpage: HTTP Error 429: Too Many Requests "
    "(caused by <HTTPError 429: Too Many Requests>)",
    "network": "Unable to download webpage: <urlopen error [Errno 111] Connection "
    "refused>",
    "disk full": "unable to write data: [Errno 28] No space left on device",
}


class YoutubeDLError(Exception):
    pass


def make(folder: Path, parts: dict, scripts: dict) -> types.ModuleType:
    """Make the module.

    Args:
        folder: Where attempts are counted.
        parts: Name -> file: "picture", "sound", "both", "mute".
        scripts: Id -> words: "ok", a key of MESSAGES, "stall", "cut" (half a file is
            given out as the whole), "die" (the process ends), "half" (half a file, and
            then the network is gone), "mute", "longer" (a longer duration is stated).
    """
    folder.mkdir(parents=True, exist_ok=True)

    class YoutubeDL:
        def __init__(self, parameters):
            self.parameters = parameters

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def extract_info(self, url):
            video_id = url.rpartition("=")[2]
            log = folder / video_id
            with log.open("a") as f:
                f.write(f"{time.monotonic()}\n")
            attempt = len(log.read_text().splitlines())
            script = scripts.get(video_id, ["ok"])
            word = script[min(attempt, len(script)) - 1]
            if word in MESSAGES:
                raise YoutubeDLError(f"ERROR: [youtube] {video_id}: {MESSAGES[word]}")
            return self.fetch(video_id, word)

        def fetch(self, video_id, word):
            formats = [entry("both", 144, "avc1", "mp4a")]
            if word == "mute":
                formats = [entry("mute", 240, "avc1", "none")]
            else:
                formats.append(entry("picture", 240, "avc1", "none"))
                formats.append(entry("sound", None, "none", "mp4a"))
            chosen = list(self.parameters["format"]({"formats": formats}))
            if not chosen:
                raise YoutubeDLError(f"ERROR: {video_id}: Requested format is not ...")
            downloads = []
            for fmt in chosen:
                template = self.parameters["outtmpl"]["default"]
                path = Path(template % {**fmt, "id": video_id})
                self.copy(parts[fmt["format_id"]], path, word, video_id)
                downloads.append({"filepath": str(path)})
            seconds = 24 if word == "longer" else 12
            return {"requested_downloads": downloads, "duration": seconds}

        def copy(self, source, path, word, video_id):
            content = source.read_bytes()
            part = path.with_name(path.name + ".part")
            if path.exists():
                return
            begin = part.stat().st_size if part.exists() else 0
            with (folder / "resumed").open("a") as f:
                f.write(f"{video_id} {begin}\n")
            half = len(content) // 2
            with part.open("ab") as f:
                f.write(content[begin:half])
                f.flush()
                for hook in self.parameters["progress_hooks"]:
                    hook({"status": "downloading"})
                if word == "stall":
                    time.sleep(60)
                if word == "die":
                    os._exit(7)
                if word == "half":
                    raise YoutubeDLError("ERROR: Connection reset by peer")
                if word != "cut":
                    f.write(content[max(begin, half) :])
            part.rename(path)

    module = types.ModuleType("yt_dlp")
    module.YoutubeDL = YoutubeDL
    module.utils = types.SimpleNamespace(YoutubeDLError=YoutubeDLError)
    return module


def entry(name, height, vcodec, acodec):
    return {
        "format_id": name,
        "url": "https://example.org",
        "ext": "mp4",
        "height": height,
        "vcodec": vcodec,
        "acodec": acodec,
    }

"""What the name of a file tells, before the file is opened."""

import os
import re

# Of still pictures. Not .gif, which may be a video.
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp"))
IMAGE_SUFFIXES |= {".tif", ".tiff", ".avif"}
# "violin.heic", "./x", "C:\\x", ".npy", "x.jpg?w=9"; not "violin...", "Op. 5", "vol.2".
_FILE_NAME = re.compile(r"[/\\]|(^|\S)\.(?=\w*[^\W\d])\w{1,10}([^\w\s.]\S*)?$")


def is_image_name(name: str) -> bool:
    """Tell whether a name is an image's; hidden files (._000001.jpg) are not."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in IMAGE_SUFFIXES and not os.path.basename(name).startswith(".")


def looks_like_file(text: str) -> bool:
    """Tell whether a text has a path separator or an ending, whatever ending it is.

    Example:
        >>> [looks_like_file(text) for text in ("violin.heic", "a violin", "Op. 5")]
        [True, False, False]
    """
    return _FILE_NAME.search(text.strip()) is not None

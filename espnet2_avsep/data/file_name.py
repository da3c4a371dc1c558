"""Whether a text that may be a file name or words looks like a file name."""

import re

# "violin.heic", "./x", "C:\\x", ".npy"; not "violin...", "Op. 5", "vol.2".
_FILE_NAME = re.compile(r"[/\\]|(^|\S)\.(?=\w*[^\W\d])\w{1,10}$")


def looks_like_file(text: str) -> bool:
    """Tell whether a text has a path separator or an ending, whatever ending it is.

    Example:
        >>> [looks_like_file(text) for text in ("violin.heic", "a violin", "Op. 5")]
        [True, False, False]
    """
    return _FILE_NAME.search(text.strip()) is not None

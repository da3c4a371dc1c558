"""What a reader finds: clips, and the lists that came with them."""

from typing import Dict, List, NamedTuple, Tuple

from espnet2_avsep.data.tables.clip_id import clip_key

NOT_FOUND = "video not found"
# How the problem of a file begins that the corpus' list does not have.
UNLISTED = "not in "


class Clip(NamedTuple):
    """A clip, or why it cannot be used.

    Attributes:
        category: Its class, as the corpus writes it.
        stem: Name of its file without the ending.
        sound: Where its sound is.
        picture: A video file or a folder of images.
        problem: Why it cannot be used, "kind: details"; empty where it can.
        video: Id of the video it is taken from, which decides on its set where the sets
            are drawn, and which the leak check compares; empty: its stem, so that the
            same stem in two categories is one video.
    """

    category: str
    stem: str
    sound: str = ""
    picture: str = ""
    problem: str = ""
    video: str = ""

    @property
    def name(self) -> str:
        """category/stem, as in lists."""
        return f"{self.category}/{self.stem}"

    @property
    def key(self) -> str:
        """Its id in tables."""
        return clip_key(self.category, self.stem)


class GivenList(NamedTuple):
    """A list of clips that belongs to the corpus.

    Attributes:
        names: category/stem of its clips, in its order.
        source: Where it comes from, in words: a file, a column of it.
        sha256: Of that file's bytes.
    """

    names: List[str]
    source: str
    sha256: str


class Corpus(NamedTuple):
    """A corpus that was read.

    Attributes:
        layout: How it lies on disk, in words.
        clips: category/stem -> clip; those that are listed and missing are among them.
        lists: The corpus' own lists by name, e.g. "train", "val", "testmusic".
        pairs: category/stem of a duet -> its two instruments.
    """

    layout: str
    clips: Dict[str, Clip]
    lists: Dict[str, GivenList] = {}
    pairs: Dict[str, Tuple[str, str]] = {}

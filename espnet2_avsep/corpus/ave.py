"""AVE: 4,143 audio-visual events of 28 classes in videos of 10 s.

Tian et al., ECCV 2018. Annotations.txt and the lists trainSet.txt, valSet.txt and
testSet.txt have lines Category&VideoID&Quality&StartTime&EndTime; Annotations.txt has
them as its first line too. A video may have events of several classes; each class of it
is a clip, and all of them are the whole video.
"""

from pathlib import Path
from typing import Dict

from espnet2_avsep.corpus.clip import NOT_FOUND, Clip, Corpus, GivenList
from espnet2_avsep.corpus.csv_tree import find_lists, read_peer_tree
from espnet2_avsep.corpus.lists import find_list, read_list
from espnet2_avsep.corpus.manifest import apply_manifest, read_manifest
from espnet2_avsep.corpus.tree import Tree
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.errors import InputError

ANNOTATIONS = "Annotations.txt"
LISTS = ("trainSet", "valSet", "testSet")


def read_ave(root: Path, check_count: bool = True) -> Corpus:
    """Read a folder of AVE, or of audio and frames with CSV lists.

    Raises:
        InputError: neither Annotations.txt nor CSV lists are there.
    """
    annotations = find_list(root, ANNOTATIONS)
    if annotations is None:
        tables = find_lists(root)
        if not tables:
            raise InputError(
                f"{root}: neither {ANNOTATIONS} (here or in AVE_Dataset/) nor "
                "train.csv is there; give the folder that AVE was unpacked to."
            )
        return read_peer_tree(root, tables, check_count)
    tree = Tree(root)
    failed = read_manifest(root)
    clips: Dict[str, Clip] = {}

    def add(category: str, stem: str) -> str:
        clip = tree.clip(category, stem)
        if clip.problem:  # the videos lie in one folder, whatever their class
            clip = tree.clip(category, stem, anywhere=True)
        clip = apply_manifest(clip, failed)
        return clips.setdefault(clip.name, clip).name

    for row in read_list(annotations, ave=True):
        add(row.category, row.stem)
    lists = {}
    for stem in LISTS:
        path = annotations.with_name(f"{stem}.txt")
        if path.is_file():
            names = [add(r.category, r.stem) for r in read_list(path, ave=True)]
            names = list(dict.fromkeys(names))
            lists[stem] = GivenList(names, path.name, file_sha256(path))
    if all(clip.problem == NOT_FOUND for clip in clips.values()):
        raise InputError(
            f"{root}: none of the {len(clips)} clips of {ANNOTATIONS} is there; videos "
            "<id>.mp4 were expected in AVE/ or any folder below."
        )
    return Corpus("videos, Annotations.txt", clips, lists)

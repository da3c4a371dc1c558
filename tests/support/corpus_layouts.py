"""One small corpus in each of the layouts that corpora come in."""

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

Lists = Dict[str, List[str]]  # train, val, test -> category/id


class Stub:
    """Puts files without content: readers of layouts do not look into media."""

    images = 3

    def video(self, path: Path, name: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    sound = video

    def frames(self, folder: Path, name: str) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        for n in range(self.images):
            (folder / f"{n + 1:06d}.jpg").write_text(name)
        return self.images


class Media(Stub):
    """Puts real videos, and what other implementations' scripts make of them.

    Args:
        videos: category/id -> video file.
    """

    def __init__(self, videos: Dict[str, Path]):
        self.videos = videos

    def video(self, path: Path, name: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.videos[name].read_bytes())

    def sound(self, path: Path, name: str) -> None:
        import soundfile

        from espnet2_avsep.data.audio.audio_io import load_audio

        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, load_audio(str(self.videos[name]), 11025), 11025)

    def frames(self, folder: Path, name: str) -> int:
        from fractions import Fraction

        from PIL import Image

        from espnet2_avsep.visual.frames import video_frames

        folder.mkdir(parents=True, exist_ok=True)
        times = [Fraction(n, 8) for n in range(8)]
        for n, (_, image) in enumerate(video_frames(self.videos[name], times), 1):
            Image.fromarray(image).save(folder / f"{n:06d}.jpg")
        return len(times)


def write_splits(folder: Path, lists: Lists, stems: Optional[dict] = None) -> Path:
    """Write <set>.txt, rows category/id."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, clips in lists.items():
        text = "".join(f"{clip}\n" for clip in clips)
        (folder / f"{(stems or {}).get(name, name)}.txt").write_text(text)
    return folder


def everything(lists: Lists) -> List[str]:
    return [clip for clips in lists.values() for clip in clips]


def by_category(clips: List[str]) -> Dict[str, List[str]]:
    table: Dict[str, List[str]] = {}
    for clip in clips:
        category, stem = clip.split("/")
        table.setdefault(category, []).append(stem)
    return table


def json_videos(
    root: Path, lists: Lists, put: Stub, prefix: str = "MUSIC", duets=(), gone=()
) -> Path:
    """videos/<category>/<id>.mp4 and the official lists."""
    clips = {"solo": everything(lists), "duet": list(duets)}
    for kind, names in clips.items():
        for name in names:
            if name not in gone:
                put.video(root / "videos" / f"{name}.mp4", name)
        if names:
            content = json.dumps({"videos": by_category(names)})
            (root / f"{prefix}_{kind}_videos.json").write_text(content)
    return root


class Layout(NamedTuple):
    """How another implementation lays out audio and frames, and its lists.

    Attributes:
        audio: Folder of sounds below the corpus.
        frames: Folder of frames.
        frames_end: What the name of a folder of frames ends with.
        lists: Folder of the CSV files.
        stems: Their names.
        audio_path: What stands before category/id.wav in them.
        frames_path: The same of frames.
        suffix: Ending of sounds in the lists.
        label: Whether the category is the fourth column.
    """

    audio: str
    frames: str
    frames_end: str
    lists: str
    stems: Dict[str, str]
    audio_path: str
    frames_path: str
    suffix: str = ".wav"
    label: bool = False


STEMS = {"train": "train", "val": "val", "test": "test"}
LAYOUTS = {
    "sound_of_pixels": Layout(
        *("data/audio", "data/frames", ".mp4", "data", STEMS),
        *("./data/audio/", "./data/frames/", ".mp3"),
    ),
    "clipsep": Layout(
        *("solo/audio", "solo/preprocessed", "", "solo", STEMS),
        *("data/MUSIC/solo/audio/", "data/MUSIC/solo/preprocessed/"),
        label=True,
    ),
    "iquery": Layout(
        *("audio", "frames", ".mp4", "data"),
        {"train": "trainmusic", "val": "valmusic", "test": "testmusic"},
        *("/", "/"),
    ),
    "hfra": Layout(
        *("audio", "frames", "", "metadata", STEMS),
        *("/home/author/dataset/audio/", "/home/author/dataset/frames/"),
    ),
}


def csv_tree(root: Path, lists: Lists, put: Stub, layout: Layout) -> Path:
    """audio/, frames/ and CSV lists, as another implementation has them."""
    (root / layout.lists).mkdir(parents=True, exist_ok=True)
    for name, clips in lists.items():
        path = root / layout.lists / f"{layout.stems[name]}.csv"
        with path.open("w", newline="") as f:
            writer = csv.writer(f)
            for clip in clips:
                put.sound(root / layout.audio / f"{clip}.wav", clip)
                folder = root / layout.frames / f"{clip}{layout.frames_end}"
                row = [f"{layout.audio_path}{clip}{layout.suffix}"]
                row += [f"{layout.frames_path}{clip}{layout.frames_end}"]
                row += [put.frames(folder, clip)]
                writer.writerow(row + [clip.split("/")[0]] * layout.label)
    return root


def bare_tree(root: Path, lists: Lists, put: Stub) -> Path:
    """The same without any list."""
    for clip in everything(lists):
        put.sound(root / "audio" / f"{clip}.flac", clip)
        put.frames(root / "frames" / clip, clip)
    return root


def vggsound_rows(lists: Lists) -> List[List[str]]:
    """category/<id>_<start> -> rows of vggsound.csv; val is part of train there."""
    rows = []
    for name, clips in lists.items():
        for clip in clips:
            label, stem = clip.split("/")
            video, start = stem[:-7], str(int(stem[-6:]))
            rows.append([video, start, label, "test" if name == "test" else "train"])
    return rows


def write_vggsound_csv(root: Path, lists: Lists) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "vggsound.csv").open("w", newline="") as f:
        csv.writer(f).writerows(vggsound_rows(lists))


def vggsound(root: Path, lists: Lists, put: Stub, form: str = "{stem}.mp4") -> Path:
    """vggsound.csv and <id>_<start>.mp4, in two folders."""
    write_vggsound_csv(root, lists)
    for n, clip in enumerate(everything(lists)):
        stem = clip.split("/")[1]
        name = form.format(stem=stem, id=stem[:-7], start=int(stem[-6:]))
        put.video(root / ("videos", "more/part1")[n % 2] / name, clip)
    return root


def vggsound_archives(root: Path, lists: Lists, put: Stub, number: int = 2) -> Path:
    """vggsound.csv and the mirror's archives."""
    write_vggsound_csv(root, lists)
    clips = everything(lists)
    for n in range(number):
        with tarfile.open(root / f"vggsound_{n:02d}.tar.gz", "w:gz") as archive:
            for clip in clips[n::number]:
                loose = root / ".loose.mp4"
                put.video(loose, clip)
                content = loose.read_bytes()
                loose.unlink()
                inside = f"scratch/shared/VGGSound/video/{clip.split('/')[1]}.mp4"
                member = tarfile.TarInfo(inside)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return root


def ave(root: Path, lists: Lists, put: Stub, folder: str = "AVE_Dataset/AVE") -> Path:
    """AVE as its archive unpacks."""
    head = "Category&VideoID&Quality&StartTime&EndTime\n"

    def lines(clips):
        return "".join(
            f"{category}&{stem}&good&0&10\n"
            for category, stem in (clip.split("/") for clip in clips)
        )

    place = root / Path(folder).parent
    place.mkdir(parents=True)
    (place / "Annotations.txt").write_text(head + lines(everything(lists)))
    for name, clips in lists.items():
        (place / f"{name}Set.txt").write_text(lines(clips))
    for clip in everything(lists):
        put.video(root / folder / f"{clip.split('/')[1]}.mp4", clip)
    return root

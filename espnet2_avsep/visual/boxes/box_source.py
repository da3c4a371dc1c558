"""Where the boxes of a set come from, as the options of stage 2 say it."""

import logging
import os
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from espnet2_avsep.data.records.journal import signature
from espnet2_avsep.data.tables.clip_id import category_key
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import PathLike, read_scp
from espnet2_avsep.device import choose_device
from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.boxes.box_files import BoxFiles
from espnet2_avsep.visual.boxes.crop import ANY, CropOptions, Cropper, read_classes
from espnet2_avsep.visual.visual_options import VisualOptions

DETECTOR = "detector"


class BoxSource:
    """A detector, or a folder of files, and how boxes are chosen.

    Args:
        args: ``visual_boxes`` and the options box_*.
        utt2clip: Table clip -> category/video_id; None: the ids tell.

    Attributes:
        settings: All that decides what the crops look like.

    Raises:
        InputError: there is no such folder, or classes or sizes cannot be read.
    """

    def __init__(self, args: VisualOptions, utt2clip: Optional[PathLike] = None):
        self.clips = read_scp(utt2clip) if utt2clip is not None else {}
        classes = read_classes(args.box_classes)
        self.options = CropOptions(classes, args.box_score, args.box_margin)
        self.batch_size = args.box_batch_size
        self.settings: Dict[str, Any] = {
            "boxes": args.visual_boxes,
            "box_classes": {k: list(v) for k, v in classes.items()},
            "box_score": args.box_score,
            "box_margin": args.box_margin,
        }
        self.files: Optional[BoxFiles] = None
        self._cropper: Optional[Cropper] = None
        if args.visual_boxes == DETECTOR:
            pretrained = args.box_pretrained
            self.chosen = {"model": args.box_detector, "pretrained": pretrained}
            self.chosen["seed"] = args.seed
            self.settings.update(self.chosen)
            if os.path.isfile(pretrained):
                self.settings["box_file"] = signature(pretrained)
        else:
            fps, size = args.box_fps, args.box_size
            self.files = BoxFiles(args.visual_boxes, self.clips, fps, _read_size(size))
            self.settings.update(box_fps=fps, box_size=size)

    def source(self, key: str) -> Any:
        """Return what tells whether the boxes of a clip are still the same."""
        return DETECTOR if self.files is None else self.files.source(key)

    def notes(self, key: str) -> List[List[Any]]:
        """Take out what :class:`Cropper` noted of a clip."""
        return self._cropper.notes.pop(key)

    def build(self, keys: Iterable[str], device: str) -> Tuple[Cropper, Dict[str, Any]]:
        """Build what cuts the pictures of some clips.

        Args:
            keys: The clips.
            device: Where the detector computes: "auto", "cpu", "cuda", "cuda:N".

        Returns:
            It, and what it is, for result files.

        Raises:
            InputError: weights that cannot be had, classes the detector does not know.
        """
        category = {key: _category(key, self.clips) for key in keys}
        self._check_categories()
        names = ("boxes", "box_classes", "box_score", "box_margin")
        info = {name: self.settings[name] for name in names}
        if self.files is not None:
            info.update({k: self.settings[k] for k in ("box_fps", "box_size")})
            self._cropper = Cropper(self.options, category, files=self.files)
            return self._cropper, info
        from espnet2_avsep.visual.boxes.detector import coco_labels, load_detector

        self._check_names(coco_labels(self.chosen["model"]))
        detector = load_detector(**self.chosen, device=str(choose_device(device)))
        self._cropper = Cropper(
            self.options, category, detector, batch_size=self.batch_size
        )
        return self._cropper, {**info, **detector.info}

    def _check_categories(self) -> None:
        """Warn of categories in the table of --box_classes that no clip is of."""
        clips = {_category(key, self.clips) for key in self.clips}
        unknown = sorted(self.options.classes.keys() - clips - {"*"})
        if self.clips and unknown:
            logging.warning(
                "--box_classes: no clip of this set is of %s; its clips are of %s",
                shorten(unknown),
                shorten(sorted(clips)),
            )

    def _check_names(self, labels: List[str]) -> None:
        wanted = {name for names in self.options.classes.values() for name in names}
        known = [name for name in labels if name not in ("__background__", "N/A")]
        unknown = sorted(wanted - {ANY, *known})
        if unknown:
            raise InputError(
                f"--box_classes: the detector knows no {', '.join(unknown)}; it knows "
                f"{', '.join(known)} (and {ANY!r} is all)."
            )


def _category(key: str, clips: Mapping[str, str]) -> str:
    clip = clips.get(key) or key.replace("-", "/", 1)
    return category_key(clip.rpartition("/")[0])


def _read_size(text: Optional[str]) -> Optional[Tuple[int, int]]:
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]*)x([1-9][0-9]*)", text)
    if found is None:
        raise InputError(
            f"--box_size {text}: expected width and height in pixels, as in 640x360."
        )
    return int(found[1]), int(found[2])

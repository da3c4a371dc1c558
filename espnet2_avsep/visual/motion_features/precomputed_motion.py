"""Motion features that were made elsewhere, in iQuery's naming and shape."""

from typing import Any, Dict, Mapping, Optional

import numpy as np

from espnet2_avsep.data.features import finite_float32
from espnet2_avsep.data.tables.clip_files import ClipFiles
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.table_entry import load_npy
from espnet2_avsep.media.container import ClipError

CHANNELS = 1024
# iQuery looks at the first 160 pictures, one a second.
MAX_STEPS = 160


class MotionFiles(ClipFiles):
    """A folder of .npy files, one for each clip, of I3D features (FAME's in iQuery).

    What is assumed of a file: 1024 channels and at most 160 steps in time, as (1024, T,
    h, w), which is what iQuery writes, (T, 1024, h, w), (1024, T) or (T, 1024). Places
    (h, w) are pooled by their maximum. The T steps are taken as uniform over the
    clip; of a clip of more than 160 s iQuery's cover the first 160 s only.

    Args:
        folder: Holds <category>/<video>.mp4.npy; see :class:`ClipFiles`.
        utt2clip: Clip -> category/video; None: the id tells.

    Raises:
        InputError: there is no such folder, or nothing in it.
    """

    def __init__(self, folder: PathLike, utt2clip: Optional[Mapping[str, str]] = None):
        super().__init__(folder, (".npy",), "--motion_precomputed", utt2clip)
        self.settings: Dict[str, Any] = {"precomputed": str(folder)}
        self.info: Dict[str, Any] = {"folder": str(folder)}

    def load(self, key: str) -> np.ndarray:
        """Read the features of a clip.

        Returns:
            (T, 1024), float32.

        Raises:
            ClipError: no file, not readable, of another shape, not finite.
        """
        path = self.find(key)
        if path is None:
            raise ClipError(
                self.folder,
                f"no motion features: neither {self.names(key)[0]} nor a like name is "
                "there",
            )
        return read_motion_file(path)


def read_motion_file(path: PathLike) -> np.ndarray:
    """Read one file; see :class:`MotionFiles`.

    Returns:
        (T, 1024), float32.

    Raises:
        ClipError: see :meth:`MotionFiles.load`.
    """
    try:
        values = load_npy(path)
    except (OSError, ValueError) as error:
        raise ClipError(path, f"unreadable motion features: {error}") from error
    if values.dtype.kind != "f":
        raise ClipError(path, "motion features are no array of floating-point numbers")
    if values.ndim not in (2, 4) or CHANNELS not in values.shape[:2]:
        raise ClipError(
            path,
            f"motion features have the wrong shape: {values.shape}, expected "
            f"({CHANNELS}, T, h, w), (T, {CHANNELS}, h, w), ({CHANNELS}, T) or (T, "
            f"{CHANNELS})",
        )
    if values.shape[0] == CHANNELS:
        values = values.swapaxes(0, 1)
    if not 0 < values.shape[0] <= MAX_STEPS or 0 in values.shape:
        raise ClipError(
            path,
            f"motion features have the wrong number of steps: {values.shape[0]}, "
            f"expected 1 to {MAX_STEPS}",
        )
    if values.ndim == 4:
        values = values.max(axis=(2, 3))
    return finite_float32(values, path, "motion features")

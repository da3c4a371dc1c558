"""The rows of a manifest that the downloader wrote."""

from pathlib import Path
from typing import List

from espnet2_avsep.corpus.download.manifest import Row
from espnet2_avsep.data.tables.tsv import read_tsv


def read_manifest(path: Path) -> List[Row]:
    return [Row(**row) for row in read_tsv(path, Row._fields, "")]

"""Every container with every kind of clock, through all code that reads media.

``python -m tests.benchmarks.check_clocks [container ...]`` prints how many files were
tried, right, refused (with the reason) and wrong; status 1 if any was wrong.
"""

import argparse
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Optional, Sequence

from espnet2_avsep.errors import InputError
from tests.media.clock_check import wrong, wrong_in_tables
from tests.media.clock_files import CONTAINERS, KINDS, write_clocked


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Try them; 1 if one was read wrongly."""
    import av

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("containers", nargs="*", help=f"of {', '.join(CONTAINERS)}")
    names = parser.parse_args(argv).containers or list(CONTAINERS)
    logging.disable(logging.WARNING)
    av.logging.set_level(av.logging.FATAL)
    files, faults = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for container in names:
            for kind in KINDS:
                if kind in CONTAINERS[container].lacks:
                    continue
                key = f"{container}-{kind}".replace(" ", "_")
                place = Path(folder) / key
                place.mkdir()
                files[key] = write_clocked(place, container, kind)
                try:
                    faults[key] = wrong(files[key])
                except InputError as error:
                    faults[key] = [f"refused: {error}"]
        for key, more in wrong_in_tables(files, Path(folder)).items():
            faults[key] += more
    count = Counter(tried=len(files))
    for key, found in faults.items():
        refused = found and all(f.startswith(("refused", "left out")) for f in found)
        result = "refused" if refused else "wrong" if found else "right"
        count[result] += 1
        for fault in found:
            print(f"{key}: {result}: {fault}")
    print(", ".join(f"{count[k]} {k}" for k in ("tried", "right", "refused", "wrong")))
    return int(count["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())

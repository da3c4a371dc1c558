"""Tests of espnet2_avsep.

The modules of tests/support are also modules of this package, ``tests.tiny_corpus``, by
which scripts outside the repository import them.
"""

from pathlib import Path

__path__.append(str(Path(__file__).with_name("support")))

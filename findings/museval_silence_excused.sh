#!/usr/bin/env bash
# museval 0.4.1: a separator that gives up where it is bad scores higher.
#
# What happens: museval.metrics.bss_eval scores windows of a second. Where an estimate is
# exactly silent, the window's scores are NaN, for all sources, and the usual summary
# (median or mean without NaN) leaves it out. Writing zeros where the separation failed
# raises the score; the whole-file scores of mir_eval see the loss.
#
# Why it matters: gates, presence detectors and silence trimming produce exact zeros. A
# system with them is compared with one without on other windows of the same files, and
# the one that is silent on a source that sounds wins. Count the windows that are NaN,
# or give a fixed score where only the estimate is silent.
#
# Seen (source 1 of 2, 10 s; "lost": in 6 s the estimate is unrelated noise; "silent":
# zeros there):
#   good   museval median  20.0, mean  20.0 dB,  0 of 10 windows NaN; mir_eval  20.0 dB
#   lost   museval median  -2.9, mean   6.2 dB,  0 of 10 windows NaN; mir_eval  -7.0 dB
#   silent museval median  20.0, mean  20.0 dB,  6 of 10 windows NaN; mir_eval  -1.8 dB
# (Only museval/metrics.py is loaded; the package around it needs the program ffmpeg.)
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet mir_eval==0.8.2 numpy==2.4.6 scipy==1.17.1
"$tmp/venv/bin/pip" install --quiet --no-deps museval==0.4.1
cd "$tmp"
venv/bin/python - <<'END'
import importlib
import importlib.util
import sys
import types
import warnings

import mir_eval
import numpy as np

package = types.ModuleType("museval")  # without museval/__init__.py
package.__path__ = importlib.util.find_spec("museval").submodule_search_locations
sys.modules["museval"] = package
bss_eval = importlib.import_module("museval.metrics").bss_eval
warnings.simplefilter("ignore")  # mir_eval.separation is deprecated

RATE = 8000
rng = np.random.default_rng(0)
references = rng.standard_normal((2, 10 * RATE))
good = references + 0.1 * rng.standard_normal(references.shape)
lost, silent = good.copy(), good.copy()
lost[0, 4 * RATE :] = rng.standard_normal(6 * RATE)
silent[0, 4 * RATE :] = 0
score = {}
for name, estimates in (("good", good), ("lost", lost), ("silent", silent)):
    sdr, *_ = bss_eval(
        references[..., None],
        estimates[..., None],
        window=RATE,
        hop=RATE,
        compute_permutation=False,
    )
    whole, *_ = mir_eval.separation.bss_eval_sources(references, estimates, False)
    score[name] = np.nanmedian(sdr[0])
    print(
        f"{name:6} museval median {score[name]:5.1f}, mean {np.nanmean(sdr[0]):5.1f} dB, "
        f"{np.isnan(sdr[0]).sum():2} of 10 windows NaN; mir_eval {whole[0]:5.1f} dB"
    )
if not (score["silent"] > 19 > 5 > score["lost"]):
    sys.exit("changed: expected silence to score as if nothing was lost")
END

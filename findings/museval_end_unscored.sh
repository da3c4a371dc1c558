#!/usr/bin/env bash
# museval 0.4.1: the end of a clip is not scored, a third of it at this field's length.
#
# What happens: windows that are not complete are left out. Windows are counted in
# samples, for 44,100 Hz: those of museval.evaluate, 44,100 long, last 4 s at 11,025 Hz,
# those of museval.metrics.bss_eval, 88,200 every 66,150, 8 s every 6 s. The usual clip of
# 65,535 samples (5.9 s) has one complete window; whatever comes behind it, 1.9 s, does
# not count, and no result or warning tells. mir_eval scores all of it.
#
# Why it matters: a separator that stops, is silent or returns another source near the end
# loses nothing. Pass window and hop in samples of your rate, and a length that they
# divide, or window=np.inf for one score of the whole clip.
#
# Seen (two sources of noise; in "end" the estimates are silent behind window 1):
#   good: museval  20.0 dB in 1 window(s) of 44100,  20.0 dB of the whole; mir_eval  20.0 dB
#   end : museval  20.0 dB in 1 window(s) of 44100,   4.8 dB of the whole; mir_eval   3.1 dB
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

package = types.ModuleType("museval")  # museval/__init__.py needs the program ffmpeg
package.__path__ = importlib.util.find_spec("museval").submodule_search_locations
sys.modules["museval"] = package
bss_eval = importlib.import_module("museval.metrics").bss_eval
warnings.simplefilter("ignore")  # mir_eval.separation is deprecated

LENGTH, WINDOW = 65535, 44100  # evaluate calls bss_eval with window = hop = 44100
rng = np.random.default_rng(0)
references = rng.standard_normal((2, LENGTH))
good = references + 0.1 * rng.standard_normal(references.shape)
end = good.copy()
end[:, WINDOW:] = 0
score = {}
for name, estimates in (("good", good), ("end", end)):
    pair = references[..., None], estimates[..., None]
    framed = bss_eval(*pair, window=WINDOW, hop=WINDOW)[0]
    whole = bss_eval(*pair, window=np.inf, hop=np.inf)[0]
    other, *_ = mir_eval.separation.bss_eval_sources(references, estimates, False)
    score[name] = framed[0, 0]
    print(
        f"{name:4}: museval {framed[0, 0]:5.1f} dB in {framed.shape[1]} window(s) of "
        f"{WINDOW}, {whole[0, 0]:5.1f} dB of the whole; mir_eval {other[0]:5.1f} dB"
    )
if not (score["end"] > 15 and whole[0, 0] < 10):
    sys.exit("changed: expected a silent end to cost nothing but in the whole clip")
END

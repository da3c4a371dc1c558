#!/usr/bin/env bash
# onnx 1.23.2, onnxruntime 1.32.0: MelWeightMatrix and HammingWindow are not what other
# libraries mean by these names.
#
# What happens: MelWeightMatrix divides the mel range by bands + 2 instead of bands + 1,
# so that no band reaches the upper edge, and rounds the edges of bands to whole bins:
# the highest of 64 bands (those of CLAP) lies at 12.7 instead of 13.3 kHz, some are a
# single bin. HammingWindow begins at 0.0870 instead of 0.08 (25/46 in place of 0.54).
# onnxruntime and the reference evaluator of onnx agree in this.
#
# Why it matters: a mel front end that is rebuilt from these operators, with the very
# parameters of the training, gives a frozen audio encoder such as CLAP shifted bands.
# Export the matrix and the window as constants.
#
# Seen (64 bands from 50 to 14,000 Hz, 48 kHz, 1024 samples; the formula is the HTK mel
# scale, as in torchaudio and librosa with htk=True):
#   band  1: formula    85 Hz, onnxruntime    47 Hz, onnx reference    47 Hz
#   band 33: formula  2697 Hz, onnxruntime  2578 Hz, onnx reference  2578 Hz
#   band 64: formula 13342 Hz, onnxruntime 12703 Hz, onnx reference 12703 Hz
#   bands of a single bin: 13 of 64
#   Hamming window: first sample 0.0870 (onnxruntime), 0.0800 (numpy)
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$tmp"
venv/bin/python - <<'END'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

BANDS, SIZE, RATE, LOW, HIGH = 64, 1024, 48000, 50.0, 14000.0


def both(operator, *values, **attributes):
    """Results of an operator by onnxruntime and by onnx's reference."""
    feeds = {f"x{n}": np.array(value) for n, value in enumerate(values)}
    for name, value in feeds.items():
        feeds[name] = value.astype(np.float32 if value.dtype == float else np.int64)
    inputs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), [])
        for k, v in feeds.items()
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(operator, list(feeds), ["y"], **attributes)
    graph = helper.make_graph([node], "graph", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, feeds)[0], ReferenceEvaluator(model).run(None, feeds)[0]


def mel(hertz):
    return 2595 * np.log10(1 + hertz / 700)


edges = np.linspace(mel(LOW), mel(HIGH), BANDS + 2)
formula = 700 * (10 ** (edges[1:-1] / 2595) - 1)
found = both("MelWeightMatrix", BANDS, SIZE, RATE, LOW, HIGH)  # (bins, bands) each
centres = [matrix.argmax(0) * RATE / SIZE for matrix in found]
for band in (0, 32, 63):
    print(
        f"band {band + 1:2}: formula {formula[band]:5.0f} Hz, onnxruntime "
        f"{centres[0][band]:5.0f} Hz, onnx reference {centres[1][band]:5.0f} Hz"
    )
single = np.count_nonzero(np.count_nonzero(found[0], axis=0) == 1)
print(f"bands of a single bin: {single} of {BANDS}")
window, _ = both("HammingWindow", 1024, periodic=0)
print(
    f"Hamming window: first sample {window[0]:.4f} (onnxruntime), "
    f"{np.hamming(1024)[0]:.4f} (numpy)"
)
shift = formula[-1] - centres[0][-1]
if not (shift > 500 and np.array_equal(*centres) and abs(window[0] - 0.08) > 0.005):
    sys.exit("changed: expected the highest band some 600 Hz too low, and 0.087")
END

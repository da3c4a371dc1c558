#!/usr/bin/env bash
# espnet 202511: averages of the best checkpoints contain one another.
#
# What happens: average_nbest_models keeps loaded checkpoints for the next average, and
# adds up in the dictionary of the best one. With two entries in keep_nbest_models, or two
# in best_model_criterion, every average after the first takes the first average for the
# best checkpoint. One entry of each is right.
#
# Why it matters: keep_nbest_models: [5, 10], and a criterion beside the loss, are usual.
# The averaged models are written, load, and are a little worse than they should be; which
# one is wrong depends on the order of the entries. Average with one number and one
# criterion a run.
#
# Seen (the only weight of epoch n is n; the loss is best in epochs 4, 3, 2):
#   valid.loss.ave_2best.pth: weight 3.50, should be 3.50
#   valid.loss.ave_3best.pth: weight 2.83, should be 3.00
#   valid.snr.ave_2best.pth : weight 2.92, should be 3.50
#   valid.snr.ave_3best.pth : weight 2.64, should be 3.00
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.11.0 numpy==2.4.6 humanfriendly packaging \
    typeguard
"$tmp/venv/bin/pip" install --quiet --no-deps espnet==202511
cd "$tmp"
venv/bin/python - <<'END'
import pathlib
import sys

import torch
from espnet2.main_funcs.average_nbest_models import average_nbest_models
from espnet2.train.reporter import Reporter

folder = pathlib.Path("exp")
folder.mkdir()
reporter = Reporter()
for epoch in range(1, 5):
    torch.save({"weight": torch.tensor(float(epoch))}, folder / f"{epoch}epoch.pth")
    reporter.set_epoch(epoch)
    with reporter.observe("valid") as part:
        snr = torch.tensor(float(epoch))
        part.register({"loss": -snr, "snr": snr})
        part.next()
criteria = [("valid", "loss", "min"), ("valid", "snr", "max")]
average_nbest_models(folder, reporter, criteria, [2, 3])
right = {2: 3.5, 3: 3.0}  # means of 4, 3 and of 4, 3, 2
is_right = []
for criterion in ("loss", "snr"):
    for number in (2, 3):
        name = f"valid.{criterion}.ave_{number}best.pth"
        weight = torch.load(folder / name)["weight"].item()
        is_right.append(abs(weight - right[number]) < 0.01)
        print(f"{name:24}: weight {weight:.2f}, should be {right[number]:.2f}")
if is_right != [True, False, False, False]:
    sys.exit("changed: expected the first average to be right, and no other")
END

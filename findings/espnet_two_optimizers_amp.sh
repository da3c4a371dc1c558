#!/usr/bin/env bash
# espnet 202511: with use_amp, the second of two optimizers gets gradients that are too small.
#
# What happens: the trainer calls scaler.update() after the step of each optimizer. An
# update forgets whose gradients are unscaled already, so that scaler.step() divides those
# of the second optimizer by the scale again. The scale also grows twice as fast.
#
# Why it matters: with the usual scale, 65536, SGD hardly moves these weights, and Adam's
# eps is no longer small beside their gradients. Nothing is logged. A GAN, or a model whose
# parts have optimizers of their own, trains one part only. Use one optimizer with several
# groups, or no use_amp.
#
# Seen (loss (a + b) * 1, SGD with lr 0.1, three steps, initial scale 65536):
#   without scaler: a = -0.300000, b = -0.300000
#   with scaler   : a = -0.300000, b = -0.000005
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.11.0 numpy==2.4.6 humanfriendly librosa \
    opt_einsum packaging pyyaml torch-complex tqdm typeguard
"$tmp/venv/bin/pip" install --quiet --no-deps espnet==202511
cd "$tmp"
venv/bin/python -W ignore - <<'END'
import dataclasses
import sys

import torch
from espnet2.train import trainer
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import Reporter


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.zeros(()))
        self.b = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, utt_id):
        loss = ((self.a + self.b) * x).mean()
        return loss, {"loss": loss.detach()}, torch.tensor(1.0)


class Scaler(trainer.GradScaler):
    """The trainer's GradScaler is for GPUs; this one works on a CPU."""

    def __init__(self):
        torch.amp.GradScaler.__init__(self, "cpu")


def train(scaler):
    names = [field.name for field in dataclasses.fields(trainer.TrainerOptions)]
    given = {"ngpu": 0, "accum_grad": 1, "grad_clip": 1e9, "grad_clip_type": 2.0}
    model = Model()
    with Reporter(1).observe("train") as reporter:
        trainer.Trainer.train_one_epoch(
            model=model,
            iterator=[(["x"], {"x": torch.ones(1)})] * 3,
            optimizers=[torch.optim.SGD([w], lr=0.1) for w in model.parameters()],
            schedulers=[None, None],
            scaler=scaler,
            reporter=reporter,
            summary_writer=None,
            options=trainer.TrainerOptions(
                **{**dict.fromkeys(names, False), "log_interval": 9, **given}
            ),
            distributed_option=DistributedOption(),
        )
    return model.a.item(), model.b.item()


plain, scaled = train(None), train(Scaler())
print("without scaler: a = {:.6f}, b = {:.6f}".format(*plain))
print("with scaler   : a = {:.6f}, b = {:.6f}".format(*scaled))
if not (abs(plain[1] + 0.3) < 1e-6 and abs(scaled[0] + 0.3) < 1e-6):
    sys.exit("changed: expected the first optimizer to move its weight by 0.3")
if not abs(scaled[1]) < 1e-5:
    sys.exit("changed: expected the second optimizer's weight not to move")
END

#!/usr/bin/env bash
# asteroid 0.7.0: model.separate() makes right estimates too quiet, by an amount that
# depends on the batch.
#
# What happens: separate() (and asteroid-infer, file_separate) multiplies what the model
# returns by sum |mixture| / sum |estimates|, over the whole batch. Where sources cancel
# in the mixture, as sounds that play together do, that is less than 1. A model that
# separates exactly then returns sources that no longer add up to their mixture, and the
# same clip comes back at another level beside other clips. model(mixture) does not scale.
#
# Why it matters: for a model trained by SI-SDR the level means nothing, but one trained
# by SNR, L1 or with mixture consistency has the right one, and loses it. SNR and residual
# (mixture minus estimates) then measure the factor: exact estimates have 10 dB here.
# SI-SDR and SDR do not see it. Call model(mixture) or model.forward_wav(mixture).
#
# Seen (the model returns the two sources exactly; noise of equal level; SNR limited to
# 100):
#   model(mixture)               : level 1.00, SNR 100.0 dB
#   separate(model, mixture)     : level 0.70, SNR  10.4 dB
#   the same, beside a louder one: level 0.95, SNR  25.9 dB
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 packaging scipy==1.17.1 \
    soundfile==0.14.0
"$tmp/venv/bin/pip" install --quiet --no-deps asteroid==0.7.0 asteroid-filterbanks==0.4.0
cd "$tmp"
venv/bin/python - <<'END'
import importlib
import importlib.util
import sys
import types

import torch

package = types.ModuleType("asteroid")  # without asteroid/__init__.py and all models
package.__path__ = importlib.util.find_spec("asteroid").submodule_search_locations
sys.modules["asteroid"] = package
separate = importlib.import_module("asteroid.separate").separate


class Exact(torch.nn.Module):
    """A separator that knows the sources, shape (batch, sources, samples)."""

    in_channels, sample_rate = None, 16000

    def __init__(self, sources):
        super().__init__()
        self.sources = torch.nn.Parameter(sources)

    def forward(self, mixture):
        return self.sources.detach().clone()


def report(name, sources, use_separate=True):
    mixture = sources.sum(1)
    model = Exact(sources)
    found = (separate(model, mixture) if use_separate else model(mixture))[0]
    right = sources[0]
    level = ((found * right).sum() / right.square().sum()).item()
    error = (found - right).square().sum().clamp_min(1e-12)
    snr = 10 * (right.square().sum() / error).log10().item()
    print(f"{name:29}: level {level:.2f}, SNR {min(snr, 100):5.1f} dB")
    return level


torch.manual_seed(0)
clip = 0.1 * torch.randn(1, 2, 16000)
solo = torch.randn(1, 2, 16000) * torch.tensor([1.0, 0.0])[:, None]  # one source sounds
report("model(mixture)", clip, use_separate=False)
alone = report("separate(model, mixture)", clip)
beside = report("the same, beside a louder one", torch.cat([clip, solo]))
if not (alone < 0.75 and beside > 0.9):
    sys.exit("changed: expected a level of 0.7 alone, and another in a batch")
END

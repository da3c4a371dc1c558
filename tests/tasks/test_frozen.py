"""The option freeze_param: what it names stays as it is, and unknown names are told."""

import pytest
import torch
from torch import nn

from espnet2_avsep.errors import InputError
from espnet2_avsep.separator.query_separator import QuerySeparator
from espnet2_avsep.tasks.frozen import check_frozen, keep_statistics
from espnet2_avsep.visual.adapter import StandardiseAdapter


def model_of(**conf) -> nn.Module:
    conf = {**QuerySeparator.tiny, "visual_dim": 4, **conf}
    model = nn.Module()
    model.separator, model.visual_adapter = (
        QuerySeparator(**conf),
        StandardiseAdapter(4),
    )
    return model


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["separator.encodr"],
            "no part .separator.encodr. .did you mean separator.e",
        ),
        (["separator.encoder."], "no part 'separator.encoder.'"),
        (["separator", "decoder"], "no part 'decoder'"),
        (["separator.forward"], "no part 'separator.forward'"),
        (["separator.layers"], "no part 'separator.layers'"),
        ("separator", "'separator'; expected a list"),
        ([3], "no part 3"),
        (["separator", "visual_adapter"], "no parameter that learns"),
    ],
)
def test_names_that_freeze_nothing_or_all_are_told(names, message):
    """ESPnet takes them without a word; all the model would learn, or nothing."""
    with pytest.raises(InputError, match=message):
        check_frozen(model_of(), names)


@pytest.mark.parametrize(
    "names",
    [
        None,
        [],
        ["separator.encoder", "separator.queries.base", "separator.decoder.blocks.0"],
        ["separator.fusion", "separator.motion_scale"],  # None here
        ["visual_adapter"],  # without parameters
    ],
)
def test_parts_and_those_that_other_systems_have_may_be_named(names):
    check_frozen(model_of(gate="none"), names)


@pytest.mark.parametrize(
    ("names", "keeps"),
    [
        (["visual_adapter"], (True, False)),
        (["separator.motion_scale"], (False, True)),
        (["separator", "visual_adapter"], (True, True)),
        (["separator.encoder"], (False, False)),
        (["visual", "separator.motion"], (False, False)),
        (None, (False, False)),
    ],
)
def test_frozen_features_are_standardised_as_before(names, keeps):
    """A new class's data changed what the trained classes gave."""
    model = model_of(motion_standardised=True)
    modules = (model.visual_adapter, model.separator.motion_scale)
    keep_statistics(model, names)
    model.train()
    for module, keep in zip(modules, keeps, strict=True):
        before = {name: value.clone() for name, value in module.state_dict().items()}
        module(torch.randn(2, 3, 1, len(module.mean)) + 5)
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name]) == keep, name

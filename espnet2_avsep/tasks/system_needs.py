"""What a system needs of the recipe, as its classes declare it."""

import argparse
from typing import Any, Dict, NamedTuple, Optional

from espnet2_avsep.data.conditions import WITH_ROWS, needed
from espnet2_avsep.registry import (
    baseline_choices,
    criterion_choices,
    visual_adapter_choices,
)
from espnet2_avsep.tasks.parts import separator_without_weights


class SystemNeeds(NamedTuple):
    """Needs of a system.

    Attributes:
        visual_input: "frames" (packed pictures), "motion" (pictures and motion
            features), "flow" (pictures and optical flow), or embeddings: the name of
            their encoder (visual_encoder in the config), "clip" where it names none.
        num_sources: Sources of a mixture, where the number is fixed: in training, or of
            a system without training; None: any.
    """

    visual_input: str
    num_sources: Optional[int]


def system_needs(config: Dict[str, Any]) -> SystemNeeds:
    """Return what the system of a configuration needs.

    Args:
        config: Complete, see read_config.

    Raises:
        InputError: it names classes or values that are not known.
    """
    encoder = config.get("visual_encoder") or "clip"
    if config.get("trained") is False:
        baseline = baseline_choices.get_class(config.get("baseline"))
        return SystemNeeds(encoder, getattr(baseline, "num_sources", None))
    args = argparse.Namespace(**{"separator_conf": {}, "separator": None, **config})
    separator = separator_without_weights(args)
    adapter = visual_adapter_choices.get_class(config.get("visual_adapter"))
    kind = "frames" if getattr(adapter, "takes_frames", False) else encoder
    for condition in needed(separator):
        kind = condition.stem if condition in WITH_ROWS else kind
    if getattr(separator, "needs_flow", False):
        kind = "flow"
    criterions = [
        criterion_choices.get_class(entry["name"])
        for entry in config.get("criterions") or []
    ]
    numbers = [c.num_sources for c in criterions if c.num_sources is not None]
    return SystemNeeds(kind, numbers[0] if numbers else None)

"""Tell what a trained model is, what it can separate, and how well.

Reads the folder of a training: its system, sampling rate, size, the checksum of its
weights, which prompts it takes, and, from the RESULTS.md beside it (stage 8), corpus,
classes and scores. Whether the weights fit the network is checked where they are used.
"""

import json
from dataclasses import dataclass
from typing import Any, Dict, Optional

from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.cli.shared_options import Json, QuietLog
from espnet2_avsep.lean_imports import import_lean_torch
from espnet2_avsep.sharing.default_model import MODEL_HELP, choose_model


@dataclass(kw_only=True)
class Options(Json, QuietLog):
    """The options of the command."""

    model: Optional[str] = option(None, MODEL_HELP, positional=True)


@with_options(Options)
def main(args: Options) -> int:
    """Run the command."""
    chosen, reason = choose_model(args.model)
    from espnet2_avsep.sharing.source import find_model

    files = find_model(chosen)
    from espnet2_avsep.inference.model_info import about, read_facts

    facts = read_facts(files)
    if facts is None:
        import_lean_torch()
        from espnet2_avsep.inference.separate import SeparateAV

        separate = SeparateAV.from_pretrained(files.config, model_file=files.weights)
        facts = separate.facts
    found: Dict[str, Any] = {
        "model": chosen,
        "system": facts.system,
        "separator": facts.separator,
        "parameters": facts.parameters,
        "sample_rate": facts.sample_rate,
        "segment_seconds": round(facts.segment / facts.sample_rate, 3),
        "weights_sha256": facts.weights_sha256,
        "prompt_dim": facts.prompt_dim,
        **about(facts),
    }
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    if "corpus" in found:  # checksums are for JSON
        found["corpus"] = {
            name: text.partition("; SHA-256")[0]
            for name, text in found["corpus"].items()
        }
    if reason:
        found["model"] += f" ({reason})"
    for key, value in found.items():
        _show(key, value)
    return 0


def _show(key: str, value: Any) -> None:
    if isinstance(value, dict):
        print(f"{key}:")
        for name, text in value.items():
            print(f"  {name}: {text}")
    else:
        print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")

"""Tell which queries, and which regions of a video, sound: probabilities and a map.

For models that learn it: CCoL, and TFC-TDF with separator_conf.presence. Prints for
each query the probability that what it shows can be heard, a mean over the recording,
and "sounds" or "silent". Writes to --out result.json, which also has the probabilities
of each stretch of time, and for a video heat_map.png: the picture in the middle of the
video, the redder, the more it sounds.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.cli.shared_options import (
    AudioStream,
    Device,
    Json,
    Model,
    Overwrite,
    Queries,
    QuietLog,
)
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.query import RULE, describe, parse_queries
from espnet2_avsep.lean_imports import import_lean_torch
from espnet2_avsep.sharing.default_model import choose_model

RESULT, HEAT_MAP = "result.json", "heat_map.png"


@dataclass(kw_only=True)
class Options(Queries, Model, Overwrite, AudioStream, Device, Json, QuietLog):
    """The options of the command."""

    input: str = option(
        ..., "a video or a sound file, of any rate and length", positional=True
    )
    out: Optional[str] = option(
        None, "folder of what is written (default: ./<input>_grounding)"
    )
    grid: int = option(
        7,
        "windows of the map along each axis, 2 to 32 (default: 7); 0: no map",
        least=0,
        most=32,
    )
    threshold: float = option(
        0.5, 'probability from which a query "sounds"', least=0, most=1
    )


@with_options(Options, RULE)
def main(args: Options) -> int:
    """Run the command."""
    if args.grid != 0 and not 2 <= args.grid <= 32:
        raise InputError(f"--grid {args.grid}: expected 0, or 2 to 32 windows.")
    args.model, _ = choose_model(args.model)
    source = Path(args.input)

    from espnet2_avsep.data.records.output_folder import OutputFolder
    from espnet2_avsep.data.tables.scp import write_file
    from espnet2_avsep.media.stream import probe

    info = probe(source, args.audio_stream)
    if not info.has_audio:
        raise InputError(f"{source}: has no sound; nothing in it can be heard.")
    video = source if info.has_video else None
    with_map = video is not None and args.grid > 0
    queries = []
    if args.query or args.sources or not with_map:
        queries = parse_queries(
            *(args.query, video, args.every or None, args.sources, args.audio_stream)
        )
    outputs = OutputFolder(
        Path(args.out or f"{source.stem}_grounding"),
        "ground",
        [source, args.model, *(path for query in queries for path in query.files)],
        args.overwrite,
    )
    outputs.check([RESULT, HEAT_MAP] if with_map else [RESULT])
    outputs.discard([RESULT, HEAT_MAP])

    import_lean_torch()
    from espnet2_avsep.device import choose_device
    from espnet2_avsep.inference import grounding_map
    from espnet2_avsep.inference.separate import SeparateAV

    separate = SeparateAV.from_pretrained(
        args.model, device=str(choose_device(args.device))
    )
    result: Dict[str, Any] = {
        "input": str(source),
        "model": str(args.model),
        "weights_sha256": separate.weights_sha256,
        "threshold": args.threshold,
        "queries": describe(queries),
    }
    if queries:
        found = grounding_map.ground_file(
            separate, source, [q.prompt for q in queries], args.audio_stream
        )
        for n, entry in enumerate(result["queries"]):
            entry["probability"] = round(float(found.mean[n]), 4)
            entry["sounds"] = bool(found.mean[n] >= args.threshold)
            entry["stretches"] = [
                [round(float(x), 4) for x in (begin, end, row[n])]
                for begin, end, row in zip(*found, strict=True)
            ]
    outputs.folder.mkdir(parents=True, exist_ok=True)
    if with_map:
        heat = grounding_map.ground_picture(
            separate, source, args.grid, args.audio_stream
        )
        shown = [
            (query.prompt.box, f"{entry['probability']:.2f}")
            for query, entry in zip(queries, result["queries"], strict=True)
            if query.kind == "region"
        ]
        boxes, words = zip(*shown, strict=True) if shown else ((), ())
        grounding_map.write_heat_map(
            outputs.folder / HEAT_MAP,
            grounding_map.middle_picture(source, args.audio_stream),
            heat,
            boxes,
            words,
        )
        outputs.add(HEAT_MAP)
        result["heat_map"] = HEAT_MAP
    text = json.dumps(result, indent=2, ensure_ascii=False)
    write_file(outputs.folder / RESULT, text + "\n")
    outputs.add(RESULT)
    if args.json:
        print(text)
        return 0
    for entry in result["queries"]:
        word = "sounds" if entry["sounds"] else "silent"
        print(f"{entry['probability']:.2f}\t{word}\t{entry['query']}")
    print(f"{outputs.folder / (HEAT_MAP if with_map else RESULT)}")
    return 0

"""Tell which queries, and which regions of a video, sound: probabilities and a map.

For models with a grounding network (CCoL). Prints for each query the probability that
what it shows can be heard, a mean over the recording, and "sounds" or "silent". Writes
to --out result.json, which has the probabilities of each stretch of time as well, and
of a video heat_map.png: the picture in its middle, the redder, the more it sounds.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Dict

from espnet2_avsep.cli.query_options import add_query_arguments
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.query import (
    RULE,
    describe,
    parse_queries,
)
from espnet2_avsep.sharing.default_model import MODEL_HELP, choose_model

RESULT, HEAT_MAP = "result.json", "heat_map.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the sub-command."""
    parser.epilog = f"{RULE}\n\n{parser.epilog}"
    add = parser.add_argument
    add("input", help="a video or a sound file, of any rate and length")
    add("--model", help=MODEL_HELP)
    add("--out", help="folder of what is written (default: ./<input>_grounding)")
    add(
        "--overwrite",
        action="store_true",
        help="replace files in --out that no former run of this command wrote",
    )
    add_query_arguments(
        parser,
        "what is asked about; repeat it (see below; of a video, may be left out)",
    )
    add(
        "--grid",
        type=int,
        default=7,
        help="windows of the map along each axis (default: 7); 0: no map",
    )
    add(
        "--threshold",
        type=float,
        default=0.5,
        help='probability from which a query "sounds" (default: 0.5)',
    )
    add(
        "--audio_stream",
        type=int,
        metavar="N",
        help="which audio stream of a file with several, from 1",
    )
    add(
        "--device",
        default="auto",
        help="auto (default: a GPU where there is one), cpu, cuda, cuda:1",
    )
    add("--json", action="store_true", help="print result.json")


def run(args: argparse.Namespace) -> int:
    """Run the sub-command."""
    if not 0 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold}: expected 0 to 1.")
    if not 0 <= args.every < 1e6:
        raise InputError(f"--every {args.every}: expected seconds, >= 0.")
    if args.grid != 0 and not 2 <= args.grid <= 32:
        raise InputError(f"--grid {args.grid}: expected 0, or 2 to 32 windows.")
    args.model, _ = choose_model(args.model)
    source = Path(args.input)

    from espnet2_avsep.data.records.output_folder import OutputFolder
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
    _write(outputs, result)
    if args.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
        return 0
    for entry in result["queries"]:
        word = "sounds" if entry["sounds"] else "silent"
        print(f"{entry['probability']:.2f}\t{word}\t{entry['query']}")
    print(f"{outputs.folder / (HEAT_MAP if with_map else RESULT)}")
    return 0


def _write(outputs: Any, result: Dict[str, Any]) -> None:
    from espnet2_avsep.data.tables.scp import atomic_write

    with atomic_write(outputs.folder / RESULT) as f:
        f.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    outputs.add(RESULT)

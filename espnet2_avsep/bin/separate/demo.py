"""Serve a page in the browser that separates what is uploaded.

Upload a video or a sound, say what to separate, look at and listen to the tracks. It
needs gradio: pip install 'espnet2_avsep[demo]'.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.cli.shared_options import Device, Model
from espnet2_avsep.device import check_device, choose_device
from espnet2_avsep.errors import InputError
from espnet2_avsep.sharing.default_model import choose_model

if TYPE_CHECKING:
    from espnet2_avsep.inference.separate import SeparateAV


@dataclass(kw_only=True)
class Options(Model, Device, Log):
    """The options of the command."""

    example: Optional[Path] = option(
        None,
        "a video that the page begins with (default: the duet that make demo wrote, "
        "downloads/duet/duet.mp4 in the recipe's folder, if it is there)",
    )
    host: str = option("127.0.0.1", "address to serve at; 0.0.0.0: to all")
    port: int = option(7860, "port to serve at", least=1, most=65535)
    max_seconds: float = option(600.0, "longer recordings are refused", above=0)


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    if importlib.util.find_spec("gradio") is None:
        raise InputError(
            "gradio is not installed; pip install 'espnet2_avsep[demo]' brings it."
        )
    check_device(args.device)
    if args.example is not None and not args.example.is_file():
        raise InputError(f"--example {args.example}: no such file.")
    source, _ = choose_model(args.model)
    example = args.example or _duet(Path(source))
    from espnet2_avsep.demo.app import start
    from espnet2_avsep.inference.separate import SeparateAV

    device = str(choose_device(args.device))
    separate = SeparateAV.from_pretrained(source, device=device, picture_dtype="auto")
    app = app_of(separate, source, args.max_seconds, example)
    start(app, args.host, args.port)


def app_of(
    separate: "SeparateAV", source: str, max_seconds: float, example: Optional[Path]
) -> Any:
    """Return the app over a model, which does what ``avsep separate`` does.

    Args:
        separate: The model.
        source: What it was made from.
        max_seconds: Longer recordings are refused.
        example: A video that the page begins with.
    """
    from espnet2_avsep.demo.app import build_app
    from espnet2_avsep.inference.model_info import about
    from espnet2_avsep.inference.recording import separate_one

    says = about(separate)
    takes = [kind for kind, word in says["prompts"].items() if word.startswith("yes")]
    classes = says["classes"]
    lines = [f"Model: {Path(source).name}."]
    if isinstance(classes, list):
        lines.append(f"It was trained or tested on: {', '.join(classes)}.")
    if says.get("note"):
        lines.append(says["note"])
    return build_app(
        lambda words, progress: separate_one(
            separate, [*words, "--model", source], progress, max_seconds
        ),
        takes,
        lines,
        example,
    )


def _duet(source: Path) -> Optional[Path]:
    """Return the duet of ``make demo``, of this folder or the model's recipe."""
    for folder in (Path(), source.parent.parent):
        path = folder / "downloads" / "duet" / "duet.mp4"
        if path.is_file():
            return path
    return None

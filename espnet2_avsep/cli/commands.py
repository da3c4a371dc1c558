"""The table of all commands: ``avsep <name>``, where each is, and its line of help.

setup.py reads this file without the package: it imports the standard library only.
"""

from typing import Dict, List, NamedTuple

# Folder of espnet2_avsep/bin -> the heading of its commands in avsep --help.
GROUPS = {
    "separate": "Separate your own recordings",
    "prepare": "Prepare data (stages 1 to 5 of a recipe)",
    "train": "Train and test (stages 5 to 8)",
    "compare": "Compare and analyse",
    "share": "Share a model",
    "": "Shell",
}


# Those that are not also installed as ``avsep_<name>``, as in version 0.1 all commands
# but the first sub-commands of avsep were.
WITHOUT_ALIAS = ("separate", "ground", "score", "info", "features")
WITHOUT_ALIAS += ("export-onnx", "completion")


class Command(NamedTuple):
    """One command.

    Attributes:
        name: After ``avsep``.
        group: Its folder within espnet2_avsep/bin.
        help: Its line in avsep --help.
    """

    name: str
    group: str
    help: str

    @property
    def module(self) -> str:
        """Name of the module below espnet2_avsep: bin.prepare.make_mixtures."""
        file = self.name.replace("-", "_")
        return ".".join(("bin", self.group, file)) if self.group else f"bin.{file}"

    @property
    def alias(self) -> str:
        """Name as a program of its own, e.g. ``avsep_make_mixtures``."""
        return f"avsep_{self.name.replace('-', '_')}"


_HELP = {
    "separate": {
        "separate": "separate recordings or videos, one track per query",
        "ground": "tell which queries, and which regions of a video, sound",
        "score": "score tracks against their references",
        "info": "show what a trained model is, what it separates, and how well",
        "features": "encode pictures or videos as a model sees them",
        "demo": "serve a page in the browser that separates uploads (extra: demo)",
    },
    "prepare": {
        "new-recipe": "copy a recipe out of the installed package",
        "download": "fetch a corpus, its lists and its videos (stage 1)",
        "extract-visual": "encode pictures of every clip (stage 2)",
        "extract-motion": "compute motion features of every clip (stage 2)",
        "format-audio": "write every clip's sound at one rate (stage 3)",
        "filter-clips": "drop clips that are short, silent or incomplete (stage 4)",
        "check-leaks": "find valid and test clips that are trained on (stage 4)",
        "make-mixtures": "draw the fixed mixtures of a set (stage 4)",
        "make-real-mixtures": "prepare duets without references (stage 4)",
        "health-report": "write a page about a prepared corpus (stage 4)",
        "collect-stats": "write the shapes of a set's data (stage 5)",
        "extract-teacher": "write the CLAP embeddings of a set of recordings",
    },
    "train": {
        "train": "train a separator with ESPnet's trainer (stage 6)",
        "inference": "separate listed mixtures with a trained model (stage 7)",
        "baseline": "separate them with an untrained system (stage 7)",
        "scoring": "score the separated sources of a set (stage 8)",
        "score-grounding": "score a grounding network (stage 8)",
        "results": "write RESULTS.md of an experiment (stage 8)",
        "report": "write a page to see and hear the results (stage 8)",
        "config": "tell what systems need, or write a configuration completely",
        "made-from": "check what an experiment was made from (stages 6 and 7)",
    },
    "compare": {
        "compare": "compare experiments that were scored on the same mixtures",
        "spectrogram-panels": "draw mixtures, estimates and references (figure 3)",
        "linear-probe": "probe embeddings for the class (table 4)",
        "modality-gap": "measure the gap between sound and picture (table 5)",
        "acoustic-axes": "place instruments on two acoustic axes (figure 1)",
        "gate-analysis": "draw gates and attention of DGFNet and iQuery",
    },
    "share": {
        "pack": "pack a trained model into one file (stage 9)",
        "upload": "publish a packed model on the Hugging Face hub (stage 10)",
        "fetch-model": "fetch a published or packed model for stages 7 and 8",
        "import-checkpoint": "convert a checkpoint of another implementation",
        "export-onnx": "write a separator as an ONNX file",
    },
    "": {
        "completion": "print a script that completes commands in bash or zsh",
    },
}
COMMANDS: Dict[str, Command] = {
    name: Command(name, group, text)
    for group, own in _HELP.items()
    for name, text in own.items()
}
# Name as a program of its own -> module.
_ALIASES = {
    command.alias: command.module
    for command in COMMANDS.values()
    if command.name not in WITHOUT_ALIAS
}


def former_modules() -> Dict[str, str]:
    """Module of each command in version 0.1 -> the present one."""
    return {f"bin.{alias}": module for alias, module in _ALIASES.items()}


def console_scripts() -> List[str]:
    """Entry points of setup.py: avsep, and the aliases."""
    scripts = {"avsep": "bin.avsep", **_ALIASES}
    return [f"{name}=espnet2_avsep.{module}:main" for name, module in scripts.items()]

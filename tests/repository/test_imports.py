"""Who may import whom: the package's layers, kept apart by reading its sources."""

import ast
import graphlib
import sys
from collections import Counter
from pathlib import Path

from espnet2_avsep.moved import present_name

PACKAGE = Path(__file__).resolve().parents[2] / "espnet2_avsep"

# Part -> the parts it may import. Every part may import itself, errors.py and
# precision.py; only separators may not import one another.
ALLOWED = {
    "__init__": {"environment", "inference", "moved"},
    "environment": set(),
    "errors": set(),
    "moved": {"cli"},
    "cli": {"corpus", "sharing"},
    "device": set(),
    "precision": set(),
    "weights": {"data"},
    "dsp": set(),
    "layers": {"dsp"},
    "metrics": {"dsp"},
    "baseline": {"dsp", "environment"},
    "media": set(),
    "data": {"media"},
    "corpus": {"data", "media", "dsp"},
    "loss": {"layers", "dsp", "lean_imports"},
    "separator": {"layers", "dsp"},
    "teacher": {
        *("layers", "dsp", "data", "weights", "cli", "device"),
        "environment",
    },
    "visual": {
        *("layers", "dsp", "data", "media", "lean_imports", "device", "weights"),
        "cli",
    },
    "figures": {"dsp", "data", "metrics"},
    "report": {"corpus", "data", "media", "visual", "metrics", "figures"},
    "lean_imports": set(),
    "registry": {"lean_imports"},
    "tasks": {
        *("model", "data", "lean_imports"),
        *("separator", "visual", "teacher", "loss", "layers", "dsp", "baseline"),
        *("weights", "registry"),
    },
    "analysis": {
        *("inference", "data", "metrics", "tasks", "teacher", "figures", "cli"),
        *("device", "environment"),
    },
    "streaming": set(),
    "demo": {"media", "visual", "report"},
    "sharing": {"data", "layers", "metrics", "report", "weights", "registry"},
    "model": {
        *("separator", "visual", "teacher", "loss", "layers", "dsp", "metrics"),
        *("figures", "data", "lean_imports"),
    },
    "inference": {
        *("tasks", "model", "data", "layers", "dsp", "visual", "sharing", "media"),
        *("streaming", "baseline", "metrics", "cli", "report", "figures"),
        "weights",
        "registry",
        "lean_imports",
    },
    "scoring": {
        *("inference", "data", "metrics", "report", "sharing", "visual", "media"),
        *("analysis", "figures", "corpus", "cli", "lean_imports"),
    },
    # bin stands above all.
}

# The only places that know ESPnet.
ESPNET_USERS = {"model", "tasks", "registry", "inference.separate", "bin.train.train"}

# Below bin, the only parts that build command lines.
COMMAND_LINES = {"cli", "tasks"}

# Parts that compute, and the third-party packages they may name.
LIBRARIES = {
    "errors": set(),
    "dsp": {"torch"},
    "layers": {"torch"},
    "separator": {"torch"},
    "loss": {"torch", "torchvision"},
    "metrics": {"numpy", "mir_eval", "scipy"},
    "baseline": {"numpy", "scipy", "librosa"},
    "streaming": {"numpy", "soxr"},
}

# Imported inside the functions that need them: seconds each, and few runs need all.
LAZY = {"open_clip", "laion_clap", "transformers", "torchvision", "torchaudio"}
LAZY |= {"yt_dlp", "gradio", "huggingface_hub", "espnet_model_zoo", "safetensors"}
LAZY |= {"onnx", "onnxruntime", "onnxscript"}

# What the command lines must not pay for before they know what is asked of them.
HEAVY = {
    *("torch", "espnet2", "scipy", "matplotlib", "h5py", "av", "librosa"),
    *("numpy", "soundfile", "kaldiio", "PIL", "yaml", "tqdm"),
    *LAZY,
}


def module_name(path: Path) -> str:
    """``espnet2_avsep/dsp/stft.py`` -> ``dsp.stft``; an __init__.py is its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree: ast.AST, at_top: bool = False, types: bool = True) -> set:
    """Collect the dotted names that a source imports.

    ``from a import b`` counts as ``a.b``, since b may be a module. With at_top, only
    what runs when the module is imported; without types, no TYPE_CHECKING blocks.
    """
    found = set()
    for node in ast.iter_child_nodes(tree):
        if at_top and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if not types and is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            found |= imports(node, at_top, types)
    return found


SOURCES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"), str(path))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def own(names: set) -> set:
    """Map imported names to this package's modules, e.g. ``dsp.stft``."""
    found = set()
    for name in names:
        if not name.startswith("espnet2_avsep."):
            continue
        name = name.removeprefix("espnet2_avsep.")
        while name and name not in SOURCES and f"{name}.__init__" not in SOURCES:
            name = name.rpartition(".")[0]
        if name:
            found.add(name)
    return found


def part(name: str) -> str:
    return name.partition(".")[0]


def modules(*parts: str) -> list:
    """Names of the sources that belong to these parts."""
    return [name for name in SOURCES if part(name) in parts]


BELOW_BIN = [name for name in SOURCES if part(name) != "bin"]


def test_imports_point_downwards():
    for name in BELOW_BIN:
        assert part(name) in ALLOWED, f"{name}: give this part its place in ALLOWED"
        targets = {part(target) for target in own(imports(SOURCES[name]))}
        wrong = targets - ALLOWED[part(name)] - {part(name), "errors", "precision"}
        assert not wrong, f"{name} imports {sorted(wrong)}"


def test_no_module_imports_itself_through_others():
    """Imports within functions count, too."""
    graph = {name: own(imports(tree)) - {name} for name, tree in SOURCES.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_folders_stay_small():
    files = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    counts = Counter(str(path.parent.relative_to(PACKAGE)) for path in files)
    crowded = {folder: n for folder, n in counts.items() if n > 16}
    assert not crowded, f"split these folders by what their modules do: {crowded}"


def test_modules_are_imported_by_their_present_names():
    for name, tree in SOURCES.items():
        for target in imports(tree):
            package, _, below = target.partition(".")
            former = below if package == "espnet2_avsep" else ""
            assert not present_name(former), f"{name} imports {target}, which moved"


def test_methods_do_not_import_one_another():
    for name in modules("separator", "baseline"):
        targets = own(imports(SOURCES[name])) - {part(name)}
        siblings = {t for t in targets if part(t) == part(name) and ".abs_" not in t}
        assert not siblings, f"{name} imports its siblings {sorted(siblings)}"


def test_only_the_task_names_concrete_classes():
    for name in modules("model"):
        for target in own(imports(SOURCES[name])):
            if part(target) in ("separator", "loss", "teacher", "visual"):
                assert ".abs_" in target, f"{name} imports the concrete {target}"


def test_espnet_stays_on_top():
    for name in SOURCES:
        roots = {target.partition(".")[0] for target in imports(SOURCES[name])}
        assert "espnet" not in roots, f"{name}: espnet.* moves away; use espnet2.*"
        if name not in ESPNET_USERS and part(name) not in ESPNET_USERS:
            assert "espnet2" not in roots, f"{name} must not know ESPnet"


def test_computing_parts_need_few_libraries():
    for name in modules(*LIBRARIES):
        roots = {target.partition(".")[0] for target in imports(SOURCES[name])}
        foreign = roots - set(sys.stdlib_module_names) - {"espnet2_avsep"}
        extra = foreign - LIBRARIES[part(name)]
        assert not extra, f"{name} imports {sorted(extra)}"


def test_slow_libraries_are_imported_where_they_are_used():
    for name in SOURCES:
        top = imports(SOURCES[name], at_top=True, types=False)
        slow = {target.partition(".")[0] for target in top} & LAZY
        assert not slow, f"{name} imports {sorted(slow)} at its top"


def test_commands_import_nothing_heavy_at_the_top():
    """Follow everything that runs when the command's module is imported."""
    for name in modules("bin"):
        seen, queue = set(), ["__init__", "bin", name]
        while queue:
            current = queue.pop()
            if current in seen or current not in SOURCES:
                continue
            seen.add(current)
            top = imports(SOURCES[current], at_top=True, types=False)
            heavy = {target.partition(".")[0] for target in top} & HEAVY
            assert not heavy, f"{name} pays for {sorted(heavy)}, imported by {current}"
            for target in own(top):
                pieces = target.split(".")
                queue += [".".join(pieces[: i + 1]) for i in range(len(pieces))]


def test_no_module_imports_a_command():
    """A command parses, calls and prints; what others need has a place below bin."""
    root = PACKAGE.parent
    paths = [*(root / "local").glob("*.py"), *(root / "egs2/TEMPLATE").rglob("*.py")]
    scripts = {path.name: ast.parse(path.read_text("utf-8")) for path in paths}
    assert "prepare_ave.py" in scripts
    for name, tree in {**SOURCES, **scripts}.items():
        commands = [target for target in own(imports(tree)) if "bin." in target]
        assert not commands, f"{name} imports {commands}"


def test_folders_of_commands_are_small():
    folders = [path for path in (PACKAGE / "bin").rglob("*") if path.is_dir()]
    for folder in [PACKAGE / "bin", *folders]:
        assert len(list(folder.glob("*.py"))) <= 15, folder


def test_only_commands_read_the_command_line():
    for name in BELOW_BIN:
        for node in ast.walk(SOURCES[name]):
            text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if part(name) != "cli":
                assert text != "sys.argv", f"{name} reads sys.argv"
            assert not text.endswith("ArgumentParser") or part(name) in COMMAND_LINES, (
                f"{name} builds a command line"
            )


def test_rules_find_what_they_forbid():
    tree = ast.parse(
        "import torch.nn\n"
        "from espnet2_avsep.cli import command\n"
        "if TYPE_CHECKING:\n    import numpy\n"
        "def f():\n    from open_clip import create_model\n"
    )
    names = {"torch.nn", "espnet2_avsep.cli.command", "open_clip.create_model", "numpy"}
    assert imports(tree) == names
    assert imports(tree, at_top=True) == names - {"open_clip.create_model"}
    assert imports(tree, at_top=True, types=False) == {
        "torch.nn",
        "espnet2_avsep.cli.command",
    }
    assert own(imports(tree)) == {"cli.command"}

"""Every call that could run a program or code of a file, and why it is there.

A new one belongs into the module that owns it (data/tables/table_entry.py for what
tables name, weights.py for weights, data/tables/yaml_file.py for YAML,
media/container.py for media), or into this list with its reason.
"""

import ast
import fnmatch
import re
from pathlib import Path
from typing import Dict, Iterator, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = (
    *("subprocess.*", "os.system", "os.popen", "os.exec*", "os.spawn*", "os.posix_*"),
    *("pty.*", "multiprocessing.connection.Client", "asyncio.create_subprocess*"),
    *("eval", "exec", "compile", "__import__", "runpy.*", "code.*", "ctypes.*"),
    *("pickle.*", "cloudpickle.*", "dill.*", "marshal.*", "shelve.*", "joblib.*"),
    *("torch.load", "torch.jit.load", "torch.hub.load*", "torch.package.*"),
    *("numpy.load", "numpy.fromregex", "numpy.lib.npyio.*", "pandas.read_pickle"),
    *("yaml.load*", "yaml.safe_load*", "yaml.full_load*", "yaml.unsafe_load*"),
    *("yaml.*Loader", "h5py.File", "av.open", "av.container.open"),
    *("shutil.unpack_archive", "*.extractall", "logging.config.*"),
)
FOLDERS = ("espnet2_avsep", "local", "utils", "egs2/TEMPLATE")
# Shell that runs a text: file -> why.
SHELL_ALLOWED = {
    "utils/stage_options.sh": "words that avsep_config has quoted by shlex",
}
# Writing is fine, reading is not.
KALDIIO = "kaldiio.*"
KALDIIO_WRITES = ("kaldiio.save_ark", "kaldiio.save_mat")
KEYWORDS = (("shell", True), ("allow_pickle", True), ("weights_only", False))

ALLOWED: Dict[str, Dict[str, str]] = {
    "espnet2_avsep/data/tables/table_entry.py": {
        "subprocess.run": "commands of tables with --allow_pipes true; no shell",
        "kaldiio.matio.read_kaldi": "of an open file, after a look at its first bytes",
        "numpy.load": "allow_pickle=False, after a look at the first bytes",
        "h5py.File": "datasets of the file itself, of numbers only",
    },
    "espnet2_avsep/data/records/weight_shapes.py": {
        "pickle.Unpickler": "resolves three names, to stand-ins that build shapes",
        "pickle.UnpicklingError": "an error",
    },
    "espnet2_avsep/data/tables/yaml_file.py": {"yaml.SafeLoader": "with limits"},
    "espnet2_avsep/media/container.py": {"av.open": "local files of known formats"},
    "espnet2_avsep/data/audio/video_writer.py": {
        "av.open": "writes, to a temporary name"
    },
    "espnet2_avsep/corpus/download/clip_writer.py": {"av.open": "writes"},
    "espnet2_avsep/corpus/mini_music/corpus.py": {"av.open": "writes"},
    "espnet2_avsep/corpus/download/pool.py": {
        "ctypes.CDLL": "prctl: workers end with their parent"
    },
    "espnet2_avsep/moved.py": {"compile": "of our own words, for python -m"},
    "espnet2_avsep/weights.py": {"torch.load": "weights_only"},
    "espnet2_avsep/model/checkpoints.py": {
        "torch.load": "weights_only, ESPnet's reporter"
    },
    "espnet2_avsep/visual/encoders/clip_encoder.py": {
        "torch.jit.load": "OpenAI's archives; none with code that loading runs",
        "torch.load": "weights_only",
    },
    "espnet2_avsep/sharing/pack.py": {"subprocess.run": "espnet2.bin.pack, our words"},
    "espnet2_avsep/scoring/results.py": {
        "subprocess.run": "nvidia-smi and git, for the section on the environment"
    },
    "utils/launcher.py": {
        "subprocess.run": "the queue's own commands",
        "subprocess.Popen": "the stages' commands, which avsep.sh composes",
    },
}


def calls(path: Path) -> Iterator[Tuple[str, int]]:
    """Yield the full name of every function that a file calls, and the line.

    Also the bases of its classes, and "<keyword>=<value>" of the keywords that turn a
    safe call into another.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                yield full_name(base, names), node.lineno
        if isinstance(node, ast.Call):
            yield full_name(node.func, names), node.lineno
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Constant):
                    yield f"{keyword.arg}={keyword.value.value}", node.lineno


def full_name(node: ast.AST, names: Dict[str, str]) -> str:
    """Return "module.name" of an expression, given what was imported under a name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    first = names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"
    return ".".join([first, *reversed(parts)])


def is_dangerous(name: str) -> bool:
    if any(name == f"{key}={value}" for key, value in KEYWORDS):
        return True
    if fnmatch.fnmatchcase(name, KALDIIO):
        return name not in KALDIIO_WRITES
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in PATTERNS)


def test_every_dangerous_call_is_listed_with_its_reason():
    found: Dict[str, Dict[str, int]] = {}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix != ".py":
                continue
            for name, line in calls(path):
                if is_dangerous(name):
                    file = str(path.relative_to(ROOT))
                    found.setdefault(file, {}).setdefault(name, line)
    listed = {(file, name) for file, names in ALLOWED.items() for name in names}
    there = {(file, name) for file, names in found.items() for name in names}
    new = [f"{file}:{found[file][name]}: {name}" for file, name in there - listed]
    assert not new, "\n".join(["not in the list:", *sorted(new)])
    assert not listed - there, f"in the list, but gone: {sorted(listed - there)}"


def test_shell_that_runs_a_text_is_listed_with_its_reason():
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.sh"):
            code = re.sub(r"(?m)(^|\s)#.*", "", path.read_text(encoding="utf-8"))
            if re.search(r"(^|[\s;&|(])(eval|(ba)?sh\s+-c)\s", code):
                found.add(str(path.relative_to(ROOT)))
    assert found == set(SHELL_ALLOWED)


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess as s\ns.run('x')",
        "from subprocess import Popen\nPopen('x')",
        "import os\nos.system('x')",
        "run('x', shell=True)",
        "import numpy as np\nnp.load('x')",
        "from numpy import load as read\nread('x')",
        "import kaldiio\nkaldiio.load_mat('x')",
        "from kaldiio import ReadHelper\nReadHelper('x')",
        "import torch\ntorch.load('x')",
        "f(weights_only=False)",
        "import yaml\nyaml.safe_load('x')",
        "from yaml import SafeLoader\nSafeLoader('x')",
        "import yaml\nclass Loader(yaml.Loader): pass",
        "import pickle\npickle.loads(b'x')",
        "import h5py\nh5py.File('x')",
        "import av\nav.open('x')",
        "eval('x')",
    ],
)
def test_dangerous_calls_are_seen_however_they_are_imported(tmp_path, code):
    (tmp_path / "a.py").write_text(code)
    assert any(is_dangerous(name) for name, _ in calls(tmp_path / "a.py"))


def test_harmless_calls_are_not_in_the_way(tmp_path):
    (tmp_path / "a.py").write_text(
        "import kaldiio, re, yaml\nkaldiio.save_ark(f, {})\nre.compile('x')\n"
        "yaml.safe_dump({})\nmodel.eval()\njson.load(f)\nf(shell=False)\n"
    )
    assert not any(is_dangerous(name) for name, _ in calls(tmp_path / "a.py"))

"""The package as it is installed: metadata, commands, requirements, data files."""

import ast
import importlib
import json
import re
import runpy
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from espnet2_avsep.bin.avsep import help_page
from espnet2_avsep.cli.commands import COMMANDS
from espnet2_avsep.moved import MovedModules

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "espnet2_avsep"

# Asked for though no line of ours imports them, each with the reason.
NOT_IMPORTED = {
    "laion_clap": "the teacher loads its audio branch without importing the whole",
    "sentencepiece": "ESPnet's text modules, imported with its tasks",
    "tensorboard": "through torch.utils.tensorboard",
}
# Imported without being asked for by name, each with the package that brings it.
BROUGHT_ALONG = {
    "torchvision": "open_clip_torch, of the same build as torch",
    "huggingface_hub": "open_clip_torch",
    "safetensors": "open_clip_torch",
    "librosa": "espnet",
}
# Imported where an extra was asked for, each with the extra.
OPTIONAL = {"yt_dlp": "download", "gradio": "demo", "espnet_model_zoo": "zoo"}
OPTIONAL |= dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "onnx")


# Programs of version 0.1 and 0.2, besides avsep.
ALIASES = [
    *("acoustic_axes", "baseline", "check_leaks", "collect_stats", "compare"),
    "config",
    *("demo", "download", "extract_motion", "extract_teacher", "extract_visual"),
    *("fetch_model", "filter_clips", "format_audio", "gate_analysis"),
    *("health_report", "import_checkpoint", "inference", "linear_probe"),
    *("made_from", "make_mixtures", "make_real_mixtures", "modality_gap"),
    *("new_recipe", "pack", "report", "results", "score_grounding", "scoring"),
    *("spectrogram_panels", "train", "upload"),
]


@pytest.fixture(scope="module")
def metadata() -> dict:
    """Run setup.py with a setup() that only writes down what it is given."""
    script = (
        "import json, runpy, setuptools\n"
        "setuptools.setup = lambda **given: print(json.dumps(given, default=str))\n"
        f"runpy.run_path({str(ROOT / 'setup.py')!r})\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(run.stdout)


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement).group()
    return re.sub(r"[-_.]+", "-", name).lower()


def test_version_is_the_package_s_and_in_the_changelog(metadata):
    import espnet2_avsep

    assert metadata["version"] == espnet2_avsep.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(metadata['version'])}\]", changelog, re.M)


def test_avsep_and_its_aliases_are_installed(metadata):
    scripts = dict(
        entry.split("=") for entry in metadata["entry_points"]["console_scripts"]
    )
    assert scripts.pop("avsep") == "espnet2_avsep.bin.avsep:main"
    assert sorted(scripts) == [f"avsep_{name}" for name in ALIASES]
    for alias, place in scripts.items():
        command = COMMANDS[alias.removeprefix("avsep_").replace("_", "-")]
        assert place == f"espnet2_avsep.{command.module}:main"
        # Also imported and run, python -m, by the module's name in version 0.1.
        present = importlib.import_module(f"espnet2_avsep.{command.module}")
        former = f"espnet2_avsep.bin.{alias}"
        assert importlib.import_module(former).main is present.main
        assert MovedModules().get_code(former).co_filename == present.__file__


@pytest.mark.parametrize("name", ["avsep", *(f"avsep_{name}" for name in ALIASES)])
def test_help_is_quick(name):
    """What --help must not import is what makes it slow: torch alone takes 2 s."""
    script = (
        "import importlib, json, sys\n"
        f"module = importlib.import_module('espnet2_avsep.bin.{name}')\n"
        "assert callable(module.main)\n"
        f"sys.argv = ['{name}', '--help']\n"
        "try:\n"
        "    status = module.main()\n"
        "except SystemExit as stop:\n"
        "    status = stop.code\n"
        "print('\\n' + json.dumps([status, sorted(sys.modules)]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    page, _, last = run.stdout.rstrip("\n").rpartition("\n")
    status, modules = json.loads(last)
    assert not status
    assert page.startswith(f"usage: {name.replace('_', ' ', 1).replace('_', '-')} ")
    slow = {"torch", "numpy", "espnet2", "av", "h5py", "soundfile", "scipy", "yaml"}
    assert not slow & set(modules)


# avsep_train's parser is ESPnet's, which takes ten seconds to import.
@pytest.mark.parametrize("name", sorted({*ALIASES} - {"train"}))
def test_unknown_option_is_an_error(name, monkeypatch, capsys):
    """As "python -m" runs the module, but in this process."""
    module = f"espnet2_avsep.bin.avsep_{name}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "argv", [module, "--no_such_option", "1"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_readme_s_list_of_commands_is_the_help_page():
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert f"```\n{help_page()}\n```" in text
    for command in COMMANDS.values():
        assert f"\n  {command.name} " in help_page()
        assert len(f"  {command.name:<20}{command.help}") <= 88


def test_packages_and_data_files_are_all_shipped(metadata):
    folders = {
        ".".join(path.relative_to(ROOT).parts)
        for path in [PACKAGE, *PACKAGE.rglob("*")]
        if path.is_dir() and any(path.glob("*.py"))
    }
    assert set(metadata["packages"]) == folders
    shipped = set()
    for package, patterns in metadata.get("package_data", {}).items():
        for pattern in patterns:
            shipped |= set(ROOT.joinpath(*package.split(".")).glob(pattern))
    data = {
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data == shipped


def test_requirements_are_what_the_sources_import(metadata):
    asked = {canonical(entry) for entry in metadata["install_requires"]}
    roots = set()
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "local").glob("*.py")]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                roots.add(node.module.partition(".")[0])
    roots -= set(sys.stdlib_module_names) | {"espnet2_avsep", "__future__"}
    for name, extra in OPTIONAL.items():
        names = map(canonical, metadata["extras_require"][extra])
        assert canonical(name) in names
    assert set(OPTIONAL) <= roots
    roots -= set(OPTIONAL)
    distributions = packages_distributions()
    assert roots <= set(distributions), "imported, and in no installed package"
    imported = {
        canonical(name) for root in roots for name in distributions.get(root, [])
    }
    missing = imported - asked - {canonical(name) for name in BROUGHT_ALONG}
    assert not missing, "imported, and not in install_requires"
    idle = asked - imported - {canonical(name) for name in NOT_IMPORTED}
    assert not idle, "in install_requires, and imported nowhere"


def test_constraints_name_one_version_with_a_reason(metadata):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins, explained = {}, False
    for line in lines:
        if not line.strip():
            explained = False
        elif line.startswith("#"):
            explained = True
        else:
            assert explained, f"{line}: no reason above it"
            match = re.fullmatch(r"([\w.-]+)==([\w.]+)( ; python_version .+)?", line)
            assert match, f"{line}: expected package==version"
            pins.setdefault(canonical(match[1]), []).append(match[3])
    for name, markers in pins.items():
        assert len(markers) == 1 or (len(markers) == 2 and all(markers)), name
    wanted = {
        canonical(entry)
        for entry in metadata["install_requires"] + metadata["extras_require"]["test"]
    }
    # ESPnet fixes sentencepiece itself; yaml and tqdm change no figure.
    assert wanted - set(pins) <= {"sentencepiece", "pyyaml", "tqdm"}


def test_readme_s_python_range_is_that_of_the_set_up(metadata):
    low, high = re.fullmatch(
        r">=3\.(\d+),<3\.(\d+)", metadata["python_requires"]
    ).groups()
    script = (ROOT / "utils" / "setup_env.sh").read_text(encoding="utf-8")
    accepted = " | ".join(f"3.{minor}" for minor in range(int(low), int(high)))
    assert f"{accepted}) return 0" in script

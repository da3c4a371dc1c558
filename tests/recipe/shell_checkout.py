"""A checkout to try the recipe's shell in, with a Python that only pretends to work."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Stands in for the real Python: notes the call, writes what the command would leave.
SHIM = """\
import sys

argv = sys.argv[1:]
if argv[0] == "-c":
    sys.exit(0)

import json, os
from pathlib import Path

if argv[1:] == ["espnet2_avsep.bin.avsep_made_from", "versions"]:
    print(os.environ.get("FAKE_VERSIONS", "7:1 8:2"))
    sys.exit(0)
if argv[1:2] == ["espnet2_avsep.bin.avsep_config"] and "grounds" in argv:
    print(str("separator: ccol" in Path(argv[-1]).read_text()).lower())
    sys.exit(0)
if argv[1:2] == ["espnet2_avsep.bin.avsep_config"] and argv[2].startswith("--"):
    # Quick, and not pretended.
    os.environ["PYTHONPATH"] = "{root}"
    os.execv("{python}", ["{python}", *argv])
if argv[1:2] == ["espnet2_avsep.bin.avsep_config"]:
    for path in argv[2:]:
        kind = "frames" if "sound_of_pixels" in path else "clip"
        print(path, str("untrained" not in path).lower(), kind, "any")
    sys.exit(0)
name = argv[1].split(".")[-1] if argv[0] == "-m" else Path(argv[0]).stem
rest = argv[2:] if argv[0] == "-m" else argv[1:]
if name == "run_steps":
    # Each command by itself, in a process of its own.
    words = [*rest, "--step"]
    starts = [i for i, word in enumerate(words) if word in ("--step", "--step_if")]
    for start, end in zip(starts, starts[1:]):
        step = words[start + 1 : end]
        if words[start] == "--step_if" and not os.path.getsize(step.pop(0)):
            continue
        child = os.fork()
        if child == 0:
            name, *rest = step
            break
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            sys.exit(code)
    else:
        sys.exit()
with open("calls.jsonl", "a") as f:
    call = dict(name=name, args=rest, threads=os.environ.get("OMP_NUM_THREADS"))
    f.write(json.dumps(call) + "\\n")
if name == os.environ.get("FAKE_FAILS"):
    sys.exit(f"{{name}} was told to fail")
if name == os.environ.get("FAKE_HANGS"):
    Path("hanging").write_text(str(os.getpid()))
    import time
    time.sleep(1000)  # longer than any test waits


def option(key, default=None):
    return rest[rest.index(key) + 1] if key in rest else default


def options(key):
    return [rest[i + 1] for i, word in enumerate(rest) if word == key]


def many(key):
    words = rest[rest.index(key) + 1 :]
    ends = [i for i, word in enumerate(words) if word.startswith("--")]
    return words[: ends[0]] if ends else words


def table(path):
    lines = Path(path).read_text().splitlines()
    return dict(line.split(None, 1) for line in lines)


def save(path, rows, separator=" "):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join(row) + "\\n" for row in rows))


out = Path(option("--output_dir", "."))
lost = os.environ.get("FAKE_LOSES", "").split()
bad = os.environ.get("FAKE_SKIPS", "").split()
if name == "launch":
    # As espnet2.bin.launch does on one machine.
    import subprocess
    split, ngpu = rest.index("--"), option("--ngpu")
    command = [*option("--cmd").split(), "--gpu", ngpu, option("--log")]
    command += rest[split + 1 :] + ["--ngpu", ngpu]
    command += ["--multiprocessing_distributed", "True"]
    sys.exit(subprocess.run(command).returncode)
elif name.startswith("prepare_mini_music"):
    (Path(option("--corpus_dir")) / "splits").mkdir(parents=True, exist_ok=True)
elif name.startswith("prepare_"):
    sets = [option("--train_set"), option("--valid_set")]
    sets += option("--test_sets").split() + option("--real_sets", "").split()
    for n, dset in enumerate(sets):
        keys = [f"{{spk}}-{{n}}{{i}}" for spk in ("cello", "tuba") for i in range(3)]
        folder = Path(option("--data_dir")) / dset
        for file in ("wav.scp", "video.scp"):
            save(folder / file, [(key, "/dev/null") for key in keys])
        save(folder / "utt2spk", [(key, key.split("-")[0]) for key in keys])
        save(folder / "utt2clip", [(key, key.replace("-", "/")) for key in keys])
        save(folder / "spk2utt", [(s, *[k for k in keys if k.startswith(s)])
                                  for s in ("cello", "tuba")])
        save(folder / "skipped.tsv", [])
        if dset in option("--real_sets", "").split():
            save(folder / "utt2pair", [(key, "cello tuba") for key in keys])
elif name == "avsep_download":
    save(out / "manifest.tsv", [("id", "status")], "\\t")
elif name in ("avsep_extract_visual", "avsep_extract_motion"):
    if "--check_weights" in rest:
        sys.exit(os.environ.get("FAKE_NO_WEIGHTS"))
    kind = name.rpartition("_")[2]
    assert option("--allow_empty") == "true"
    weights = option(f"--{{kind}}_pretrained", "given")
    info = [("weights:", weights), ("pretrained:", weights)]
    if kind == "motion":
        info += [("motion:", option("--motion_encoder", "given"))]
    for n, (path, out) in enumerate(zip(many("--video_scp"), many("--output_dir"))):
        if not Path(path).read_text():
            continue
        out = Path(out)
        keys = [key for key in table(path) if key not in lost]
        if "--wav_scp" in rest:
            assert set(keys) <= set(table(many("--wav_scp")[n]))
        good = [key for key in keys if key not in bad]
        save(out / f"{{kind}}.scp", [(key, f"{{out}}/{{kind}}.ark:{{i}}")
                                   for i, key in enumerate(good)])
        save(out / f"{{kind}}.content", [(key, "digest") for key in good])
        save(out / f"{{kind}}_shape", [(key, "6,512") for key in good])
        save(out / f"{{kind}}_skipped.tsv",
             [(key, kind, "no picture") for key in keys if key in bad], "\\t")
        save(out / f"{{kind}}_info.yaml", info)
        if kind == "visual" and option("--visual_boxes"):
            sources = list(enumerate(("file", "whole_frame")))
            rows = [(key, str(row), *"0 0 9 9".split(), "-", "-", source)
                    for key in good for row, source in sources]
            save(out / "visual_boxes.tsv", rows, "\\t")
elif name == "avsep_format_audio":
    keys = [key for key in table(option("--wav_scp")) if key not in lost]
    save(out / "wav.scp", [(key, f"{{out}}/data/{{key}}.wav") for key in keys])
    save(out / "wav.content", [(key, "digest") for key in keys])
    save(out / "utt2num_samples", [(key, "90000") for key in keys])
    save(out / "skipped.tsv", [])
elif name == "avsep_filter_clips":
    wavs = table(Path(option("--wav_dir")) / "wav.scp")
    visual = table(Path(option("--visual_dir")) / "visual.scp")
    keys = [key for key in wavs if key in visual]
    for file in ("wav.scp", "spk1.scp"):
        save(out / file, [(key, wavs[key]) for key in keys])
    save(out / "visual_spk1.scp", [(key, visual[key]) for key in keys])
    for stem, folder in (word.split(":") for word in options("--condition_dir")):
        rows = table(Path(folder) / f"{{stem}}.scp")
        save(out / f"{{stem}}_spk1.scp", [(key, rows[key]) for key in keys])
    save(out / "skipped.tsv", [(k, "x", "y") for k in wavs if k not in visual], "\\t")
    save(out / "counts.yaml", [("clips:", str(len(keys)))])
elif name == "avsep_make_mixtures":
    clips = Path(option("--clips_dir"))
    n = int(option("--num_mixtures", 4))
    mixtures = [f"mix{{i:05d}}" for i in range(n)]
    files = ["wav.scp"]
    for s in range(1, int(option("--num_sources")) + 1):
        files += [f"spk{{s}}.scp", f"visual_spk{{s}}.scp"]
        for stem in ("motion", "depth"):
            if (clips / f"{{stem}}_spk1.scp").exists():
                files += [f"{{stem}}_spk{{s}}.scp"]
    for file in files:
        save(out / file, [(key, f"{{out}}/{{file}}/{{key}}") for key in mixtures])
    save(out / "mixtures.tsv", [("mix_id", option("--seed"))])
    import hashlib
    digest = hashlib.sha256((out / "mixtures.tsv").read_bytes()).hexdigest()
    save(out / "mixtures.sha256", [(digest, " mixtures.tsv")])
    save(out / "data" / "state.sha256", [(digest,)])
    (out / "skipped.tsv").write_bytes((clips / "skipped.tsv").read_bytes())
elif name == "avsep_check_leaks":
    save(option("--output"), [("kind", "set")], "\\t")
elif name == "avsep_make_real_mixtures":
    keys = list(table(Path(option("--wav_dir")) / "wav.scp"))
    for folder in options("--visual_dir"):
        assert set(table(Path(folder) / "visual.scp")) == set(keys)
    for file in ("wav.scp", "visual_spk1.scp", "visual_spk2.scp"):
        save(out / file, [(key, f"{{out}}/{{file}}/{{key}}") for key in keys])
    save(out / "mixtures.sha256", [("0", " real_mixtures.tsv")])
    save(out / "data" / "state.sha256", [("0",)])
    save(out / "skipped.tsv", [])
elif name == "avsep_collect_stats":
    for triple in options("--data_path_and_name_and_type"):
        path, data, kind = triple.split(",")
        save(out / f"{{data}}_shape", [(key, "1") for key in table(path)])
elif name == "avsep_train":
    save(out / "config.yaml", [("config:", option("--config"))])
    for file in ("valid.si_sdr_i.best.pth", "checkpoint.pth"):
        save(out / file, [("weights",)])
elif name in ("avsep_inference", "avsep_baseline"):
    keys = [key for key in table(option("--key_file")) if key not in lost]
    triples = options("--data_path_and_name_and_type")
    visual = [triple for triple in triples if ",visual_ref" in triple]
    count = len(visual) or sum("_ref" in triple for triple in triples)
    for s in range(1, count + 1):
        wavs = f"{{out}}/wavs/spk{{s}}"
        save(out / f"spk{{s}}.scp", [(key, f"{{wavs}}/{{key}}.wav") for key in keys])
        save(out / f"spk{{s}}.content", [(key, "digest") for key in keys])
    save(out / "made_from.json", [("{{}}",)])
elif name == "avsep_scoring":
    for ref, inf in zip(options("--ref_scp"), options("--inf_scp"), strict=True):
        assert set(table(ref)) == set(table(inf))
    save(out / "scores.tsv", [("x",)])
    save(option("--mix_scores"), [("x",)])
elif name == "avsep_made_from":
    if rest[0] == "training":
        out.mkdir(parents=True, exist_ok=True)
        if "FAKE_FINISHED" in os.environ:
            print("finished")
elif name in ("avsep_health_report", "avsep_report"):
    save(out / "index.html", [("x",)])
elif name == "avsep_pack":
    save(option("--outpath"), [("packed",)])
elif name == "avsep_upload":
    save(out / "README.md", [("page",)])
elif name == "avsep_fetch_model":
    for file in ("config.yaml", "visual_info.yaml", "best.safetensors"):
        save(out / file, [("fetched",)])
    print("a line of the log\\nbest.safetensors")
elif name == "avsep_results":
    parts = "# The results", "## Scores", "scores", "## Environment", "machine"
    Path(option("--output")).write_text("\\n\\n".join(parts) + "\\n")
elif name == "make_small_config":
    save(option("--output"), [("made_from:", option("--config"))])
elif name == "avsep_compare":
    save(out / "compare_test.md", [(e,) for e in options("--experiment")])
else:
    sys.exit(f"unknown command {{name}}")
"""


class Checkout:
    """A copy of the recipe's shell, beside nothing else.

    Args:
        root: Where to put it.
        recipe: The folder to work in, within egs2.
    """

    def __init__(self, root: Path, recipe: str = "music"):
        self.root = root
        for name in ("egs2", "utils", "conf", "local"):
            shutil.copytree(
                ROOT / name,
                root / name,
                symlinks=True,
                ignore=shutil.ignore_patterns(
                    "__pycache__", "data", "dump", "exp", "downloads"
                ),
            )
        for corpus in ("music", "mini_music"):
            (root / "local" / f"prepare_{corpus}.py").touch()
        self.recipe = root / "egs2" / recipe
        self.python = root / "shim" / "python"
        self.python.parent.mkdir()
        # A module is compiled once, a script each time it is started.
        pretended = SHIM.format(python=sys.executable, root=ROOT)
        (self.python.parent / "pretended.py").write_text(pretended)
        self.python.write_text(f"#!{sys.executable} -SE\nimport pretended\n")
        self.python.chmod(0o755)
        # Of the tools in utils, which need the standard library only: without the
        # packages of any environment, Python starts in a third of the time.
        fast = root / "fast" / "bin" / "python3"
        fast.parent.mkdir(parents=True)
        fast.symlink_to(Path(sys.executable).resolve())
        (root / "fast" / "pyvenv.cfg").write_text(
            f"home = {fast.resolve().parent}\ninclude-system-site-packages = false\n"
        )

    def copy(self, root: Path):
        """Copy it, with what its recipe has made, to root; no calls are noted there."""
        subprocess.run(["cp", "-a", self.root, root], check=True)
        other = copy.copy(self)
        other.root = root
        other.recipe = root / self.recipe.relative_to(self.root)
        other.python = root / self.python.relative_to(self.root)
        other.forget()
        return other

    def environment(self, **extra):
        """The environment of a user who has activated this Python's environment."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("MUSIC", "MINI_MUSIC", "cmd_backend", "OMP_NUM_THREADS")
        }
        fast = self.root / "fast" / "bin"
        here = [str(fast), str(Path(sys.executable).parent), os.environ["PATH"]]
        path = os.pathsep.join(here)
        return {
            **kept,
            "PATH": path,
            "VIRTUAL_ENV": sys.prefix,
            "PYTHONDONTWRITEBYTECODE": "1",
            **extra,
        }

    def run(self, *arguments, script="./run.sh", stdout=subprocess.PIPE, **extra):
        """Run a script of the recipe; return its CompletedProcess."""
        return subprocess.run(
            [script, *map(str, arguments)],
            cwd=self.recipe,
            env=self.environment(**extra),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
        )

    def stages(self, first, last, *options, **extra):
        """Run stages with the pretended Python."""
        words = ["--stage", first, "--stop-stage", last, "--python", self.python]
        words += ["--nj", 2, "--inference_nj", 2, "--ngpu", 0, *options]
        return self.run(*words, **{"MUSIC": "/tmp", **extra})

    def calls(self, name=None):
        """The calls of Python so far: dicts with name, args, threads."""
        path = self.recipe / "calls.jsonl"
        if not path.exists():
            return []
        found = [json.loads(line) for line in path.read_text().splitlines()]
        return [call for call in found if name in (None, call["name"])]

    def forget(self):
        """Forget the calls so far."""
        (self.recipe / "calls.jsonl").unlink(missing_ok=True)

    def keys(self, path):
        """The keys of a table in the recipe's folder."""
        text = (self.recipe / path).read_text()
        return [line.split()[0] for line in text.splitlines()]


def value(call, key):
    """The value of an option in a call."""
    return call["args"][call["args"].index(key) + 1]


def words(call, key):
    """The words after an option in a call, up to the next option."""
    found = call["args"][call["args"].index(key) + 1 :]
    return found[: next((i for i, w in enumerate(found) if w.startswith("--")), None)]


def values(call, key):
    """All values of a repeated option in a call."""
    args = call["args"]
    return [args[i + 1] for i, word in enumerate(args) if word == key]

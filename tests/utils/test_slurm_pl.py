"""utils/slurm.pl, with a sbatch of our own."""

import json
import signal
import subprocess

import pytest
from shell_tools import ROOT, UTILS, environment, run, write

from tests.support.processes import wait_until

SLURM = UTILS / "slurm.pl"

# Runs the script at once, task by task, as sbatch --wait --parsable would.
SBATCH = """\
#!/usr/bin/env python3
import json, os, subprocess, sys, time
here = os.path.dirname(os.path.abspath(__file__))
json.dump(sys.argv[1:], open(os.path.join(here, "sbatch.json"), "w"))
if os.environ.get("FAKE_REFUSES"):
    sys.exit("sbatch: error: invalid partition specified")
if os.environ.get("FAKE_SUBMITS_LATE"):
    import signal
    def late(*_):
        print("4711;cluster", flush=True)
        sys.exit(1)
    signal.signal(signal.SIGTERM, late)
    open(os.path.join(here, "submitting"), "w").close()
    time.sleep(1000)
print("4711;cluster", flush=True)
tasks = [""]
if "--array" in sys.argv:
    first, last = sys.argv[sys.argv.index("--array") + 1].split("%")[0].split("-")
    tasks = [str(n) for n in range(int(first), int(last) + 1)]
if os.environ.get("FAKE_HANGS"):
    time.sleep(1000)
worst = 0
for task in tasks:
    if task == os.environ.get("FAKE_LOSES"):
        worst = 1
        continue
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": task, "SLURM_JOB_ID": "4711"}
    result = subprocess.run(["bash", sys.argv[-1]], env=environment)
    worst = max(worst, result.returncode)
sys.exit(worst)
"""


@pytest.fixture
def cluster(tmp_path):
    """A folder with sbatch and scancel, and a recipe's folder."""
    for name, text in (
        ("sbatch", SBATCH),
        ("scancel", '#!/usr/bin/env bash\necho "$@" > "$(dirname "$0")/cancelled"\n'),
    ):
        write(tmp_path / "bin" / name, text).chmod(0o755)
    write(tmp_path / "recipe" / "path.sh", "export FROM_PATH=yes\n")
    return tmp_path


def submit(cluster, *arguments, **extra):
    path = f"{cluster}/bin:{environment()['PATH']}"
    return run(SLURM, *arguments, cwd=cluster / "recipe", PATH=path, **extra)


def submitted(cluster):
    return json.loads((cluster / "bin" / "sbatch.json").read_text())


def test_array_job(cluster):
    result = submit(
        cluster, "--mem", "4G", "--max-jobs-run", "2", "JOB=1:3", "exp/x.JOB.log",
        "echo", "JOB", "$FROM_PATH", 'a "b"',
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    words = submitted(cluster)
    assert words[:3] == ["--export=ALL", "--mem", "4G"]
    assert words[words.index("--array") + 1] == "1-3%2"
    assert "--wait" in words
    for n in (1, 2, 3):
        lines = (cluster / f"recipe/exp/x.{n}.log").read_text().splitlines()
        assert lines[0] == f"# echo {n} $FROM_PATH 'a \"b\"'"
        assert f'{n} yes a "b"' in lines
        assert lines[-1].startswith("# Ended (code 0) at ")


def test_single_job_and_failure(cluster):
    assert submit(cluster, "exp/y.log", "true").returncode == 0
    assert "--array" not in submitted(cluster)
    result = submit(cluster, "JOB=1:2", "exp/x.JOB.log", "test", "JOB", "=", "1")
    assert result.returncode == 1
    assert "1 / 2 failed, log is in exp/x.*.log" in result.stderr
    assert "JOB = 2 (code 1)" in result.stderr


def test_a_second_run_does_not_take_the_first_ones_end(cluster):
    assert submit(cluster, "exp/y.log", "true").returncode == 0
    assert submit(cluster, "exp/y.log", "false").returncode == 1


def test_a_job_that_slurm_ended_is_missed(cluster):
    write(cluster / "recipe/conf/slurm.conf", "command sbatch\n")
    result = submit(cluster, "JOB=1:2", "exp/x.JOB.log", "true", FAKE_LOSES="2")
    assert result.returncode == 1
    assert "2 ended without a word" in result.stderr
    assert "1 / 2 failed" in result.stderr


def test_configuration_is_kaldis(cluster):
    write(
        cluster / "recipe/conf/slurm.conf",
        "# comment\ncommand sbatch -q long\noption mem=0\noption mem=* --mem $0 -x $0\n"
        "default gpu=0\noption gpu=0 -p cpu\noption gpu=* -p gpu --gres=gpu:$0 # two\n",
    )
    submit(cluster, "--gpu", "2", "--mem", "1G", "y.log", "true")
    words = " ".join(submitted(cluster))
    assert words.startswith("-q long -p gpu --gres=gpu:2 --mem 1G -x 1G --wait")
    submit(cluster, "--mem", "0", "y.log", "true")
    assert " ".join(submitted(cluster)).startswith("-q long -p cpu --wait")
    result = submit(cluster, "--time", "1:00", "y.log", "true")
    assert result.returncode == 1
    assert "--time 1:00: the configuration has no 'option time=1:00'" in result.stderr
    write(cluster / "recipe/conf/slurm.conf", "command sbatch\noptoin a=b\n")
    assert "line 2" in submit(cluster, "y.log", "true").stderr
    assert (
        "nowhere.conf"
        in submit(cluster, "--config", "nowhere.conf", "y", "true").stderr
    )


def test_shipped_configuration(cluster):
    options = ["--mem", "4G", "--gpu", "1", "--num-threads", "4", "--num_nodes", "2"]
    options += ["--name", "x", "--time", "10", "--config", ROOT / "conf" / "slurm.conf"]
    assert submit(cluster, *options, "y.log", "true").returncode == 0
    words = " ".join(submitted(cluster))
    for part in ("--gres=gpu:1", "--cpus-per-task 4", "--nodes 2", "--job-name x"):
        assert part in words


def test_refused_submission(cluster):
    result = submit(cluster, "y.log", "true", FAKE_REFUSES="1")
    assert result.returncode == 1
    assert "invalid partition" in result.stderr


def test_without_slurm(tmp_path):
    result = run(SLURM, "y.log", "true", cwd=tmp_path)
    assert result.returncode == 1
    assert "sbatch: not found" in result.stderr


def terminate(cluster, begun, **fake):
    """Terminate slurm.pl when ``begun`` holds; a job must have been cancelled."""
    path = f"{cluster}/bin:{environment()['PATH']}"
    process = subprocess.Popen(
        [SLURM, "exp/y.log", "true"],
        cwd=cluster / "recipe",
        env=environment(PATH=path, **fake),
        stderr=subprocess.DEVNULL,
    )
    wait_until(begun)
    process.terminate()
    assert process.wait(timeout=120) == 128 + signal.SIGTERM
    assert (cluster / "bin" / "cancelled").read_text() == "4711\n"


def test_termination_cancels_the_jobs(cluster):
    said = cluster / "recipe/exp/q/y.log.sbatch"
    terminate(
        cluster, lambda: said.exists() and "4711" in said.read_text(), FAKE_HANGS="1"
    )


def test_a_job_that_was_being_submitted_is_cancelled(cluster):
    """Its number came after it had been looked for: the job stayed in the queue."""
    terminate(cluster, (cluster / "bin" / "submitting").exists, FAKE_SUBMITS_LATE="1")

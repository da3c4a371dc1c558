"""utils/run.pl and utils/stdout.pl."""

import os
import re
import signal
import subprocess

import pytest
from shell_tools import UTILS, environment, run, write

from tests.support.processes import is_running, wait_until

RUN = UTILS / "run.pl"


def sleeper(tmp_path):
    """A job that starts a process of its own and names it in pid.<job>.

    It lasts longer than any test waits: it must be ended, and not end by itself.
    """
    return write(
        tmp_path / "sleeper.sh",
        f"sleep 1000 &\necho $! > {tmp_path}/pid.$1.tmp\n"
        f"mv {tmp_path}/pid.$1.tmp {tmp_path}/pid.$1\nwait\n",
    )


def test_log_has_kaldis_head_and_tail(tmp_path):
    log = tmp_path / "new" / "x.log"
    result = run(RUN, "--num-threads", "3", log, "echo", "hello;", "echo", ">&2", "bye")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    lines = log.read_text().splitlines()
    assert lines[0] == "# echo hello; echo >&2 bye"
    assert lines[1].startswith("# Started at ")
    assert lines[2:5] == ["#", "hello", "bye"]
    assert re.fullmatch(r"# Accounting: time=\d+ threads=3", lines[5])
    ended = r"# Ended \(code 0\) at .+, elapsed time \d+ seconds"
    assert re.fullmatch(ended, lines[6])


def test_quoting_is_kaldis(tmp_path):
    log = tmp_path / "x.log"
    words = ["printf", "[%s]", "a  b", "$HOME", '"c d" $HOME', ""]
    run(RUN, log, *words, "|", "tr", "a", "A")
    head, body = (log.read_text().splitlines()[i] for i in (0, 3))
    assert head == """# printf [%s] "a  b" $HOME '"c d" $HOME' "" | tr a A"""
    home = os.environ["HOME"].replace("a", "A")
    assert body.startswith(f'[A  b][{home}]["c d" $HOME][]')


def test_jobs_get_their_number(tmp_path):
    options = [
        "--mem",
        "4G",
        "JOB=2:4",
        "--name",
        "x",
        "--gpu",
        "0",
        "--num_threads",
        "1",
    ]
    result = run(
        RUN, *options, tmp_path / "d.JOB" / "x.JOB.log", "echo", "is", "JOB,JOB"
    )
    assert result.returncode == 0, result.stderr
    for n in (2, 3, 4):
        assert f"is {n},{n}" in (tmp_path / f"d.{n}" / f"x.{n}.log").read_text()
    assert run(RUN, "JOB=7", tmp_path / "y.JOB.log", "echo", "JOB").returncode == 0
    assert (tmp_path / "y.7.log").exists()


def test_failures_are_named_and_shown(tmp_path):
    job = write(tmp_path / "job.sh", 'echo "this is job $1"; [ $(($1 % 2)) = 1 ]\n')
    result = run(RUN, "JOB=1:4", tmp_path / "x.JOB.log", "bash", job, "JOB")
    assert result.returncode == 1
    assert f"2 / 4 failed, log is in {tmp_path}/x.*.log" in result.stderr
    assert "JOB = 2 (code 1), 4 (code 1)" in result.stderr
    assert "this is job 4" in result.stderr and "this is job 1" not in result.stderr
    assert "# Ended (code 0)" in (tmp_path / "x.3.log").read_text()
    result = run(RUN, tmp_path / "y.log", "kill", "-9", "$$")
    assert result.returncode == 1
    assert f"job failed (code 137), log is in {tmp_path}/y.log" in result.stderr
    assert "memory" in result.stderr


def test_max_jobs_run(tmp_path):
    """A job waits N tenths of a second for another one to find it at work."""
    job = write(
        tmp_path / "job.sh",
        f"cd {tmp_path}\nmkdir busy || {{ touch found; exit 1; }}\n"
        "for _ in $(seq $1); do [ ! -e found ] || break; sleep 0.1; done\n"
        "rmdir busy\n",
    )
    command = ["JOB=1:3", tmp_path / "x.JOB.log", "bash", job]
    assert run(RUN, "--max-jobs-run", "1", *command, "1").returncode == 0
    assert run(RUN, "--max-jobs-run", "3", *command, "300").returncode == 1


def test_gpus_are_shared_out(tmp_path):
    job = write(  # it works until the second one has begun
        tmp_path / "job.sh",
        f"echo gpus=$CUDA_VISIBLE_DEVICES\ncd {tmp_path}\ntouch begun.$1\n"
        "for _ in $(seq 300); do [ ! -e begun.2 ] || break; sleep 0.1; done\n",
    )
    show = ["JOB=1:3", tmp_path / "x.JOB.log", "bash", job, "JOB"]
    result = run(RUN, "--gpu", "2", *show, CUDA_VISIBLE_DEVICES="3,4,7,9")
    assert result.returncode == 0, result.stderr
    seen = [
        re.search("gpus=(.*)", (tmp_path / f"x.{n}.log").read_text().split("#\n")[1])[1]
        for n in (1, 2, 3)
    ]
    assert seen[:2] == ["3,4", "7,9"] and seen[2] in seen[:2]
    # A single job chooses for itself.
    run(RUN, "--gpu", "1", tmp_path / "y.log", *show[2:], CUDA_VISIBLE_DEVICES="3,4")
    assert "gpus=3,4" in (tmp_path / "y.log").read_text()


@pytest.mark.parametrize(("chosen", "gpus"), [("-1", [None]), ("5,-1,6", ["5"])])
def test_a_gpu_that_is_not_there_hides_those_after_it(tmp_path, chosen, gpus):
    """CUDA_VISIBLE_DEVICES=-1 is a common way to hide all."""
    words = ["--gpu", "1", "JOB=1:2", tmp_path / "x.JOB.log", "env"]
    result = run(RUN, *words, CUDA_VISIBLE_DEVICES=chosen)
    assert result.returncode == 0, result.stderr
    assert ("no GPU found, one job at a time" in result.stderr) == (gpus == [None])
    if gpus != [None]:
        for n in (1, 2):
            text = (tmp_path / f"x.{n}.log").read_text()
            assert "\nCUDA_VISIBLE_DEVICES=5\n" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-such", "1", "x.log", "true"], "unknown option --no-such"),
        (["--gpu=1", "x.log", "true"], "a word of its own"),
        (["--gpu", "many", "x.log", "true"], "--gpu many: expected a whole number"),
        (["--max-jobs-run", "0", "x.log", "true"], "1 or more"),
        (["JOB=1:2", "x.log", "true"], "put JOB into its name"),
        (["JOB=3:2", "x.JOB.log", "true"], "invalid job range"),
        (["JOB=0:2", "x.JOB.log", "true"], "invalid job range"),
        (["x.log"], "a log file and a command"),
        (["/proc/nothing/x.log", "true"], "cannot make the folder of"),
    ],
)
def test_bad_command_lines(tmp_path, arguments, message):
    result = run(RUN, *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_help():
    assert "JOB=1:N" in run(RUN, "--help").stdout
    assert run(RUN).returncode == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_jobs_and_what_they_started(tmp_path, signum):
    jobs = ["--max-jobs-run", "2", "JOB=1:2", tmp_path / "x.JOB.log"]
    process = subprocess.Popen(
        [RUN, *jobs, "bash", sleeper(tmp_path), "JOB"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    pids = [tmp_path / "pid.1", tmp_path / "pid.2"]
    wait_until(lambda: all(path.exists() for path in pids))
    process.send_signal(signum)
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + signum
    assert f"stopped (got {signum.name})" in message
    assert not any(is_running(int(path.read_text())) for path in pids)
    assert "# Ended (code" in (tmp_path / "x.1.log").read_text()


def test_jobs_end_when_the_launcher_is_killed(tmp_path):
    process = subprocess.Popen(
        [RUN, tmp_path / "x.log", "bash", sleeper(tmp_path), "1"], env=environment()
    )
    wait_until((tmp_path / "pid.1").exists)
    process.kill()
    process.wait()
    pid = int((tmp_path / "pid.1").read_text())
    wait_until(lambda: not is_running(pid))
    # The log is free again for a second run.
    assert run(RUN, tmp_path / "x.log", "true").returncode == 0


def test_jobs_end_when_the_calling_script_is_killed(tmp_path):
    caller = write(
        tmp_path / "caller.sh",
        f"{RUN} {tmp_path}/x.log bash {sleeper(tmp_path)} 1\necho not reached\n",
    )
    process = subprocess.Popen(
        ["bash", caller], env=environment(), stderr=subprocess.DEVNULL
    )
    wait_until((tmp_path / "pid.1").exists)
    process.kill()
    process.wait()
    pid = int((tmp_path / "pid.1").read_text())
    wait_until(lambda: not is_running(pid))


def test_a_log_still_being_written_is_refused(tmp_path):
    first = subprocess.Popen(
        [RUN, tmp_path / "x.log", "bash", sleeper(tmp_path), "1"],
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    wait_until((tmp_path / "pid.1").exists)
    second = run(RUN, tmp_path / "x.log", "true")
    first.terminate()
    first.wait()
    assert second.returncode == 1
    assert "earlier run is still writing" in second.stderr


def test_stdout_pl_shows_and_logs(tmp_path):
    command = ["JOB=1:2", tmp_path / "x.JOB.log", "echo", "hello", "JOB"]
    result = run(UTILS / "stdout.pl", *command)
    assert result.returncode == 0
    assert "hello 1\n" in result.stdout and "hello 2\n" in result.stdout
    assert "hello 2\n" in (tmp_path / "x.2.log").read_text()
    assert "# Ended (code 0)" in (tmp_path / "x.1.log").read_text()
    assert run(UTILS / "stdout.pl", tmp_path / "y.log", "false").returncode == 1

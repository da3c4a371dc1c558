#!/usr/bin/env bash
# Make the Python environment of this checkout, in .venv, or bring it up to date.

set -euo pipefail

help_message=$(cat << 'EOF'
Usage: [PYTHON=python3.12] utils/setup_env.sh

Makes .venv in the repository root and installs the package into it (editable, with its
tests' needs) at the versions of constraints.txt. Done once: a second call returns at
once unless setup.py, constraints.txt or the Python asked for has changed. A set-up that
was interrupted is started again.

PYTHON     the interpreter to use, 3.10 to 3.12 (default: that of an existing .venv, else
           the first fit one of python3, python3.12, python3.11, python3.10)

uv installs where it is on the PATH, else pip. Their own configuration files and
environment variables (for example another package index) hold as always.
EOF
)

log() {
    echo "setup: $*"
}

die() {
    echo "setup: error: $*" >&2
    exit 1
}

if [ $# -gt 0 ]; then
    echo "${help_message}"
    case "$1" in
        -h | --help) exit 0 ;;
        *)
            echo "setup: error: unknown argument '$1'; expected none" >&2
            exit 2
            ;;
    esac
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${root}/.venv
# Written last, so that it says: everything before it was done.
stamp=${venv}/.ready
# Written first, so that it says: this folder is ours to delete.
log_file=${venv}/setup.log
# What is set for other work must not leak into the environment or its builds.
unset PYTHONPATH PYTHONHOME

# Print "3.11 /path/of/the/base/interpreter"; fail if $1 is no Python 3. The base
# interpreter, since $1 may belong to the very .venv that is about to be made anew.
probe() {
    "$1" -c '
import sys
version = "%d.%d" % sys.version_info[:2]
path = sys.executable
if sys.prefix != sys.base_prefix:
    path = "%s/bin/python%s" % (sys.base_prefix, version)
print(version + " " + path)
' < /dev/null 2> /dev/null
}

fits() {
    case "$1" in
        3.10 | 3.11 | 3.12) return 0 ;;
        *) return 1 ;;
    esac
}

choose_python() {
    local found candidate seen=""
    local remedy="Install one of Python 3.10, 3.11, 3.12 and name it: PYTHON=python3.12 make setup"
    if [ "${installer}" = uv ]; then
        remedy="${remedy}
  (with uv: 'uv python install 3.12', then PYTHON=\"\$(uv python find 3.12)\" make setup)"
    fi
    if [ -n "${PYTHON:-}" ]; then
        found=$(probe "${PYTHON}") ||
            die "PYTHON=${PYTHON} cannot be run as a Python 3. ${remedy}"
        fits "${found%% *}" ||
            die "PYTHON=${PYTHON} is Python ${found%% *}; 3.10, 3.11 or 3.12 is needed. ${remedy}"
    elif [ -f "${stamp}" ] && found=$(probe "${venv}/bin/python") && fits "${found%% *}"; then
        :
    else
        found=""
        for candidate in python3 python3.12 python3.11 python3.10 python; do
            if found=$(probe "${candidate}"); then
                fits "${found%% *}" && break
                seen="${seen} ${candidate} is ${found%% *};"
            fi
            found=""
        done
        [ -n "${found}" ] ||
            die "no Python 3.10, 3.11 or 3.12 on the PATH (${seen:- no Python at all;} looked for python3, python3.12, python3.11, python3.10). ${remedy}"
    fi
    version=${found%% *}
    python=${found#* }
}

# pyworld, which ESPnet requires for the pitch of synthetic speech and nothing here uses,
# is the one requirement that comes without wheels, in C++.
can_build_pyworld() {
    "${python}" - << 'EOF' > "${venv}/compiler.log" 2>&1
import os
import pathlib
import shlex
import subprocess
import sys
import sysconfig
import tempfile

compiler = os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++"
with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder, "probe.cpp")
    source.write_text("#include <Python.h>\n#include <vector>\n")
    command = shlex.split(compiler) + ["-fsyntax-only", str(source)]
    command.append("-I" + sysconfig.get_path("include"))
    try:
        sys.exit(subprocess.run(command).returncode)
    except OSError as error:
        sys.exit(str(error))
EOF
}

# Run a command with its output in the log; on failure show the log's end and stop.
logged() {
    "$@" >> "${log_file}" 2>&1 && return
    tail -n 25 "${log_file}" >&2
    die "'$1' failed; above is the end of ${log_file}. If the network failed or the disk was full, fix that and run 'make setup' again."
}

# Print what the log says so far: "resolving <found>" or "installing <total>", in packages.
# uv says how many there are once it has resolved them. pip resolves and downloads them one by
# one ("Collecting ..."), and then lists those that it installs.
phase() {
    awk '
        /^Resolved [0-9]+ packages/ { total = $2; installing = 1 }
        /^Collecting / { found++; installing = 0 }
        /^Installing collected packages: / { total += NF - 3; installing = 1 }
        END { print (installing ? "installing " total : "resolving " found + 0) }
    ' "${log_file}"
}

# Now and then, say how many packages are installed and what is being done.
show_progress() {
    local phase number installed line last=""
    while sleep "${SETUP_INTERVAL:-15}" > /dev/null 2>&1 && kill -0 $$ 2> /dev/null; do
        read -r phase number <<< "$(phase)"
        installed=$(find "${venv}"/lib/python*/site-packages -maxdepth 1 -name '*.dist-info' 2> /dev/null | wc -l)
        line=$(tail -n 1 "${log_file}" | tr '\r' '\n' | tail -n 1 | cut -c 1-100)
        if [ "${phase}" = installing ]; then
            line="${installed} of ${number} packages installed; now: ${line}"
        else
            line="${number} packages found, not yet installed; now: ${line}"
        fi
        [ "${line}" = "${last}" ] || log "${line}"
        last=${line}
    done
}

make_venv() {
    if [ -d "${venv}" ] && [ -n "$(ls -A "${venv}")" ]; then
        if [ ! -f "${venv}/pyvenv.cfg" ] && [ ! -f "${log_file}" ]; then
            die "${venv} exists and is no virtual environment: move it away, then try again."
        fi
        log "removing the unfinished or outdated ${venv}"
        rm -rf "${venv}"
    fi
    mkdir -p "${venv}"
    : > "${log_file}"
    if [ "${installer}" = uv ]; then
        logged uv venv --quiet --allow-existing --python "${python}" "${venv}"
    else
        "${python}" -c 'import ensurepip' 2> /dev/null ||
            die "${python} lacks the modules that make virtual environments. Install them (Debian, Ubuntu: apt install python${version}-venv) or put uv on the PATH."
        logged "${python}" -m venv "${venv}"
    fi
}

install_with_uv() {
    local options=(--python "${venv}/bin/python" --constraint constraints.txt
        --build-constraint constraints.txt)
    if [ "${with_pyworld}" = false ]; then
        echo "pyworld ; python_version < '3'" > "${venv}/without.txt"
        options+=(--override "${venv}/without.txt")
    fi
    uv pip install "${options[@]}" --editable '.[test]'
}

install_with_pip() {
    local pip=("${venv}/bin/python" -m pip)
    # pip 26 refuses ci_sdr, see constraints.txt; 25.3 is the first with --build-constraint.
    "${pip[@]}" install 'pip>=25.3,<26'
    pip+=(install --progress-bar off --constraint constraints.txt
        --build-constraint constraints.txt)
    if [ "${with_pyworld}" = true ]; then
        "${pip[@]}" --editable '.[test]'
        return
    fi
    # pip cannot leave out a requirement of a requirement: list them, but for pyworld.
    "${pip[@]}" --no-deps espnet --editable .
    "${venv}/bin/python" - << 'EOF' > "${venv}/without.txt"
from importlib.metadata import requires

for line in requires("espnet"):
    if "extra ==" not in line and not line.startswith("pyworld"):
        print(line)
for line in requires("espnet2_avsep"):
    if not line.startswith("espnet"):
        print(line.partition(";")[0])
EOF
    "${pip[@]}" --requirement "${venv}/without.txt"
}

check() {
    "${venv}/bin/python" -W ignore - << 'EOF'
import platform

import av
import espnet2_avsep
import kaldiio
import soundfile
import torch
import torchaudio

gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, the CPU is used"
print(
    f"setup: ready: espnet2_avsep {espnet2_avsep.__version__}, "
    f"Python {platform.python_version()}, torch {torch.__version__}, GPU: {gpu}"
)
EOF
}

cd "${root}"
installer=pip
# Asked to run, not just looked for: pyenv leaves a uv that only prints an error.
uv --version > /dev/null 2>&1 && installer=uv
choose_python
key="$(cat setup.py constraints.txt utils/setup_env.sh | cksum) ${version} ${root}"
if [ -f "${stamp}" ] && [ "$(cat "${stamp}")" = "${key}" ] && probe "${venv}/bin/python" > /dev/null; then
    log "up to date: .venv, Python ${version}"
    exit 0
fi

# An environment that was finished once, of this Python and at this place, is brought up
# to date; any other is made anew.
if [ -f "${stamp}" ] && [ "$(cut -d ' ' -f 3- "${stamp}")" = "${version} ${root}" ] &&
    probe "${venv}/bin/python" > /dev/null; then
    rm "${stamp}"
else
    make_venv
fi

free_gb=$(($(df -Pk "${venv}" | awk 'NR == 2 { print $4 }') / 1000000))
[ "${free_gb}" -ge 10 ] ||
    log "warning: ${free_gb} GB are free here; .venv takes 6 GB and the installer's cache 3 to 6 GB"
with_pyworld=true
if ! can_build_pyworld; then
    with_pyworld=false
    log "no C++ compiler that finds Python.h: pyworld (speech synthesis) is left out of ESPnet; nothing here uses it"
fi
log "installing with ${installer} for Python ${version} (${python}); this can take some minutes"
log "its output: ${log_file}"
show_progress &
watcher=$!
trap 'kill "${watcher}" 2> /dev/null || true' EXIT
logged "install_with_${installer}"
kill "${watcher}" 2> /dev/null || true
check || die "the environment was installed and does not work; remove ${venv} and run 'make setup' again."
echo "${key}" > "${stamp}"

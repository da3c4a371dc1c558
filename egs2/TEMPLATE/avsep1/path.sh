# shellcheck shell=bash
# The environment of a recipe; sourced, in the recipe's folder.

# MAIN_ROOT is the folder that holds egs2: this repository, or an ESPnet checkout into
# whose egs2/<corpus>/avsep1 the recipe was copied.
_folder=${PWD}
while [ "${_folder}" != / ] && [ "${_folder##*/}" != egs2 ]; do
    _folder=$(dirname "${_folder}")
done
MAIN_ROOT=$(dirname "${_folder}")
if [ "${_folder}" = / ]; then
    MAIN_ROOT=${PWD}
fi
export MAIN_ROOT
unset _folder

# Python: ESPnet's own environment; else, where none but conda's base is active, the one
# that "make setup" made.
_opts=$-
set +u
if [ -f "${MAIN_ROOT}/tools/activate_python.sh" ]; then
    # shellcheck source=/dev/null
    . "${MAIN_ROOT}/tools/activate_python.sh"
    if [ -f "${MAIN_ROOT}/tools/extra_path.sh" ]; then
        # shellcheck source=/dev/null
        . "${MAIN_ROOT}/tools/extra_path.sh"
    fi
elif [ -z "${VIRTUAL_ENV:-}" ] && [[ ${CONDA_DEFAULT_ENV:-base} = base ]] &&
    [ -f "${MAIN_ROOT}/.venv/bin/activate" ]; then
    # shellcheck source=/dev/null
    . "${MAIN_ROOT}/.venv/bin/activate"
fi
case ${_opts} in *u*) set -u ;; esac
unset _opts

export PATH=${PWD}/utils:${PATH}
export LC_ALL=C
# Jobs run side by side, one thread each; training on a CPU takes --train_threads instead.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Idle threads of OpenMP sleep instead of spinning: beside another busy process, two
# spinning threads are 3-4 times slower than one.
if [ -z "${GOMP_SPINCOUNT:-}" ]; then
    export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
fi
export PYTHONIOENCODING=UTF-8
# glibc gives large arrays back to the kernel when they are freed and gets them again,
# zeroed, page by page, for the next: a third of a training step on a CPU. These keep
# them (see tests/benchmarks/README.md; peak memory grows by a seventh to a half).
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_:-0}
export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-2147483647}

# The package of this checkout, unless one is installed (looked for, not imported).
if [ -d "${MAIN_ROOT}/espnet2_avsep" ] && ! "${python:-python3}" -c '
import importlib.util, sys
sys.exit(importlib.util.find_spec("espnet2_avsep") is None)' 2> /dev/null; then
    export PYTHONPATH=${MAIN_ROOT}${PYTHONPATH:+:${PYTHONPATH}}
fi

#!/usr/bin/env bash
# Logs, jobs and stages of a recipe's script; to be sourced after its options are parsed.
# What run_and_show and run_group started ends with the script.

# shellcheck disable=SC2154  # stage, stop_stage, python, progress_interval: the options

log() {
    printf '%(%Y-%m-%dT%H:%M:%S)T (%s) %s\n' -1 \
        "${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}:${FUNCNAME[1]}" "$*"
}

# die <message>: print it and end, with exit status 2
die() {
    printf '%(%Y-%m-%dT%H:%M:%S)T (%s) Error: %s\n' -1 \
        "${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}:${FUNCNAME[1]}" "$*" >&2
    exit 2
}

# one_line <option> ...: put blanks in place of line ends and tabs in their values
one_line() {
    local name
    for name in "$@"; do
        printf -v "${name}" '%s' "${!name//[[:space:]]/ }"
    done
}

# ------------------------------------------------------------------- stages

running_stage=

# begin_stage <number> <what>: log it, after how long the stage before it took
begin_stage() {
    end_stage
    log "Stage $1: $2"
    running_stage=$1
    stage_start=${SECONDS}
}

# end_stage: log how long the stage took that was begun last
end_stage() {
    [ -z "${running_stage}" ] || log "Stage ${running_stage} took $((SECONDS - stage_start)) s"
    running_stage=
}

# wanted <number>: whether --stage and --stop_stage ask for this stage
wanted() {
    [ "${stage}" -le "$1" ] && [ "${stop_stage}" -ge "$1" ]
}

# need <file> <stage>: an error unless it is there, not empty, from an earlier stage
need() {
    [ -s "$1" ] || die "$1 is missing or empty. Stage $2 writes it: run '--stage $2 --stop_stage $2' first"
}

# stopped: after Ctrl-C or a signal, when the jobs have ended, say how to go on
stopped() {
    trap '' INT TERM HUP
    local where='' again=''
    if [ -n "${running_stage}" ]; then
        where=" in stage ${running_stage}" again=" (or with '--stage ${running_stage}')"
    fi
    log "Stopped${where}. Run the same command again${again} to go on: what is finished is kept" >&2
    exit 143
}
trap stopped INT TERM HUP

# --------------------------------------------------------------------- jobs

# wait_for <job> <what to kill>: wait for its end and return its exit status
wait_for() {
    local status=0
    # bash cannot act on a signal while it runs a command, but while it waits it can.
    # shellcheck disable=SC2064  # as the arguments are now
    trap "kill -TERM -- $2 2> /dev/null || true; wait; stopped" INT TERM HUP
    wait "$1" || status=$?
    trap stopped INT TERM HUP
    return "${status}"
}

# run_group <command> ...: run it as a process group
run_group() {
    set -m
    "$@" < /dev/null &
    set +m
    wait_for "$!" "-$!"
}

# show_progress <logs>: now and then, print what is new in the logs; <logs> may hold a "*"
show_progress() {
    local file files line shown
    local -A last=()
    # Its sleep may outlive it, and shall hold no lock (of utils/write_file.sh).
    [ -z "${held_lock:-}" ] || exec {held_lock}>&-
    while sleep "${progress_interval}" > /dev/null 2>&1 && kill -0 $$ 2> /dev/null; do
        shown=0
        mapfile -t files < <(compgen -G "$1")
        for file in "${files[@]}"; do
            if [ ! -f "${file}" ] || grep -q '^# Ended (' "${file}"; then
                continue
            fi
            line=$(tail -n 20 "${file}" | tr '\r' '\n' | grep -e ' INFO: ' -e '%|' | tail -n 1 | sed 's/.* INFO: //' | cut -c 1-120) || true
            if [ -n "${line}" ] && [ "${line}" != "${last[${file}]:-}" ] && [ "${shown}" -lt 4 ]; then
                echo "    ${file##*/}: ${line}"
                last[${file}]=${line}
                shown=$((shown + 1))
            fi
        done
    done
}

# shell_word <word>: set word to what a shell reads back as it, without blanks
shell_word() {
    local LC_ALL=C char code i
    word=$1
    [[ ! $1 =~ ^[A-Za-z0-9_@%+=:,./-]*$ ]] || return 0
    word=
    for ((i = 0; i < ${#1}; i++)); do
        char=${1:i:1}
        if [[ ${char} != [[:graph:]] || ${char} == [\'\\] ]]; then
            printf -v code '%d' "'${char}"
            printf -v char '\\x%02x' $((code & 255))
        fi
        word+=${char}
    done
    word="\$'${word}'"
}

# run_and_show <what> <logs> <command> ...: run it, say where its logs are, show progress
run_and_show() {
    local what=$1 logs=$2 status=0 job watcher='' word first=${python} is_job=false words=()
    shift 2
    log "${what} started... log: '${logs}'"
    # Launchers give the job's words to a shell as they are: a name must not become a command.
    [ "$1" != env ] || first=-- # espnet2.bin.launch starts the launcher itself
    for word in "$@"; do
        [ "${word}" != "${first}" ] || is_job=true
        ! "${is_job}" || shell_word "${word}"
        words+=("${word}")
    done
    "${words[@]}" &
    job=$!
    if [ "${progress_interval}" -gt 0 ] && [ "${cmd_backend}" != stdout ]; then
        show_progress "${logs}" &
        watcher=$!
    fi
    wait_for "${job}" "${watcher} ${job}" || status=$?
    if [ -n "${watcher}" ]; then
        { kill "${watcher}" && wait "${watcher}"; } 2> /dev/null || true
    fi
    if [ "${status}" -ne 0 ]; then
        log "Error: ${what} failed. log: '${logs}'" >&2
        exit "${status}"
    fi
}

# set_job_numbers: set cores, of the machine that trains, and nj, inference_nj and ngpu where they are empty
set_job_numbers() {
    local jobs=8 gpus=1 # of a cluster, whose machines are not known here
    # nproc obeys these variables, and path.sh sets the first one.
    cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    if [[ ${cmd_backend} =~ ^(local|stdout)$ ]]; then
        jobs=$((cores < 8 ? cores : 8))
        gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU') || true
        # CUDA takes those before the first number that no GPU has, such as -1.
        [[ ! ${CUDA_VISIBLE_DEVICES-unset} =~ ^(-.*)?$ ]] || gpus=0
        gpus=$((gpus < 1 ? 0 : 1))
    else
        # Of the machine that trains, those that it is asked for.
        cores=1
        [[ ! ${cuda_cmd} =~ --num[-_]threads\ +([1-9][0-9]*) ]] || cores=${BASH_REMATCH[1]}
    fi
    nj=${nj:-${jobs}} inference_nj=${inference_nj:-${jobs}} ngpu=${ngpu:-${gpus}}
}

# ------------------------------------- commands that one process of each job runs in turn

steps=()

# step <command> <argument> ...: note a command of the package for run_steps
step() {
    steps+=(--step "$@")
}

# step_if <file> <command> <argument> ...: the same, done only if the file is not empty
step_if() {
    steps+=(--step_if "$@")
}

# run_steps <what> <log> <launcher with its options> [JOB=1:N]: run the noted commands, if any
run_steps() {
    local what=$1 log=$2 launcher=$3
    shift 3
    [ ${#steps[@]} -gt 0 ] || return 0
    # shellcheck disable=SC2086  # launchers are several words
    run_and_show "${what}" "${log//JOB/*}" ${launcher} "$@" "${log}" \
        "${python}" utils/run_steps.py "${steps[@]}"
    steps=()
}

# ------------------------------------------------ tables that jobs read and write in pieces

# split_jobs <table> <pieces>: split it over --nj jobs (or the number that $3 gives), JOB
# standing for 1, ...; set num_pieces and, over all tables that merge_jobs will merge,
# max_pieces; the pieces after these are empty
split_jobs() {
    local lines
    mkdir -p "$(dirname "$2")"
    lines=$(wc -l < "$1")
    num_pieces=$((lines < $3 ? lines : $3))
    max_pieces=$((num_pieces > max_pieces ? num_pieces : max_pieces))
    # Consecutive pieces, whose lengths differ by one at most.
    PIECES=$2 awk -v lines="${lines}" -v jobs="$3" '
        function piece(n, path) {
            path = ENVIRON["PIECES"]
            gsub(/JOB/, n, path)
            return path
        }
        BEGIN {
            pieces = lines < jobs ? lines : jobs
            n = left = 0
            for (job = 1; job <= jobs; job++) printf "" > piece(job)
        }
        left == 0 {
            n++
            left = int(lines / pieces) + (n <= lines % pieces)
        }
        { print > piece(n); left-- }' "$1"
}

merges=() max_pieces=0

# merge_later <argument> ...: note a group of arguments of merge_scp.py for merge_jobs
merge_later() {
    merges+=(${merges[0]+--} "$@")
}

# merge_jobs: merge what is noted
merge_jobs() {
    python3 utils/merge_scp.py "${merges[@]}"
    merges=() max_pieces=0
}

# set_count <table>: set num_lines to its number of lines
set_count() {
    num_lines=$(wc -l < "$1")
    num_lines=$((num_lines))
}

# log_counts <what> <table> <table of what is left out>: an error if no clip is left
log_counts() {
    local num_clips
    set_count "$2"
    num_clips=${num_lines}
    set_count "$3"
    log "$1 of ${num_clips} clips, ${num_lines} left out ($3)"
    [ "${num_clips}" -gt 0 ] || die "$1: no clip is left; see $3"
}

# set_triples <folder> <number of sources> <table,name,type> ...: set _triples to ESPnet's
# descriptions of the data, an N in them standing for each source in turn, and _data to them
# as options
set_triples() {
    local folder=$1 number=$2 item file n
    shift 2
    _triples=() _data=()
    for item in "$@"; do
        for ((n = 1; n <= number; n++)); do
            file=${item//N/${n}}
            need "${folder}/${file%%,*}" 4
            _triples+=("${folder}/${file}")
            _data+=(--data_path_and_name_and_type "${folder}/${file}")
            [[ ${item} = *N* ]] || break
        done
    done
}

#!/usr/bin/env bash
# Make the folder of a new recipe.
set -euo pipefail

help_message=$(
    cat << EOF
Usage: $0 <target>
e.g.   $0 egs2/my_corpus

Makes <target> with links to the shared parts, a run.sh to fill in and a README.md, and
local/prepare_<corpus>.py, which reads videos <folder>/<class>/<id>.mp4. A target that
exists already is refused; a prepare_<corpus>.py that exists is kept.
EOF
)

log() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') (${0##*/}) $*"
}

if [ $# -ne 1 ] || [[ $1 = -* ]]; then
    echo "${help_message}"
    [[ $# -eq 1 && $1 =~ ^(-h|--help)$ ]] && exit 0
    exit 2
fi

target=${1%/}
template=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "${template}/../../.." && pwd -P)

if [ -e "${target}" ] || [ -L "${target}" ]; then
    log "Error: ${target} exists already. Choose another name, or move it away." >&2
    exit 2
fi
corpus=$(basename "${target}")
if [[ ! ${corpus} =~ ^[a-z][a-z0-9_]*$ ]]; then
    log "Error: '${corpus}' is no name for a corpus: use small letters, digits and '_'," \
        "and begin with a letter; local/prepare_${corpus}.py is to have that name." >&2
    exit 2
fi
if [ "$(cd "$(dirname "${target}")" 2> /dev/null && pwd -P)" != "${root}/egs2" ]; then
    log "Error: a recipe belongs into ${root}/egs2, e.g. ${root}/egs2/${corpus}" >&2
    exit 2
fi

mkdir "${target}"
for name in avsep.sh avsep_table.sh cmd.sh path.sh db.sh; do
    ln -s "../TEMPLATE/avsep1/${name}" "${target}/${name}"
done
for name in conf local utils; do
    ln -s "../../${name}" "${target}/${name}"
done

cat > "${target}/run.sh" << EOF
#!/usr/bin/env bash
# ${corpus}: say here what is trained on what, and whose protocol it is.
set -euo pipefail

exec ./avsep.sh \\
    --corpus ${corpus} \\
    --train_set train \\
    --valid_set valid \\
    --test_sets "test" \\
    --fs 11625 \\
    --avsep_config conf/train.yaml \\
    "\$@"
EOF
chmod +x "${target}/run.sh"

variable=${corpus^^}
cat > "${target}/README.md" << EOF
# ${corpus}

## Corpus

What it is, where it comes from, its licence, how its sets are chosen.

## How to run

    ${variable}=<folder of the corpus> ./run.sh --stage 1 --stop_stage 8

## RESULTS

The table is \`exp/<experiment>/RESULTS.md\`, which stage 8 writes: copy it here, as it is.
EOF

prepare=${root}/local/prepare_${corpus}.py
if [ -e "${prepare}" ]; then
    log "${prepare} exists already and is kept"
else
    sed "s/my_corpus/${corpus}/g" "${template}/prepare_my_corpus.py" > "${prepare}"
    chmod +x "${prepare}"
fi

log "Made ${target}. It runs for videos <folder>/<class>/<id>.mp4:"
cat << EOF
  cd ${target} && ${variable}=<folder> ./run.sh --stage 1 --stop_stage 8
What may be left to do:
  1. ${prepare}: another layout, lists of the sets (see
     its docstring); it is called with --${corpus}_dir <folder> --train_set <name>
     --valid_set <name> --test_sets "<names>" --data_dir data and with the words of
     --local_data_opts
  2. ${template}/db.sh: a line ${variable}= for the folder of the corpus
  3. ${target}/run.sh and ${target}/README.md: options and protocol
EOF

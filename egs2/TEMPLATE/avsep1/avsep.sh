#!/usr/bin/env bash
# Audio-visual sound separation, from a corpus of videos to scored, separated tracks.
#
# Usage: ./avsep.sh --train_set <name> --valid_set <name> --test_sets "<name> ..." [options]
#
# Stages: 1 data preparation, 2 visual features, 3 audio, 4 clips and fixed mixtures,
# 5 statistics, 6 training, 7 separation, 8 scoring, and, unless skipped, 9 packing, 10 upload.
# Each can be run again: finished work is kept. Options are written "--name value"; "-" and "_"
# are the same in names. What an option must be stands in brackets.

# shellcheck disable=SC2034  # options are also used by their names
set -euo pipefail

SECONDS=0

# General configuration
stage=1                  # [1 or more] The first stage to run.
stop_stage=10            # [0 or more] The last stage to run.
check_only=false         # Whether to only check the options, and to run no stage.
skip_data_prep=false     # Skip stages 1-4.
skip_train=false         # Skip stages 5 and 6.
skip_eval=false          # Skip stages 7 and 8.
skip_packing=true        # Skip stage 9.
skip_upload_hf=true      # Skip stage 10.
ngpu=                    # [0 or more] Number of GPUs in training, 0: CPU (default: 1 where there
                         # is one, else 0; 1 for jobs of a cluster).
num_nodes=1              # [1 or more] Number of machines in training.
nj=                      # [1 or more] Number of parallel jobs in stages 2 and 3 (default: the
                         # number of CPU cores, at most 8; 8 for jobs of a cluster).
inference_nj=            # [1 or more] Number of parallel jobs in stage 7 (default: as for --nj).
gpu_inference=false      # Whether stage 7 uses a GPU.
train_threads=           # [1 or more] CPU threads in training (default: with --ngpu 0 all cores,
                         # or the --num-threads of cmd.sh's cuda_cmd on a cluster; else 1).
progress_interval=60     # [0 or more] Seconds between two looks at the logs of running jobs, 0:
                         # none.
datadir=data             # Folder for the tables of the sets, <datadir>/<set>.
dumpdir=dump             # Folder for features and formatted audio.
expdir=exp               # Folder for experiments.
python=python3           # The Python that runs everything.

# Stage 1: data preparation
train_set=               # [required] Name of the training set.
valid_set=               # [required] Name of the validation set.
test_sets=               # [required] Names of the test sets.
real_sets=               # Names of sets of real mixtures, e.g. "duet" of music: separated, but not
                         # scored, since they have no references.
corpus=                  # Which local/prepare_<corpus>.py to use (default: the folder's name).
local_data_opts=         # Options of local/prepare_<corpus>.py.
download_opts=           # Options of avsep_download, where db.sh says "downloads", e.g.
                         # "--nj 2 --cookies_from_browser firefox".

# Stage 2: visual features
visual_config=           # [file] YAML with options visual_*, box_*, motion_* and mix_visual_*, e.g.
                         # conf/visual_frames.yaml; they stand in its place: those after it
                         # override them.
visual_encoder=open_clip # The encoder of the pictures: open_clip, resnet18, or frames to pack the
                         # pictures themselves.
visual_model=ViT-B-32    # Its architecture.
visual_pretrained=openai # Its weights: open_clip's name, a file, or "random" for an untrained
                         # encoder.
visual_fps=8             # [number] Pictures per second that are sampled.
visual_every=8           # [1 or more] Of these, encode every k-th.
visual_size=268          # [1 or more] Side of packed pictures in pixels.
visual_precomputed=      # Use these features instead: a Kaldi scp or HFRA's HDF5 file.
visual_boxes=            # Crop the pictures to objects: those that a detector finds ("detector"),
                         # or those of a folder of box files (Co-Separation's and iQuery's .npy,
                         # or .json). A picture without a box stays whole; the rows are in
                         # dump/raw/<set>/visual_boxes.tsv (default: whole pictures).
box_detector=fasterrcnn_resnet50_fpn_v2 # The detector: torchvision's fasterrcnn_resnet50_fpn_v2,
                         # fcos_resnet50_fpn or retinanet_resnet50_fpn_v2.
box_pretrained=COCO_V1   # Its weights: torchvision's name, a file, or "random" for an untrained
                         # detector.
box_classes=             # Classes of boxes, the preferred first, e.g. "person,any"; or a table
                         # of categories of clips and such lists (default: any).
box_score=0.3            # [number] Lowest score of a box.
box_margin=0             # [number] Added to a box on each side, as a fraction of its size.
box_fps=1                # [number] Numbered pictures per second of box files: 1 in iQuery, 8 in
                         # Co-Separation.
box_batch_size=4         # [1 or more] Batch size of the detector, in pictures.
box_size=                # <width>x<height> of the pictures that the boxes of files were found in
                         # (default: those of the videos).
visual_batch_size=32     # [1 or more] Batch size of the encoder, in pictures.
visual_device=auto       # [auto|cpu|cuda] Where the encoder runs.
visual_dtype=float32     # [float32|bfloat16] bfloat16 is four times as fast on a CPU that supports
                         # it; rows differ in the third digit.
visual_args=             # Further options of avsep_extract_visual, e.g. "--jpeg_quality 95".
motion_encoder=          # [s3d|r2plus1d_18|mvit_v2_s|raft_small|lucas_kanade] Make motion features
                         # too: of a video network, s3d, r2plus1d_18 or mvit_v2_s, or optical flow,
                         # raft_small (a network) or lucas_kanade (a classical method without
                         # weights) (default: none are made).
motion_pretrained=       # Its weights: torchvision's name, a file, or "random" for an untrained
                         # network (default: KINETICS400_V1, of raft_small C_T_V2).
motion_rate=             # [number] Rows of motion features per second (default: 1, of optical flow
                         # 8).
motion_batch_size=8      # [1 or more] Batch size of the motion network, in windows of pictures.
motion_precomputed=      # Use these motion features instead: a folder of iQuery's .npy files,
                         # <category>/<video>.mp4.npy.
motion_args=             # Further options of avsep_extract_motion, e.g. "--seed 1".
use_motion=              # [true|false] Whether stage 4 writes motion tables, and stages 5-7 read
                         # them (default: true with --motion_encoder or --motion_precomputed).
conditions=              # Further conditions of the sources, by their stems in data/conditions.py,
                         # used as motion features are: before stage 4, <dumpdir>/raw/<set>/ has
                         # <stem>.scp, <stem>_skipped.tsv and <stem>_info.yaml of each set.
audio_stream=            # [1 or more] Of files with several audio streams, the number of the one to
                         # use (default: the first with the default flag that can be decoded).
allow_pipes=false        # Whether stages 1 to 3 take the commands ("cmd |") that wav.scp has in
                         # place of files, and run them without a shell; only for tables that you
                         # wrote.
one_pass=true            # Whether stage 2 also does stage 3's work where one file has picture and
                         # sound, so that each file is read once.

# Stage 3: audio
fs=11625                 # Sampling rate in Hz, also as 16k.
audio_format=wav         # [wav|flac] Format of the files.

# Stage 4: clips and fixed mixtures
min_wav_duration=        # [number] Drop shorter clips (s), besides those shorter than a segment.
max_wav_duration=        # [number] Drop longer clips (s).
segment_samples=65280    # [1 or more] Samples of a fixed mixture and of a training segment.
silence_dbfs=-60         # [number] Drop clips with a lower level; -inf: none.
ref_num=2                # [2 or more] Number of sources in a mixture.
train_ref_nums=          # Numbers of sources in training, in turn, e.g. "2 3 4" (default: ref_num;
                         # valid_set always has ref_num).
test_ref_nums=           # Numbers of sources of the test mixtures, e.g. "2 3 4": each test set
                         # is mixed, separated and scored as <set>_2src, <set>_3src, ...
                         # (default: ref_num, under its own name).
mix_different_class=false # Whether the sources of a fixed mixture must differ in class.
mix_same_class=false     # Whether each test set is also mixed, separated and scored as
                         # <set>_same_class: all sources of a mixture are of one class.
mix_silent_sources=0     # Sources of a fixed mixture that are seen and not heard: how many of
                         # each, the probability of each after the first, or their numbers
                         # from 1, e.g. 2,4.
mix_seed=0               # [0 or more] Seed of the fixed mixtures.
valid_num_mixtures=      # [1 or more] Number of mixtures of valid_set (default: that of its clips).
test_num_mixtures=       # [1 or more] Number of mixtures of each test set (default: that of its
                         # clips).
mix_visual_frames=1      # [1 or more] Visual rows of each source of a fixed mixture.
mix_visual_stride=1      # [1 or more] Distance of these rows, in rows.
motion_align=whole       # [whole|segment] Motion rows of a mixture, in training too: of the whole
                         # clips, as in iQuery and DGFNet, or of their segments.
leak_check=true          # [true|false|strict] Look for videos and sounds that are in two sets, into
                         # <dumpdir>/raw/leaks.tsv; strict: such a case is an error.
health_report=true       # Whether to write a page on the corpus and the results of stages 1-4.
health_max_videos=120    # [0 or more] Videos of which it shows and checks a few pictures.
valid_mixture_list=      # [file] A list of valid_set's mixtures, instead of drawing them: a
                         # mixtures.tsv, or lines of ref_num clips or wav names.
test_mixture_list=       # [file] The same for each test set.
duet_prompts=class_mean  # [class_mean|halves] Prompts of the sources of real sets: the mean of the
                         # instrument's training embeddings, or the left and the right half of the
                         # picture.

# Stages 5 and 6: training
train_segment_samples=   # [1 or more] Samples of a training segment, at most segment_samples:
                         # shorter ones make shorter steps (default: segment_samples).
avsep_exp=               # The experiment's folder; --avsep_tag is then ignored.
avsep_tag=               # The end of its name (default: made from avsep_config and avsep_args).
avsep_config=conf/train.yaml # Config of training, or of a system without ("trained: false").
avsep_args=              # Options that override the config, e.g. "--max_epoch 10".
init_param=              # Pretrained weights to start with: <file>[:<from>[:<to>[:<exclude>]]] ...

# Stage 7: separation
inference_args=          # Options of avsep_inference, e.g. "--binary_mask true" or
                         # "--shuffle_visual class" (the pictures of other sources); or of
                         # avsep_baseline, for systems without training.
inference_model=valid.si_sdr_i.best.pth # The weights to use; where a training has no such file,
                         # valid.loss.best.pth.
inference_tag=           # A folder within the experiment for the results of these settings.
shuffled_tag=            # A folder within the experiment for a second separation, with the
                         # pictures of classes that are not in the mixture ("--shuffle_visual
                         # class"), in the same run of stages 7 and 8 (default: none).
inference_batch_size=1   # [1 or more] Batch size, in mixtures.
eval_valid_set=true      # Whether stages 7 and 8 include valid_set.
download_model=          # A model to use instead of one trained here; stages 5 and 6 are then
                         # skipped: <user>/<name> on the Hugging Face hub, zoo:<tag> of
                         # espnet_model_zoo, or the zip file or folder of stage 9.

# Stage 8: scoring
scoring_backend=fast     # [fast|mir_eval] mir_eval is the reference, and slow.
scoring_opts=            # Further options of avsep_scoring.
leak_free=false          # Whether to also average the mixtures without leaking clips.
corpus_note=             # A sentence for the top of RESULTS.md, e.g. on the limits of the corpus
                         # (default: of a generated corpus, that it is one).
report=true              # Whether to write report/index.html beside RESULTS.md: tables, players,
                         # spectrograms, plots.
report_mixtures=20       # [0 or more] Mixtures of each set that can be listened to there, 0.6 MB
                         # each.

# Stage 10: upload
hf_repo=                 # Name of the repository on the Hugging Face hub, <user>/<name>.
hf_license=              # License of the weights, as named by the hub, e.g. cc-by-4.0.
hf_private=false         # Whether a new repository is private.
hf_dry_run=false         # Whether to only write the folder that would be uploaded,
                         # <experiment>/hf_repo.

# Kept for the experiment's run.sh; parse_options.sh consumes the arguments.
run_args=$(utils/print_args.sh "$0" "$@")
_words=("$@")
# shellcheck source=/dev/null
. utils/parse_options.sh
# shellcheck source=./utils/jobs.sh
. utils/jobs.sh
# shellcheck source=./utils/write_file.sh
. utils/write_file.sh
# shellcheck source=./utils/stage_options.sh
. utils/stage_options.sh
# shellcheck source=./utils/corpus.sh
. utils/corpus.sh
# shellcheck source=./utils/features.sh
. utils/features.sh
# shellcheck source=./utils/evaluation.sh
. utils/evaluation.sh
log "${run_args}"
[ $# -eq 0 ] || die "'$1' is not an option; there are no positional arguments. See $0 --help"
# shellcheck source=./egs2/TEMPLATE/avsep1/path.sh
. ./path.sh
# shellcheck source=./egs2/TEMPLATE/avsep1/cmd.sh
. ./cmd.sh

command -v "${python}" > /dev/null || die "--python '${python}': there is no such program"
"${python}" -c 'import importlib.util as u, sys
sys.exit(any(u.find_spec(m) is None for m in ("espnet2", "espnet2_avsep")))' ||
    die "$(command -v "${python}") has no espnet2 or no espnet2_avsep. Run 'make setup' in the" \
        "repository, or install them: pip install espnet, then pip install <this repository>"

if [ -n "${visual_config}" ]; then
    put_config visual_config visual_ box_ motion_ mix_visual_
    set -- "${_words[@]}"
    # shellcheck source=/dev/null
    . utils/parse_options.sh
fi
one_line test_sets real_sets local_data_opts download_opts box_classes visual_args motion_args \
    conditions train_ref_nums test_ref_nums avsep_args init_param inference_args scoring_opts
given_options=$(printf '%s\n' "${_words[@]}" | sed -n 's/^--//p' | tr '-' '_')

set_corpus_dir
set_corpus_note
set_job_numbers
log "Jobs: --nj ${nj} --inference_nj ${inference_nj} --ngpu ${ngpu}"

# ------------------------------------------- checks of options that belong together

[[ ! ${fs} =~ ^[0-9]+k$ ]] || fs=${fs%k}000
[[ ${fs} =~ ^[1-9][0-9]{0,14}$ ]] || die "--fs '${fs}': expected a whole number of Hz"
[[ " ${train_ref_nums} ${test_ref_nums} " =~ ^(\ +[2-8])*\ +$ ]] ||
    die "--train_ref_nums '${train_ref_nums}', --test_ref_nums '${test_ref_nums}': expected" \
        "numbers from 2 to 8"
[ -z "${test_mixture_list}" ] || [[ ! ${test_ref_nums} =~ [0-9]\ +[0-9] ]] ||
    die "--test_ref_nums '${test_ref_nums}': a --test_mixture_list is of one number of sources"
[ "${stop_stage}" -ge "${stage}" ] ||
    die "--stage ${stage} --stop_stage ${stop_stage}: no stage is left to run; --stop_stage is the last one"
[ "${num_nodes}" -eq 1 ] || [[ ! ${cmd_backend} =~ ^(local|stdout)$ ]] ||
    die "--num_nodes ${num_nodes}: cmd_backend=${cmd_backend} (environment or cmd.sh) trains on this" \
        "machine only; slurm and sge have others"
[ "${train_segment_samples:-1}" -le "${segment_samples}" ] ||
    die "--train_segment_samples ${train_segment_samples}: expected at most --segment_samples," \
        "${segment_samples}, the least length of a clip"
case ${motion_encoder} in
    raft_small) motion_pretrained=${motion_pretrained:-C_T_V2} motion_rate=${motion_rate:-8} ;;
    lucas_kanade) motion_rate=${motion_rate:-8} ;;
    *) motion_pretrained=${motion_pretrained:-KINETICS400_V1} motion_rate=${motion_rate:-1} ;;
esac
[ -z "${motion_encoder}" ] || [ -z "${motion_precomputed}" ] ||
    die "--motion_encoder ${motion_encoder} and --motion_precomputed ${motion_precomputed}:" \
        "motion features are made or taken; give one of the two"
[ "${motion_align}" = whole ] || [ -z "${motion_precomputed}" ] ||
    die "--motion_align segment: iQuery's files cover the first 160 s of a video, so which rows" \
        "belong to a segment is not known; use --motion_align whole, or --motion_encoder"
if [ -z "${use_motion}" ]; then
    use_motion=$([ -z "${motion_encoder}${motion_precomputed}" ] && echo false || echo true)
fi
! "${use_motion}" || conditions="motion${conditions:+ ${conditions}}"
[[ ${conditions} =~ ^[a-z0-9_\ ]*$ ]] || die "--conditions '${conditions}': expected stems of data/conditions.py"
! "${leak_free}" || [ "${leak_check}" != false ] ||
    die "--leak_free true: wants --leak_check true (or strict), which says what leaks"
[ -z "${visual_boxes}" ] || [ -z "${visual_precomputed}" ] ||
    die "--visual_boxes ${visual_boxes}: pictures are cut out before they are encoded, but" \
        "--visual_precomputed is given"
if [ -n "${real_sets}" ]; then
    [ "${ref_num}" -eq 2 ] ||
        die "--real_sets '${real_sets}': duets have two sources, --ref_num is ${ref_num}"
    [ "${visual_encoder}" != frames ] ||
        die "--real_sets '${real_sets}': what prompts the sources of duets are embeddings, which" \
            "--visual_encoder frames does not make"
    [ "${duet_prompts}" != halves ] || [ -z "${visual_precomputed}" ] ||
        die "--duet_prompts halves: the encoder must see the halves, but --visual_precomputed is given"
    [ -z "${visual_boxes}" ] ||
        die "--visual_boxes ${visual_boxes}: which box is whose in a duet is not known; do without" \
            "--real_sets '${real_sets}'"
    [ -z "${conditions}" ] ||
        die "--real_sets '${real_sets}': the two of a duet have one video, so whose ${conditions} it is" \
            "cannot be told; do without ${conditions} features, or without --real_sets"
fi
[ -z "${download_model}" ] || "${skip_packing}" ||
    die "--download_model '${download_model}' and --skip_packing false: it is packed already"
"${skip_upload_hf}" || [ -n "${hf_repo}" ] ||
    die "--skip_upload_hf false: --hf_repo <user>/<name> says where to"

# -------------------------------------------------------------------- sets and names

# The sets whose clips are mixed, and all sets, each once.
clip_sets=
for dset in ${valid_set} ${test_sets}; do
    [ "${dset}" != "${train_set}" ] || die "'${dset}' is the training set and a valid or test set too"
    [[ " ${clip_sets} " = *" ${dset} "* ]] || clip_sets+="${clip_sets:+ }${dset}"
done
for dset in "${train_set}" "${valid_set}" ${test_sets} ${real_sets}; do
    # They are folders, and parts of what commands are given.
    [[ ${dset} =~ ^[^[:space:]/:,.-][^[:space:]/:,]*$ ]] || die "the name of a set, '${dset}':" \
        "expected one word without '/', ':' and ',', and without '.' and '-' at its beginning"
done
all_sets="${train_set} ${clip_sets}"
# The sets of fixed mixtures: of which clips, of how many each, and which are separated.
# Tables begin with the test sets; the validation set, which chose the weights, comes last.
mix_sets='' eval_sets=''
declare -A clips_of=() sources_of=()
# add_mix_set <name> <set of clips> <number of sources>
add_mix_set() {
    [ "${clips_of[$1]:-$2}" = "$2" ] || die "two sets have the name '$1': one is made of" \
        "'$2', one of '${clips_of[$1]}'. Rename one of --test_sets"
    [ -z "${clips_of[$1]:-}" ] || return 0
    mix_sets+="${mix_sets:+ }$1"
    clips_of[$1]=$2 sources_of[$1]=$3
    [ "$1" = "${valid_set}" ] || eval_sets+="${eval_sets:+ }$1"
}
for dset in ${clip_sets}; do
    if [ "${dset}" = "${valid_set}" ] || [ -z "${test_ref_nums}" ]; then
        add_mix_set "${dset}" "${dset}" "${ref_num}"
    fi
    [[ " ${test_sets} " = *" ${dset} "* ]] || continue
    for n in ${test_ref_nums}; do
        add_mix_set "${dset}_${n}src" "${dset}" "${n}"
    done
    ! "${mix_same_class}" || add_mix_set "${dset}_same_class" "${dset}" "${ref_num}"
done
if "${eval_valid_set}" || { [ -z "${test_ref_nums}" ] && [[ " ${test_sets} " = *" ${valid_set} "* ]]; }; then
    eval_sets+="${eval_sets:+ }${valid_set}"
fi
for dset in ${real_sets}; do
    [[ " ${all_sets} " != *" ${dset} "* ]] || die "'${dset}' is among --real_sets and another set too"
    sources_of[${dset}]=2
done

data_feats=${dumpdir}/raw
avsep_stats_dir=${expdir}/avsep_stats_${fs}
if [ -z "${avsep_tag}" ] && [ -n "${download_model}" ]; then
    avsep_tag=${download_model%/}
    [ ! -e "${avsep_tag}" ] || avsep_tag=$(basename "${avsep_tag}" .zip)
    avsep_tag=downloaded_$(sed -e 's/^avsep_//' -e 's/[^A-Za-z0-9_.+-]/_/g' <<< "${avsep_tag}")
elif [ -z "${avsep_tag}" ]; then
    avsep_tag=$(basename "${avsep_config}" .yaml)_raw
    avsep_tag+=$(sed -e 's/--/_/g' -e 's/[ |=]//g' -e 's/[^A-Za-z0-9_.+-]/_/g' <<< "${avsep_args}")
    # A file name has room for 255 bytes.
    [ ${#avsep_tag} -le 150 ] ||
        avsep_tag=${avsep_tag:0:130}_$(cksum <<< "${avsep_tag}" | cut -d ' ' -f 1)
fi
avsep_exp=${avsep_exp:-${expdir}/avsep_${avsep_tag}}
inference_dir=${avsep_exp}${inference_tag:+/${inference_tag}}
shuffled_dir=${shuffled_tag:+${avsep_exp}/${shuffled_tag}}
[ -z "${shuffled_dir}" ] || [ "${shuffled_dir}" != "${inference_dir}" ] ||
    die "--shuffled_tag ${shuffled_tag}: is --inference_tag, too; the second separation would" \
        "replace the first one"
for _folder in "${datadir}" "${data_feats}" "${avsep_exp}" "${inference_dir}" "${shuffled_dir}"; do
    [[ ${_folder} != *[:,]* ]] || die "'${_folder}': expected a folder without ':' and ',' in its" \
        "name, which separate the parts of what commands are given"
done
for _option in python datadir dumpdir expdir avsep_exp avsep_tag train_set valid_set test_sets real_sets \
    visual_model visual_pretrained visual_precomputed visual_boxes visual_args box_pretrained \
    box_classes motion_pretrained motion_precomputed motion_args inference_args inference_model \
    inference_tag shuffled_tag; do
    [[ ${!_option} != *JOB* ]] || die "--${_option} '${!_option}': expected no 'JOB' in it, in place" \
        "of which launchers put the number of a job"
done
shuffled_args="${inference_args:+${inference_args} }--shuffle_visual class"

# The config of a system without training says so; stages 5 and 6 then have nothing to do.
trained=true
if [ -n "${download_model}" ]; then
    skip_train=true
elif [ -f "${avsep_config}" ] && grep -qE '^(trained|base) *:' "${avsep_config}"; then
    trained=$("${python}" -m espnet2_avsep.bin.avsep_config --get trained "${avsep_config}")
    "${trained}" || [ -z "${avsep_args}" ] ||
        die "--avsep_args '${avsep_args}': ${avsep_config} is of a system without training;" \
            "--inference_args are options of avsep_baseline"
    "${trained}" || [ -z "${shuffled_tag}" ] ||
        die "--shuffled_tag ${shuffled_tag}: ${avsep_config} is of a system without training," \
            "which sees no pictures"
fi
"${skip_train}" || ! wanted 6 || [ -f "${avsep_config}" ] ||
    die "--avsep_config '${avsep_config}': no such file"

# The options of stages 2 to 4 that decide what they make; local/data.sh keeps stage 1's.
made_with=(
    [2]="visual_encoder visual_model visual_pretrained visual_fps visual_every visual_size
        visual_precomputed visual_boxes box_detector box_pretrained box_classes box_score
        box_margin box_fps box_size visual_dtype visual_args motion_encoder motion_pretrained
        motion_rate motion_precomputed motion_args audio_stream"
    [3]="fs audio_format audio_stream"
    [4]="min_wav_duration max_wav_duration segment_samples silence_dbfs ref_num
        mix_different_class mix_same_class mix_silent_sources mix_seed valid_num_mixtures
        test_num_mixtures mix_visual_frames mix_visual_stride motion_align valid_mixture_list
        test_mixture_list duet_prompts"
)

# Of these, what the stages of this run read that come after the stage that they belong to.
read_later=
[ "${stage}" -gt 8 ] || read_later="fs ref_num"
[ "${stage}" -gt 3 ] || read_later+=" audio_stream"
if wanted 6 && ! "${skip_train}"; then
    read_later+=" segment_samples${conditions:+ motion_align}"
fi

# check_clip_counts: an error if a set has clips of fewer videos than a mixture has sources
check_clip_counts() {
    local dset mset n numbers videos
    for dset in ${all_sets}; do
        numbers=${train_ref_nums:-${ref_num}}
        if "${skip_train}" || [ "${dset}" != "${train_set}" ]; then
            numbers=
        fi
        for mset in ${mix_sets}; do
            [ "${clips_of[${mset}]}" != "${dset}" ] || numbers+=" ${sources_of[${mset}]}"
        done
        set_count "${datadir}/${dset}/utt2spk"
        videos=${num_lines}
        [ ! -f "${datadir}/${dset}/utt2video" ] ||
            videos=$(cut -d ' ' -f 2- "${datadir}/${dset}/utt2video" | sort -u | wc -l)
        for n in ${numbers}; do
            [ "${num_lines}" -ge "${n}" ] ||
                die "${dset}: ${num_lines} clips, but mixtures of ${n} are made of it. Add clips," \
                    "or choose the sets in another way, by shares (--local_data_opts" \
                    "'--valid_ratio 0.2 --test_ratio 0.3') or by lists (--local_data_opts '--splits <folder>')"
            [ "${videos}" -ge "${n}" ] ||
                die "${dset}: ${num_lines} clips of ${videos} video(s), but mixtures of ${n} are made of" \
                    "it, of different videos. Files of one name in two classes count as one video" \
                    "(${datadir}/${dset}/utt2video): give different recordings different names, or add clips"
        done
    done
}

if "${check_only}"; then
    log "The options can be run; no stage was (--check_only true)"
    exit 0
fi

# ========================= Main stages start from here. =========================

for n in 1 2 3 4; do
    if "${skip_data_prep}" || [ "${stage}" -gt "${n}" ]; then
        check_options "${n}"
    fi
done

if ! "${skip_data_prep}"; then
    if wanted 1; then
        begin_stage 1 "Data preparation: ${datadir}/${train_set}, ${datadir}/${valid_set}, ..."
        # shellcheck disable=SC2086  # local_data_opts is several words
        run_group local/data.sh --corpus "${corpus}" --python "${python}" \
            --train_set "${train_set}" --valid_set "${valid_set}" --test_sets "${test_sets}" \
            --data_dir "${datadir}" --allow_pipes "${allow_pipes}" ${real_sets:+--real_sets "${real_sets}"} \
            ${download_opts:+--download_opts "${download_opts}"} \
            ${local_data_opts:+--noted_opts "${local_data_opts}"} ${local_data_opts}
        check_clip_counts
    fi

    # Stage 1 of another run does not begin before stages 2 to 4 of this one have ended.
    if [ "${stage}" -le 4 ] && [ "${stop_stage}" -ge 2 ] && [ -d "${datadir}" ]; then
        hold_lock "${datadir}/.stage1.lock" "${datadir} (stage 1)" --shared
    fi

    if wanted 2; then
        begin_stage 2 "Visual features: ${datadir}/ -> ${data_feats}/"
        check_feature_paths
        visual_features
        motion_features
        note_options 2
    fi

    if wanted 3; then
        begin_stage 3 "Audio, mono, ${fs} Hz: ${datadir}/ -> ${data_feats}/org/"
        _opts=()
        add_opts fs audio_format allow_pipes audio_stream
        for dset in ${all_sets} ${real_sets}; do
            need "${datadir}/${dset}/wav.scp" 1
            _dir=${data_feats}/org/${dset} _keys=${data_feats}/org/${dset}/logs/wav.JOB.scp
            split_jobs "${datadir}/${dset}/wav.scp" "${_keys}" "${nj}"
            # Another nj has other folders, and so begins anew.
            _split=${_dir}/format_split${num_pieces}
            step_if "${_keys}" avsep_format_audio --wav_scp "${_keys}" \
                --output_dir "${_split}/JOB" --allow_empty true "${_opts[@]}"
            merge_later "${num_pieces}" "${_keys}" "${_split}/JOB" "${_dir}" \
                skipped.tsv utt2num_samples wav.content wav.scp once:wav.scp,skipped.tsv
        done
        run_steps "Audio of ${all_sets}${real_sets:+ ${real_sets}}" \
            "${data_feats}/logs/format_audio.JOB.log" "${train_cmd}" JOB=1:"${max_pieces}"
        merge_jobs
        for dset in ${all_sets} ${real_sets}; do
            _dir=${data_feats}/org/${dset}
            log_counts "${dset}: audio" "${_dir}/wav.scp" "${_dir}/skipped.tsv"
        done
        note_options 3
    fi

    if wanted 4; then
        begin_stage 4 "Clips and fixed mixtures: ${data_feats}/org/ -> ${data_feats}/"
        # Whether what is tested on was trained on. What was found before is of other clips.
        rm -f "${data_feats}/leaks.tsv" "${data_feats}/report/index.html"
        _leaks=()
        _segments=(--fs "${fs}" --segment_samples "${segment_samples}"
            --silence_dbfs "${silence_dbfs}")
        for dset in ${all_sets}; do
            _dir=${data_feats}/${dset} _clips=${data_feats}/org/${dset}_clips _kind=--test_set
            [ "${dset}" != "${valid_set}" ] || _kind=--valid_set
            [ "${dset}" != "${train_set}" ] || _clips=${_dir} _kind=--train_set
            _leaks+=("${_kind}" "${dset}:${datadir}/${dset}:${_clips}")
            need "${_dir}/visual.scp" 2
            need "${data_feats}/org/${dset}/wav.scp" 3
            _opts=()
            for c in ${conditions}; do
                need "${_dir}/${c}.scp" 2
                _opts+=(--condition_dir "${c}:${_dir}")
            done
            add_opts min_wav_duration max_wav_duration
            step avsep_filter_clips --data_dir "${datadir}/${dset}" \
                --wav_dir "${data_feats}/org/${dset}" --visual_dir "${_dir}" \
                --output_dir "${_clips}" "${_segments[@]}" "${_opts[@]}"
            for mset in ${mix_sets}; do
                [ "${clips_of[${mset}]}" = "${dset}" ] || continue
                _opts=(--different_class "${mix_different_class}")
                if [ "${mset}" = "${dset}_same_class" ]; then
                    _opts=(--same_class true)
                    add_opts num_mixtures=test_num_mixtures
                elif [ "${mset}" = "${valid_set}" ]; then
                    add_opts list=valid_mixture_list num_mixtures=valid_num_mixtures
                else
                    add_opts list=test_mixture_list num_mixtures=test_num_mixtures
                fi
                [ -z "${conditions}" ] || add_opts motion_align
                step avsep_make_mixtures --clips_dir "${_clips}" \
                    --output_dir "${data_feats}/${mset}" --num_sources "${sources_of[${mset}]}" \
                    --seed "${mix_seed}" --silent_sources "${mix_silent_sources}" \
                    --visual_frames "${mix_visual_frames}" \
                    --visual_stride "${mix_visual_stride}" "${_segments[@]}" "${_opts[@]}"
            done
        done
        [ "${leak_check}" = false ] ||
            step avsep_check_leaks "${_leaks[@]}" --output "${data_feats}/leaks.tsv" \
                --cache_dir "${data_feats}/fingerprints" --nj "${nj}" \
                --strict "$([ "${leak_check}" = strict ] && echo true || echo false)"
        # shellcheck disable=SC2086  # all_sets is several words
        ! "${health_report}" ||
            step avsep_health_report --sets ${all_sets} --data_dir "${datadir}" \
                --dump_dir "${data_feats}" --output_dir "${data_feats}/report" --fs "${fs}" \
                --max_videos "${health_max_videos}" --leaks "${data_feats}/leaks.tsv" \
                --title "Health of ${corpus}"
        for dset in ${real_sets}; do
            need "${datadir}/${dset}/utt2pair" 1
            need "${data_feats}/org/${dset}/wav.scp" 3
            _dir=${data_feats}/${dset}
            _opts=(--train_dir "${data_feats}/${train_set}")
            [ "${duet_prompts}" != halves ] ||
                _opts=(--visual_dir "${_dir}/left" --visual_dir "${_dir}/right")
            step avsep_make_real_mixtures --data_dir "${datadir}/${dset}" \
                --wav_dir "${data_feats}/org/${dset}" --output_dir "${_dir}" \
                --prompts "${duet_prompts}" "${_segments[@]}" "${_opts[@]}"
        done
        run_steps "Clips and mixtures of ${all_sets}${real_sets:+ ${real_sets}}" \
            "${data_feats}/logs/clips_and_mixtures.log" "${train_cmd} --num-threads ${nj}"

        for mset in ${mix_sets}; do
            _dir=${data_feats}/${mset} dset=${clips_of[${mset}]}
            if [ "${mset}" != "${dset}" ]; then
                # What stage 2 left of these clips, and for the tables that name them.
                write_file "${_dir}/clips_of" "${dset}"
                # shellcheck disable=SC2086  # conditions are several words
                for f in visual_shape $(printf '%s_info.yaml ' visual ${conditions}); do
                    [ ! -e "${data_feats}/${dset}/${f}" ] ||
                        write_file "${_dir}/${f}" "$(< "${data_feats}/${dset}/${f}")"
                done
            fi
            set_count "${_dir}/wav.scp"
            log "${mset}: ${num_lines} mixtures, list ${_dir}/mixtures.tsv," \
                "SHA-256 $(cut -d ' ' -f 1 "${_dir}/mixtures.sha256")"
            [ ! -e "${_dir}/former_list.tsv" ] || cmp -s "${_dir}/former_list.tsv" "${_dir}/mixtures.tsv" ||
                log "${mset}: this list keeps clips of one video apart, the list before it did not" \
                    "(${_dir}/former_list.tsv, see --test_mixture_list): results of the two cannot be compared"
        done
        set_count "${data_feats}/${train_set}/wav.scp"
        log "${train_set}: ${num_lines} clips"
        for dset in ${train_set} ${mix_sets} ${real_sets}; do
            set_count "${data_feats}/${dset}/skipped.tsv"
            log "${dset}: left out by stages 1-4: ${num_lines} (${data_feats}/${dset}/skipped.tsv)"
        done
        if [ "${leak_check}" != false ]; then
            set_count "${data_feats}/leaks.tsv"
            log "Clips that two sets (or two classes) share: $((num_lines - 1)) (${data_feats}/leaks.tsv)"
        fi
        ! "${health_report}" ||
            log "Corpus health report: ${data_feats}/report/index.html (open it in a browser)"
        note_options 4
    fi
    release_lock
else
    log "Skip stages 1-4 (data preparation)"
fi

_condition_tables=()
for c in ${conditions}; do
    _condition_tables+=("${c}_spkN.scp,${c}_refN,kaldi_ark")
done

# set_training_data <train|valid>: set _triples to the data of training or validation
set_training_data() {
    local dset=${train_set} number=1 tables=("spkN.scp,speech_refN,sound")
    [ "$1" = train ] ||
        dset=${valid_set} number=${ref_num} tables=("wav.scp,speech_mix,sound" "${tables[@]}")
    tables+=("visual_spkN.scp,visual_refN,kaldi_ark" "${_condition_tables[@]}")
    set_triples "${data_feats}/${dset}" "${number}" "${tables[@]}"
}

if ! "${trained}"; then
    log "Stages 5 and 6: nothing to do, ${avsep_config} is of a system without training"
    # Their true sources, which such a system is given or ordered by, are not known.
    real_sets=
elif ! "${skip_train}"; then
    if wanted 5; then
        begin_stage 5 "Statistics: ${data_feats}/ -> ${avsep_stats_dir}/"
        for _part in train valid; do
            set_training_data "${_part}"
            step avsep_collect_stats --output_dir "${avsep_stats_dir}/${_part}" "${_data[@]}"
        done
        run_steps "Statistics" "${avsep_stats_dir}/collect_stats.log" "${train_cmd}"
    fi

    if wanted 6; then
        begin_stage 6 "Training: ${avsep_exp}"
        _num_sources=${ref_num}
        [ -z "${train_ref_nums}" ] || _num_sources="[$(xargs <<< "${train_ref_nums}" | tr ' ' ',')]"
        _opts=(--config "${avsep_config}" --output_dir "${avsep_exp}" --resume true
            --sample_rate "${fs}" --dataset_conf "num_sources=${_num_sources}"
            --dataset_conf "segment_samples=${train_segment_samples:-${segment_samples}}")
        for _part in train valid; do
            set_training_data "${_part}"
            for _triple in "${_triples[@]}"; do
                _shape=${_triple#*,}
                _shape=${avsep_stats_dir}/${_part}/${_shape%,*}_shape
                need "${_shape}" 5
                _opts+=("--${_part}_data_path_and_name_and_type" "${_triple}"
                    "--${_part}_shape_file" "${_shape}")
            done
        done
        [ -z "${conditions}" ] || _opts+=(--dataset_conf "motion_align=${motion_align}")
        add_words "${init_param:+--init_param ${init_param}}" # several files may be given
        add_words "${avsep_args}"
        train_threads=${train_threads:-$((ngpu == 0 ? cores : 1))}

        # Nothing is written where the checkpoint is that of another training.
        _state=$("${python}" -m espnet2_avsep.bin.avsep_made_from training "${_opts[@]}" \
            --ngpu "${ngpu}" --multiprocessing_distributed True)
        # Inference makes the encoder of pictures from it.
        for c in visual ${conditions}; do
            need "${data_feats}/${train_set}/${c}_info.yaml" 2
            write_file "${avsep_exp}/${c}_info.yaml" "$(< "${data_feats}/${train_set}/${c}_info.yaml")"
        done

        log "Write '${avsep_exp}/run.sh'; it trains again with the same options, from this folder"
        _script=$(printf '%s\n' '#!/usr/bin/env bash' "# To be run in the recipe's folder." \
            "exec ${run_args} --stage 6 \"\$@\"")
        # That of an earlier training stays until this one has ended: it may be refused.
        [ -e "${avsep_exp}/run.sh" ] || write_file "${avsep_exp}/run.sh" "${_script}" =rwx

        if [ "${_state}" = finished ]; then
            log "The training has ended, and nothing has changed since"
        else
            # Training continues from the last checkpoint, if there is one.
            run_and_show "Training" "${avsep_exp}/train.log" \
                env OMP_NUM_THREADS="${train_threads}" "${python}" -m espnet2.bin.launch \
                --cmd "${cuda_cmd} --name $(basename "${avsep_exp}" | sed 's/[^A-Za-z0-9_.+-]/_/g')" \
                --log "${avsep_exp}/train.log" --ngpu "${ngpu}" --num_nodes "${num_nodes}" \
                --init_file_prefix "${avsep_exp}/.dist_init_" \
                --multiprocessing_distributed true -- \
                "${python}" -m espnet2_avsep.bin.avsep_train "${_opts[@]}"
        fi
        # Renamed, not written over: it may be running this.
        write_file "${avsep_exp}/run.sh" "${_script}" =rwx
        log "Curves of the training: tensorboard --logdir ${avsep_exp}/tensorboard"
        [ ! -d "${avsep_exp}/pictures" ] ||
            log "Spectrograms of validation mixtures, epoch by epoch: ${avsep_exp}/pictures/"
    fi
else
    log "Skip stages 5 and 6 (training)"
fi

if [ "${inference_model}" = valid.si_sdr_i.best.pth ] && "${trained}" &&
    [ ! -e "${avsep_exp}/${inference_model}" ] && [ -e "${avsep_exp}/valid.loss.best.pth" ]; then
    inference_model=valid.loss.best.pth
    log "${avsep_exp} was trained with the loss as best_model_criterion; using ${inference_model}"
fi

if ! "${skip_eval}"; then
    if [ -n "${download_model}" ] && { wanted 7 || wanted 8; }; then
        log "The model is ${download_model}: ${avsep_exp}"
        set_made_by
        mkdir -p "${avsep_exp}"
        run_group "${python}" -m espnet2_avsep.bin.avsep_fetch_model --model "${download_model}" \
            --output_dir "${avsep_exp}" "${_made_by[@]}" > "${avsep_exp}/fetched_model"
        inference_model=$(tail -n 1 "${avsep_exp}/fetched_model")
    fi
    if wanted 7; then
        begin_stage 7 "Separation: ${inference_dir}/separated_*"
        if ! "${trained}"; then
            [ ! -e "${avsep_exp}/config.yaml" ] || grep -q '^trained: *false' "${avsep_exp}/config.yaml" ||
                die "${avsep_exp} holds a trained system; give ${avsep_config} its own --avsep_tag"
            mkdir -p "${avsep_exp}"
            "${python}" -m espnet2_avsep.bin.avsep_config --output "${avsep_exp}/config.yaml" "${avsep_config}"
        else
            need "${avsep_exp}/config.yaml" 6
            need "${avsep_exp}/${inference_model}" 6
            if [ -z "${download_model}" ]; then
                set_made_by
                "${python}" -m espnet2_avsep.bin.avsep_made_from model \
                    --avsep_exp "${avsep_exp}" --as_it_is "${skip_train}" "${_made_by[@]}"
            fi
        fi
        separate "${inference_dir}" "${inference_args}" "${eval_sets} ${real_sets}"
        # What sounds in real mixtures is known by their prompts only: these are not shuffled.
        [ -z "${shuffled_dir}" ] || separate "${shuffled_dir}" "${shuffled_args}" "${eval_sets}"
        run_steps "Separation of ${eval_sets}${real_sets:+ ${real_sets}}" \
            "${inference_dir}/logs/inference.JOB.log" \
            "$("${gpu_inference}" && echo "${cuda_cmd} --gpu 1" || echo "${decode_cmd}")" \
            JOB=1:"${max_pieces}"
        merge_jobs
        for dset in ${eval_sets} ${real_sets}; do
            set_count "${inference_dir}/separated_${dset}/spk1.scp"
            log "${dset}: separated ${num_lines} mixtures: ${inference_dir}/separated_${dset}/spk*.scp"
        done
        # For the tables that name what the separation was run with.
        write_file "${inference_dir}/inference_args" "${inference_args}"
        [ -z "${shuffled_dir}" ] || write_file "${shuffled_dir}/inference_args" "${shuffled_args}"
    fi

    if wanted 8; then
        begin_stage 8 "Scoring: ${inference_dir}/scored_*"
        rm -f "${inference_dir}/report/index.html" # of scores before these
        score "${inference_dir}" "${inference_args}" "${real_sets}"
        [ -z "${shuffled_dir}" ] || score "${shuffled_dir}" "${shuffled_args}" ""
        write_reports
    fi
else
    log "Skip stages 7 and 8 (separation and scoring)"
fi

packed_model=${avsep_exp}/$(basename "${avsep_exp}")_${inference_model%.*}.zip
if ! "${skip_packing}" && wanted 9; then
    begin_stage 9 "Packing: ${packed_model}"
    "${trained}" || die "${avsep_config} is of a system without training: there is nothing to pack"
    for f in config.yaml visual_info.yaml "${inference_model}"; do
        need "${avsep_exp}/${f}" 6
    done
    _opts=(--results "${inference_dir}/RESULTS.md")
    if [ ! -f "${inference_dir}/RESULTS.md" ]; then
        _opts=()
        log "Warning: no ${inference_dir}/RESULTS.md (stage 8); the model is packed without scores"
    fi
    step avsep_pack --avsep_exp "${avsep_exp}" --inference_model "${inference_model}" \
        --outpath "${packed_model}" "${_opts[@]}"
    run_steps "Packing" "${avsep_exp}/pack.log" "${train_cmd}"
elif "${skip_packing}" && [ "${stage}" -eq 9 ]; then
    log "Skip stage 9 (packing); --skip_packing false does it"
fi

if ! "${skip_upload_hf}" && wanted 10; then
    begin_stage 10 "Upload: ${packed_model} -> ${hf_repo}"
    need "${packed_model}" 9
    step avsep_upload --packed_model "${packed_model}" --hf_repo "${hf_repo}" \
        --output_dir "${avsep_exp}/hf_repo" --license "${hf_license}" \
        --private "${hf_private}" --dry_run "${hf_dry_run}"
    run_steps "Upload" "${avsep_exp}/upload.log" "${train_cmd}"
    if "${hf_dry_run}"; then
        log "Not uploaded (--hf_dry_run true). What would be: ${avsep_exp}/hf_repo"
    else
        log "Published: https://huggingface.co/${hf_repo}"
    fi
elif "${skip_upload_hf}" && [ "${stage}" -eq 10 ]; then
    log "Skip stage 10 (upload); --skip_upload_hf false does it"
fi

end_stage
log "Successfully finished. [elapsed=${SECONDS}s]"

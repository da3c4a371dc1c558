#!/usr/bin/env bash
# Audio-visual sound separation, from a corpus of videos to scored, separated sound.
set -euo pipefail

log() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}:${FUNCNAME[1]}) $*"
}
die() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}:${FUNCNAME[1]}) Error: $*" >&2
    exit 2
}
min() {
    printf '%s\n' "$@" | sort -n | head -n 1
}
max() {
    printf '%s\n' "$@" | sort -n | tail -n 1
}
SECONDS=0

# General configuration
stage=1              # The first stage to run.
stop_stage=10        # The last stage to run.
skip_data_prep=false # Skip stages 1-4.
skip_train=false     # Skip stages 5 and 6.
skip_eval=false      # Skip stages 7 and 8.
skip_packing=true    # Skip stage 9.
skip_upload_hf=true  # Skip stage 10.
ngpu=                # Number of GPUs in training (0: CPU; default: 1 where there is one).
num_nodes=1          # Number of machines in training.
nj=                  # Number of parallel jobs in stages 2 and 3 (default: one a core, at most 8).
inference_nj=        # Number of parallel jobs in stage 7 (default: the same).
gpu_inference=false  # Whether stage 7 uses a GPU.
train_threads=       # CPU threads in training (default: all cores with ngpu=0, else 1).
progress_interval=60 # Seconds between two looks at the logs of running jobs (0: none).
datadir=data         # Folder for the tables of the sets, data/<set>.
dumpdir=dump         # Folder for features and formatted audio.
expdir=exp           # Folder for experiments.
python=python3       # The Python that runs everything.

# Stage 1: data preparation
corpus=          # Which local/prepare_<corpus>.py to use (default: the recipe folder's name).
local_data_opts= # Options given on to local/prepare_<corpus>.py.
download_opts=   # Options of avsep_download, where db.sh says "downloads".

# Stage 2: visual features
visual_encoder=open_clip # The encoder of the pictures; "frames" packs the pictures themselves.
visual_model=ViT-B-32    # Its architecture.
visual_pretrained=openai # Its weights: open_clip's name, a file, or "random" (untrained).
visual_fps=8             # Pictures a second that are looked at.
visual_every=8           # Of these, encode every k-th.
visual_size=268          # Side of packed pictures in pixels.
visual_precomputed=      # Take these features instead: a Kaldi scp or HFRA's HDF5 file.
visual_boxes=            # Cut pictures out around objects: "detector", or a folder of box files.
box_detector=fasterrcnn_resnet50_fpn_v2 # The detector: torchvision's name.
box_pretrained=COCO_V1   # Its weights: torchvision's name, a file, or "random" (untrained).
box_classes=             # Classes of boxes, the most wanted first, or a table (default: any).
box_score=0.3            # Least score of a box.
box_margin=0             # Added to a box on each side, as a share of its size.
box_fps=1                # Numbered pictures a second of box files.
box_batch_size=4         # Pictures that the detector sees at a time.
box_size=                # <width>x<height> of the pictures of box files (default: the videos').
visual_batch_size=32     # Pictures encoded at a time.
visual_device=auto       # auto, cpu or cuda.
visual_dtype=float32     # float32, or bfloat16 where the device is faster in it.
audio_stream=            # Of files with several audio streams: the number, from 1, of the one to take.
allow_pipes=false        # Whether data/<set>/wav.scp may hold commands in place of files.
one_pass=true            # Whether stage 2 also does stage 3's work where one file has picture and sound.

motion_encoder=          # Motion features too: s3d, r2plus1d_18, mvit_v2_s, raft_small, lucas_kanade.
motion_pretrained=       # Its weights: torchvision's name, a file, or "random" (untrained).
motion_rate=             # Rows of motion features a second (default: 1, of optical flow 8).
motion_batch_size=8      # Windows of pictures encoded at a time.
motion_precomputed=      # Take these motion features instead: a folder as iQuery has it.
use_motion=              # Whether stages 4-7 use motion features (default: where stage 2 makes them).

# Stage 3: audio
fs=11625         # Sampling rate in Hz.
audio_format=wav # wav or flac.

# Stage 4: clips and fixed mixtures
min_wav_duration=         # Drop shorter clips (s), besides those shorter than a segment.
max_wav_duration=         # Drop longer clips (s).
segment_samples=65280     # Samples of a fixed mixture and of a training segment.
silence_dbfs=-60          # Drop clips whose level is lower.
ref_num=2                 # Number of sources in a mixture.
train_ref_nums=           # In training several numbers, in turn, e.g. "2 3 4" (default: ref_num).
test_ref_nums=            # In test sets several numbers: <set>_2src, ... (default: ref_num).
mix_different_class=false # Whether the sources of a fixed mixture must differ in class.
mix_same_class=false      # Whether test sets are also mixed of clips of one class.
mix_silent_sources=0      # Sources of a fixed mixture that are seen and not heard.
mix_seed=0                # Seed of the fixed mixtures.
valid_num_mixtures=       # Number of mixtures of valid_set (default: that of its clips).
test_num_mixtures=        # Number of mixtures of each test set (default: that of its clips).
mix_visual_frames=1       # Visual rows of each source of a fixed mixture.
mix_visual_stride=1       # Distance of these rows, in rows.
motion_align=whole        # Motion rows of a mixture: of the whole clips, or of their segments.
leak_check=               # Look for clips of one set in another: true (default), false, strict.
health_report=true        # Whether to write a page that says what stages 1-4 made of the corpus.
health_max_videos=120     # Videos of which it shows and judges a few pictures.
valid_mixture_list=       # Make these mixtures of valid_set instead of drawing them.
test_mixture_list=        # Make these mixtures of each test set instead of drawing them.
duet_prompts=class_mean   # What prompts the sources of real sets: class_mean or halves.

# Stages 5 and 6: training
train_segment_samples= # Samples of a training segment (default: segment_samples).
avsep_exp=    # The experiment's folder; avsep_tag is then ignored.
avsep_tag=    # The end of the experiment's folder name (default: made from the config).
avsep_config=conf/train.yaml # Config of training, or of a system without ("trained: false").
avsep_args=   # Options of training that overrule the config, e.g. "--max_epoch 10".
init_param=   # Pretrained weights to begin with: <file>[:<from>[:<to>[:<exclude>]]].

# Stage 7: separation
inference_args=       # Options of avsep_inference, e.g. "--binary_mask true".
inference_model=valid.si_sdr_i.best.pth # The weights to use.
inference_tag=        # A folder within the experiment for these settings' results.
inference_batch_size=1 # Mixtures separated at a time.
eval_valid_set=true   # Whether stages 7 and 8 do valid_set too.
download_model=       # A published or packed model to use instead of one trained here.

# Stage 8: scoring
scoring_backend=fast # fast, or mir_eval (the reference, slow).
scoring_opts=        # Further options of avsep_scoring.
leak_free=false      # Whether to average the mixtures without leaking clips, too.
corpus_note=         # A sentence for the top of RESULTS.md.
report=true          # Whether to write a page to look at and listen to the results.
report_mixtures=20   # Mixtures of each set that can be listened to there.

# [Task dependent] The names of the sets that local/data.sh makes
train_set= # Name of the training set (required).
valid_set= # Name of the validation set (required).
test_sets= # Names of the test sets (required).
real_sets= # Names of sets of real mixtures, duets: separated and not scored.

# Stage 10: upload
hf_repo=         # Name of the repository on the Hugging Face hub, <user>/<name>.
hf_license=      # Licence of the weights, as the hub names it, e.g. cc-by-4.0.
hf_private=false # Whether a new repository is private.
hf_dry_run=false # Whether only to write the folder that would be uploaded.

# shellcheck disable=SC2034  # parse_options.sh prints it
help_message=$(
    cat << EOF
Usage: $0 --train_set <name> --valid_set <name> --test_sets "<name> ..." [options]

Stages: 1 data preparation, 2 visual features, 3 audio, 4 clips and fixed mixtures,
5 statistics, 6 training, 7 separation, 8 scoring, and, where they are not skipped, 9 packing,
10 upload. Each may be run again: what is finished is kept. Options are written "--name value"; "-" and "_" are the same in names.

    # General configuration
    --stage             # The first stage to run (default="${stage}").
    --stop_stage        # The last stage to run (default="${stop_stage}").
    --skip_data_prep    # Skip stages 1-4 (default="${skip_data_prep}").
    --skip_train        # Skip stages 5 and 6 (default="${skip_train}").
    --skip_eval         # Skip stages 7 and 8 (default="${skip_eval}").
    --skip_packing      # Skip stage 9 (default="${skip_packing}").
    --skip_upload_hf    # Skip stage 10 (default="${skip_upload_hf}").
    --ngpu              # Number of GPUs in training, 0: CPU (default: 1 where there is one, else
                        # 0; 1 for jobs of a cluster).
    --num_nodes         # Number of machines in training (default="${num_nodes}").
    --nj                # Number of parallel jobs in stages 2 and 3 (default: the number of CPU
                        # cores, at most 8; 8 for jobs of a cluster).
    --inference_nj      # Number of parallel jobs in stage 7 (default: as for --nj).
    --gpu_inference     # Whether stage 7 uses a GPU (default="${gpu_inference}").
    --train_threads     # CPU threads in training (default: all cores with --ngpu 0, else 1).
    --progress_interval # Seconds between two looks at the logs of running jobs, 0: none
                        # (default="${progress_interval}").
    --datadir           # Folder for the tables of the sets (default="${datadir}").
    --dumpdir           # Folder for features and formatted audio (default="${dumpdir}").
    --expdir            # Folder for experiments (default="${expdir}").
    --python            # The Python that runs everything (default="${python}").

    # Stage 1: data preparation
    --train_set         # Name of the training set (required).
    --valid_set         # Name of the validation set (required).
    --test_sets         # Names of the test sets (required).
    --real_sets         # Names of sets of real mixtures, e.g. "duet" of music: separated
                        # and not scored, for they have no references.
    --corpus            # Which local/prepare_<corpus>.py to use (default: the folder's name).
    --local_data_opts   # Options given on to it (default="${local_data_opts}").
    --download_opts     # Options of avsep_download, where db.sh says "downloads", e.g.
                        # "--nj 2 --cookies_from_browser firefox" (default="${download_opts}").

    # Stage 2: visual features
    --visual_encoder    # The encoder of the pictures: open_clip, resnet18, or frames to pack the
                        # pictures themselves (default="${visual_encoder}").
    --visual_model      # Its architecture (default="${visual_model}").
    --visual_pretrained # Its weights: open_clip's name, a file, or "random" for an untrained
                        # encoder (default="${visual_pretrained}").
    --visual_fps        # Pictures a second that are looked at (default="${visual_fps}").
    --visual_every      # Of these, encode every k-th (default="${visual_every}").
    --visual_size       # Side of packed pictures in pixels (default="${visual_size}").
    --visual_precomputed # Take these features instead: a Kaldi scp or HFRA's HDF5 file.
    --visual_boxes      # Cut the pictures out around objects: those that a detector finds
                        # ("detector"), or those of a folder of box files (Co-Separation's and
                        # iQuery's .npy, or .json). A picture without a box stays whole; all is
                        # in dump/raw/<set>/visual_boxes.tsv (default: whole pictures).
    --box_detector      # The detector: torchvision's fasterrcnn_resnet50_fpn_v2,
                        # fcos_resnet50_fpn or retinanet_resnet50_fpn_v2.
    --box_pretrained    # Its weights: torchvision's name, a file, or "random"
                        # (default="${box_pretrained}").
    --box_classes       # Classes of boxes, the most wanted first, e.g. "person,any"; or a table
                        # of categories of clips and such lists (default: any).
    --box_score         # Least score of a box (default="${box_score}").
    --box_margin        # Added to a box on each side, as a share of its size
                        # (default="${box_margin}").
    --box_fps           # Numbered pictures a second of box files: 1 in iQuery, 8 in
                        # Co-Separation (default="${box_fps}").
    --box_batch_size    # Pictures that the detector sees at a time (default="${box_batch_size}").
    --box_size          # <width>x<height> of the pictures that the boxes of files were found in
                        # (default: those of the videos).
    --visual_batch_size # Pictures encoded at a time (default="${visual_batch_size}").
    --visual_device     # auto, cpu or cuda (default="${visual_device}").
    --visual_dtype      # float32, or bfloat16: four times as fast on a CPU that has it, rows
                        # differ in the third digit (default="${visual_dtype}").
    --motion_encoder    # Make motion features, too: of a video network, s3d, r2plus1d_18 or
                        # mvit_v2_s, or optical flow, raft_small (a network) or lucas_kanade
                        # (a classical method without weights) (default: none are made).
    --motion_pretrained # Its weights: torchvision's name, a file, or "random" for an untrained
                        # network (default: KINETICS400_V1, of raft_small C_T_V2).
    --motion_rate       # Rows of motion features a second (default: 1, of optical flow 8).
    --motion_batch_size # Windows of pictures encoded at a time (default="${motion_batch_size}").
    --motion_precomputed # Take these motion features instead: a folder of iQuery's .npy files,
                        # <category>/<video>.mp4.npy.
    --use_motion        # Whether stage 4 writes motion tables, and stages 5-7 read them: true
                        # or false (default: true where one of the two options above is given).
    --audio_stream      # Of files with several audio streams, the number, from 1, of the one to take;
                        # none: the first with the default flag that can be decoded
                        # (default="${audio_stream}").
    --allow_pipes       # Whether stages 2 and 3 run the commands ("cmd |") that data/<set>/wav.scp
                        # has in place of files, without a shell; only for tables that you
                        # wrote yourself (default="${allow_pipes}").
    --one_pass          # Whether stage 2 also does stage 3's work where one file has picture and
                        # sound, so that it is read once less (default="${one_pass}").

    # Stage 3: audio
    --fs                # Sampling rate in Hz (default="${fs}").
    --audio_format      # wav or flac (default="${audio_format}").

    # Stage 4: clips and fixed mixtures
    --min_wav_duration  # Drop shorter clips (s), besides those shorter than a segment.
    --max_wav_duration  # Drop longer clips (s).
    --segment_samples   # Samples of a segment and of a mixture (default="${segment_samples}").
    --silence_dbfs      # Drop clips whose level is lower (default="${silence_dbfs}").
    --ref_num           # Number of sources in a mixture (default="${ref_num}").
    --train_ref_nums    # Numbers of sources in training, in turn, e.g. "2 3 4" (default: ref_num;
                        # valid_set has ref_num in any case).
    --test_ref_nums     # Numbers of sources of the test mixtures, e.g. "2 3 4": each test set
                        # is mixed, separated and scored as <set>_2src, <set>_3src, ...
                        # (default: ref_num, under its own name).
    --mix_different_class # Whether the sources of a fixed mixture must differ in class
                        # (default="${mix_different_class}").
    --mix_same_class    # Whether each test set is also mixed, separated and scored as
                        # <set>_same_class: all sources of a mixture are of one class, so that
                        # their class does not tell them apart (default="${mix_same_class}").
    --mix_silent_sources # Sources of a fixed mixture that are seen and not heard: how many of
                        # each, the probability of each after the first, or their numbers
                        # from 1, e.g. 2,4 (default="${mix_silent_sources}").
    --mix_seed          # Seed of the fixed mixtures (default="${mix_seed}").
    --valid_num_mixtures # Number of mixtures of valid_set (default: that of its clips).
    --test_num_mixtures # Number of mixtures of each test set (default: that of its clips).
    --mix_visual_frames # Visual rows of each source of a fixed mixture
                        # (default="${mix_visual_frames}").
    --mix_visual_stride # Distance of these rows, in rows (default="${mix_visual_stride}").
    --motion_align      # Motion rows of a mixture, in training too: whole (of the whole clips, as
                        # iQuery and DGFNet have them) or segment (default="${motion_align}").
    --leak_check        # Look for videos and sounds that are in two sets, into
                        # <dumpdir>/raw/leaks.tsv: true, false, or strict, for which such a
                        # case is an error (default="true").
    --health_report     # Whether to write a page that says what stages 1-4 made of the corpus
                        # (default="${health_report}").
    --health_max_videos # Videos of which it shows and judges a few pictures
                        # (default="${health_max_videos}").
    --valid_mixture_list # A list of valid_set's mixtures, instead of drawing them: a
                        # mixtures.tsv, or lines of ref_num clips or wav names.
    --test_mixture_list # The same for each test set.
    --duet_prompts      # What prompts the sources of real sets: class_mean, the mean of the
                        # instrument's training embeddings, or halves, the left and the
                        # right half of the picture (default="${duet_prompts}").

    # Stages 5 and 6: training
    --train_segment_samples # Samples of a training segment, at most segment_samples: shorter
                        # ones make shorter steps (default: segment_samples).
    --avsep_exp         # The experiment's folder; --avsep_tag is then ignored.
    --avsep_tag         # The end of its name (default: made from the config and avsep_args).
    --avsep_config      # Config of training (default="${avsep_config}").
    --avsep_args        # Options that overrule the config, e.g. "--max_epoch 10".
    --init_param        # Pretrained weights to begin with.

    # Stage 7: separation
    --inference_args    # Options of avsep_inference, e.g. "--binary_mask true" or
                        # "--shuffle_visual class" (the pictures of other sources); or of
                        # avsep_baseline, for systems without training.
    --inference_model   # The weights to use (default="${inference_model}"; where a
                        # training has no such file, valid.loss.best.pth).
    --inference_tag     # A folder within the experiment for these settings' results.
    --inference_batch_size # Mixtures separated at a time (default="${inference_batch_size}").
    --eval_valid_set    # Whether stages 7 and 8 do valid_set too (default="${eval_valid_set}").
    --download_model    # A model to use instead of one trained here; stages 5 and 6 are then
                        # skipped: <user>/<name> on the Hugging Face hub, zoo:<tag> of
                        # espnet_model_zoo, or the zip file or folder of stage 9.

    # Stage 8: scoring
    --scoring_backend   # fast, or mir_eval: the reference, slow (default="${scoring_backend}").
    --scoring_opts      # Further options of avsep_scoring.
    --leak_free         # Also average the mixtures without leaking clips
                        # (default="${leak_free}").
    --corpus_note       # A sentence for the top of RESULTS.md, e.g. what the corpus is not.
    --report            # Whether to write report/index.html beside RESULTS.md: tables, players,
                        # spectrograms, plots (default="${report}").
    --report_mixtures   # Mixtures of each set that can be listened to there, 0.6 MB each
                        # (default="${report_mixtures}").

    # Stage 10: upload
    --hf_repo           # Name of the repository on the Hugging Face hub, <user>/<name>.
    --hf_license        # Licence of the weights, as the hub names it, e.g. cc-by-4.0.
    --hf_private        # Whether a new repository is private
                        # (default="${hf_private}").
    --hf_dry_run        # Whether only to write the folder that would be uploaded,
                        # <experiment>/hf_repo (default="${hf_dry_run}").
EOF
)

log "$0 $*"
# Kept for the experiment's run.sh; parse_options.sh consumes the arguments.
run_args=$(utils/print_args.sh "$0" "$@")
given_options=$(printf '%s\n' "$@" | sed -n 's/^--//p' | tr '-' '_')
# shellcheck source=/dev/null
. utils/parse_options.sh

if [ $# -ne 0 ]; then
    die "'$1' is not an option; there are no positional arguments. See $0 --help"
fi

# shellcheck source=./egs2/TEMPLATE/avsep1/path.sh
. ./path.sh
# shellcheck source=./egs2/TEMPLATE/avsep1/cmd.sh
. ./cmd.sh

# nproc obeys these variables, and path.sh sets the first one.
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
_cores=8 _gpus=1 # of a cluster, whose machines are not known here
if [[ ${cmd_backend} =~ ^(local|stdout)$ ]]; then
    _cores=$((cores < 8 ? cores : 8))
    _gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU') || true
    [ "${CUDA_VISIBLE_DEVICES-unset}" != "" ] || _gpus=0
    _gpus=$((_gpus < 1 ? 0 : 1))
fi
nj=${nj:-${_cores}}
inference_nj=${inference_nj:-${_cores}}
ngpu=${ngpu:-${_gpus}}
log "Jobs: --nj ${nj} --inference_nj ${inference_nj} --ngpu ${ngpu}"

# ------------------------------------------------------------------- checks

# check_int <option> <least>: the option's value must be a whole number
check_int() {
    if ! [[ ${!1} =~ ^[0-9]{1,15}$ ]] || [ "${!1}" -lt "$2" ]; then
        die "--$1 '${!1}': expected a whole number, $2 or more"
    fi
}

for _name in train_set valid_set test_sets; do
    [ -n "${!_name}" ] || die "--${_name} is required. See $0 --help"
done
if [[ ${fs} =~ ^[0-9]+k$ ]]; then
    fs=${fs%k}000
fi
for _name in stage nj inference_nj num_nodes fs segment_samples visual_every \
    visual_batch_size visual_size box_batch_size motion_batch_size mix_visual_frames \
    mix_visual_stride inference_batch_size; do
    check_int "${_name}" 1
done
check_int ref_num 2
for _num in ${train_ref_nums} ${test_ref_nums}; do
    [[ ${_num} =~ ^[2-8]$ ]] ||
        die "--train_ref_nums '${train_ref_nums}', --test_ref_nums '${test_ref_nums}': expected" \
            "numbers from 2 to 8"
done
if [ -n "${test_mixture_list}" ] && [ "$(wc -w <<< "${test_ref_nums}")" -gt 1 ]; then
    die "--test_ref_nums '${test_ref_nums}': a --test_mixture_list is of one number of sources"
fi
for _name in stop_stage ngpu progress_interval mix_seed health_max_videos report_mixtures; do
    check_int "${_name}" 0
done
if [ "${stop_stage}" -lt "${stage}" ]; then
    die "--stage ${stage} --stop_stage ${stop_stage}: no stage is left to run; --stop_stage is the last one"
fi
for _name in train_threads train_segment_samples valid_num_mixtures test_num_mixtures audio_stream; do
    [ -z "${!_name}" ] || check_int "${_name}" 1
done
if [ "${train_segment_samples:-1}" -gt "${segment_samples}" ]; then
    die "--train_segment_samples ${train_segment_samples}: expected at most --segment_samples," \
        "${segment_samples}, the least length of a clip"
fi
_stream_opts=()
[ -z "${audio_stream}" ] || _stream_opts=(--audio_stream "${audio_stream}")
[[ ${audio_format} =~ ^(wav|flac)$ ]] || die "--audio_format '${audio_format}': expected wav or flac"
[[ ${visual_device} =~ ^(auto|cpu|cuda)$ ]] ||
    die "--visual_device '${visual_device}': expected auto, cpu or cuda"
[[ ${visual_dtype} =~ ^(float32|bfloat16)$ ]] ||
    die "--visual_dtype '${visual_dtype}': expected float32 or bfloat16"
[[ ${motion_encoder} =~ ^(s3d|r2plus1d_18|mvit_v2_s|raft_small|lucas_kanade)?$ ]] ||
    die "--motion_encoder '${motion_encoder}': expected s3d, r2plus1d_18, mvit_v2_s, raft_small" \
        "or lucas_kanade"
case ${motion_encoder} in
    raft_small) motion_pretrained=${motion_pretrained:-C_T_V2} motion_rate=${motion_rate:-8} ;;
    lucas_kanade) motion_rate=${motion_rate:-8} ;;
    *) motion_pretrained=${motion_pretrained:-KINETICS400_V1} motion_rate=${motion_rate:-1} ;;
esac
[ -z "${motion_encoder}" ] || [ -z "${motion_precomputed}" ] ||
    die "--motion_encoder ${motion_encoder} and --motion_precomputed ${motion_precomputed}:" \
        "motion features are made or taken; give one of the two"
[[ ${motion_align} =~ ^(whole|segment)$ ]] ||
    die "--motion_align '${motion_align}': expected whole or segment"
[ "${motion_align}" = whole ] || [ -z "${motion_precomputed}" ] ||
    die "--motion_align segment: iQuery's files cover the first 160 s of a video, so which rows" \
        "belong to a segment is not known; use --motion_align whole, or --motion_encoder"
# An option whose value is true or false could have no third one.
if [ -z "${use_motion}" ]; then
    use_motion=false
    [ -z "${motion_encoder}${motion_precomputed}" ] || use_motion=true
fi
[[ ${use_motion} =~ ^(true|false)$ ]] || die "--use_motion '${use_motion}': expected true or false"
leak_check=${leak_check:-true}
[[ ${leak_check} =~ ^(true|false|strict)$ ]] ||
    die "--leak_check '${leak_check}': expected true, false or strict"
if "${leak_free}" && [ "${leak_check}" = false ]; then
    die "--leak_free true: wants --leak_check true (or strict), which says what leaks"
fi
[[ ${duet_prompts} =~ ^(class_mean|halves)$ ]] ||
    die "--duet_prompts '${duet_prompts}': expected class_mean or halves"
if [ -n "${real_sets}" ] && [ "${ref_num}" -ne 2 ]; then
    die "--real_sets '${real_sets}': duets have two sources, --ref_num is ${ref_num}"
fi
if [ -n "${real_sets}" ] && [ "${visual_encoder}" = frames ]; then
    die "--real_sets '${real_sets}': what prompts the sources of duets are embeddings, which" \
        "--visual_encoder frames does not make"
fi
if [ -n "${real_sets}" ] && [ "${duet_prompts}" = halves ] && [ -n "${visual_precomputed}" ]; then
    die "--duet_prompts halves: the encoder must see the halves, but --visual_precomputed is given"
fi
if [ -n "${visual_boxes}" ] && [ -n "${visual_precomputed}" ]; then
    die "--visual_boxes ${visual_boxes}: pictures are cut out before they are encoded, but" \
        "--visual_precomputed is given"
fi
if [ -n "${visual_boxes}" ] && [ -n "${real_sets}" ]; then
    die "--visual_boxes ${visual_boxes}: which box is whose in a duet is not known; do without" \
        "--real_sets '${real_sets}'"
fi
if [ -n "${real_sets}" ] && "${use_motion}"; then
    die "--real_sets '${real_sets}': the two of a duet have one video, so whose motion it is cannot" \
        "be told; do without motion features, or without --real_sets"
fi
for _name in valid_mixture_list test_mixture_list; do
    [ -z "${!_name}" ] || [ -f "${!_name}" ] || die "--${_name} '${!_name}': no such file"
done
[[ ${scoring_backend} =~ ^(fast|mir_eval)$ ]] ||
    die "--scoring_backend '${scoring_backend}': expected fast or mir_eval"
if [ -n "${download_model}" ] && ! "${skip_packing}"; then
    die "--download_model '${download_model}' and --skip_packing false: it is packed already"
fi
if ! "${skip_upload_hf}" && [ -z "${hf_repo}" ]; then
    die "--skip_upload_hf false: --hf_repo <user>/<name> says where to"
fi

# The sets whose clips are mixed, and all sets, each once.
clip_sets=
for dset in ${valid_set} ${test_sets}; do
    [ "${dset}" != "${train_set}" ] || die "'${dset}' is the training set and a valid or test set too"
    case " ${clip_sets} " in
        *" ${dset} "*) ;;
        *) clip_sets+="${clip_sets:+ }${dset}" ;;
    esac
done
all_sets="${train_set} ${clip_sets}"
# The sets of fixed mixtures, of which clips and of how many each, and which are separated.
mix_sets=
eval_sets=
declare -A clips_of=() sources_of=()
# add_mix_set <name> <set of clips> <number of sources> <whether it is separated>
add_mix_set() {
    mix_sets+="${mix_sets:+ }$1"
    clips_of[$1]=$2
    sources_of[$1]=$3
    ! "$4" || eval_sets+="${eval_sets:+ }$1"
}
for dset in ${clip_sets}; do
    _is_test=false
    [[ " ${test_sets} " != *" ${dset} "* ]] || _is_test=true
    if [ "${dset}" = "${valid_set}" ] || [ -z "${test_ref_nums}" ]; then
        _is_wanted=${eval_valid_set}
        if "${_is_test}" && [ -z "${test_ref_nums}" ]; then
            _is_wanted=true
        fi
        add_mix_set "${dset}" "${dset}" "${ref_num}" "${_is_wanted}"
    fi
    if "${_is_test}"; then
        for n in ${test_ref_nums}; do
            add_mix_set "${dset}_${n}src" "${dset}" "${n}" true
        done
        if "${mix_same_class}"; then
            add_mix_set "${dset}_same_class" "${dset}" "${ref_num}" true
        fi
    fi
done
# Tables begin with the test sets; the validation set, which chose the weights, comes last.
if [[ " ${eval_sets} " == *" ${valid_set} "* ]]; then
    _others=" ${eval_sets} "
    _others=${_others/" ${valid_set} "/ }
    eval_sets="${_others# }${valid_set}"
fi
for dset in ${real_sets}; do
    case " ${all_sets} " in
        *" ${dset} "*) die "'${dset}' is among --real_sets and another set too" ;;
    esac
    sources_of[${dset}]=2
done

if ! command -v "${python}" > /dev/null; then
    die "--python '${python}': there is no such program"
fi
if ! "${python}" -c 'import importlib.util as u, sys
sys.exit(any(u.find_spec(m) is None for m in ("espnet2", "espnet2_avsep")))'; then
    die "$(command -v "${python}") has no espnet2 or no espnet2_avsep. Run 'make setup' in the" \
        "repository, or install them: pip install espnet, then pip install <this repository>"
fi

# ------------------------------------------------------------------- names

data_feats=${dumpdir}/raw
avsep_stats_dir=${expdir}/avsep_stats_${fs}

if [ -z "${avsep_tag}" ] && [ -n "${download_model}" ]; then
    avsep_tag=${download_model%/}
    if [ -e "${avsep_tag}" ]; then
        avsep_tag=$(basename "${avsep_tag}" .zip)
    fi
    avsep_tag=downloaded_$(sed -e 's/^avsep_//' -e 's/[^A-Za-z0-9_.+-]/_/g' <<< "${avsep_tag}")
elif [ -z "${avsep_tag}" ]; then
    avsep_tag=$(basename "${avsep_config}" .yaml)_raw
    if [ -n "${avsep_args}" ]; then
        avsep_tag+=$(sed -e 's/--/_/g' -e 's/[ |=]//g' -e 's/[^A-Za-z0-9_.+-]/_/g' <<< "${avsep_args}")
    fi
    # A file name has room for 255 bytes.
    if [ ${#avsep_tag} -gt 150 ]; then
        avsep_tag=${avsep_tag:0:130}_$(cksum <<< "${avsep_tag}" | cut -d ' ' -f 1)
    fi
fi
if [ -z "${avsep_exp}" ]; then
    avsep_exp=${expdir}/avsep_${avsep_tag}
fi
inference_dir=${avsep_exp}${inference_tag:+/${inference_tag}}

# The config of a system without training says so; stages 5 and 6 then have nothing to do.
trained=true
if [ -n "${download_model}" ]; then
    skip_train=true
elif [ -f "${avsep_config}" ] && grep -q '^trained: *false' "${avsep_config}"; then
    trained=false
fi

# ------------------------------------------------------------------- helpers

# The options of stages 1 to 4 that decide what they make.
made_with=(
    [1]="corpus local_data_opts"
    [2]="visual_encoder visual_model visual_pretrained visual_fps visual_every visual_size
        visual_precomputed visual_boxes box_detector box_pretrained box_classes box_score
        box_margin box_fps box_size visual_dtype motion_encoder motion_pretrained motion_rate
        motion_precomputed"
    [3]="fs audio_format"
    [4]="min_wav_duration max_wav_duration segment_samples silence_dbfs ref_num
        mix_different_class mix_same_class mix_silent_sources mix_seed valid_num_mixtures
        test_num_mixtures mix_visual_frames mix_visual_stride motion_align valid_mixture_list
        test_mixture_list duet_prompts"
)

# note_options <stage>: keep what the stage was run with
note_options() {
    local name
    mkdir -p "${data_feats}"
    for name in ${made_with[$1]}; do
        echo "${name}=${!name}"
    done > "${data_feats}/.stage$1.options.tmp"
    mv "${data_feats}/.stage$1.options.tmp" "${data_feats}/stage$1.options"
}

# check_options <stage>: an option that is given must be what the stage was run with
check_options() {
    local name value file=${data_feats}/stage$1.options
    [ -f "${file}" ] || return 0
    while IFS='=' read -r name value; do
        if grep -qx "${name}" <<< "${given_options}" && [ "${value}" != "${!name}" ]; then
            die "--${name} '${!name}': stage $1 was run with '${value}'. Run stage $1 again" \
                "('--stage $1'), or give --${name} '${value}' (run.sh may give another one)"
        fi
    done < "${file}"
}

# begin_stage <number> <what>: log it, after how long the stage before it took
begin_stage() {
    end_stage
    log "Stage $1: $2"
    running_stage=$1
    stage_start=${SECONDS}
}

# end_stage: log how long the stage took that was begun last
end_stage() {
    if [ -n "${running_stage}" ]; then
        log "Stage ${running_stage} took $((SECONDS - stage_start)) s"
    fi
    running_stage=
}
running_stage=

# stopped: after Ctrl-C or a signal, when the jobs have ended, say how to go on
stopped() {
    trap '' INT TERM HUP
    local where="" again=""
    if [ -n "${running_stage}" ]; then
        where=" in stage ${running_stage}" again=" (or with '--stage ${running_stage}')"
    fi
    log "Stopped${where}. Run the same command again${again} to go on: what is finished is kept" >&2
    exit 143
}
trap stopped INT TERM HUP

# wanted <number>: whether this stage is asked for
wanted() {
    [ "${stage}" -le "$1" ] && [ "${stop_stage}" -ge "$1" ]
}

# need <file> <stage>: it must be there, not empty, from an earlier stage
need() {
    [ -s "$1" ] || die "$1 is missing or empty. Stage $2 writes it: run '--stage $2 --stop_stage $2' first"
}

# show_progress <logs>: now and then, print what is new in the logs; <logs> may hold a "*"
show_progress() {
    local file line shown
    local -A last=()
    while sleep "${progress_interval}" > /dev/null 2>&1 && kill -0 $$ 2> /dev/null; do
        shown=0
        for file in $1; do
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

# shell_word <word>: print it as a shell reads it back, without blanks
shell_word() {
    local LC_ALL=C word='' char code i
    if [[ $1 =~ ^[A-Za-z0-9_@%+=:,./-]*$ ]]; then
        printf '%s\n' "$1"
        return
    fi
    for ((i = 0; i < ${#1}; i++)); do
        char=${1:i:1}
        if [[ ${char} != [[:graph:]] || ${char} == [\'\\] ]]; then
            printf -v code '%d' "'${char}"
            printf -v char '\\x%02x' $((code & 255))
        fi
        word+=${char}
    done
    printf '%s\n' "\$'${word}'"
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
        ! "${is_job}" || word=$(shell_word "${word}")
        words+=("${word}")
    done
    "${words[@]}" &
    job=$!
    if [ "${progress_interval}" -gt 0 ] && [ "${cmd_backend}" != stdout ]; then
        show_progress "${logs}" &
        watcher=$!
    fi
    # bash cannot act on a signal while it runs a command, but while it waits it can.
    trap 'kill -TERM ${watcher} "${job}" 2> /dev/null || true; wait; stopped' INT TERM HUP
    wait "${job}" || status=$?
    trap stopped INT TERM HUP
    if [ -n "${watcher}" ]; then
        { kill "${watcher}" && wait "${watcher}"; } 2> /dev/null || true
    fi
    if [ "${status}" -ne 0 ]; then
        log "Error: ${what} failed. log: '${logs}'" >&2
        exit "${status}"
    fi
}

# run_group <command> ...: run it as a process group, which ends with this script
run_group() {
    local job status=0
    set -m
    "$@" < /dev/null &
    job=$!
    set +m
    trap 'kill -TERM -- "-${job}" 2> /dev/null || true; wait; stopped' INT TERM HUP
    wait "${job}" || status=$?
    trap stopped INT TERM HUP
    return "${status}"
}

# split_keys <table> <pieces> <nj>: set _nj and write the pieces, JOB standing for 1, ..., _nj
split_keys() {
    local n outputs=()
    _nj=$(min "$3" "$(wc -l < "$1")")
    mkdir -p "$(dirname "$2")"
    for n in $(seq "${_nj}"); do
        outputs+=("${2//JOB/${n}}")
    done
    utils/split_scp.pl "$1" "${outputs[@]}"
}

# jobs_of <set>: the number of jobs that its videos are split over
jobs_of() {
    min "${nj}" "$(wc -l < "${datadir}/$1/video.scp")"
}

# same_weights <visual|motion> <weights> <set or set/region> ...: whether all of them have
# features that were made with these weights, which are then known to be there
same_weights() {
    local kind=$1 weights=$2 part
    shift 2
    for part in "$@"; do
        [ -s "${data_feats}/${part}/${kind}.scp" ] || return
        grep -qxF "pretrained: ${weights}" "${data_feats}/${part}/${kind}_info.yaml" || return
    done
}

# split_sets <visual|motion> <columns> <set or set/region> ...: split their lists of videos
# over the jobs of stage 2; set _most, the number of jobs, and _tables, the options that give
# a job its piece of every set: a word of each column for a set, "-" where it has no such table
split_sets() {
    local kind=$1 columns=$2 part dset dir column n
    # shellcheck disable=SC2034  # used by their names
    local video_scp=() output_dir=() audio_dir=() wav_scp=() utt2clip=() region=()
    shift 2
    _most=0
    for part in "$@"; do
        dset=${datadir}/${part%/*}
        dir=${data_feats}/${part}
        need "${dset}/video.scp" 1
        split_keys "${dset}/video.scp" "${dir}/logs/video.JOB.scp" "${nj}"
        _most=$(max "${_most}" "${_nj}")
        video_scp+=("${dir}/logs/video.JOB.scp")
        # Another nj has other folders, and so begins anew.
        output_dir+=("${dir}/${kind}_split${_nj}/JOB")
        # Where stage 3 will look for what is finished.
        audio_dir+=("${data_feats}/org/${part%/*}/format_split${_nj}/JOB")
        wav_scp+=("$([ -f "${dset}/wav.scp" ] && echo "${dset}/wav.scp" || echo -)")
        utt2clip+=("$([ -f "${dset}/utt2clip" ] && echo "${dset}/utt2clip" || echo -)")
        region+=("$([[ ${part} != */* ]] && echo whole || echo "${part#*/}")")
    done
    # A set with fewer clips than there are jobs has no piece for the last ones.
    for part in "$@"; do
        n=$(jobs_of "${part%/*}")
        while [ "$((n += 1))" -le "${_most}" ]; do
            : > "${data_feats}/${part}/logs/video.${n}.scp"
        done
    done
    _tables=()
    for column in ${columns}; do
        local -n values=${column}
        _tables+=("--${column}" "${values[@]}")
    done
}

# merge_features <visual|motion> <set>: what the jobs of stage 2 wrote, into <set>'s folder;
# wants _dir and dset, sets _nj, _logdir and _split
merge_features() {
    local n info=
    _logdir=${_dir}/logs
    _nj=$(jobs_of "${dset}")
    _split=${_dir}/$1_split${_nj}
    # All jobs must have used the same encoder; one that found nothing cannot say.
    for n in $(seq "${_nj}"); do
        [ -s "${_split}/${n}/$1.scp" ] || continue
        info=${info:-${_split}/${n}/$1_info.yaml}
        cmp "${info}" "${_split}/${n}/$1_info.yaml" ||
            die "the jobs used different encoders; delete ${_split} and run stage 2 again"
    done
    cp "${info:-${_split}/1/$1_info.yaml}" "${_dir}/$1_info.yaml.tmp"
    mv "${_dir}/$1_info.yaml.tmp" "${_dir}/$1_info.yaml"
    utils/merge_scp.py "${_nj}" "${_logdir}/video.JOB.scp" "${_split}/JOB" "${_dir}" \
        "$1_skipped.tsv" "$1_shape" "$1.content" "$1.scp"
    utils/check_keys.sh "${datadir}/${dset}/video.scp" "${_dir}/$1.scp" "${_dir}/$1_skipped.tsv"
    log "$2: $1 features of $(count "${_dir}/$1.scp") clips," \
        "$(count "${_dir}/$1_skipped.tsv") left out (${_dir}/$1_skipped.tsv)"
    [ -s "${_dir}/$1.scp" ] || die "no clip of $2 is left; see ${_dir}/$1_skipped.tsv"
}

# count <table>: its number of lines
count() {
    wc -l < "$1" | tr -d ' '
}

# ========================= Main stages start from here. =========================

if ! "${trained}" && [ -n "${avsep_args}" ]; then
    die "--avsep_args '${avsep_args}': ${avsep_config} is of a system without training;" \
        "--inference_args are options of avsep_baseline"
fi
if ! "${skip_train}" && wanted 6 && [ ! -f "${avsep_config}" ]; then
    die "--avsep_config '${avsep_config}': no such file"
fi

for n in 1 2 3 4; do
    if "${skip_data_prep}" || [ "${stage}" -gt "${n}" ]; then
        check_options "${n}"
    elif wanted "${n}"; then
        rm -f "${data_feats}/stage${n}.options"
    fi
done
if ! "${skip_data_prep}"; then
    if wanted 1; then
        begin_stage 1 "Data preparation: ${datadir}/${train_set}, ${datadir}/${valid_set}, ..."
        # shellcheck disable=SC2086  # local_data_opts is several words
        run_group local/data.sh ${corpus:+--corpus "${corpus}"} --python "${python}" \
            --train_set "${train_set}" --valid_set "${valid_set}" --test_sets "${test_sets}" \
            --data_dir "${datadir}" ${real_sets:+--real_sets "${real_sets}"} \
            ${download_opts:+--download_opts "${download_opts}"} ${local_data_opts}
        note_options 1
    fi

    if wanted 2; then
        begin_stage 2 "Visual features: ${datadir}/ -> ${data_feats}/"
        if [ -n "${motion_precomputed}" ] && [ ! -d "${motion_precomputed}" ]; then
            die "--motion_precomputed '${motion_precomputed}': no such folder"
        fi
        if [ -n "${visual_boxes}" ] && [ "${visual_boxes}" != detector ] && [ ! -d "${visual_boxes}" ]; then
            die "--visual_boxes '${visual_boxes}': expected detector, or a folder of box files"
        fi
        if [ -n "${visual_precomputed}" ]; then
            [ -f "${visual_precomputed}" ] || die "--visual_precomputed '${visual_precomputed}': no such file"
            log "Features are taken as they are from ${visual_precomputed}"
        else
            if [ "${visual_encoder}" = frames ]; then
                log "Pictures are packed as they are, ${visual_size} x ${visual_size} pixels"
            else
                log "Encoder: ${visual_encoder} ${visual_model}, weights: ${visual_pretrained}"
            fi
            if [ "${visual_boxes}" = detector ]; then
                log "Pictures are cut out around boxes of ${box_detector}, weights: ${box_pretrained}"
            elif [ -n "${visual_boxes}" ]; then
                log "Pictures are cut out around the boxes of ${visual_boxes}"
            fi
            if [ "${visual_encoder}" != frames ] && [ "${visual_pretrained}" = random ]; then
                log "Note: these weights are RANDOM, the encoder has learnt nothing" \
                    "(--visual_pretrained openai fetches CLIP's)"
            fi
        fi
        _cmd=${train_cmd}
        if [ "${visual_device}" = cuda ]; then
            _cmd="${cuda_cmd} --gpu 1"
        fi
        # <set>, or <set>/<part of the picture>
        _parts=${all_sets}
        if [ "${duet_prompts}" = halves ]; then
            for dset in ${real_sets}; do
                _parts+=" ${dset}/left ${dset}/right"
            done
        fi
        # All sets in one pass: a job does its piece of each, with one encoder.
        _columns=(video_scp output_dir wav_scp utt2clip)
        _opts=(--allow_empty true --allow_pipes "${allow_pipes}" "${_stream_opts[@]}")
        if [ -n "${visual_precomputed}" ]; then
            _opts+=(--precomputed "${visual_precomputed}")
        else
            _opts+=(--visual_encoder "${visual_encoder}" --visual_model "${visual_model}"
                --visual_pretrained "${visual_pretrained}" --fps "${visual_fps}"
                --every "${visual_every}" --batch_size "${visual_batch_size}"
                --visual_size "${visual_size}" --device "${visual_device}"
                --dtype "${visual_dtype}")
            if "${one_pass}" && [ "${visual_encoder}" != frames ]; then
                _columns+=(audio_dir)
                _opts+=(--fs "${fs}" --audio_format "${audio_format}")
            fi
        fi
        if [ -n "${visual_boxes}" ]; then
            _opts+=(--visual_boxes "${visual_boxes}" --box_detector "${box_detector}"
                --box_pretrained "${box_pretrained}" --box_score "${box_score}"
                --box_margin "${box_margin}" --box_fps "${box_fps}"
                --box_batch_size "${box_batch_size}")
            [ -z "${box_classes}" ] || _opts+=(--box_classes "${box_classes}")
            [ -z "${box_size}" ] || _opts+=(--box_size "${box_size}")
        fi
        [ "${_parts}" = "${all_sets}" ] || _columns+=(region)
        # shellcheck disable=SC2086  # several sets
        split_sets visual "${_columns[*]}" ${_parts}
        # One error before the jobs, instead of one from each.
        # shellcheck disable=SC2086  # several sets
        if [ -z "${visual_precomputed}" ] && ! { [ "${visual_encoder}" = frames ] &&
            [ "${visual_boxes}" != detector ]; } &&
            ! same_weights visual "${visual_pretrained}" ${_parts}; then
            "${python}" -m espnet2_avsep.bin.avsep_extract_visual --check_weights "${_opts[@]}"
        fi
        # shellcheck disable=SC2086  # commands are several words
        run_and_show "Visual features of ${_parts}" "${data_feats}/logs/visual.*.log" \
            ${_cmd} JOB=1:"${_most}" "${data_feats}/logs/visual.JOB.log" \
            "${python}" -m espnet2_avsep.bin.avsep_extract_visual "${_opts[@]}" "${_tables[@]}"
        for _part in ${_parts}; do
            dset=${_part%/*}
            _dir=${data_feats}/${_part}
            merge_features visual "${_part}"
            rm -f "${_dir}/visual_boxes.tsv"
            if [ -n "${visual_boxes}" ]; then
                utils/merge_scp.py --many "${_nj}" "${_logdir}/video.JOB.scp" "${_split}/JOB" \
                    "${_dir}" visual_boxes.tsv
                _rows=$(count "${_dir}/visual_boxes.tsv")
                _whole=$(grep -c 'whole_frame$' "${_dir}/visual_boxes.tsv" || true)
                { cat "${_dir}/visual_info.yaml" && echo "box_rows: ${_rows}" &&
                    echo "box_rows_whole: ${_whole}"; } > "${_dir}/visual_info.yaml.tmp"
                mv "${_dir}/visual_info.yaml.tmp" "${_dir}/visual_info.yaml"
                log "${_part}: ${_whole} of ${_rows} pictures have no box and stay whole" \
                    "(${_dir}/visual_boxes.tsv)"
                if [ "${_whole}" -eq "${_rows}" ]; then
                    log "Note: NO picture of ${_part} has a box; look at --visual_boxes," \
                        "--box_classes and --box_score"
                fi
            fi
        done

        if [ -n "${motion_encoder}${motion_precomputed}" ]; then
            _opts=(--allow_empty true --allow_pipes "${allow_pipes}" "${_stream_opts[@]}")
            _columns=(video_scp output_dir)
            if [ -n "${motion_precomputed}" ]; then
                log "Motion features are taken as they are from ${motion_precomputed}"
                _opts+=(--motion_precomputed "${motion_precomputed}")
                _columns+=(utt2clip)
            else
                _columns+=(wav_scp)
                log "Motion: ${motion_encoder}, weights: ${motion_pretrained:-none, a classical method}"
                if [ "${motion_pretrained}" = random ]; then
                    log "Note: these weights are RANDOM, the network has learnt nothing"
                fi
                _opts+=(--motion_encoder "${motion_encoder}" --motion_rate "${motion_rate}"
                    ${motion_pretrained:+--motion_pretrained "${motion_pretrained}"}
                    --batch_size "${motion_batch_size}" --device "${visual_device}"
                    --dtype "${visual_dtype}")
            fi
            # shellcheck disable=SC2086  # several sets
            split_sets motion "${_columns[*]}" ${all_sets}
            # shellcheck disable=SC2086  # several sets
            [ -n "${motion_precomputed}" ] || [ -z "${motion_pretrained}" ] ||
                same_weights motion "${motion_pretrained}" ${all_sets} ||
                "${python}" -m espnet2_avsep.bin.avsep_extract_motion --check_weights "${_opts[@]}"
            # shellcheck disable=SC2086  # commands are several words
            run_and_show "Motion features of ${all_sets}" "${data_feats}/logs/motion.*.log" \
                ${_cmd} JOB=1:"${_most}" "${data_feats}/logs/motion.JOB.log" \
                "${python}" -m espnet2_avsep.bin.avsep_extract_motion "${_opts[@]}" "${_tables[@]}"
            for dset in ${all_sets}; do
                _dir=${data_feats}/${dset}
                merge_features motion "${dset}"
            done
        fi
        note_options 2
    fi

    if wanted 3; then
        begin_stage 3 "Audio, mono, ${fs} Hz: ${datadir}/ -> ${data_feats}/org/"
        for dset in ${all_sets} ${real_sets}; do
            need "${datadir}/${dset}/wav.scp" 1
            _dir=${data_feats}/org/${dset}
            _logdir=${_dir}/logs
            split_keys "${datadir}/${dset}/wav.scp" "${_logdir}/wav.JOB.scp" "${nj}"
            # Another nj has other folders, and so begins anew.
            _split=${_dir}/format_split${_nj}
            # shellcheck disable=SC2086  # commands are several words
            run_and_show "Audio of ${dset}" "${_logdir}/format_audio.*.log" \
                ${train_cmd} JOB=1:"${_nj}" "${_logdir}/format_audio.JOB.log" \
                "${python}" -m espnet2_avsep.bin.avsep_format_audio \
                --wav_scp "${_logdir}/wav.JOB.scp" --output_dir "${_split}/JOB" \
                --fs "${fs}" --audio_format "${audio_format}" --allow_empty true \
                --allow_pipes "${allow_pipes}" "${_stream_opts[@]}"
            utils/merge_scp.py "${_nj}" "${_logdir}/wav.JOB.scp" "${_split}/JOB" "${_dir}" \
                skipped.tsv utt2num_samples wav.content wav.scp
            utils/check_keys.sh "${datadir}/${dset}/wav.scp" "${_dir}/wav.scp" "${_dir}/skipped.tsv"
            log "${dset}: audio of $(count "${_dir}/wav.scp") clips," \
                "$(count "${_dir}/skipped.tsv") left out (${_dir}/skipped.tsv)"
            [ -s "${_dir}/wav.scp" ] || die "no clip of ${dset} is left; see ${_dir}/skipped.tsv"
        done
        note_options 3
    fi

    if wanted 4; then
        begin_stage 4 "Clips and fixed mixtures: ${data_feats}/org/ -> ${data_feats}/"
        for dset in ${all_sets}; do
            need "${data_feats}/${dset}/visual.scp" 2
            need "${data_feats}/org/${dset}/wav.scp" 3
            _dir=${data_feats}/${dset}
            _clips=${_dir}
            if [ "${dset}" != "${train_set}" ]; then
                _clips=${data_feats}/org/${dset}_clips
            fi
            _motion_dir=
            if "${use_motion}"; then
                need "${_dir}/motion.scp" 2
                _motion_dir=${_dir}
            fi
            # shellcheck disable=SC2086  # commands are several words
            run_and_show "Choice of ${dset}'s clips" "${_dir}/logs/filter_clips.log" \
                ${train_cmd} "${_dir}/logs/filter_clips.log" \
                "${python}" -m espnet2_avsep.bin.avsep_filter_clips \
                --data_dir "${datadir}/${dset}" --wav_dir "${data_feats}/org/${dset}" \
                --visual_dir "${_dir}" --output_dir "${_clips}" --fs "${fs}" \
                --segment_samples "${segment_samples}" --silence_dbfs "${silence_dbfs}" \
                ${_motion_dir:+--motion_dir "${_motion_dir}"} \
                ${min_wav_duration:+--min_wav_duration "${min_wav_duration}"} \
                ${max_wav_duration:+--max_wav_duration "${max_wav_duration}"}
            for mset in ${mix_sets}; do
                [ "${clips_of[${mset}]}" = "${dset}" ] || continue
                _dir=${data_feats}/${mset}
                _num_mixtures=${test_num_mixtures}
                _list=${test_mixture_list}
                _classes=(--different_class "${mix_different_class}")
                if [ "${mset}" = "${dset}_same_class" ]; then
                    _classes=(--same_class true)
                    _list=
                fi
                if [ "${mset}" = "${valid_set}" ]; then
                    _num_mixtures=${valid_num_mixtures}
                    _list=${valid_mixture_list}
                fi
                # shellcheck disable=SC2086  # commands are several words
                run_and_show "Mixtures of ${mset}" "${_dir}/logs/make_mixtures.log" \
                    ${train_cmd} "${_dir}/logs/make_mixtures.log" \
                    "${python}" -m espnet2_avsep.bin.avsep_make_mixtures \
                    --clips_dir "${_clips}" --output_dir "${_dir}" --fs "${fs}" \
                    --num_sources "${sources_of[${mset}]}" --segment_samples "${segment_samples}" \
                    "${_classes[@]}" --seed "${mix_seed}" \
                    --silence_dbfs "${silence_dbfs}" --silent_sources "${mix_silent_sources}" \
                    --visual_frames "${mix_visual_frames}" --visual_stride "${mix_visual_stride}" \
                    ${_motion_dir:+--motion_align "${motion_align}"} \
                    ${_list:+--list "${_list}"} \
                    ${_num_mixtures:+--num_mixtures "${_num_mixtures}"}
                if [ "${mset}" != "${dset}" ]; then
                    # What stage 2 left of these clips, and for the tables that name them.
                    echo "${dset}" > "${_dir}/clips_of"
                    for f in visual_info.yaml visual_shape motion_info.yaml; do
                        [ ! -e "${data_feats}/${dset}/${f}" ] || cp "${data_feats}/${dset}/${f}" "${_dir}/${f}"
                    done
                fi
                log "${mset}: $(count "${_dir}/wav.scp") mixtures, list ${_dir}/mixtures.tsv," \
                    "SHA-256 $(cut -d ' ' -f 1 "${_dir}/mixtures.sha256")"
            done
            if [ "${dset}" = "${train_set}" ]; then
                log "${dset}: $(count "${_dir}/wav.scp") clips"
            fi
            log "${dset}: left out by stages 1-4: $(count "${_dir}/skipped.tsv") (${_dir}/skipped.tsv)"
        done

        # Whether what is tested on was trained on. What was found before is of other clips.
        rm -f "${data_feats}/leaks.tsv"
        if [ "${leak_check}" != false ]; then
            _opts=(--train_set "${train_set}:${datadir}/${train_set}:${data_feats}/${train_set}")
            for dset in ${clip_sets}; do
                _name=--test_set
                if [ "${dset}" = "${valid_set}" ]; then
                    _name=--valid_set
                fi
                _opts+=("${_name}" "${dset}:${datadir}/${dset}:${data_feats}/org/${dset}_clips")
            done
            _strict=false
            if [ "${leak_check}" = strict ]; then
                _strict=true
            fi
            # shellcheck disable=SC2086  # commands are several words
            run_and_show "Leak check" "${data_feats}/logs/check_leaks.log" \
                ${train_cmd} --num-threads "${nj}" "${data_feats}/logs/check_leaks.log" \
                "${python}" -m espnet2_avsep.bin.avsep_check_leaks "${_opts[@]}" \
                --output "${data_feats}/leaks.tsv" --cache_dir "${data_feats}/fingerprints" \
                --nj "${nj}" --strict "${_strict}"
            log "Clips that two sets (or two classes) share: $(($(count "${data_feats}/leaks.tsv") - 1))" \
                "(${data_feats}/leaks.tsv)"
        fi

        if "${health_report}"; then
            # shellcheck disable=SC2086  # commands and all_sets are several words
            run_and_show "Health report" "${data_feats}/report/health_report.log" \
                ${train_cmd} "${data_feats}/report/health_report.log" \
                "${python}" -m espnet2_avsep.bin.avsep_health_report \
                --sets ${all_sets} --data_dir data --dump_dir "${data_feats}" \
                --output_dir "${data_feats}/report" --fs "${fs}" \
                --max_videos "${health_max_videos}" --leaks "${data_feats}/leaks.tsv" \
                --title "Health of ${corpus:-$(basename "${PWD%/avsep[0-9]*}")}"
            log "What became of the corpus: ${data_feats}/report/index.html (open it in a browser)"
        fi
        for dset in ${real_sets}; do
            need "${datadir}/${dset}/utt2pair" 1
            need "${data_feats}/org/${dset}/wav.scp" 3
            _dir=${data_feats}/${dset}
            _opts=(--train_dir "${data_feats}/${train_set}")
            if [ "${duet_prompts}" = halves ]; then
                _opts=(--visual_dir "${_dir}/left" --visual_dir "${_dir}/right")
            fi
            # shellcheck disable=SC2086  # commands are several words
            run_and_show "Real mixtures of ${dset}" "${_dir}/logs/make_real_mixtures.log" \
                ${train_cmd} "${_dir}/logs/make_real_mixtures.log" \
                "${python}" -m espnet2_avsep.bin.avsep_make_real_mixtures \
                --data_dir "${datadir}/${dset}" --wav_dir "${data_feats}/org/${dset}" \
                --output_dir "${_dir}" --fs "${fs}" --segment_samples "${segment_samples}" \
                --silence_dbfs "${silence_dbfs}" --prompts "${duet_prompts}" "${_opts[@]}"
            log "${dset}: $(count "${_dir}/wav.scp") real mixtures," \
                "$(count "${_dir}/skipped.tsv") left out (${_dir}/skipped.tsv)"
        done
        note_options 4
    fi
else
    log "Skip stages 1-4 (data preparation)"
fi

# The data of training and validation, as ESPnet wants them: path,name,type
_train=${data_feats}/${train_set}
_valid=${data_feats}/${valid_set}
# shellcheck disable=SC2034  # used by its name
train_data=("${_train}/spk1.scp,speech_ref1,sound" "${_train}/visual_spk1.scp,visual_ref1,kaldi_ark")
valid_data=("${_valid}/wav.scp,speech_mix,sound")
for n in $(seq "${ref_num}"); do
    valid_data+=("${_valid}/spk${n}.scp,speech_ref${n},sound")
done
for n in $(seq "${ref_num}"); do
    valid_data+=("${_valid}/visual_spk${n}.scp,visual_ref${n},kaldi_ark")
done
if "${use_motion}"; then
    train_data+=("${_train}/motion_spk1.scp,motion_ref1,kaldi_ark")
    for n in $(seq "${ref_num}"); do
        valid_data+=("${_valid}/motion_spk${n}.scp,motion_ref${n},kaldi_ark")
    done
fi

if ! "${trained}"; then
    log "Stages 5 and 6: nothing to do, ${avsep_config} is of a system without training"
    # Their true sources, which such a system is given or ordered by, are not known.
    real_sets=
elif ! "${skip_train}"; then
    if wanted 5; then
        begin_stage 5 "Statistics: ${data_feats}/ -> ${avsep_stats_dir}/"
        for _part in train valid; do
            _data="${_part}_data[@]"
            _opts=()
            for _triple in "${!_data}"; do
                need "${_triple%%,*}" 4
                _opts+=(--data_path_and_name_and_type "${_triple}")
            done
            # shellcheck disable=SC2086  # commands are several words
            run_and_show "Statistics of ${_part}" "${avsep_stats_dir}/${_part}/collect_stats.log" \
                ${train_cmd} "${avsep_stats_dir}/${_part}/collect_stats.log" \
                "${python}" -m espnet2_avsep.bin.avsep_collect_stats \
                --output_dir "${avsep_stats_dir}/${_part}" "${_opts[@]}"
        done
    fi

    if wanted 6; then
        begin_stage 6 "Training: ${avsep_exp}"
        _opts=()
        for _part in train valid; do
            _data="${_part}_data[@]"
            for _triple in "${!_data}"; do
                _name=${_triple#*,}
                _shape=${avsep_stats_dir}/${_part}/${_name%,*}_shape
                need "${_triple%%,*}" 4
                need "${_shape}" 5
                _opts+=("--${_part}_data_path_and_name_and_type" "${_triple}")
                _opts+=("--${_part}_shape_file" "${_shape}")
            done
        done
        if "${use_motion}"; then
            _opts+=(--dataset_conf "motion_align=${motion_align}")
        fi
        if [ -n "${init_param}" ]; then
            # shellcheck disable=SC2206  # several files may be given
            _opts+=(--init_param ${init_param})
        fi
        if [ -z "${train_threads}" ]; then
            train_threads=1
            if [ "${ngpu}" -eq 0 ]; then
                train_threads=${cores}
            fi
        fi

        _num_sources=${ref_num}
        if [ -n "${train_ref_nums}" ]; then
            _num_sources="[$(xargs <<< "${train_ref_nums}" | tr ' ' ',')]"
        fi

        # shellcheck disable=SC2206  # avsep_args is several words
        _opts=(--config "${avsep_config}" --output_dir "${avsep_exp}" --resume true
            --sample_rate "${fs}" --dataset_conf "num_sources=${_num_sources}"
            --dataset_conf "segment_samples=${train_segment_samples:-${segment_samples}}"
            "${_opts[@]}" ${avsep_args})
        # Nothing is written where the checkpoint is that of another training.
        "${python}" -m espnet2_avsep.bin.avsep_made_from training "${_opts[@]}"
        # Inference makes the encoder of pictures from it.
        for f in visual_info.yaml motion_info.yaml; do
            if [ "${f}" = visual_info.yaml ] || "${use_motion}"; then
                cp "${_train}/${f}" "${avsep_exp}/${f}"
            fi
        done

        log "Write '${avsep_exp}/run.sh'; it trains again with the same options, from this folder"
        cat > "${avsep_exp}/run.sh.tmp" << EOF
#!/usr/bin/env bash
# To be run in the recipe's folder.
exec ${run_args} --stage 6 "\$@"
EOF
        chmod +x "${avsep_exp}/run.sh.tmp"
        # Renamed, not written over: it may be running this.
        mv "${avsep_exp}/run.sh.tmp" "${avsep_exp}/run.sh"

        # Training continues from the last checkpoint, if there is one.
        # shellcheck disable=SC2086  # commands are several words
        run_and_show "Training" "${avsep_exp}/train.log" \
            env OMP_NUM_THREADS="${train_threads}" \
            "${python}" -m espnet2.bin.launch \
            --cmd "${cuda_cmd} --name $(basename "${avsep_exp}" | sed 's/[^A-Za-z0-9_.+-]/_/g')" \
            --log "${avsep_exp}/train.log" \
            --ngpu "${ngpu}" \
            --num_nodes "${num_nodes}" \
            --init_file_prefix "${avsep_exp}/.dist_init_" \
            --multiprocessing_distributed true -- \
            "${python}" -m espnet2_avsep.bin.avsep_train "${_opts[@]}"
        log "Curves of the training: tensorboard --logdir ${avsep_exp}/tensorboard"
        if [ -d "${avsep_exp}/pictures" ]; then
            log "Spectrograms of validation mixtures, epoch by epoch: ${avsep_exp}/pictures/"
        fi
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
        _opts=()
        for dset in ${eval_sets}; do
            need "${data_feats}/${dset}/visual_info.yaml" 2
            _opts+=(--made_by "${data_feats}/${dset}/visual_info.yaml")
            if "${use_motion}"; then
                need "${data_feats}/${dset}/motion_info.yaml" 2
                _opts+=(--made_by "${data_feats}/${dset}/motion_info.yaml")
            fi
        done
        mkdir -p "${avsep_exp}"
        run_group "${python}" -m espnet2_avsep.bin.avsep_fetch_model --model "${download_model}" \
            --output_dir "${avsep_exp}" "${_opts[@]}" > "${avsep_exp}/fetched_model"
        inference_model=$(tail -n 1 "${avsep_exp}/fetched_model")
    fi
    if wanted 7; then
        begin_stage 7 "Separation: ${inference_dir}/separated_*"
        if "${trained}"; then
            need "${avsep_exp}/config.yaml" 6
            need "${avsep_exp}/${inference_model}" 6
            if [ -z "${download_model}" ]; then
                _opts=(--avsep_exp "${avsep_exp}" --as_it_is "${skip_train}")
                for dset in ${eval_sets}; do
                    need "${data_feats}/${dset}/visual_info.yaml" 2
                    _opts+=(--made_by "${data_feats}/${dset}/visual_info.yaml")
                done
                "${python}" -m espnet2_avsep.bin.avsep_made_from model "${_opts[@]}"
            fi
        else
            if [ -e "${avsep_exp}/config.yaml" ] && ! grep -q '^trained: *false' "${avsep_exp}/config.yaml"; then
                die "${avsep_exp} holds a trained system; give ${avsep_config} its own --avsep_tag"
            fi
            mkdir -p "${avsep_exp}"
            { echo "config: ${avsep_config}" && cat "${avsep_config}"; } > "${avsep_exp}/config.yaml.tmp"
            mv "${avsep_exp}/config.yaml.tmp" "${avsep_exp}/config.yaml"
        fi
        mkdir -p "${inference_dir}"
        rm -f "${inference_dir}/inference_args"
        _cmd=${decode_cmd}
        _ngpu=0
        if "${gpu_inference}"; then
            _cmd="${cuda_cmd} --gpu 1"
            _ngpu=1
        fi
        for dset in ${eval_sets} ${real_sets}; do
            _data=${data_feats}/${dset}
            _dir=${inference_dir}/separated_${dset}
            _logdir=${_dir}/logs
            _opts=(--data_path_and_name_and_type "${_data}/wav.scp,speech_mix,sound")
            for n in $(seq "${sources_of[${dset}]}"); do
                if "${trained}"; then
                    _input=visual_spk${n}.scp,visual_ref${n},kaldi_ark
                else
                    _input=spk${n}.scp,speech_ref${n},sound
                fi
                _opts+=(--data_path_and_name_and_type "${_data}/${_input}")
                need "${_data}/${_input%%,*}" 4
                if "${trained}" && "${use_motion}"; then
                    _input=motion_spk${n}.scp,motion_ref${n},kaldi_ark
                    _opts+=(--data_path_and_name_and_type "${_data}/${_input}")
                    need "${_data}/${_input%%,*}" 4
                fi
            done
            if "${trained}"; then
                _system=(avsep_inference --train_config "${avsep_exp}/config.yaml"
                    --model_file "${avsep_exp}/${inference_model}"
                    --ngpu "${_ngpu}" --batch_size "${inference_batch_size}")
            else
                _system=(avsep_baseline --config "${avsep_exp}/config.yaml")
            fi
            need "${_data}/wav.scp" 4
            split_keys "${_data}/wav.scp" "${_logdir}/keys.JOB.scp" "${inference_nj}"
            # Another inference_nj has other folders, and so begins anew.
            _split=${_dir}/split${_nj}
            # What is there is of an earlier run until all jobs have ended.
            rm -f "${_dir}/made_from.json"
            # shellcheck disable=SC2086  # commands and inference_args are several words
            run_and_show "Separation of ${dset}" "${_logdir}/inference.*.log" \
                ${_cmd} JOB=1:"${_nj}" "${_logdir}/inference.JOB.log" \
                "${python}" -m espnet2_avsep.bin."${_system[0]}" "${_system[@]:1}" \
                --key_file "${_logdir}/keys.JOB.scp" --output_dir "${_split}/JOB" \
                --fs "${fs}" "${_opts[@]}" ${inference_args}
            for n in $(seq "${sources_of[${dset}]}"); do
                utils/merge_scp.py "${_nj}" "${_logdir}/keys.JOB.scp" "${_split}/JOB" "${_dir}" \
                    "spk${n}.content" "spk${n}.scp"
                utils/check_keys.sh "${_data}/wav.scp" "${_dir}/spk${n}.scp"
            done
            # All jobs have the same.
            cp "${_split}/1/made_from.json" "${_dir}/made_from.json"
            log "${dset}: separated $(count "${_dir}/spk1.scp") mixtures: ${_dir}/spk*.scp"
        done
        # For the tables that name what the separation was run with.
        echo "${inference_args}" > "${inference_dir}/inference_args"
    fi

    if wanted 8; then
        begin_stage 8 "Scoring: ${inference_dir}/scored_*"
        [ -f "${inference_dir}/inference_args" ] ||
            die "${inference_dir}/inference_args is missing: stage 7 has not been finished." \
                "Stage 7 writes it: run '--stage 7 --stop_stage 7' first"
        _used=$(cat "${inference_dir}/inference_args")
        if [ "${_used}" != "${inference_args}" ] && grep -qx inference_args <<< "${given_options}"; then
            die "--inference_args '${inference_args}': stage 7 was run with '${_used}'. Run stage 7 again"
        fi
        inference_args=${_used}
        _results=()
        for dset in ${eval_sets}; do
            _data=${data_feats}/${dset}
            _sep=${inference_dir}/separated_${dset}
            _dir=${inference_dir}/scored_${dset}
            need "${_data}/mixtures.tsv" 4
            _opts=()
            for n in $(seq "${sources_of[${dset}]}"); do
                need "${_sep}/spk${n}.scp" 7
                _opts+=(--ref_scp "${_data}/spk${n}.scp" --inf_scp "${_sep}/spk${n}.scp")
            done
            # The mixtures' own scores are kept for every system that is scored on them.
            # shellcheck disable=SC2086  # commands and scoring_opts are several words
            run_and_show "Scoring of ${dset}" "${_dir}/scoring.log" \
                ${decode_cmd} "${_dir}/scoring.log" \
                "${python}" -m espnet2_avsep.bin.avsep_scoring \
                "${_opts[@]}" --separated_dir "${_sep}" --mix_scp "${_data}/wav.scp" --mixtures "${_data}/mixtures.tsv" \
                --mix_scores "${_data}/mixture_scores.tsv" --output_dir "${_dir}" \
                --backend "${scoring_backend}" ${scoring_opts}
            _results+=(--set "${dset}:${_dir}:${_data}")
            # Of systems that also tell what sounds (CCoL).
            _grounded=${inference_dir}/grounded_${dset}
            rm -f "${_grounded}/grounding.tsv"
            if "${trained}" && grep -q '^separator: ccol$' "${avsep_exp}/config.yaml"; then
                # shellcheck disable=SC2086  # commands are several words
                run_and_show "Grounding of ${dset}" "${_grounded}/grounding.log" \
                    ${decode_cmd} "${_grounded}/grounding.log" \
                    "${python}" -m espnet2_avsep.bin.avsep_score_grounding \
                    --train_config "${avsep_exp}/config.yaml" \
                    --model_file "${avsep_exp}/${inference_model}" \
                    --set_dir "${_data}" --output_dir "${_grounded}"
            fi
        done
        if [ "${leak_check}" != false ]; then
            need "${data_feats}/leaks.tsv" 4
            _results+=(--leaks "${data_feats}/leaks.tsv" --leak_free "${leak_free}")
        fi
        for dset in ${real_sets}; do
            need "${inference_dir}/separated_${dset}/spk1.scp" 7
            _results+=(--real_set "${dset}:${inference_dir}/separated_${dset}:${data_feats}/${dset}")
        done
        # shellcheck disable=SC2086  # commands are several words
        run_and_show "Results" "${inference_dir}/results.log" \
            ${decode_cmd} "${inference_dir}/results.log" \
            "${python}" -m espnet2_avsep.bin.avsep_results --avsep_exp "${avsep_exp}" \
            --inference_model "${inference_model}" --corpus_note "${corpus_note}" \
            --inference_args="${inference_args}" \
            --training_set "${train_set}:${data_feats}/${train_set}" \
            --output "${inference_dir}/RESULTS.md" "${_results[@]}"
        # Up to the second heading: the scores.
        awk '/^## / && n++ { exit } { print }' "${inference_dir}/RESULTS.md"
        log "This table, those of each instrument and all settings: ${inference_dir}/RESULTS.md"
        if "${report}"; then
            _opts=()
            if [ "${leak_check}" != false ]; then
                _opts+=(--leaks "${data_feats}/leaks.tsv")
            fi
            # shellcheck disable=SC2086  # commands and sets are several words
            run_and_show "Report" "${inference_dir}/report/report.log" \
                ${decode_cmd} "${inference_dir}/report/report.log" \
                "${python}" -m espnet2_avsep.bin.avsep_report --experiment "${inference_dir}" \
                --sets ${eval_sets} --real_sets ${real_sets} --data_dir data \
                --dump_dir "${data_feats}" --output_dir "${inference_dir}/report" \
                --max_mixtures "${report_mixtures}" --inference_model "${inference_model}" \
                --corpus_note "${corpus_note}" "${_opts[@]}"
            log "Look and listen: ${inference_dir}/report/index.html (open it in a browser)"
        fi
        for dset in ${eval_sets} ${real_sets}; do
            [ "${dset}" != "${valid_set}" ] || continue
            log "Listen, for example: the mixture $(head -n 1 "${data_feats}/${dset}/wav.scp" | cut -d ' ' -f 2-)"
            for n in $(seq "${sources_of[${dset}]}"); do
                log "  separated, source ${n}: $(head -n 1 "${inference_dir}/separated_${dset}/spk${n}.scp" | cut -d ' ' -f 2-)"
            done
        done
    fi
else
    log "Skip stages 7 and 8 (separation and scoring)"
fi

packed_model=${avsep_exp}/$(basename "${avsep_exp}")_${inference_model%.*}.zip
if ! "${skip_packing}"; then
    if wanted 9; then
        begin_stage 9 "Packing: ${packed_model}"
        "${trained}" || die "${avsep_config} is of a system without training: there is nothing to pack"
        for f in config.yaml visual_info.yaml "${inference_model}"; do
            need "${avsep_exp}/${f}" 6
        done
        _opts=()
        if [ -f "${inference_dir}/RESULTS.md" ]; then
            _opts+=(--results "${inference_dir}/RESULTS.md")
        else
            log "Warning: no ${inference_dir}/RESULTS.md (stage 8); the model is packed without scores"
        fi
        # shellcheck disable=SC2086  # commands are several words
        run_and_show "Packing" "${avsep_exp}/pack.log" \
            ${train_cmd} "${avsep_exp}/pack.log" \
            "${python}" -m espnet2_avsep.bin.avsep_pack --avsep_exp "${avsep_exp}" \
            --inference_model "${inference_model}" --outpath "${packed_model}" "${_opts[@]}"
    fi
elif [ "${stage}" -eq 9 ]; then
    log "Skip stage 9 (packing); --skip_packing false does it"
fi

if ! "${skip_upload_hf}"; then
    if wanted 10; then
        begin_stage 10 "Upload: ${packed_model} -> ${hf_repo}"
        need "${packed_model}" 9
        # shellcheck disable=SC2086  # commands are several words
        run_and_show "Upload" "${avsep_exp}/upload.log" \
            ${train_cmd} "${avsep_exp}/upload.log" \
            "${python}" -m espnet2_avsep.bin.avsep_upload --packed_model "${packed_model}" \
            --hf_repo "${hf_repo}" --output_dir "${avsep_exp}/hf_repo" --license "${hf_license}" \
            --private "${hf_private}" --dry_run "${hf_dry_run}"
        if "${hf_dry_run}"; then
            log "Not uploaded (--hf_dry_run true). What would be: ${avsep_exp}/hf_repo"
        else
            log "Published: https://huggingface.co/${hf_repo}"
        fi
    fi
elif [ "${stage}" -eq 10 ]; then
    log "Skip stage 10 (upload); --skip_upload_hf false does it"
fi

end_stage
log "Successfully finished. [elapsed=${SECONDS}s]"

#!/usr/bin/env bash
# One table of all systems on the generated corpus, small, without network, GPU or download.
set -euo pipefail

exec ./avsep_table.sh \
    --small true \
    --train_args "--dataset_conf segment_samples=32512" \
    --prepare_opts "--test_num_mixtures 32" \
    --frames_opts "--visual_size 72" \
    --motion_opts "--motion_pretrained random --motion_rate 0.25" \
    --resnet18_weights random \
    --corpus_note "Generated corpus, not MUSIC; encoders of pictures and the teacher have \
random weights, networks are a tenth of their size and trained for minutes. This shows that \
all systems run from one preparation and are scored on the same mixtures; it says nothing \
about which method is better." \
    "$@"

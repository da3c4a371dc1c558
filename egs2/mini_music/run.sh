#!/usr/bin/env bash
# The embedded corpus, stages 1-8 without network, GPU or download. The visual encoder is
# untrained (random weights); --visual_pretrained openai takes CLIP's instead.
set -euo pipefail

exec ./avsep.sh \
    --corpus mini_music \
    --train_set train \
    --valid_set valid \
    --test_sets "test" \
    --visual_encoder open_clip \
    --visual_model ViT-B-32 \
    --visual_pretrained random \
    --visual_every 16 \
    --fs 11625 \
    --segment_samples 65280 \
    --train_segment_samples 16256 \
    --ref_num 2 \
    --mix_different_class true \
    --ngpu 0 \
    --avsep_config conf/tuning/train_avsep_tfc_tdf_small.yaml \
    "$@"

#!/usr/bin/env bash
# MUSIC, solo videos: HFRA with CLIP features, the protocol of the BMVC 2025 paper.
set -euo pipefail

exec ./avsep.sh \
    --corpus music \
    --train_set train \
    --valid_set valid \
    --test_sets "test" \
    --visual_encoder open_clip \
    --visual_model ViT-B-32 \
    --visual_pretrained openai \
    --visual_fps 8 \
    --visual_every 8 \
    --fs 11625 \
    --segment_samples 65280 \
    --ref_num 2 \
    --avsep_config conf/train.yaml \
    "$@"

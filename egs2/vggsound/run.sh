#!/usr/bin/env bash
# VGGSound, clips of 10 s: HFRA with CLIP features, the protocol of the BMVC 2025 paper.
# 114,432 samples are 448 frames, 9.84 s: what nearly every clip has.
set -euo pipefail

exec ./avsep.sh \
    --corpus vggsound \
    --train_set train \
    --valid_set valid \
    --test_sets "test" \
    --visual_encoder open_clip \
    --visual_model ViT-B-32 \
    --visual_pretrained openai \
    --visual_fps 8 \
    --visual_every 8 \
    --fs 11625 \
    --segment_samples 114432 \
    --mix_different_class true \
    --ref_num 2 \
    --avsep_config conf/train.yaml \
    "$@"

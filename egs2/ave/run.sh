#!/usr/bin/env bash
# AVE: audio as in iQuery (CVPR 2023), 22,050 Hz, 47,087 samples, window 1022, hop 184.
set -euo pipefail

exec ./avsep.sh \
    --corpus ave \
    --train_set train \
    --valid_set valid \
    --test_sets "test" \
    --visual_encoder open_clip \
    --visual_model ViT-B-32 \
    --visual_pretrained openai \
    --visual_fps 8 \
    --visual_every 8 \
    --fs 22050 \
    --segment_samples 47087 \
    --mix_different_class true \
    --ref_num 2 \
    --avsep_config conf/tuning/train_avsep_hfra_ave.yaml \
    "$@"

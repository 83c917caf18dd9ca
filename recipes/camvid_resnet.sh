#!/bin/sh
# Trains the paper's networks: recipes/camvid_resnet.sh CAMVID RUNS [START]
# ResNet-101 starts from START: the installed one, or an ImageNet checkpoint. The installed light
# reference teaches all of them its scores and features; ResNet-18 starts from nothing, and
# ResNet-34 grows out of it. At last ResNet-101 and -18 are trained jointly. Each training run goes
# on where it was interrupted. Hours on two cores with AMX, days without.
set -eu
camvid=$1 runs=$2 start=${3:-resnet101}

train() { # NETWORK RUN INIT STEPS RATE CROP SCALE
    accel-rt train deeplab --network "$1" --task skip --data "$camvid" --out "$runs/$2" \
        --init "$3" --steps "$4" --rate "$5" --crop "$6" --scale "$7" --balance 0.3 \
        --weight-decay 0.05 --ema 0.998 --street 0.1 --mix 0.4 --teacher efficientnet_lite2 \
        --distil 0.5 --hints 1
}

train resnet101 resnet101 "$start" 1000 4e-4 320x240 0.6,1.75
train resnet18 resnet18-low none 2500 1.5e-3 192x144 0.4,1.1
train resnet18 resnet18 "$runs/resnet18-low/resnet18.safetensors" 6000 1e-3 320x240 0.5,1.75
train resnet34 resnet34 "$runs/resnet18/resnet18.safetensors" 1000 5e-4 320x240 0.5,1.75

accel-rt train joint --reference "$runs/resnet101/resnet101.safetensors" \
    --update "$runs/resnet18/resnet18.safetensors" --data "$camvid" --out "$runs/joint" \
    --steps 600 --fusion-steps 10 --rate 1e-4 --warmup 20 --batch-norms learning --start-share 0.4 \
    --branch-loss 1 --balance 0.3 --weight-decay 0.05 --ema 0.99 --street 0.1 \
    --teacher efficientnet_lite2

accel-rt pack "$runs/resnet34/resnet34.safetensors" --bits 4 -o "$runs/resnet34.safetensors"
accel-rt train fusion --reference "$runs/joint/resnet101.safetensors" \
    --update "$runs/resnet34.safetensors" --data "$camvid" --out "$runs"

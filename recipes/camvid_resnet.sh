#!/bin/sh
# Trains the paper's networks: recipes/camvid_resnet.sh CAMVID RUNS [START]
# ResNet-101 starts from START: the installed one, or an ImageNet checkpoint. The installed light
# reference teaches all of them its scores and features; ResNet-18 starts from nothing, and
# ResNet-34 grows out of it. ResNet-101 and -18 are trained jointly; ResNet-50 begins as that ResNet-101
# with fewer blocks, both of table 4 get the paper's task network, and FlowNetS is trained last. Each
# training run goes on where it was interrupted. Hours on two cores with AMX, days without.
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

# Accel-50, from the joint ResNet-101 above.
accel-rt train deeplab --network resnet50 --task skip --init "$runs/joint/resnet101.safetensors" \
    --data "$camvid" --out "$runs/resnet50" --steps 400 --rate 5e-4 --crop 256x192 --scale 0.5,1.4 \
    --balance 0.3 --weight-decay 0.05 --ema 0.99 --street 0.1 --mix 0.4 --warmup 30 \
    --teacher efficientnet_lite2 --distil 0.5 --hints 1
accel-rt train fusion --reference "$runs/joint/resnet101.safetensors" \
    --update "$runs/resnet50/resnet50.safetensors" --data "$camvid" --snippets 250 --out "$runs"

# Table 4: the paper's task network on both, and what fuses their features.
task() { # NETWORK STEPS RATE CROP SCALE EMA MORE...
    network=$1 steps=$2 rate=$3 crop=$4 scale=$5 ema=$6
    shift 6
    accel-rt train deeplab --network "$network" --task paper --data "$camvid" \
        --init "$runs/joint/$network.safetensors" --out "$runs/$network-paper" --steps "$steps" \
        --rate "$rate" --crop "$crop" --scale "$scale" --ema "$ema" --balance 0.3 \
        --weight-decay 0.05 --street 0.1 --mix 0.4 --warmup 20 --teacher efficientnet_lite2 \
        --distil 0.5 "$@"
}
task resnet101 120 2e-3 320x240 0.6,1.75 0.97 --freeze-features
task resnet18 250 5e-4 256x192 0.5,1.4 0.985
set -- --reference "$runs/resnet101-paper/resnet101.safetensors" \
    --update "$runs/resnet18-paper/resnet18.safetensors" --data "$camvid"
accel-rt train joint "$@" --fusion feature --keep-reference --out "$runs/feature-fusion" \
    --balance 0.3 --street 0.1 --update-scales 1 --steps 120 --fusion-steps 120 --rate 5e-4 \
    --warmup 10 --ema 0.97
accel-rt train fusion "$@" --snippets 250 --out "$runs/resnet101-paper"

# FlowNetS at a quarter of its channels: on moving scenes, then for ResNet-101's scores.
accel-rt train flow --width 0.25 --data "$camvid" --out "$runs/flow" --steps 3000 --rate 4e-4 \
    --street 0.3 --seed 7
accel-rt train joint --reference "$runs/joint/resnet101.safetensors" --keep-reference \
    --flow "$runs/flow/flownets.safetensors" --data "$camvid" --out "$runs/joint-flow" --interval 6 \
    --balance 0 --street 0.1 --steps 150 --fusion-steps 0 --rate 1e-4 --warmup 10 --ema 0.98 --seed 7

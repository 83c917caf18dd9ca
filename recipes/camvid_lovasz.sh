#!/bin/sh
# Goes on from the networks that ship, for mIoU itself: recipes/camvid_lovasz.sh CAMVID RUNS
# Each stage goes on where it was interrupted: six hours on two cores with AMX. Made the light reference
# and the paper's pair that ship of those before them. Needs ResNet-34 and -50 of weights-paper/.
set -eu
camvid=$1 runs=$2
common="--data $camvid --warmup 20 --lovasz 0.5 --edges 0.5 --street 0.05 --teacher-scales 1,1.5"

# The light reference is its own teacher, at two sizes; the mean of before and after goes on.
lite2() { # RUN START STEPS RATE EMA ROBUST MIX DISTIL
    network=efficientnet_lite2
    accel-rt train deeplab --network $network --init "$2" --teacher "$2" --out "$runs/$1" $common \
        --steps "$3" --rate "$4" --ema "$5" --robust "$6" --mix "$7" --distil "$8" --balance 0 \
        --scale 0.6,2 --whole 0.1 --validate-first 0 --validate-every 260
    mkdir -p "$runs/$1-mean"
    accel-rt train soup "$2" "$runs/$1/$network.safetensors" -o "$runs/$1-mean/$network.safetensors"
}
first=$runs/lite2-1-mean/efficientnet_lite2.safetensors
lite2 lite2-1 efficientnet_lite2 720 2.5e-4 0.993 0.4 0.3 0.3
lite2 lite2-2 "$first" 1040 4e-4 0.995 0.5 0.4 0.25

# Fusions stay; recipes/int8.sh puts integers beside the weights.
mkdir -p "$runs/light"
accel-rt pack "$runs/lite2-2-mean/efficientnet_lite2.safetensors" --bits 8 \
    -o "$runs/light/efficientnet_lite2.safetensors"
for update in efficientnet_lite0 plainnet; do
    python "$(dirname "$0")/keep_fusion.py" efficientnet_lite2 $update "$runs/light"
done

# ResNet-101 alone, then twice with ResNet-18. The light reference teaches all of it.
accel-rt train deeplab --network resnet101 --task skip --init resnet101 --data "$camvid" \
    --out "$runs/resnet101" --steps 800 --rate 4e-4 --warmup 40 --scale 0.6,1.75 --balance 0.3 \
    --weight-decay 0.05 --ema 0.995 --street 0.1 --mix 0.4 --robust 0.25 --whole 0.1 \
    --teacher efficientnet_lite2 --hints 1
joint="--steps 600 --rate 1e-4 --batch-norms learning --branch-loss 1 --balance 0.3
    --weight-decay 0.05 --ema 0.99 --teacher efficientnet_lite2"
accel-rt train joint --reference "$runs/resnet101/resnet101.safetensors" --update resnet18 \
    --data "$camvid" --out "$runs/joint-1" $joint --warmup 20 --fusion-steps 10 --street 0.1 \
    --robust 0.15 --start-share 0.4
ACCEL_RT_WEIGHTS="$runs/joint-1" accel-rt train joint --reference resnet101 --update resnet18 \
    --out "$runs/joint-2" $common $joint --steps 360 --fusion-steps 0 --robust 0.2 --distil 0.4

# The fusions of the rest are learnt anew.
for pair in "resnet101 resnet34" "resnet101 resnet50"; do
    set -- $pair
    ACCEL_RT_WEIGHTS="$runs/joint-2" accel-rt train fusion --reference "$1" --update "$2" \
        --data "$camvid" --snippets 250 --out "$runs/joint-2"
done
mkdir -p "$runs/mixed"
cp "$runs/light/efficientnet_lite2.safetensors" "$runs/joint-2/resnet18.safetensors" "$runs/mixed"
ACCEL_RT_WEIGHTS="$runs/mixed" accel-rt train fusion --reference efficientnet_lite2 \
    --update resnet18 --data "$camvid" --out "$runs/mixed"

# ResNet-18 goes on alone; the mean of before and after ships, with the fusions of before.
accel-rt train deeplab --network resnet18 --init "$runs/joint-2/resnet18.safetensors" \
    --out "$runs/resnet18" $common --teacher efficientnet_lite2 --teacher-frames --batch 16 \
    --steps 600 --rate 1e-3 --warmup 30 --scale 0.5,2 --whole 0.1 --mix 0.5 --distil 0.6 \
    --robust 0.4 --balance 0.3 --weight-decay 0.05 --ema 0.99 --seed 7
mkdir -p "$runs/resnet18-mean" "$runs/paper"
accel-rt train soup "$runs/joint-2/resnet18.safetensors" "$runs/resnet18/resnet18.safetensors" \
    -o "$runs/resnet18-mean/resnet18.safetensors"
accel-rt pack "$runs/resnet18-mean/resnet18.safetensors" --bits 8 -o "$runs/paper/resnet18.safetensors"
for pair in "resnet101 joint-2" "efficientnet_lite2 mixed"; do
    set -- $pair
    ACCEL_RT_WEIGHTS="$runs/$2" python "$(dirname "$0")/keep_fusion.py" "$1" resnet18 "$runs/paper"
done

#!/bin/sh
# Trains the network of plain convolutions that ships: recipes/camvid_plain.sh CAMVID RUNS
# Each stage goes on where it was interrupted. Two and a half hours on two cores with AMX, but for the
# last two, which took one and a half on two with AVX2.
set -eu
camvid=$1 runs=$2
common="--network plainnet --data $camvid --batch 16 --balance 0.3 --weight-decay 0.05 --ema 0.998
    --street 0.1 --mix 0.4 --teacher efficientnet_lite2"

accel-rt train deeplab $common --out "$runs/plain-low" --steps 2500 --rate 2e-3 --crop 192x144 \
    --scale 0.4,1.1 --distil 0.5 --hints 1 --seed 7
accel-rt train deeplab $common --out "$runs/plain" --init "$runs/plain-low/plainnet.safetensors" \
    --steps 960 --rate 1.2e-3 --crop 320x240 --scale 0.5,1.75 --distil 0.5 --hints 0.5 --seed 8
accel-rt train deeplab $common --out "$runs/plain-robust" --init "$runs/plain/plainnet.safetensors" \
    --steps 1900 --rate 1.2e-3 --warmup 60 --crop 320x240 --scale 0.5,1.75 --distil 0.6 --hints 0.5 \
    --robust 0.25 --whole 0.1 --seed 9

# For mIoU itself. Each keeps its best weights; the mean of both is better than either.
lovasz="$common --lovasz 0.5 --edges 0.5 --whole 0.1 --validate-first 0"
accel-rt train deeplab $lovasz --out "$runs/plain-miou" \
    --init "$runs/plain-robust/plainnet.safetensors" --steps 800 --rate 1.2e-3 --warmup 40 \
    --ema 0.995 --street 0.05 --scale 0.5,1.75 --distil 0.4 --hints 0.3 --robust 0.3 \
    --validate-every 200 --seed 21
accel-rt train deeplab $lovasz --out "$runs/plain-miou-2" \
    --init "$runs/plain-miou/plainnet.safetensors" --steps 300 --rate 1e-3 --warmup 20 \
    --ema 0.99 --mix 0.5 --scale 0.5,2 --distil 0.65 --robust 0.4 --validate-every 60 --seed 22
mkdir -p "$runs/plain-mean"
accel-rt train soup "$runs/plain-miou/plainnet.safetensors" \
    "$runs/plain-miou-2/plainnet.safetensors" -o "$runs/plain-mean/plainnet.safetensors"

# Eight bits, and integers beside them.
accel-rt pack "$runs/plain-mean/plainnet.safetensors" --bits 8 -o "$runs/plain-8.safetensors"
accel-rt pack "$runs/plain-8.safetensors" --int8 --calibrate "$camvid/train" \
    -o "$runs/plainnet.safetensors"
accel-rt train fusion --reference efficientnet_lite2 --update "$runs/plainnet.safetensors" \
    --data "$camvid" --snippets 200 --out "$runs"

#!/bin/sh
# Trains on a CUDA device: recipes/device.sh PACK OUT [STAGE...]
# A stage is meant to take less than ten minutes of an H100; none has run it yet.
# PACK is what 'accel-rt train pack-data' wrote. Stages are efficientnet_lite2, efficientnet_lite0
# and joint (the default: all three, in this order), and resnet18, resnet34, resnet50, resnet101.
# A stage goes on where it was interrupted, and is interrupted after SECONDS_EACH (570). EPOCHS (300),
# BATCH (32) and DEVICE (cuda) are for trying it out: EPOCHS=0.1 BATCH=4 DEVICE=cpu.
set -eu
pack=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- efficientnet_lite2 efficientnet_lite0 joint
python=${PYTHON:-python} device=${DEVICE:-cuda} batch=${BATCH:-32} seconds=${SECONDS_EACH:-570}
if [ ! -e "$out/data" ]; then
    # What was interrupted is unpacked anew: half of the data would be trained on without a word.
    rm -rf "$out/data.part"
    mkdir -p "$out/data.part"
    tar -xf "$pack" -C "$out/data.part"
    mv "$out/data.part" "$out/data"
fi
frames=$(find "$out/data/images/train" -type f | wc -l)
steps=$($python -c "print(max(2, round(${EPOCHS:-300} * $frames / $batch)))")

train() { # STAGE ARGUMENTS...: interrupted runs are saved, and exit with 130
    # In the foreground, so that what ends this script ends the training, too.
    stage=$1
    shift
    timeout --foreground --signal INT --kill-after 30 "$seconds" \
        $python -m accel_rt train "$@" --data "$out/data" \
        --out "$out/$stage" --batch "$batch" --device "$device" --no-tensorboard \
        --validate-first "$steps" || { code=$?; [ $code -eq 130 ] || [ $code -eq 124 ]; }
    du -sh "$out/$stage"/*.safetensors
}

for stage; do
    case $stage in
    joint)
        train joint joint --reference "$out/efficientnet_lite2/efficientnet_lite2.safetensors" \
            --update "$out/efficientnet_lite0/efficientnet_lite0.safetensors" --robust 0.5 \
            --street 0.05 --balance 0 --branch-loss 0.5 --agree 0.5 --steps $((steps / 5 + 2)) \
            --fusion-steps $((steps / 50 + 1)) --rate 2e-4 --ema 0.998 \
            --validate-every $((steps / 10 + 1)) --workers 14
        ;;
    efficientnet_lite2 | efficientnet_lite0)
        train "$stage" deeplab --network "$stage" --init "$stage" --robust 0.5 --street 0.05 \
            --mix 0.4 --scale 0.5,2 --whole 0.2 --edges 1 --balance 0 --rate 1e-3 --ema 0.999 \
            --steps "$steps" --validate-every $((steps / 10 + 1)) --workers 6
        ;;
    *)
        # Learns from the light reference what labels do not say.
        train "$stage" deeplab --network "$stage" --init none --task skip --robust 0.3 \
            --street 0.05 --mix 0.4 --balance 0 --rate 1e-3 --ema 0.999 --weight-decay 0.05 \
            --teacher efficientnet_lite2 --hints 1 --steps "$steps" \
            --validate-every $((steps / 10 + 1)) --workers 6
        ;;
    esac
done

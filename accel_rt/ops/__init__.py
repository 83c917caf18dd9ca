"""The operators that set the speed: compiled for CPU and CUDA, plain PyTorch where that fails."""

from accel_rt.ops._compose_flow import compose_flow
from accel_rt.ops._deform_conv2d import deform_conv2d, deform_conv2d_pack, deform_conv2d_packed
from accel_rt.ops._depthwise_conv2d import depthwise_conv2d, depthwise_conv2d_pack
from accel_rt.ops._extension import ExtensionStatus, extension_status, has_operator
from accel_rt.ops._flow_warp import flow_warp
from accel_rt.ops._inverted_residual import (
    InvertedResidualWeights,
    inverted_residual,
    inverted_residual_pack,
)
from accel_rt.ops._overlay import overlay
from accel_rt.ops._patch_flow import patch_flow
from accel_rt.ops._preprocess import preprocess
from accel_rt.ops._reduce_flow import reduce_flow
from accel_rt.ops._upsample_argmax import upsample_argmax, upsample_argmax_margin
from accel_rt.ops._warp_score import warp_score
from accel_rt.ops._winograd_conv2d import winograd_conv2d, winograd_conv2d_pack

__all__ = [
    "ExtensionStatus",
    "InvertedResidualWeights",
    "compose_flow",
    "deform_conv2d",
    "deform_conv2d_pack",
    "deform_conv2d_packed",
    "depthwise_conv2d",
    "depthwise_conv2d_pack",
    "extension_status",
    "flow_warp",
    "has_operator",
    "inverted_residual",
    "inverted_residual_pack",
    "overlay",
    "patch_flow",
    "preprocess",
    "reduce_flow",
    "upsample_argmax",
    "upsample_argmax_margin",
    "warp_score",
    "winograd_conv2d",
    "winograd_conv2d_pack",
]

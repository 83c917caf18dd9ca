// warp_score: warps a feature map by optical flow (the border repeats), applies ReLU and multiplies
// by a scoring matrix, in one pass that never stores the warped map.
#pragma once

#include <cstdint>

#include "../common/dtype.h"
#include "../common/simd.h"

namespace accel_rt {

struct WarpScoreParams {
  const void* cache;  // [N, H, W, K] of dtype
  const void* flow;   // [N, H, W, 2] (x, y) in pixels, of the accumulation type
  // [classes, K] of the accumulation type, padded with zeros; or packed for AMX
  const void* weight;
  const void* bias;  // [classes] of the accumulation type
  void* scores;      // [N, H, W, classes] of the accumulation type
  DType dtype;
  int64_t images;
  int depth, height, width, classes;  // depth: K
};

// The matrix is padded to multiples of these, so that kernels need no tails.
constexpr int score_depth_step = 16;
constexpr int score_class_step = 4;  // on CUDA

constexpr int padded(int value, int step) { return (value + step - 1) / step * step; }

// Pixels [begin, end) of N * H * W
ACCEL_RT_DECLARE_KERNEL(warp_score, const WarpScoreParams& p, int64_t begin, int64_t end)

// The same on the device and stream (a cudaStream_t); returns a cudaError_t.
int warp_score_cuda(const WarpScoreParams& p, void* stream);

}  // namespace accel_rt

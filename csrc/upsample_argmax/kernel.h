// upsample_argmax: bilinear upsampling of class scores and argmax over the classes in one pass that
// never stores the upsampled scores.
#pragma once

#include <cstdint>

#include "../common/bilinear.h"
#include "../common/simd.h"

namespace accel_rt {

struct UpsampleArgmaxParams {
  const float* scores;  // [N, C, h, w]
  uint8_t* labels;      // [N, H, W]
  float* margins;       // [N, H, W] best score less the second best, or null
  int64_t images;
  int classes, height, width;  // C, h, w
  int out_height, out_width;   // H, W
  double step_y, step_x;       // pixels of the score map to one output pixel
};

// Scores lie within this, NaN at the lower end: sums with weights of zero stay numbers, and a class
// that is switched off by -inf wins nowhere.
constexpr float score_limit = 1e30f;

ACCEL_RT_HD float finite_score(float score) {
  const float bounded = score > -score_limit ? score : -score_limit;
  return bounded < score_limit ? bounded : score_limit;
}

// Rows [begin, end) of N * H
ACCEL_RT_DECLARE_KERNEL(upsample_argmax, const UpsampleArgmaxParams& p, int64_t begin, int64_t end)

// The same on the device and stream (a cudaStream_t); returns a cudaError_t.
int upsample_argmax_cuda(const UpsampleArgmaxParams& p, void* stream);

}  // namespace accel_rt

// compose_flow: a position moves back by the newer flow, and from there by the older one.
#pragma once

#include <cstdint>

namespace accel_rt {

struct ComposeFlowParams {
  const float* older;  // [N, H, W, 2] (x, y) in cells
  const float* newer;  // as older
  float* out;          // as older
  int64_t images;
  int height, width;
};

// On the device and stream (a cudaStream_t); returns a cudaError_t.
int compose_flow_cuda(const ComposeFlowParams& p, void* stream);

}  // namespace accel_rt

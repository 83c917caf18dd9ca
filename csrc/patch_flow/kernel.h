// patch_flow: one level of dense inverse search (Kroeger et al. 2016). Patches of 8x8 pixels, four
// apart, are found again in the frame before; each pixel takes the mean of the patches over it.
#pragma once

#include <cstdint>

namespace accel_rt {

constexpr int patch_side = 8, patch_step = 4;

// Patches along a side of at least patch_side pixels; the last one ends with it.
inline int patches_along(int side) { return (side - patch_side + patch_step - 1) / patch_step + 1; }

struct PatchFlowParams {
  const float* current;   // [N, H, W]
  const float* previous;  // [N, H, W]
  const float* flow;      // [N, 2, flow_height, flow_width] (x, y) in its pixels: where to begin
  float* found[2];        // [N, rows, columns, 2] (x, y): of the patches; rounds take turns
  float* out;             // [N, 2, H, W] (x, y)
  int64_t images;
  int height, width;
  int flow_height, flow_width;
  int rows, columns;  // of patches
  int rounds, iterations;
  float damping;
};

// On the device and stream (a cudaStream_t); returns a cudaError_t.
int patch_flow_cuda(const PatchFlowParams& p, void* stream);

}  // namespace accel_rt

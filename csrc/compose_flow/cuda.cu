#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

// One thread per cell
__global__ void compose(ComposeFlowParams p, int64_t cells) {
  const int64_t cell = global_thread();
  if (cell >= cells) return;
  const Pixel at = pixel_at(cell, p.height, p.width);
  const float* newer = p.newer + 2 * cell;
  const Axis<float> x = border_axis(float(at.x) + newer[0], p.width);
  const Axis<float> y = border_axis(float(at.y) + newer[1], p.height);
  const Corners<float> taps = corners(y, x, int64_t(p.width) * 2, 2);
  const float* older = p.older + at.image * p.height * p.width * 2;
#pragma unroll
  for (int c = 0; c < 2; ++c) {  // one by one: a caller's flow may start on any float
    const TapPacks<float, 1> values(older + c, taps);
    p.out[2 * cell + c] = newer[c] + values.blend(taps, 0);
  }
}

}  // namespace

int compose_flow_cuda(const ComposeFlowParams& p, void* stream) {
  const int64_t cells = p.images * p.height * p.width;
  ACCEL_RT_LAUNCH(compose, blocks_for(cells), block_threads, 0, stream, p, cells);
  return int(cudaGetLastError());
}

}  // namespace accel_rt

#include "../common/area.h"
#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

// An item is a cell; its lanes are a whole warp and share its pixels.
template <class T>
__global__ void reduce(ReduceFlowParams p, int64_t cells) {
  const int64_t cell = global_item();
  if (cell >= cells) return;
  const Pixel at = pixel_at(cell, p.out_height, p.out_width);
  const Span y = area_span(at.y, p.padded_height, p.out_height);
  const Span x = area_span(at.x, p.padded_width, p.out_width);
  const T* flow = static_cast<const T*>(p.flow) + at.image * p.stride[0];
  const int across = x.end - x.first, pixels = across * (y.end - y.first);
  float sum[2] = {0, 0};
#pragma unroll 4
  for (int pixel = threadIdx.x; pixel < pixels; pixel += warp_threads) {
    const int row = y.first + pixel / across, column = x.first + pixel % across;
    const int64_t source = (row < p.height ? row : p.height - 1) * p.stride[2] +
                           (column < p.width ? column : p.width - 1) * p.stride[3];
    const float weight = float(y.weight(row)) * float(x.weight(column));
#pragma unroll
    for (int c = 0; c < 2; ++c) sum[c] += weight * load(flow[source + c * p.stride[1]]);
  }
  const float area = float(p.padded_height) * float(p.padded_width);
#pragma unroll
  for (int c = 0; c < 2; ++c) sum[c] = warp_sum(sum[c]) / area * p.factor[c];
  if (threadIdx.x == 0) store_pack(p.out + 2 * cell, Pack<float, 2>{{sum[0], sum[1]}});
}

}  // namespace

int reduce_flow_cuda(const ReduceFlowParams& p, void* stream) {
  return for_cuda_dtype(p.dtype, [&](auto type) {
    const int64_t cells = p.images * p.out_height * p.out_width;
    const dim3 block = item_block(warp_threads);
    ACCEL_RT_LAUNCH((reduce<decltype(type)>), blocks_for(cells, block.y), block, 0, stream, p,
                    cells);
    return int(cudaGetLastError());
  });
}

}  // namespace accel_rt

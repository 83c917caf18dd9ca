#include <algorithm>

#include "../common/cuda.cuh"
#include "kernel.h"
#include "sampling.h"

namespace accel_rt {
namespace {

// An item of these kernels is one tap of one row of the tile, for the channels of one offset group.
struct Item {
  int64_t row, index;  // index: of the tap in offset and mask
  int k, first_channel;
  Pixel at;
};

__device__ __forceinline__ Item item_at(const DeformParams& p, const DeformTile& tile,
                                        int64_t item) {
  const uint32_t kernel_size = p.kernel_height * p.kernel_width;
  const uint32_t row_items = kernel_size * p.offset_groups;
  const int64_t row = item / row_items;
  const uint32_t group = uint32_t(item % row_items) / kernel_size;
  const int k = int(uint32_t(item % row_items) % kernel_size);
  const int64_t pixel = tile.first + row;
  return {row, tap_index(p, pixel, int(group), k), k, int(group) * (p.channels / p.offset_groups),
          output_pixel(p, pixel)};
}

inline int64_t count_items(const DeformParams& p, const DeformTile& tile) {
  return tile.pixels * p.offset_groups * p.kernel_height * p.kernel_width;
}

// At most so many lanes an item: each computes the item's four taps by itself, for several packs.
constexpr int gather_lanes = 8;

// Pieces: packs of channels
template <class T, int N>
__global__ void gather(DeformParams p, DeformTile tile, T* columns, int64_t items) {
  if (global_item() >= items) return;
  const Item item = item_at(p, tile, global_item());
  const Tap<float> tap =
      sample_tap<float>(p, item.at, item.index, item.k / p.kernel_width, item.k % p.kernel_width);
  const Corners<float> taps = tap_corners(p, item.at, tap, tap.mask);
  const int end = item.first_channel + p.channels / p.offset_groups;
#pragma unroll 4
  for (int channel = item.first_channel + threadIdx.x * N; channel < end; channel += blockDim.x * N)
    blend_pack<T, N>(columns + column_index(p, tile, item.row, item.k, channel),
                     static_cast<const T*>(p.input) + channel, taps);
}

// Pieces: packs of channels; the lanes are a whole warp.
template <class T, int N>
__global__ void grad_offset(DeformBackwardParams backward, DeformTile tile, const T* grad_columns,
                            int64_t items) {
  if (global_item() >= items) return;
  const DeformParams& p = backward.forward;
  const Item item = item_at(p, tile, global_item());
  const Tap<float> tap =
      sample_tap<float>(p, item.at, item.index, item.k / p.kernel_width, item.k % p.kernel_width);
  const Corners<float> taps = tap_corners(p, item.at, tap, 1.0f);
  const bool read = reads(tap.y) && reads(tap.x);
  const int end = read ? item.first_channel + p.channels / p.offset_groups : 0;
  float dots[4] = {0, 0, 0, 0};
  for (int channel = item.first_channel + threadIdx.x * N; channel < end;
       channel += warp_threads * N)
    dot_pack<T, N>(dots, grad_columns + column_index(p, tile, item.row, item.k, channel),
                   static_cast<const T*>(p.input) + channel, taps);
#pragma unroll
  for (int k = 0; k < 4; ++k) dots[k] = warp_sum(dots[k]);
  if (threadIdx.x != 0) return;
  if (backward.grad_offset != nullptr) {
    float* out = static_cast<float*>(backward.grad_offset) + 2 * item.index;
    out[0] = tap.mask * slope_y(tap.y, tap.x, dots);
    out[1] = tap.mask * slope_x(tap.y, tap.x, dots);
  }
  if (backward.grad_mask != nullptr)
    static_cast<float*>(backward.grad_mask)[item.index] = sample_value(tap.y, tap.x, dots);
}

// Pieces: channels
template <class T>
__global__ void grad_input(DeformBackwardParams backward, DeformTile tile, const T* grad_columns,
                           int64_t items) {
  if (global_item() >= items) return;
  const DeformParams& p = backward.forward;
  const Item item = item_at(p, tile, global_item());
  const Tap<float> tap =
      sample_tap<float>(p, item.at, item.index, item.k / p.kernel_width, item.k % p.kernel_width);
  const Corners<float> taps = tap_corners(p, item.at, tap, tap.mask);
  const int end = item.first_channel + p.channels / p.offset_groups;
  for (int channel = item.first_channel + threadIdx.x; channel < end; channel += blockDim.x)
    scatter(static_cast<float*>(backward.grad_input) + channel, taps,
            load(grad_columns[column_index(p, tile, item.row, item.k, channel)]));
}

template <class T>
__global__ void accumulate(float* sum, const T* part, int64_t count) {
  const int64_t i = global_thread();
  if (i < count) sum[i] += load(part[i]);
}

// Whether a pack of channels never crosses a group's edge and always lies on 16 bytes
template <class T>
bool fits_packs(const DeformParams& p, const void* columns) {
  return p.channels / p.offset_groups % full_pack<T> == 0 &&
         p.channels / p.groups % full_pack<T> == 0 && aligned16(p.input) && aligned16(columns);
}

template <class T, int N>
void launch_gather(const DeformParams& p, const DeformTile& tile, void* columns, void* stream) {
  const int64_t items = count_items(p, tile);
  const dim3 block = item_block(std::min(p.channels / p.offset_groups / N, gather_lanes));
  ACCEL_RT_LAUNCH((gather<T, N>), blocks_for(items, block.y), block, 0, stream, p, tile,
                  static_cast<T*>(columns), items);
}

template <class T, int N>
void launch_grad_offset(const DeformBackwardParams& p, const DeformTile& tile,
                        const void* grad_columns, void* stream) {
  const int64_t items = count_items(p.forward, tile);
  const dim3 block = item_block(warp_threads);
  ACCEL_RT_LAUNCH((grad_offset<T, N>), blocks_for(items, block.y), block, 0, stream, p, tile,
                  static_cast<const T*>(grad_columns), items);
}

template <class T>
void launch_grad_input(const DeformBackwardParams& p, const DeformTile& tile,
                       const void* grad_columns, void* stream) {
  const int64_t items = count_items(p.forward, tile);
  const dim3 block = item_block(p.forward.channels / p.forward.offset_groups);
  ACCEL_RT_LAUNCH((grad_input<T>), blocks_for(items, block.y), block, 0, stream, p, tile,
                  static_cast<const T*>(grad_columns), items);
}

}  // namespace

int deform_gather_cuda(const DeformParams& p, const DeformTile& tile, void* columns, void* stream) {
  return for_cuda_dtype(p.dtype, [&](auto type) {
    using T = decltype(type);
    if (fits_packs<T>(p, columns))
      launch_gather<T, full_pack<T>>(p, tile, columns, stream);
    else
      launch_gather<T, 1>(p, tile, columns, stream);
    return int(cudaGetLastError());
  });
}

int deform_backward_cuda(const DeformBackwardParams& p, const DeformTile& tile,
                         const void* grad_columns, void* stream) {
  return for_cuda_dtype(p.forward.dtype, [&](auto type) {
    using T = decltype(type);
    if (p.grad_offset != nullptr || p.grad_mask != nullptr) {
      if (fits_packs<T>(p.forward, grad_columns))
        launch_grad_offset<T, full_pack<T>>(p, tile, grad_columns, stream);
      else
        launch_grad_offset<T, 1>(p, tile, grad_columns, stream);
    }
    if (p.grad_input != nullptr) launch_grad_input<T>(p, tile, grad_columns, stream);
    return int(cudaGetLastError());
  });
}

int deform_accumulate_cuda(DType dtype, void* sum, const void* part, int64_t count, void* stream) {
  return for_cuda_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    ACCEL_RT_LAUNCH((accumulate<T>), blocks_for(count), block_threads, 0, stream,
                    static_cast<float*>(sum), static_cast<const T*>(part), count);
    return int(cudaGetLastError());
  });
}

}  // namespace accel_rt

// Where a deformable convolution's taps lie, shared by the CPU and the CUDA kernels.
#pragma once

#include <cmath>

#include "../common/bilinear.h"
#include "kernel.h"

namespace accel_rt {
namespace {

ACCEL_RT_HD Pixel output_pixel(const DeformParams& p, int64_t index) {
  return pixel_at(index, p.out_height, p.out_width);
}

template <class A>
struct Tap {
  Axis<A> y, x;
  A mask;
};

// Index of a tap among the batch's (pixel, offset group, kernel position)
ACCEL_RT_HD int64_t tap_index(const DeformParams& p, int64_t pixel, int offset_group, int k) {
  return (pixel * p.offset_groups + offset_group) * (p.kernel_height * p.kernel_width) + k;
}

// A caller's NaN may have any bits, of which rounding to bfloat16 could make a number.
template <class A>
ACCEL_RT_HD A canonical(A value) {
  return value == value ? value : A(NAN);
}

template <class A>
ACCEL_RT_HD Tap<A> sample_tap(const DeformParams& p, const Pixel& at, int64_t index, int ky,
                              int kx) {
  const A* offset = static_cast<const A*>(p.offset) + 2 * index;
  const A y = A(at.y * p.stride_y - p.padding_y + ky * p.dilation_y) + offset[0];
  const A x = A(at.x * p.stride_x - p.padding_x + kx * p.dilation_x) + offset[1];
  return {zeros_axis(y, p.height), zeros_axis(x, p.width),
          p.mask != nullptr ? canonical(static_cast<const A*>(p.mask)[index]) : A(1)};
}

template <class A>
ACCEL_RT_HD Corners<A> tap_corners(const DeformParams& p, const Pixel& at, const Tap<A>& tap,
                                   A scale) {
  Corners<A> taps =
      corners(tap.y, tap.x, int64_t(p.width) * p.channels, int64_t(p.channels), scale);
  for (int k = 0; k < 4; ++k) taps.offset[k] += at.image * p.height * p.width * p.channels;
  return taps;
}

// Element of the columns that holds channel `channel` of tap `k` in row `row` of the tile
ACCEL_RT_HD int64_t column_index(const DeformParams& p, const DeformTile& tile, int64_t row, int k,
                                 int channel) {
  const int64_t kernel_size = p.kernel_height * p.kernel_width;
  if (p.groups == 1) return (row * kernel_size + k) * p.channels + channel;  // spares the divisions
  const int group_channels = p.channels / p.groups;
  const int64_t group = channel / group_channels;
  return ((group * tile.pixels + row) * kernel_size + k) * group_channels +
         channel % group_channels;
}

}  // namespace
}  // namespace accel_rt

// Bilinear sampling arithmetic, shared by the CPU and the CUDA kernels.
//
// Coordinates are in pixels of the sampled grid and pixel centres lie at integers: position 0 is
// the centre of the first pixel, n - 1 that of the last. One axis of a sample has two taps; the
// value is the sum of tap * weight over both axes, and the derivative with respect to a coordinate
// is the same sum with that axis's weights replaced by their slopes.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define ACCEL_RT_HD __host__ __device__ __forceinline__
#else
#define ACCEL_RT_HD inline
#endif

namespace accel_rt {
namespace {  // internal linkage: every SIMD variant of a kernel keeps its own copy

struct Pixel {
  int64_t image;
  int y, x;
};

// Where the index-th pixel of a batch of images lies. 32-bit division, where it serves, is several
// times faster on a GPU.
ACCEL_RT_HD Pixel pixel_at(int64_t index, int height, int width) {
  if (index <= 0xffffffff) {
    const uint32_t row = uint32_t(index) / uint32_t(width);
    return {row / uint32_t(height), int(row % uint32_t(height)),
            int(uint32_t(index) % uint32_t(width))};
  }
  const int64_t row = index / width;
  return {row / height, int(row % height), int(index % width)};
}

template <class T>
struct Axis {
  int index[2];  // both always inside [0, n), so that a tap of weight zero is safe to read
  T weight[2];
  T slope[2];  // d weight / d coordinate
};

// Outside the grid the nearest edge pixel repeats. A NaN coordinate counts as 0. As in
// F.grid_sample the slope is zero from the first and last pixel centre outwards.
template <class T>
ACCEL_RT_HD Axis<T> border_axis(T x, int n) {
  const T last = T(n - 1);
  const bool inside = x > T(0) && x < last;
  const T clamped = x > T(0) ? (x < last ? x : last) : T(0);
  const int low = int(clamped);
  const int high = low + 1 < n ? low + 1 : low;
  const T fraction = clamped - T(low);
  const T slope = inside ? T(1) : T(0);
  return {{low, high}, {T(1) - fraction, fraction}, {-slope, slope}};
}

// Outside the grid everything is zero: taps beyond the edge weigh nothing. A NaN coordinate counts
// as far outside.
template <class T>
ACCEL_RT_HD Axis<T> zeros_axis(T x, int n) {
  if (!(x >= T(-1) && x < T(n))) return {{0, 0}, {T(0), T(0)}, {T(0), T(0)}};
  const int whole = int(x);
  const int low = T(whole) > x ? whole - 1 : whole;
  const bool has_low = low >= 0;
  const bool has_high = low + 1 < n;
  const T fraction = x - T(low);
  return {{has_low ? low : 0, has_high ? low + 1 : low},
          {has_low ? T(1) - fraction : T(0), has_high ? fraction : T(0)},
          {has_low ? T(-1) : T(0), has_high ? T(1) : T(0)}};
}

template <class T>
ACCEL_RT_HD Axis<T> sample_axis(T x, int n, bool zeros) {
  return zeros ? zeros_axis(x, n) : border_axis(x, n);
}

// Whether a sample there depends on the image at all; where it does not, its taps must not be read.
template <class T>
ACCEL_RT_HD bool reads(const Axis<T>& axis) {
  return axis.weight[0] != T(0) || axis.weight[1] != T(0) || axis.slope[0] != T(0) ||
         axis.slope[1] != T(0);
}

// Where an output pixel lies on a grid that is resampled, in pixels of the grid, of which one
// output pixel spans `step`. Pixel areas coincide at the origin.
ACCEL_RT_HD float source_position(int index, double step) {
  return float((index + 0.5) * step - 0.5);
}

// The four taps of a sample in an NHWC image: offsets from the image's first element. Taps of
// weight zero must not be read: zero times Inf or NaN is NaN, though the sample lies elsewhere.
template <class T>
struct Corners {
  int64_t offset[4];
  T weight[4];
};

template <class T>
ACCEL_RT_HD Corners<T> corners(const Axis<T>& y, const Axis<T>& x, int64_t row_stride,
                               int64_t pixel_stride, T scale = T(1)) {
  const int64_t top = y.index[0] * row_stride, bottom = y.index[1] * row_stride;
  const int64_t left = x.index[0] * pixel_stride, right = x.index[1] * pixel_stride;
  return {{top + left, top + right, bottom + left, bottom + right},
          {scale * y.weight[0] * x.weight[0], scale * y.weight[0] * x.weight[1],
           scale * y.weight[1] * x.weight[0], scale * y.weight[1] * x.weight[1]}};
}

// Derivatives of a sample by its coordinates, given the four tap values (or their dot products
// with an incoming gradient).
template <class T>
ACCEL_RT_HD T slope_y(const Axis<T>& y, const Axis<T>& x, const T tap[4]) {
  return y.slope[0] * (x.weight[0] * tap[0] + x.weight[1] * tap[1]) +
         y.slope[1] * (x.weight[0] * tap[2] + x.weight[1] * tap[3]);
}

template <class T>
ACCEL_RT_HD T slope_x(const Axis<T>& y, const Axis<T>& x, const T tap[4]) {
  return y.weight[0] * (x.slope[0] * tap[0] + x.slope[1] * tap[1]) +
         y.weight[1] * (x.slope[0] * tap[2] + x.slope[1] * tap[3]);
}

template <class T>
ACCEL_RT_HD T sample_value(const Axis<T>& y, const Axis<T>& x, const T tap[4]) {
  return y.weight[0] * (x.weight[0] * tap[0] + x.weight[1] * tap[1]) +
         y.weight[1] * (x.weight[0] * tap[2] + x.weight[1] * tap[3]);
}

}  // namespace
}  // namespace accel_rt

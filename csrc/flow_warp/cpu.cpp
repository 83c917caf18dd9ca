#include "../common/cpu.h"

#include "../common/scratch.h"
#include "kernel.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

template <class A, class Params>
inline void sample_axes(const Params& p, const Pixel& at, int64_t pixel, Axis<A>& y, Axis<A>& x) {
  const A* flow = static_cast<const A*>(p.flow) + pixel * 2;
  x = sample_axis(A(at.x) + flow[0], p.width, p.zeros);
  y = sample_axis(A(at.y) + flow[1], p.height, p.zeros);
}

// Smaller outputs are stored normally: the next layer finds part of them in a cache.
constexpr int64_t stream_bytes = int64_t(16) << 20;

template <class T>
void warp_nhwc(const FlowWarpParams& p, int64_t begin, int64_t end) {
  using A = accumulate_t<T>;
  const int64_t channels = p.channels, image_size = channels * p.height * p.width;
  const int64_t bytes = channels * sizeof(T);
  const bool streams = p.images * p.height * p.width * bytes >= stream_bytes;
  T* streamed;  // holds a pixel until it is streamed
  const Scratch memory(array(streamed, streams ? channels : 0));
  Axis<A> y, x;
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const Pixel at = pixel_at(pixel, p.height, p.width);
    sample_axes(p, at, pixel, y, x);
    const T* image = static_cast<const T*>(p.input) + at.image * image_size;
    T* target = static_cast<T*>(p.output) + pixel * channels;
    blend(streams ? streamed : target,
          Taps<T, A>(image, corners(y, x, channels * p.width, channels)), channels);
    if (streams) stream_copy(target, streamed, bytes);
  }
  if (streams) stream_fence();
}

// The taps of a stretch of a row are found once and used for every channel.
template <class T>
void warp_nchw(const FlowWarpParams& p, int64_t begin, int64_t end) {
  using A = accumulate_t<T>;
  constexpr int stretch = 256;
  int64_t offset[4][stretch];
  A weight[4][stretch];
  const int64_t plane = int64_t(p.height) * p.width;
  Axis<A> y, x;
  for (int64_t row = begin; row < end; ++row) {
    for (int first = 0; first < p.width; first += stretch) {
      const int count = p.width - first < stretch ? p.width - first : stretch;
      const int64_t pixel = row * p.width + first;
      const int64_t image = row / p.height;
      for (int i = 0; i < count; ++i) {
        const Pixel at{image, int(row % p.height), first + i};
        sample_axes(p, at, pixel + i, y, x);
        const Corners<A> taps = corners(y, x, p.width, 1);
        for (int k = 0; k < 4; ++k) offset[k][i] = taps.offset[k], weight[k][i] = taps.weight[k];
      }
      const int64_t first_plane = image * p.channels * plane;
      for (int64_t channel = 0; channel < p.channels; ++channel) {
        const T* in = static_cast<const T*>(p.input) + first_plane + channel * plane;
        T* out =
            static_cast<T*>(p.output) + first_plane + channel * plane + (pixel - image * plane);
        int has_nan = 0;
        for (int i = 0; i < count; ++i) {
          const A value =
              weight[0][i] * load(in[offset[0][i]]) + weight[1][i] * load(in[offset[1][i]]) +
              weight[2][i] * load(in[offset[2][i]]) + weight[3][i] * load(in[offset[3][i]]);
          has_nan |= value != value;
          store(out[i], value);
        }
        if (!has_nan) continue;
        for (int i = 0; i < count; ++i) {  // without the taps of weight zero, which may be why
          A value = 0;
          for (int k = 0; k < 4; ++k)
            if (weight[k][i] != A(0)) value += weight[k][i] * load(in[offset[k][i]]);
          store(out[i], value);
        }
      }
    }
  }
}

template <class T>
void grad_flow(const FlowWarpBackwardParams& p, int64_t begin, int64_t end) {
  using A = accumulate_t<T>;
  const int64_t channels = p.channels, image_size = channels * p.height * p.width;
  Axis<A> y, x;
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const Pixel at = pixel_at(pixel, p.height, p.width);
    sample_axes(p, at, pixel, y, x);
    const Corners<A> taps = corners(y, x, channels * p.width, channels);
    A dots[4] = {0, 0, 0, 0};
    if (reads(y) && reads(x))
      dot_taps(dots, static_cast<const T*>(p.grad_output) + pixel * channels,
               static_cast<const T*>(p.input) + at.image * image_size, taps, channels);
    A* out = static_cast<A*>(p.grad_flow) + pixel * 2;
    out[0] = slope_x(y, x, dots);
    out[1] = slope_y(y, x, dots);
  }
}

template <class A>
void find_reach(const FlowWarpBackwardParams& p, RowRange* reach, int64_t begin, int64_t end) {
  Axis<A> y, x;
  for (int64_t row = begin; row < end; ++row) {
    RowRange rows = {p.height, -1};
    for (int64_t pixel = row * p.width; pixel < (row + 1) * p.width; ++pixel) {
      sample_axes(p, pixel_at(pixel, p.height, p.width), pixel, y, x);
      if (y.weight[0] == A(0) && y.weight[1] == A(0)) continue;
      if (y.index[0] < rows.first) rows.first = y.index[0];
      if (y.index[1] > rows.last) rows.last = y.index[1];
    }
    reach[row] = rows;
  }
}

// Sums up the gradients of input pixels [begin, end), all of one image, and marks those reached.
// The first contribution to a pixel overwrites it, which is faster than clearing all of them first.
template <class T>
void add_up(const FlowWarpBackwardParams& p, const RowRange* reach, int64_t begin, int64_t end,
            accumulate_t<T>* sums, bool* reached) {
  using A = accumulate_t<T>;
  const int64_t channels = p.channels, width = p.width;
  const int64_t image = begin / (p.height * width), origin = image * p.height * width;
  const int first_row = int((begin - origin) / width), last_row = int((end - 1 - origin) / width);
  Axis<A> y, x;
  for (int64_t row = image * p.height; row < (image + 1) * p.height; ++row) {
    if (reach[row].last < first_row || reach[row].first > last_row) continue;
    for (int64_t pixel = row * width; pixel < (row + 1) * width; ++pixel) {
      sample_axes(p, pixel_at(pixel, p.height, p.width), pixel, y, x);
      const Corners<A> taps = corners(y, x, width, int64_t(1));
      const T* __restrict from = static_cast<const T*>(p.grad_output) + pixel * channels;
      for (int k = 0; k < 4; ++k) {
        const A weight = taps.weight[k];
        const int64_t at = origin + taps.offset[k] - begin;
        if (weight == A(0) || at < 0 || at >= end - begin) continue;
        A* __restrict to = sums + at * channels;
        if (reached[at]) {
#pragma omp simd
          for (int64_t i = 0; i < channels; ++i) to[i] += weight * load(from[i]);
        } else {
          reached[at] = true;
#pragma omp simd
          for (int64_t i = 0; i < channels; ++i) to[i] = weight * load(from[i]);
        }
      }
    }
  }
}

// Gradients of 16-bit types are summed in float, in bands of rows that stay in a cache.
constexpr int64_t band_bytes = int64_t(1) << 21;

template <class T>
void grad_input(const FlowWarpBackwardParams& p, const RowRange* reach, int64_t begin,
                int64_t end) {
  using A = accumulate_t<T>;
  constexpr bool rounded = !std::is_same_v<T, A>;
  const int64_t channels = p.channels, pixels = int64_t(p.height) * p.width;
  int64_t band = pixels;
  if (rounded) {  // in whole rows: each band reads what reaches it anew
    const int64_t rows = band_bytes / (p.width * channels * int64_t(sizeof(A)));
    band = p.width * (rows > 1 ? rows : 1);
  }
  A* band_sums;
  bool* reached;
  const Scratch memory(array(band_sums, rounded ? band * channels : 0), array(reached, band));
  for (int64_t first = begin, last; first < end; first = last) {
    last = (first / pixels + 1) * pixels;  // the end of the image
    if (last > first + band) last = first + band;
    if (last > end) last = end;
    T* grad = static_cast<T*>(p.grad_input) + first * channels;
    A* sums = band_sums;
    if constexpr (!rounded) sums = grad;
    std::memset(reached, 0, last - first);
    add_up<T>(p, reach, first, last, sums, reached);
    for (int64_t pixel = 0; pixel < last - first; ++pixel) {
      T* __restrict to = grad + pixel * channels;
      if (!reached[pixel]) {
        std::memset(static_cast<void*>(to), 0, channels * sizeof(T));
      } else if constexpr (rounded) {
        const A* __restrict from = sums + pixel * channels;
#pragma omp simd
        for (int64_t i = 0; i < channels; ++i) store(to[i], from[i]);
      }
    }
  }
}

}  // namespace

void flow_warp_nhwc(const FlowWarpParams& p, int64_t begin, int64_t end) {
  for_dtype(p.dtype, [&](auto type) { warp_nhwc<decltype(type)>(p, begin, end); });
}

void flow_warp_nchw(const FlowWarpParams& p, int64_t begin, int64_t end) {
  for_dtype(p.dtype, [&](auto type) { warp_nchw<decltype(type)>(p, begin, end); });
}

void flow_warp_grad_flow(const FlowWarpBackwardParams& p, int64_t begin, int64_t end) {
  for_dtype(p.dtype, [&](auto type) { grad_flow<decltype(type)>(p, begin, end); });
}

void flow_warp_reach(const FlowWarpBackwardParams& p, RowRange* reach, int64_t begin, int64_t end) {
  for_dtype(p.dtype,
            [&](auto type) { find_reach<accumulate_t<decltype(type)>>(p, reach, begin, end); });
}

void flow_warp_grad_input(const FlowWarpBackwardParams& p, const RowRange* reach, int64_t begin,
                          int64_t end) {
  for_dtype(p.dtype, [&](auto type) { grad_input<decltype(type)>(p, reach, begin, end); });
}

}  // namespace accel_rt::ACCEL_RT_SIMD

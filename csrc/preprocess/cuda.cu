#include "../common/area.h"
#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

struct Colour {
  uint8_t bgr[3];
};

__device__ __forceinline__ Colour extended_pixel(const ResizeParams& p, const uint8_t* frame, int y,
                                                 int x) {
  const bool inside = y < p.height && x < p.width;
  const uint8_t* from = inside ? frame + (int64_t(y) * p.width + x) * 3 : p.border;
  return {{from[0], from[1], from[2]}};
}

// The mean over the pixel's area, rounded as OpenCV does: halves to even, but upwards where four
// pixels become one. Sums are whole numbers and exact.
__device__ __forceinline__ Colour area_mean(const ResizeParams& p, const uint8_t* frame, int row,
                                            int column) {
  const Span y = area_span(row, p.extent_height, p.inner_height);
  const Span x = area_span(column, p.extent_width, p.inner_width);
  uint64_t sum[3] = {0, 0, 0};
  for (int i = y.first; i < y.end; ++i) {
    uint32_t row_sum[3] = {0, 0, 0};
    for (int j = x.first; j < x.end; ++j) {
      const Colour pixel = extended_pixel(p, frame, i, j);
#pragma unroll
      for (int c = 0; c < 3; ++c) row_sum[c] += uint32_t(x.weight(j)) * pixel.bgr[c];
    }
#pragma unroll
    for (int c = 0; c < 3; ++c) sum[c] += uint64_t(row_sum[c]) * uint32_t(y.weight(i));
  }
  const uint64_t area = uint64_t(p.extent_height) * p.extent_width;
  const bool halves_up =
      p.extent_height == 2 * p.inner_height && p.extent_width == 2 * p.inner_width;
  Colour mean;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const uint64_t whole = sum[c] / area, twice = 2 * (sum[c] - whole * area);
    const bool up = twice > area || (twice == area && (halves_up || whole % 2 == 1));
    mean.bgr[c] = uint8_t(whole + up);
  }
  return mean;
}

__device__ __forceinline__ Colour interpolated(const ResizeParams& p, const uint8_t* frame, int row,
                                               int column) {
  const double step_y = double(p.extent_height) / p.inner_height;
  const double step_x = double(p.extent_width) / p.inner_width;
  const Axis<float> y = border_axis(source_position(row, step_y), p.extent_height);
  const Axis<float> x = border_axis(source_position(column, step_x), p.extent_width);
  float sum[3] = {0, 0, 0};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const Colour pixel = extended_pixel(p, frame, y.index[i], x.index[j]);
#pragma unroll
      for (int c = 0; c < 3; ++c) sum[c] += y.weight[i] * x.weight[j] * pixel.bgr[c];
    }
  }
  return {{uint8_t(rintf(sum[0])), uint8_t(rintf(sum[1])), uint8_t(rintf(sum[2]))}};
}

__device__ __forceinline__ Colour output_colour(const ResizeParams& p, const Pixel& at) {
  if (at.y >= p.inner_height || at.x >= p.inner_width)
    return {{p.border[0], p.border[1], p.border[2]}};
  const uint8_t* frame = p.frames + at.image * p.height * p.width * 3;
  if (p.extent_height == p.inner_height && p.extent_width == p.inner_width)
    return extended_pixel(p, frame, at.y, at.x);
  const bool shrinks = p.inner_height <= p.extent_height && p.inner_width <= p.extent_width;
  return shrinks ? area_mean(p, frame, at.y, at.x) : interpolated(p, frame, at.y, at.x);
}

__global__ void resize(ResizeParams p, uint8_t* out, int64_t pixels) {
  const int64_t pixel = global_thread();
  if (pixel >= pixels) return;
  const Colour colour = output_colour(p, pixel_at(pixel, p.out_height, p.out_width));
#pragma unroll
  for (int c = 0; c < 3; ++c) out[pixel * 3 + c] = colour.bgr[c];
}

template <class T>
__device__ __forceinline__ T normalised(const NormaliseParams& p, uint8_t value, int channel) {
  // Rounded after each step, as the CPU does, and not fused
  const float scaled = __fmul_rn(float(value), p.scale[channel]);
  return round_to<T>(__fadd_rn(scaled, p.shift[channel]));
}

// A frame that keeps its size, with the border's colour below it: a thread takes pack_pixels
// pixels.
constexpr int pack_pixels = 8;

template <class T>
__global__ void __launch_bounds__(block_threads)
    normalise_packs(ResizeParams p, NormaliseParams normalise, T* out, int64_t inside,
                    int64_t pixels) {
  constexpr int bytes = pack_pixels, values = full_pack<T>;
  const int64_t first = global_thread() * pack_pixels;
  if (first + pack_pixels <= inside) {
    Pack<uint8_t, bytes> frame[3];
#pragma unroll
    for (int i = 0; i < 3; ++i)
      frame[i] = load_pack<uint8_t, bytes>(p.frames + 3 * first + i * bytes);
    Pack<T, values> result[3 * pack_pixels / values];
#pragma unroll
    for (int i = 0; i < 3 * pack_pixels; ++i) {
      const int from = i - i % 3 + 2 - i % 3;
      result[i / values].value[i % values] =
          normalised<T>(normalise, frame[from / bytes].value[from % bytes], i % 3);
    }
#pragma unroll
    for (int i = 0; i < 3 * pack_pixels / values; ++i)
      store_pack(out + 3 * first + i * values, result[i]);
    return;
  }
  for (int64_t pixel = first; pixel < first + pack_pixels && pixel < pixels; ++pixel) {
    const uint8_t* from = pixel < inside ? p.frames + 3 * pixel : p.border;
#pragma unroll
    for (int c = 0; c < 3; ++c) out[3 * pixel + c] = normalised<T>(normalise, from[2 - c], c);
  }
}

template <class T>
__global__ void resize_normalise(ResizeParams p, NormaliseParams normalise, T* out,
                                 int64_t pixels) {
  const int64_t pixel = global_thread();
  if (pixel >= pixels) return;
  const Colour colour = output_colour(p, pixel_at(pixel, p.out_height, p.out_width));
#pragma unroll
  for (int c = 0; c < 3; ++c) out[pixel * 3 + c] = normalised<T>(normalise, colour.bgr[2 - c], c);
}

// Whether the output is the frames' pixels in their order, and then the border's colour
bool keeps_pixels(const ResizeParams& p) {
  const bool height = p.extent_height == p.height && p.inner_height == p.height;
  const bool width = p.extent_width == p.width && p.inner_width == p.width;
  return height && width && p.out_width == p.width && (p.images == 1 || p.out_height == p.height);
}

}  // namespace

int resize_cuda(const ResizeParams& p, uint8_t* out, void* stream) {
  const int64_t pixels = p.images * p.out_height * p.out_width;
  ACCEL_RT_LAUNCH(resize, blocks_for(pixels), block_threads, 0, stream, p, out, pixels);
  return int(cudaGetLastError());
}

int resize_normalise_cuda(const ResizeParams& p, const NormaliseParams& normalise, DType dtype,
                          void* out, void* stream) {
  return for_cuda_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t pixels = p.images * p.out_height * p.out_width;
    if (keeps_pixels(p) && aligned16(p.frames) && aligned16(out)) {
      const int64_t threads = (pixels + pack_pixels - 1) / pack_pixels;
      const int64_t inside = p.images * p.height * p.width;
      ACCEL_RT_LAUNCH((normalise_packs<T>), blocks_for(threads), block_threads, 0, stream, p,
                      normalise, static_cast<T*>(out), inside, pixels);
      return int(cudaGetLastError());
    }
    ACCEL_RT_LAUNCH((resize_normalise<T>), blocks_for(pixels), block_threads, 0, stream, p,
                    normalise, static_cast<T*>(out), pixels);
    return int(cudaGetLastError());
  });
}

}  // namespace accel_rt

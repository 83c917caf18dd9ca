#include "../common/cpu.h"

#include "../common/finish_run.h"
#include "kernel.h"
#include "panels.h"
#include "sampling.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

// Calls function(first, count) for the runs of channels within [begin, end) that share a weight
// group, whose columns are contiguous.
template <class F>
inline void for_runs(const DeformParams& p, int begin, int end, F&& function) {
  if (p.groups == 1) return function(begin, end - begin);
  const int group_channels = p.channels / p.groups;
  while (begin < end) {
    const int group_end = (begin / group_channels + 1) * group_channels;
    const int run_end = group_end < end ? group_end : end;
    function(begin, run_end - begin);
    begin = run_end;
  }
}

// Calls function(offset_group, k, index, tap) for every tap of an output pixel.
template <class A, class F>
inline void for_taps(const DeformParams& p, const Pixel& at, int64_t pixel, int first_group,
                     int last_group, F&& function) {
  for (int offset_group = first_group; offset_group <= last_group; ++offset_group) {
    int64_t index = tap_index(p, pixel, offset_group, 0);
    for (int ky = 0, k = 0; ky < p.kernel_height; ++ky)
      for (int kx = 0; kx < p.kernel_width; ++kx, ++k, ++index)
        function(offset_group, k, index, sample_tap<A>(p, at, index, ky, kx));
  }
}

template <class T>
void gather(const DeformParams& p, const DeformTile& tile, T* columns, int64_t begin, int64_t end) {
  using A = accumulate_t<T>;
  const T* input = static_cast<const T*>(p.input);
  const int share = p.channels / p.offset_groups;
  for (int64_t row = begin; row < end; ++row) {
    const Pixel at = output_pixel(p, tile.first + row);
    for_taps<A>(p, at, tile.first + row, 0, p.offset_groups - 1,
                [&](int offset_group, int k, int64_t, const Tap<A>& tap) {
                  const Corners<A> corners = tap_corners(p, at, tap, tap.mask);
                  for_runs(p, offset_group * share, (offset_group + 1) * share,
                           [&](int first, int count) {
                             blend(columns + column_index(p, tile, row, k, first),
                                   Taps<T, A>(input + first, corners), count);
                           });
                });
  }
}

template <class T>
void grad_offset(const DeformBackwardParams& backward, const DeformTile& tile,
                 const T* grad_columns, int64_t begin, int64_t end) {
  using A = accumulate_t<T>;
  const DeformParams& p = backward.forward;
  const T* input = static_cast<const T*>(p.input);
  A* grad_offset = static_cast<A*>(backward.grad_offset);
  A* grad_mask = static_cast<A*>(backward.grad_mask);
  const int share = p.channels / p.offset_groups;
  for (int64_t row = begin; row < end; ++row) {
    const Pixel at = output_pixel(p, tile.first + row);
    for_taps<A>(p, at, tile.first + row, 0, p.offset_groups - 1,
                [&](int offset_group, int k, int64_t index, const Tap<A>& tap) {
                  const Corners<A> taps = tap_corners(p, at, tap, A(1));
                  A dots[4] = {0, 0, 0, 0};
                  if (reads(tap.y) && reads(tap.x))
                    for_runs(p, offset_group * share, (offset_group + 1) * share,
                             [&](int first, int count) {
                               dot_taps(dots, grad_columns + column_index(p, tile, row, k, first),
                                        input + first, taps, count);
                             });
                  if (grad_offset != nullptr) {
                    grad_offset[2 * index] = tap.mask * slope_y(tap.y, tap.x, dots);
                    grad_offset[2 * index + 1] = tap.mask * slope_x(tap.y, tap.x, dots);
                  }
                  if (grad_mask != nullptr) grad_mask[index] = sample_value(tap.y, tap.x, dots);
                });
  }
}

template <class T>
void grad_input(const DeformBackwardParams& backward, const DeformTile& tile, const T* grad_columns,
                int begin, int end) {
  using A = accumulate_t<T>;
  const DeformParams& p = backward.forward;
  A* grad_input = static_cast<A*>(backward.grad_input);
  const int share = p.channels / p.offset_groups;
  for (int64_t row = 0; row < tile.pixels; ++row) {
    const Pixel at = output_pixel(p, tile.first + row);
    for_taps<A>(p, at, tile.first + row, begin / share, (end - 1) / share,
                [&](int offset_group, int k, int64_t, const Tap<A>& tap) {
                  const Corners<A> taps = tap_corners(p, at, tap, tap.mask);
                  const int low = offset_group * share, high = low + share;
                  for_runs(p, begin > low ? begin : low, end < high ? end : high,
                           [&](int first, int count) {
                             scatter(grad_input + first, taps,
                                     grad_columns + column_index(p, tile, row, k, first), count);
                           });
                });
  }
}

template <class T>
void accumulate(accumulate_t<T>* __restrict sum, const T* __restrict part, int64_t begin,
                int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) sum[i] += load(part[i]);
}

}  // namespace

void deform_pack(const DeformParams& p, const void* weight, void* packed, int64_t outputs,
                 int64_t begin, int64_t end) {
  const PanelLayout layout(p, outputs);
  for (int64_t output = begin; output < end; output += panel_outputs)
    pack_panel(layout, static_cast<const float*>(weight), output, static_cast<float*>(packed));
}

void deform_panels(const DeformParams& p, const DeformTile& pixels, int64_t most,
                   const void* packed, const ConvFinish& finish, void* output, int64_t outputs) {
  const float* panels = static_cast<const float*>(packed);
#if defined(__AVX512F__)
  if (p.dtype == DType::bf16)
    return convolve_in_panels<WordOfPair>(p, pixels, most, panels, finish,
                                          static_cast<BFloat16*>(output), outputs);
#endif
  convolve_in_panels<WordOfFloat>(p, pixels, most, panels, finish, static_cast<float*>(output),
                                  outputs);
}

void deform_finish(DType dtype, const ConvFinish& finish, void* output, int64_t begin,
                   int64_t end) {
  for_dtype(dtype, [&](auto type) {
    auto* out = static_cast<decltype(type)*>(output);
    finish_run(finish, out, out + begin, begin, end - begin);
  });
}

void deform_gather(const DeformParams& p, const DeformTile& tile, void* columns, int64_t begin,
                   int64_t end) {
  for_dtype(p.dtype,
            [&](auto type) { gather(p, tile, static_cast<decltype(type)*>(columns), begin, end); });
}

void deform_grad_offset(const DeformBackwardParams& p, const DeformTile& tile,
                        const void* grad_columns, int64_t begin, int64_t end) {
  for_dtype(p.forward.dtype, [&](auto type) {
    grad_offset(p, tile, static_cast<const decltype(type)*>(grad_columns), begin, end);
  });
}

void deform_grad_input(const DeformBackwardParams& p, const DeformTile& tile,
                       const void* grad_columns, int64_t begin, int64_t end) {
  for_dtype(p.forward.dtype, [&](auto type) {
    grad_input(p, tile, static_cast<const decltype(type)*>(grad_columns), int(begin), int(end));
  });
}

void deform_accumulate(DType dtype, void* sum, const void* part, int64_t begin, int64_t end) {
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    accumulate(static_cast<accumulate_t<T>*>(sum), static_cast<const T*>(part), begin, end);
  });
}

}  // namespace accel_rt::ACCEL_RT_SIMD

#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

constexpr int classes = 256;
constexpr int thread_pixels = 16;

// The palette in shared memory
struct Colours {
  uint8_t value[classes * 3];
  bool kept[classes];

  __device__ __forceinline__ uint8_t blend(const OverlayParams& p, uint8_t value_in, uint8_t label,
                                           int channel) const {
    if (!kept[label]) return value_in;
    const float colour = float(value[3 * label + channel]);
    // Rounded once after the product, as OpenCV's vector code does
    return uint8_t(rintf(fmaf(float(value_in), p.rest, __fmul_rn(colour, p.alpha))));
  }
};

// thread_pixels pixels: 16 bytes of labels, three times 16 of the frame
__device__ __forceinline__ void blend_packs(const OverlayParams& p, const Colours& colours,
                                            int64_t first) {
  constexpr int bytes = 16;
  const Pack<uint8_t, bytes> labels = load_pack<uint8_t, bytes>(p.labels + first);
  Pack<uint8_t, bytes> frame[3];
#pragma unroll
  for (int i = 0; i < 3; ++i)
    frame[i] = load_pack<uint8_t, bytes>(p.frames + 3 * first + i * bytes);
#pragma unroll
  for (int i = 0; i < 3 * thread_pixels; ++i) {
    uint8_t& value = frame[i / bytes].value[i % bytes];
    value = colours.blend(p, value, labels.value[i / 3], i % 3);
  }
#pragma unroll
  for (int i = 0; i < 3; ++i) store_pack(p.out + 3 * first + i * bytes, frame[i]);
}

__global__ void __launch_bounds__(block_threads) overlay(OverlayParams p, bool packs) {
  __shared__ Colours colours;
  for (int i = threadIdx.x; i < classes * 3; i += block_threads) colours.value[i] = p.palette[i];
  for (int i = threadIdx.x; i < classes; i += block_threads)
    colours.kept[i] = p.keep == nullptr || p.keep[i] != 0;
  __syncthreads();

  const int64_t first = global_thread() * thread_pixels;
  if (packs && first + thread_pixels <= p.pixels) return blend_packs(p, colours, first);
  for (int64_t pixel = first; pixel < first + thread_pixels && pixel < p.pixels; ++pixel) {
#pragma unroll
    for (int c = 0; c < 3; ++c)
      p.out[3 * pixel + c] = colours.blend(p, p.frames[3 * pixel + c], p.labels[pixel], c);
  }
}

}  // namespace

int overlay_cuda(const OverlayParams& p, void* stream) {
  const bool packs = aligned16(p.frames) && aligned16(p.labels) && aligned16(p.out);
  const int64_t threads = (p.pixels + thread_pixels - 1) / thread_pixels;
  ACCEL_RT_LAUNCH(overlay, blocks_for(threads), block_threads, 0, stream, p, packs);
  return int(cudaGetLastError());
}

}  // namespace accel_rt

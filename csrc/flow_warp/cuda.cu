#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

// The sample of a pixel of N * H * W; its corners are offsets into the whole batch.
struct Sample {
  Pixel at;
  Axis<float> y, x;
};

template <class Params>
__device__ __forceinline__ Sample sample_at(const Params& p, int64_t pixel) {
  const float* flow = static_cast<const float*>(p.flow) + pixel * 2;
  const Pixel at = pixel_at(pixel, p.height, p.width);
  return {at, sample_axis(float(at.y) + flow[1], p.height, p.zeros),
          sample_axis(float(at.x) + flow[0], p.width, p.zeros)};
}

template <class Params>
__device__ __forceinline__ Corners<float> nhwc_corners(const Params& p, const Sample& sample) {
  Corners<float> at = corners(sample.y, sample.x, p.channels * p.width, p.channels);
#pragma unroll
  for (int k = 0; k < 4; ++k) at.offset[k] += sample.at.image * p.height * p.width * p.channels;
  return at;
}

// An item is a pixel, its pieces are packs of channels.
template <class T, int N>
__global__ void warp_nhwc(FlowWarpParams p, int64_t pixels) {
  const int64_t pixel = global_item();
  if (pixel >= pixels) return;
  const Corners<float> at = nhwc_corners(p, sample_at(p, pixel));
  T* out = static_cast<T*>(p.output) + pixel * p.channels;
#pragma unroll 2
  for (int64_t channel = threadIdx.x * N; channel < p.channels; channel += blockDim.x * N)
    blend_pack<T, N>(out + channel, static_cast<const T*>(p.input) + channel, at);
}

// One thread per pixel, for up to plane_block channels; a warp's threads write neighbours.
constexpr int plane_block = 16;

template <class T>
__global__ void warp_nchw(FlowWarpParams p, int64_t threads) {
  const int64_t thread = global_thread();
  if (thread >= threads) return;
  const int64_t plane = int64_t(p.height) * p.width, pixels = p.images * plane;
  const int64_t pixel = thread % pixels, first = thread / pixels * plane_block;
  const Sample sample = sample_at(p, pixel);
  const Corners<float> at = corners(sample.y, sample.x, p.width, 1);
#pragma unroll 4
  for (int64_t channel = first; channel < first + plane_block && channel < p.channels; ++channel) {
    const int64_t start = (sample.at.image * p.channels + channel) * plane;
    blend_pack<T, 1>(static_cast<T*>(p.output) + start + pixel % plane,
                     static_cast<const T*>(p.input) + start, at);
  }
}

// An item is a pixel, and its lanes a whole warp.
template <class T, int N>
__global__ void grad_flow(FlowWarpBackwardParams p, int64_t pixels) {
  const int64_t pixel = global_item();
  if (pixel >= pixels) return;
  const Sample sample = sample_at(p, pixel);
  const Corners<float> at = nhwc_corners(p, sample);
  const T* grad = static_cast<const T*>(p.grad_output) + pixel * p.channels;
  const int64_t channels = reads(sample.y) && reads(sample.x) ? p.channels : 0;
  float dots[4] = {0, 0, 0, 0};
  for (int64_t channel = threadIdx.x * N; channel < channels; channel += warp_threads * N)
    dot_pack<T, N>(dots, grad + channel, static_cast<const T*>(p.input) + channel, at);
#pragma unroll
  for (int k = 0; k < 4; ++k) dots[k] = warp_sum(dots[k]);
  if (threadIdx.x != 0) return;
  float* out = static_cast<float*>(p.grad_flow) + pixel * 2;
  out[0] = slope_x(sample.y, sample.x, dots);
  out[1] = slope_y(sample.y, sample.x, dots);
}

// An item is a pixel, its pieces are channels.
template <class T>
__global__ void grad_input(FlowWarpBackwardParams p, int64_t pixels) {
  const int64_t pixel = global_item();
  if (pixel >= pixels) return;
  const Corners<float> at = nhwc_corners(p, sample_at(p, pixel));
  const T* grad = static_cast<const T*>(p.grad_output) + pixel * p.channels;
  for (int64_t channel = threadIdx.x; channel < p.channels; channel += blockDim.x)
    scatter(static_cast<float*>(p.grad_input) + channel, at, load(grad[channel]));
}

template <class T, int N>
void launch_nhwc(const FlowWarpParams& p, void* stream) {
  const int64_t pixels = p.images * p.height * p.width;
  const dim3 block = item_block(p.channels / N);
  ACCEL_RT_LAUNCH((warp_nhwc<T, N>), blocks_for(pixels, block.y), block, 0, stream, p, pixels);
}

template <class T, int N>
void launch_grad_flow(const FlowWarpBackwardParams& p, void* stream) {
  const int64_t pixels = p.images * p.height * p.width;
  const dim3 block = item_block(warp_threads);
  ACCEL_RT_LAUNCH((grad_flow<T, N>), blocks_for(pixels, block.y), block, 0, stream, p, pixels);
}

template <class T>
void launch_grad_input(const FlowWarpBackwardParams& p, void* stream) {
  const int64_t pixels = p.images * p.height * p.width;
  const dim3 block = item_block(p.channels);
  ACCEL_RT_LAUNCH((grad_input<T>), blocks_for(pixels, block.y), block, 0, stream, p, pixels);
}

}  // namespace

int flow_warp_cuda(const FlowWarpParams& p, void* stream) {
  return for_cuda_dtype(p.dtype, [&](auto type) {
    using T = decltype(type);
    if (p.planar) {
      const int64_t blocks = (p.channels + plane_block - 1) / plane_block;
      const int64_t threads = blocks * p.images * p.height * p.width;
      ACCEL_RT_LAUNCH((warp_nchw<T>), blocks_for(threads), block_threads, 0, stream, p, threads);
    } else if (p.channels % full_pack<T> == 0 && aligned16(p.input) && aligned16(p.output)) {
      launch_nhwc<T, full_pack<T>>(p, stream);
    } else {
      launch_nhwc<T, 1>(p, stream);
    }
    return int(cudaGetLastError());
  });
}

int flow_warp_backward_cuda(const FlowWarpBackwardParams& p, bool need_input, bool need_flow,
                            void* stream) {
  return for_cuda_dtype(p.dtype, [&](auto type) {
    using T = decltype(type);
    if (need_flow) {
      if (p.channels % full_pack<T> == 0 && aligned16(p.input) && aligned16(p.grad_output))
        launch_grad_flow<T, full_pack<T>>(p, stream);
      else
        launch_grad_flow<T, 1>(p, stream);
    }
    if (need_input) launch_grad_input<T>(p, stream);
    return int(cudaGetLastError());
  });
}

}  // namespace accel_rt

// Building blocks of the CUDA kernels. Torch-free; the host compiler accepts it too, against the
// emulated runtime of the tests, hence launches through a macro.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "bilinear.h"
#include "dtype.h"

#ifndef ACCEL_RT_LAUNCH  // the emulated runtime brings its own
#define ACCEL_RT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  (kernel)<<<(grid), (block), (shared_bytes), static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
// The block's dynamic shared memory as an array of `type` aligned to 16 bytes
#define ACCEL_RT_DYNAMIC_SHARED(type, name)                      \
  extern __shared__ __align__(16) unsigned char shared_bytes_[]; \
  type* name = reinterpret_cast<type*>(shared_bytes_)
#endif

namespace accel_rt {
namespace {

__device__ __forceinline__ float load(float value) { return value; }
__device__ __forceinline__ float load(__half value) { return __half2float(value); }
__device__ __forceinline__ float load(__nv_bfloat16 value) { return __bfloat162float(value); }

template <class T>
__device__ __forceinline__ T round_to(float value);
template <>
__device__ __forceinline__ float round_to<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __half round_to<__half>(float value) {
  return __float2half(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 round_to<__nv_bfloat16>(float value) {
  return __float2bfloat16(value);
}

// Consecutive channels that a thread reads and writes at once: 16 bytes, or one element.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T value[N];
};
template <class T>
constexpr int full_pack = 16 / sizeof(T);

template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <class T, int N>
__device__ __forceinline__ void store_pack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// The four taps of a sample: four independent loads. Those of weight zero are not read, and zero.
template <class T, int N>
struct TapPacks {
  Pack<T, N> tap[4];

  TapPacks() = default;
  __device__ __forceinline__ TapPacks(const T* image, const Corners<float>& at) {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      tap[k] = at.weight[k] != 0.0f ? load_pack<T, N>(image + at.offset[k]) : Pack<T, N>{};
  }
  __device__ __forceinline__ float blend(const Corners<float>& at, int i) const {
    return at.weight[0] * load(tap[0].value[i]) + at.weight[1] * load(tap[1].value[i]) +
           at.weight[2] * load(tap[2].value[i]) + at.weight[3] * load(tap[3].value[i]);
  }
};

template <class T, int N>
__device__ __forceinline__ void blend_pack(T* out, const T* image, const Corners<float>& at) {
  const TapPacks<T, N> taps(image, at);
  Pack<T, N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) result.value[i] = round_to<T>(taps.blend(at, i));
  store_pack(out, result);
}

// dots[k] += gradient . tap_k over one pack
template <class T, int N>
__device__ __forceinline__ void dot_pack(float dots[4], const T* gradient, const T* image,
                                         const Corners<float>& at) {
  const Pack<T, N> grad = load_pack<T, N>(gradient);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const Pack<T, N> tap = load_pack<T, N>(image + at.offset[k]);
#pragma unroll
    for (int i = 0; i < N; ++i) dots[k] += load(grad.value[i]) * load(tap.value[i]);
  }
}

__device__ __forceinline__ void scatter(float* image, const Corners<float>& at, float gradient) {
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (at.weight[k] != 0.0f) atomicAdd(image + at.offset[k], at.weight[k] * gradient);
}

// The sum over a warp, in every lane
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
  return value;
}

__device__ __forceinline__ int64_t global_thread() {
  return int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ int64_t global_item() {
  return int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
}

constexpr int block_threads = 256;
constexpr int warp_threads = 32;

inline unsigned blocks_for(int64_t threads, int64_t per_block = block_threads) {
  return unsigned((threads + per_block - 1) / per_block);
}

// Blocks of threads that work on items (threadIdx.y) in rows of lanes (threadIdx.x), a lane taking
// every blockDim.x-th of the item's `steps` pieces. Lanes are a power of two, at most a warp.
inline dim3 item_block(int64_t steps) {
  int lanes = warp_threads;
  while (lanes > 1 && lanes / 2 >= steps) lanes /= 2;
  return dim3(lanes, block_threads / lanes);
}

inline bool aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// Calls function(T{}) with the element type. Double precision stays on the CPU.
template <class F>
int for_cuda_dtype(DType dtype, F&& function) {
  switch (dtype) {
    case DType::f32:
      return function(float{});
    case DType::f16:
      return function(__half{});
    case DType::bf16:
      return function(__nv_bfloat16{});
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace
}  // namespace accel_rt

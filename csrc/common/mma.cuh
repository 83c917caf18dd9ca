// Tensor cores and asynchronous copies, sm_80 and later. The tests bring functions of the same
// names that follow the documented layout of the fragments, lane by lane.
//
// A warp multiplies A [16, K] with the transpose of B [8, K], where K spans 32 bytes: 16 halves or
// 8 floats. In 4-byte words, with row = lane / 4 and word = lane % 4, a lane holds of A the words
// (row, word), (row + 8, word), (row, word + 4), (row + 8, word + 4), of B (row, word) and
// (row, word + 4), and of the result (row, 2 word), (row, 2 word + 1) and the same 8 rows below.
#pragma once

#include "cuda.cuh"

#ifdef ACCEL_RT_EMULATED_CUDA
#include <emulated_mma.h>
#endif

namespace accel_rt {
namespace {

#ifdef ACCEL_RT_EMULATED_CUDA

using emulator::copy_async;
using emulator::multiply_bf16;
using emulator::multiply_f16;
using emulator::multiply_tf32;
using emulator::round_tf32;
using emulator::wait_for_copies;

#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800

__device__ void multiply_f16(float*, const uint32_t*, const uint32_t*) {}
__device__ void multiply_bf16(float*, const uint32_t*, const uint32_t*) {}
__device__ void multiply_tf32(float*, const uint32_t*, const uint32_t*) {}
__device__ uint32_t round_tf32(float) { return 0; }
__device__ void copy_async(void*, const void*, bool) {}
__device__ void wait_for_copies() {}

#else

#define ACCEL_RT_MMA(name, shape, type)                                                        \
  __device__ __forceinline__ void name(float c[4], const uint32_t a[4], const uint32_t b[2]) { \
    asm volatile("mma.sync.aligned." shape ".row.col.f32." type "." type                       \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"        \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));          \
  }
ACCEL_RT_MMA(multiply_f16, "m16n8k16", "f16")
ACCEL_RT_MMA(multiply_bf16, "m16n8k16", "bf16")
ACCEL_RT_MMA(multiply_tf32, "m16n8k8", "tf32")
#undef ACCEL_RT_MMA

// The nearest float of 10 bits' mantissa, as the bits that multiply_tf32 takes
__device__ __forceinline__ uint32_t round_tf32(float value) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}

// Starts copying 16 bytes to shared memory, or filling them with zeros.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool zeros) {
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(to))),
      "l"(from), "r"(zeros ? 0 : 16)
      : "memory");
}

// Waits for the thread's own copies; a barrier makes them visible to the block.
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

#endif

// c += A @ B.T
template <class T>
__device__ __forceinline__ void multiply_fragments(float c[4], const uint32_t a[4],
                                                   const uint32_t b[2]);
template <>
__device__ __forceinline__ void multiply_fragments<__half>(float c[4], const uint32_t a[4],
                                                           const uint32_t b[2]) {
  multiply_f16(c, a, b);
}
template <>
__device__ __forceinline__ void multiply_fragments<__nv_bfloat16>(float c[4], const uint32_t a[4],
                                                                  const uint32_t b[2]) {
  multiply_bf16(c, a, b);
}

__device__ __forceinline__ float as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// A float as the sum of two of 10 bits' mantissa
template <int N>
struct Split {
  uint32_t high[N], low[N];

  __device__ __forceinline__ explicit Split(const uint32_t words[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float value = as_float(words[i]);
      high[i] = round_tf32(value);
      low[i] = round_tf32(value - as_float(high[i]));
    }
  }
};

// Three products of split floats: all but the product of the low parts, 2**-22 of the whole
template <>
__device__ __forceinline__ void multiply_fragments<float>(float c[4], const uint32_t a[4],
                                                          const uint32_t b[2]) {
  const Split<4> first(a);
  const Split<2> second(b);
  multiply_tf32(c, first.low, second.high);
  multiply_tf32(c, first.high, second.low);
  multiply_tf32(c, first.high, second.high);
}

}  // namespace
}  // namespace accel_rt

// A stand-in for CUDA's header that lets the host compiler build the .cu sources. Kernels run on
// the CPU, one block after the other; see emulator.h for what it checks on the way.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uchar4 {
  uint8_t x, y, z, w;
};
inline uchar4 make_uchar4(int x, int y, int z, int w) {
  return {uint8_t(x), uint8_t(y), uint8_t(z), uint8_t(w)};
}

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9 };
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor };
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  return *value = 8, cudaSuccess;
}
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);

#include "../emulator.h"

#define threadIdx (::emulator::current_thread())
#define blockIdx (::emulator::current_block())
#define blockDim (::emulator::block_size())
#define gridDim (::emulator::grid_size())

#define ACCEL_RT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::emulator::launch(grid, block, shared_bytes, [&] { (kernel)(__VA_ARGS__); })
#define ACCEL_RT_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(::emulator::dynamic_shared())

inline void __syncthreads() { ::emulator::synchronize_block(); }

inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

inline float __shfl_xor_sync(unsigned, float value, int lanes) {
  ::emulator::show(&value, 1);
  return *::emulator::shown(::emulator::current_lane() ^ lanes);
}

inline float atomicAdd(float* target, float value) {
  const float before = *target;
  *target += value;
  return before;
}

// Small kernels, right and wrong, to show what the emulator notices.
#include <cuda_runtime.h>

#include <cstring>
#include <stdexcept>
#include <string>

namespace {

// Reverses each block's numbers through shared memory.
template <bool Barrier>
__global__ void reverse(float* numbers) {
  __shared__ float copy[64];
  float* mine = numbers + blockIdx.x * blockDim.x;
  copy[threadIdx.x] = mine[threadIdx.x];
  if (Barrier) __syncthreads();
  mine[threadIdx.x] = copy[blockDim.x - 1 - threadIdx.x];
}

__global__ void leave_before_barrier(float* numbers) {
  if (numbers[threadIdx.x] < 0) return;
  __syncthreads();
  numbers[threadIdx.x] = 0;
}

// One warp waits for the block; in the other, one lane does and the rest shuffle.
__global__ void wait_at_different_barriers(float* numbers) {
  if (threadIdx.x <= 32)
    __syncthreads();
  else
    numbers[threadIdx.x] = __shfl_xor_sync(0xffffffffu, numbers[threadIdx.x], 1);
}

__global__ void sum_warp(float* numbers) {
  float value = numbers[threadIdx.x];
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
  numbers[threadIdx.x] = value;
}

// Adds what shared memory holds before anything is written there.
__global__ void read_unwritten(float* numbers) {
  ACCEL_RT_DYNAMIC_SHARED(float, copy);
  numbers[threadIdx.x] += copy[threadIdx.x];
}

void run(const char* name, float* numbers, int blocks, int threads, size_t shared_bytes) {
  const auto is = [&](const char* other) { return std::strcmp(name, other) == 0; };
  if (is("reverse")) {
    ACCEL_RT_LAUNCH(reverse<true>, blocks, threads, shared_bytes, nullptr, numbers);
  } else if (is("reverse without a barrier")) {
    ACCEL_RT_LAUNCH(reverse<false>, blocks, threads, shared_bytes, nullptr, numbers);
  } else if (is("leave before a barrier")) {
    ACCEL_RT_LAUNCH(leave_before_barrier, blocks, threads, shared_bytes, nullptr, numbers);
  } else if (is("different barriers")) {
    ACCEL_RT_LAUNCH(wait_at_different_barriers, blocks, threads, shared_bytes, nullptr, numbers);
  } else if (is("sum a warp")) {
    ACCEL_RT_LAUNCH(sum_warp, blocks, threads, shared_bytes, nullptr, numbers);
  } else if (is("read unwritten")) {
    ACCEL_RT_LAUNCH(read_unwritten, blocks, threads, shared_bytes, nullptr, numbers);
  } else {
    throw std::runtime_error("no such kernel");
  }
}

std::string message;

}  // namespace

// Runs the kernel of that name; returns what went wrong, or null.
extern "C" const char* run_fault_kernel(const char* name, float* numbers, int blocks, int threads,
                                        size_t shared_bytes) {
  try {
    run(name, numbers, blocks, threads, shared_bytes);
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// Runs CUDA kernels on the CPU: the threads of a block are fibres that take turns in a random
// order and switch at barriers, so that a missing barrier shows as a wrong result. Raises where a
// device would hang or misbehave: barriers that not every thread reaches, shuffles with a thread
// that has left, launches beyond a device's limits.
#pragma once

#include <cstddef>
#include <functional>

struct dim3;

namespace emulator {

const dim3& current_thread();
const dim3& current_block();
const dim3& block_size();
const dim3& grid_size();

void launch(const dim3& grid, const dim3& block, size_t shared_bytes,
            const std::function<void()>& kernel);
void* dynamic_shared();
void synchronize_block();
float exchange(float value, int lanes);  // __shfl_xor_sync over a whole warp

}  // namespace emulator

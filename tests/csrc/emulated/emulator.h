// Runs CUDA kernels on the CPU: the threads of a block are fibres that take turns in a random
// order and switch at barriers, so that a missing barrier shows as a wrong result. Raises where a
// device would hang or misbehave: barriers that not every thread reaches, shuffles with a thread
// that has left, launches beyond a device's limits, races for shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
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

constexpr int most_values = 12;
// Shows up to most_values values to the other lanes of the warp, all of which must come here.
void show(const float* values, int count);
// What `lane` last showed
const float* shown(int lane);
int current_lane();

// Whether two threads touch the same shared memory without a barrier in between, one writing.
// Called by the code that the compiler puts before memory accesses (races.cpp).
void note_shared(const void* address, size_t bytes, bool is_write);

}  // namespace emulator

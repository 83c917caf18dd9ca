// Tensor cores on the CPU, see mma.cpp.
#pragma once

#include <cstdint>

#include "../emulator.h"

namespace emulator {

void multiply_f16(float c[4], const uint32_t a[4], const uint32_t b[2]);
void multiply_bf16(float c[4], const uint32_t a[4], const uint32_t b[2]);
void multiply_tf32(float c[4], const uint32_t a[4], const uint32_t b[2]);
uint32_t round_tf32(float value);

}  // namespace emulator

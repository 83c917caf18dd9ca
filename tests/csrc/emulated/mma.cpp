// Tensor cores on the CPU: each lane shows its fragments to its warp and computes its part of the
// result, by the layout that the PTX manual gives for mma.m16n8k16 and mma.m16n8k8.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <emulated_mma.h>

#include <cstring>

namespace emulator {
namespace {

uint64_t products = 0;

// load(word, values): the PerWord elements in a word
template <int PerWord, class F>
void multiply(float c[4], const uint32_t a[4], const uint32_t b[2], F&& load) {
  float values[6 * PerWord];
  for (int i = 0; i < 4; ++i) load(a[i], values + i * PerWord);
  for (int i = 0; i < 2; ++i) load(b[i], values + (4 + i) * PerWord);
  show(values, 6 * PerWord);
  const int lane = current_lane();
  if (lane == 0) ++products;
  for (int word = 0; word < 8; ++word) {
    const int place = word / 4;  // a0, a1 and b0 hold words 0 to 3, the others 4 to 7
    const float* column[2];
    for (int i = 0; i < 2; ++i)
      column[i] = shown((lane % 4 * 2 + i) * 4 + word % 4) + (4 + place) * PerWord;
    const float* rows = shown(lane / 4 * 4 + word % 4) + 2 * place * PerWord;
    for (int i = 0; i < 4; ++i)
      for (int k = 0; k < PerWord; ++k) c[i] += rows[i / 2 * PerWord + k] * column[i % 2][k];
  }
}

}  // namespace

void multiply_f16(float c[4], const uint32_t a[4], const uint32_t b[2]) {
  multiply<2>(c, a, b, [](uint32_t word, float* values) {
    __half halves[2];
    std::memcpy(halves, &word, sizeof word);
    for (int i = 0; i < 2; ++i) values[i] = __half2float(halves[i]);
  });
}

void multiply_bf16(float c[4], const uint32_t a[4], const uint32_t b[2]) {
  multiply<2>(c, a, b, [](uint32_t word, float* values) {
    __nv_bfloat16 halves[2];
    std::memcpy(halves, &word, sizeof word);
    for (int i = 0; i < 2; ++i) values[i] = __bfloat162float(halves[i]);
  });
}

void multiply_tf32(float c[4], const uint32_t a[4], const uint32_t b[2]) {
  multiply<1>(c, a, b, [](uint32_t word, float* value) {
    word &= ~0x1fffu;  // the hardware looks at 10 bits of the mantissa only
    std::memcpy(value, &word, sizeof word);
  });
}

// To the nearest, ties away from zero
uint32_t round_tf32(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7f800000u) != 0x7f800000u) bits += 0x1000u;
  return bits & ~0x1fffu;
}

}  // namespace emulator

// Products of fragments so far, one for each warp: shows which path a kernel took.
extern "C" uint64_t emulator_products() { return emulator::products; }

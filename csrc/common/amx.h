// Matrix products of bfloat16 on AMX, whose instructions multiply tiles of 16 rows of 64 bytes.
// Only files compiled for AMX may include this.
//
// Both factors are packed into blocks of 32 rows (of pixels or outputs) by 32 of the summed
// depth, 1024 elements each: pixels row by row, weights as pairs of depth by output. In which order
// a block's depth is summed does not matter, so pixels keep the one they come in most cheaply.
#pragma once

#include <immintrin.h>

#include "cpu.h"

namespace accel_rt {
namespace {

constexpr int amx_block = 32;
constexpr int amx_elements = amx_block * amx_block;

// A compiler barrier: tile instructions read memory without the compiler's knowledge, so stores
// must not be moved past this.
inline void written(const void* memory) { asm volatile("" ::"r"(memory) : "memory"); }

// All eight tiles of the thread have 16 rows of 64 bytes as long as this lives.
struct AmxTiles {
  AmxTiles() {
    struct __attribute__((packed)) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) config.row_bytes[i] = 64, config.rows[i] = 16;
    written(&config);
    _tile_loadconfig(&config);
  }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

// A block of sums [32 pixels, 32 outputs] lies in four tiles.
inline void amx_clear() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

inline void amx_load(const float* sum) {
  constexpr int row_bytes = amx_block * sizeof(float);
  const float* lower = sum + amx_elements / 2;
  written(sum);
  _tile_loadd(0, sum, row_bytes);
  _tile_loadd(1, sum + 16, row_bytes);
  _tile_loadd(2, lower, row_bytes);
  _tile_loadd(3, lower + 16, row_bytes);
}

inline void amx_store(float* sum) {
  constexpr int row_bytes = amx_block * sizeof(float);
  float* lower = sum + amx_elements / 2;
  _tile_stored(0, sum, row_bytes);
  _tile_stored(1, sum + 16, row_bytes);
  _tile_stored(2, lower, row_bytes);
  _tile_stored(3, lower + 16, row_bytes);
}

// Adds pixels x weight, `blocks` packed blocks of each factor, to the sums. Four tile products at a
// time, so that each loaded tile is used twice.
inline void amx_add(const BFloat16* pixels, const BFloat16* weight, int blocks) {
  constexpr int half = amx_elements / 2;
  written(pixels);
  for (int i = 0; i < blocks; ++i, pixels += amx_elements, weight += amx_elements) {
    _tile_loadd(4, pixels, 64);
    _tile_loadd(6, weight, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, weight + half, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, pixels + half, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

using AmxRow = Vector<uint32_t, 64>::type;

// Channels in the order in which blending pairs of them leaves them: first the even ones.
inline AmxRow halves(const AmxRow& channels) {
  struct EvenFirst {
    static constexpr int lane(int i) { return i < 16 ? 2 * i : 2 * (i - 16) + 1; }
  };
  const auto elements = Vector<uint16_t, 64>::type(channels);
  return AmxRow(shuffled<EvenFirst>(elements, elements));
}

// Packs, for pixels of halves(), the block of weights whose rows (outputs) start at `from`,
// `stride` apart. Of fewer than 32 outputs the rest count as zeros.
inline void amx_pack_weight(BFloat16* to, const BFloat16* from, int64_t stride, int outputs) {
  for (int first = 0; first < amx_block; first += 16, to += amx_elements / 2) {
    AmxRow rows[16] = {};
    for (int i = 0; i < 16 && first + i < outputs; ++i)
      rows[i] = halves(*reinterpret_cast<const AmxRow*>(from + (first + i) * stride));
    transpose(rows);
    std::memcpy(static_cast<void*>(to), rows, sizeof rows);
  }
}

// Where 32 channels of a pixel go: `row` counts pixels and `blocks` is the depth in blocks.
inline int64_t amx_offset(int64_t row, int blocks) {
  return row / amx_block * blocks * amx_elements + row % amx_block * amx_block;
}

}  // namespace
}  // namespace accel_rt

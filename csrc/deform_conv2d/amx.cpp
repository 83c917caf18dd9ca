#include "amx.h"

#include "../common/amx.h"
#include "../common/finish_run.h"
#include "../common/scratch.h"
#include "sampling.h"

namespace accel_rt {
namespace {

static_assert(deform_amx_block == amx_block);

int taps(const DeformParams& p) { return p.kernel_height * p.kernel_width; }

// Blocks of channels that are summed at a time: what they read of the image stays in L2 from tap to
// tap, and the weights of 32 outputs in L1 from pixel to pixel.
constexpr int part_blocks = 8;

int first_block(int part) { return part * part_blocks; }

int blocks_of(const DeformParams& p, int part) {
  const int left = p.channels / amx_block - first_block(part);
  return left < part_blocks ? left : part_blocks;
}

int parts(const DeformParams& p) {
  return (p.channels / amx_block + part_blocks - 1) / part_blocks;
}

// Where the packed weights of a part, a tap and 32 outputs lie
int64_t weight_offset(const DeformParams& p, int64_t outputs, int part, int k, int64_t block) {
  const int64_t above = taps(p) * outputs * first_block(part) * amx_block;
  return above + (k * outputs / amx_block + block) * blocks_of(p, part) * amx_elements;
}

using Floats = Vector<float, 64>::type;
using Ints = Vector<int, 64>::type;
constexpr int lanes = 16;

inline Ints* lanes_at(int* values, int64_t row) { return reinterpret_cast<Ints*>(values + row); }
inline Floats* lanes_at(float* values, int64_t row) {
  return reinterpret_cast<Floats*>(values + row);
}

// zeros_axis() of sixteen positions; both weights of a position outside the grid are zero.
struct AxisLanes {
  Ints low, high;
  Floats low_weight, high_weight;

  AxisLanes(const Floats& x, int n) {
    const Ints inside = (x >= -1.0f) & (x < float(n));
    const Floats within = inside ? x : Floats{};
    const Ints whole = __builtin_convertvector(within, Ints);
    const Ints floor = whole + (__builtin_convertvector(whole, Floats) > within);
    const Ints has_low = inside & (floor >= 0), has_high = inside & (floor + 1 < n);
    const Floats fraction = within - __builtin_convertvector(floor, Floats);
    low = floor < 0 ? Ints{} : floor;
    high = floor + 1 < n ? floor + 1 : low;
    low_weight = has_low ? 1.0f - fraction : Floats{};
    high_weight = has_high ? fraction : Floats{};
  }
};

// One thread's memory for a tile
struct Workspace {
  BFloat16* columns;  // of a part of a tap: [rows / 32, blocks of the part, 32, 32]
  float* sums;        // [rows / 32, outputs / 32, 32, 32]
  int *y, *x, *row;   // [rows] where the kernel's corner lies, and the image's first pixel
  int* source[4];     // [rows] pixels of a tap's corners
  float* weight[4];   // [rows]

  Workspace(int64_t rows, int64_t outputs)
      : memory_(array(columns, rows * part_blocks * amx_block), array(sums, rows * outputs),
                array(y, rows), array(x, rows), array(row, rows), array(source[0], rows),
                array(source[1], rows), array(source[2], rows), array(source[3], rows),
                array(weight[0], rows), array(weight[1], rows), array(weight[2], rows),
                array(weight[3], rows)) {}

 private:
  Scratch memory_;
};

// Rows beyond the tile's pixels, up to a whole block, repeat its last one.
void find_pixels(const DeformParams& p, const DeformTile& tile, int64_t rows, Workspace& w) {
  for (int64_t row = 0; row < rows; ++row) {
    const Pixel at = output_pixel(p, tile.first + (row < tile.pixels ? row : tile.pixels - 1));
    w.y[row] = at.y * p.stride_y - p.padding_y;
    w.x[row] = at.x * p.stride_x - p.padding_x;
    w.row[row] = int(at.image * p.height * p.width);
  }
}

// Finds the corners of a tap of an offset group for all rows.
void find_corners(const DeformParams& p, const DeformTile& tile, int64_t rows, int group, int k,
                  Workspace& w) {
  const int64_t first = tap_index(p, tile.first, group, k);
  const float* offset = static_cast<const float*>(p.offset) + 2 * first;
  const float* mask = p.mask == nullptr ? nullptr : static_cast<const float*>(p.mask) + first;
  const int step = p.offset_groups * taps(p), last = int(tile.pixels) - 1;
  const int down = k / p.kernel_width * p.dilation_y, along = k % p.kernel_width * p.dilation_x;
  Ints row_index;
  for (int lane = 0; lane < lanes; ++lane) row_index[lane] = lane;
  for (int64_t row = 0; row < rows; row += lanes, row_index += lanes) {
    const Ints tap = (row_index < last ? row_index : Ints{} + last) * step;
    const auto look_up = [&](const float* values, const Ints& index) {
      return Floats(
          _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, __m512i(index), values, 4));
    };
    const AxisLanes y(
        __builtin_convertvector(*lanes_at(w.y, row) + down, Floats) + look_up(offset, 2 * tap),
        p.height);
    const AxisLanes x(
        __builtin_convertvector(*lanes_at(w.x, row) + along, Floats) + look_up(offset + 1, 2 * tap),
        p.width);
    const Floats scale = mask == nullptr ? Floats{} + 1.0f : look_up(mask, tap);
    const Ints top = *lanes_at(w.row, row) + y.low * p.width,
               bottom = *lanes_at(w.row, row) + y.high * p.width;
    *lanes_at(w.source[0], row) = top + x.low;
    *lanes_at(w.source[1], row) = top + x.high;
    *lanes_at(w.source[2], row) = bottom + x.low;
    *lanes_at(w.source[3], row) = bottom + x.high;
    *lanes_at(w.weight[0], row) = scale * y.low_weight * x.low_weight;
    *lanes_at(w.weight[1], row) = scale * y.low_weight * x.high_weight;
    *lanes_at(w.weight[2], row) = scale * y.high_weight * x.low_weight;
    *lanes_at(w.weight[3], row) = scale * y.high_weight * x.high_weight;
  }
}

// Neighbours lie in one word: each half becomes floats by itself and stays apart from the other.
inline void blend_halves(BFloat16* out, const BFloat16* const source[4], const Floats weight[4]) {
  Floats even = {}, odd = {};
  for (int corner = 0; corner < 4; ++corner) {
    const AmxRow pair = *reinterpret_cast<const AmxRow*>(source[corner]);
    even += weight[corner] * Floats(pair << 16);
    odd += weight[corner] * Floats(pair & 0xffff0000u);
  }
  _mm512_store_si512(out, __m512i(_mm512_cvtne2ps_pbh(__m512(odd), __m512(even))));
}

// Gathers channels [begin, end), all of one offset group, of the tap whose corners were found, into
// columns of `blocks` blocks.
void gather(const DeformParams& p, const DeformTile& tile, const Workspace& w, int begin, int end,
            BFloat16* columns, int blocks) {
  const BFloat16* input = static_cast<const BFloat16*>(p.input) + begin;
  for (int64_t row = 0; row < tile.pixels; ++row) {
    BFloat16* out = columns + amx_offset(row, blocks);
    const BFloat16* source[4];
    Floats weight[4];
    bool empty = true;  // weight zero alone would let Inf and NaN in
    for (int corner = 0; corner < 4; ++corner) {
      source[corner] = input + int64_t(w.source[corner][row]) * p.channels;
      weight[corner] = Floats{} + w.weight[corner][row];
      empty = empty && w.weight[corner][row] == 0.0f;
    }
    for (int i = begin; i < end; i += amx_block, out += amx_elements) {
      if (empty)
        std::memset(static_cast<void*>(out), 0, amx_block * sizeof(BFloat16));
      else
        blend_halves(out, source, weight);
      for (const BFloat16*& corner : source) corner += amx_block;
    }
  }
}

// Gathers a part of a tap.
void gather_part(const DeformParams& p, const DeformTile& tile, int64_t rows, int part, int k,
                 Workspace& w) {
  const int share = p.channels / p.offset_groups, blocks = blocks_of(p, part);
  const int end = (first_block(part) + blocks) * amx_block;
  BFloat16* columns = w.columns;
  for (int begin = first_block(part) * amx_block; begin < end;) {
    const int group = begin / share;
    const int group_end = (group + 1) * share < end ? (group + 1) * share : end;
    find_corners(p, tile, rows, group, k, w);
    gather(p, tile, w, begin, group_end, columns, blocks);
    columns += (group_end - begin) / amx_block * amx_elements;
    begin = group_end;
  }
}

// Finishes a tile's sums [pixels / 32, outputs / 32, 32, 32] into the output.
void finish_tile(const ConvFinish& finish, const DeformTile& tile, float* sums, BFloat16* output,
                 int64_t outputs) {
  for (int64_t row = 0; row < tile.pixels; ++row) {
    float* sum = sums + amx_offset(row, int(outputs / amx_block));
    for (int64_t first = 0; first < outputs; first += amx_block, sum += amx_elements) {
      if (finish.bias != nullptr)
        for (int i = 0; i < amx_block; ++i) sum[i] += finish.bias[first + i];
      finish_run(finish, output, sum, (tile.first + row) * outputs + first, amx_block);
    }
  }
}

}  // namespace

bool deform_amx_fits(const DeformParams& p, int64_t outputs) {
  return p.dtype == DType::bf16 && p.groups == 1 && outputs % amx_block == 0 &&
         p.channels % (p.offset_groups * amx_block) == 0;
}

void deform_amx_pack(const DeformParams& p, const void* weight, void* packed, int64_t outputs,
                     int64_t begin, int64_t end) {
  const int64_t depth = int64_t(taps(p)) * p.channels;
  for (int64_t block = begin; block < end; ++block) {
    const BFloat16* from = static_cast<const BFloat16*>(weight) + block * amx_block * depth;
    for (int k = 0; k < taps(p); ++k)
      for (int part = 0; part < parts(p); ++part) {
        BFloat16* to = static_cast<BFloat16*>(packed) + weight_offset(p, outputs, part, k, block);
        for (int i = 0; i < blocks_of(p, part); ++i, from += amx_block, to += amx_elements)
          amx_pack_weight(to, from, depth, amx_block);
      }
  }
}

void deform_amx(const DeformParams& p, const DeformTile& pixels, int64_t most, const void* packed,
                const ConvFinish& finish, void* output, int64_t outputs) {
  const int64_t output_blocks = outputs / amx_block;
  Workspace w(most, outputs);
  const AmxTiles tiles;
  for (int64_t first = 0; first < pixels.pixels; first += most) {
    const int64_t left = pixels.pixels - first;
    const DeformTile tile{pixels.first + first, left < most ? left : most};
    const int64_t pixel_blocks = (tile.pixels + amx_block - 1) / amx_block;
    find_pixels(p, tile, pixel_blocks * amx_block, w);
    for (int part = 0; part < parts(p); ++part) {
      const int blocks = blocks_of(p, part);
      for (int k = 0; k < taps(p); ++k) {
        gather_part(p, tile, pixel_blocks * amx_block, part, k, w);
        for (int64_t n = 0; n < output_blocks; ++n) {
          const BFloat16* weight =
              static_cast<const BFloat16*>(packed) + weight_offset(p, outputs, part, k, n);
          for (int64_t m = 0; m < pixel_blocks; ++m) {
            float* sums = w.sums + (m * output_blocks + n) * amx_elements;
            part + k > 0 ? amx_load(sums) : amx_clear();
            amx_add(w.columns + m * blocks * amx_elements, weight, blocks);
            amx_store(sums);
          }
        }
      }
    }
    finish_tile(finish, tile, w.sums, static_cast<BFloat16*>(output), outputs);
  }
}

}  // namespace accel_rt

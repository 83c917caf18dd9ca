#include <algorithm>

#include "../common/finish_run.h"
#include "../common/panels.h"
#include "../common/scratch.h"
#include "kernel.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

constexpr int lanes = Vector<float>::lanes, panel = inverted_residual_panel,
              chunk_channels = inverted_residual_chunk;

// Between zero and `most`; NaN stays.
struct Clamp {
  Floats most;
  Floats operator()(Floats sums) const {
    const Floats zero = {};
    sums = sums < zero ? zero : sums;
    return sums > most ? most : sums;
  }
};

// Where the pixels of an image lie
template <class T>
struct Image {
  T* begin;
  int64_t row_stride, pixel_stride;
};

struct Extent {
  int rows, columns;
};

// sums [rows, columns, outputs] = finish(bias + pixels [rows, columns, depth] * panels), or added
// to what is there already if the bias is null; each of the panels has `steps` of depth.
template <class Finish>
void multiply(const Extent& extent, const Image<const float>& pixels, int depth,
              const float* panels, int64_t steps, const float* bias, const Image<float>& sums,
              int outputs, const Finish& finish) {
  for (int output = 0; output < outputs; output += panel_outputs) {
    const float* weights = panels + output / panel * steps * panel + output % panel;
    for (int row = 0; row < extent.rows; ++row)
      for (int i = 0; i < extent.columns; i += panel_pixels) {
        const PanelProduct product{
            pixels.begin + row * pixels.row_stride + i * pixels.pixel_stride,
            pixels.pixel_stride,
            weights,
            depth,
            bias != nullptr ? bias + output : nullptr,
            sums.begin + row * sums.row_stride + i * sums.pixel_stride + output,
            sums.pixel_stride,
            panel};
        if (outputs - output > lanes)
          add_product_of<WordOfFloat, 2>(extent.columns - i, product, finish);
        else
          add_product_of<WordOfFloat, 1>(extent.columns - i, product, finish);
      }
  }
}

// Middle channels [first, first + count) of pixels
void expand(const InvertedResidualParams& p, const Extent& extent, const Image<const float>& pixels,
            int first, int count, const Image<float>& expanded) {
  multiply(extent, pixels, p.channels, p.expand + int64_t(first) * p.channels, p.channels,
           p.expand_bias + first, expanded, count, Clamp{Floats{} + p.most});
}

// The tile at hand: where it begins in the output, and how much of it there is
struct Tile {
  int64_t image;
  int y, x, rows, columns;
};

Tile tile_at(const InvertedResidualParams& p, int64_t tile) {
  const int across = p.tile_columns(), down = p.tile_rows();
  const int x = int(tile % across) * p.tile_width, y = int(tile / across % down) * p.tile_height;
  return {tile / across / down, y, x, std::min(p.tile_height, p.out_height - y),
          std::min(p.tile_width, p.out_width - x)};
}

// Middle channels [first, first + count) of what a tile sees: [seen rows, seen columns, count].
// Beyond the image they are zero.
void fill(const InvertedResidualParams& p, const Tile& tile, int first, int count, float* to) {
  const int rows = p.seen(tile.rows), columns = p.seen(tile.columns);
  const int top = tile.y * p.stride - p.padding(), left = tile.x * p.stride - p.padding();
  const int y0 = std::max(top, 0), y1 = std::max(std::min(top + rows, p.height), y0);
  const int x0 = std::max(left, 0), x1 = std::max(std::min(left + columns, p.width), x0);
  const int64_t row_stride = int64_t(columns) * count;
  const auto zero = [](float* from, int64_t floats) {
    std::memset(from, 0, floats * sizeof(float));
  };
  zero(to, (y0 - top) * row_stride);
  zero(to + (y1 - top) * row_stride, (top + rows - y1) * row_stride);
  for (int y = y0; y < y1; ++y) {
    float* row = to + (y - top) * row_stride;
    zero(row, int64_t(x0 - left) * count);
    zero(row + int64_t(x1 - left) * count, int64_t(left + columns - x1) * count);
  }
  const float* from = p.input + ((tile.image * p.height + y0) * p.width + x0) * int64_t(p.channels);
  const Extent inside{y1 - y0, x1 - x0};
  const int64_t from_row = int64_t(p.width) * p.channels;
  to += (y0 - top) * row_stride + int64_t(x0 - left) * count;
  if (p.expand != nullptr)
    return expand(p, inside, {from, from_row, p.channels}, first, count, {to, row_stride, count});
  for (int row = 0; row < inside.rows; ++row)
    for (int i = 0; i < inside.columns; ++i)
      std::memcpy(to + row * row_stride + int64_t(i) * count,
                  from + row * from_row + int64_t(i) * p.channels + first, count * sizeof(float));
}

// Rows of outputs [rows, columns, count], each channel by itself; the rows that they see of a
// vector of channels stay in the first cache.
template <int kernel>
void convolve(const InvertedResidualParams& p, const Extent& extent, const float* seen,
              int64_t row_stride, int first, int count, float* to) {
  const Clamp clamp{Floats{} + p.most};
  for (int channel = 0; channel < count; channel += lanes) {
    Floats taps[kernel][kernel];
#pragma GCC unroll 5
    for (int i = 0; i < kernel; ++i)
#pragma GCC unroll 5
      for (int j = 0; j < kernel; ++j)
        taps[i][j] = floats_at(p.taps + (i * kernel + j) * int64_t(p.middle) + first + channel);
    const Floats bias = floats_at(p.depthwise_bias + first + channel);
    float* out = to + channel;
    for (int row = 0; row < extent.rows; ++row) {
      const float* from = seen + row * p.stride * row_stride + channel;
      for (int x = 0; x < extent.columns; ++x, from += p.stride * count, out += count) {
        Floats sums[2] = {bias, {}};  // two, since each addition waits for the one before
#pragma GCC unroll 5
        for (int i = 0; i < kernel; ++i)
#pragma GCC unroll 5
          for (int j = 0; j < kernel; ++j)
            sums[(i * kernel + j) % 2] +=
                taps[i][j] * floats_at(from + p.dilation * (i * row_stride + j * int64_t(count)));
        floats_at(out) = clamp(sums[0] + sums[1]);
      }
    }
  }
}

// The outputs of a tile from their sums [rows, columns, padded outputs]
void finish_tile(const InvertedResidualParams& p, const Tile& tile, const float* sums,
                 int padded_outputs) {
  for (int row = 0; row < tile.rows; ++row) {
    const int64_t pixel = (tile.image * p.out_height + tile.y + row) * p.out_width + tile.x;
    for (int i = 0; i < tile.columns; ++i, sums += padded_outputs)
      finish_run(p.finish, p.output, sums, (pixel + i) * p.outputs, p.outputs);
  }
}

}  // namespace

void inverted_residual(const InvertedResidualParams& p, int64_t begin, int64_t end) {
  constexpr int group_pixels = 120;  // that are projected at a time
  const int group = std::max(group_pixels / p.tile_width, 1);
  const int padded_outputs = (p.outputs + lanes - 1) / lanes * lanes;
  float *seen, *mixed, *sums, *bias;
  const Scratch memory(
      array(seen, int64_t(p.seen(p.tile_height)) * p.seen(p.tile_width) * chunk_channels),
      array(mixed, int64_t(group) * p.tile_width * chunk_channels),
      array(sums, int64_t(p.tile_height) * p.tile_width * padded_outputs),
      array(bias, padded_outputs));
  std::fill(std::copy_n(p.finish.bias, p.outputs, bias), bias + padded_outputs, 0.0f);
  for (int64_t item = begin; item < end; ++item) {
    const Tile tile = tile_at(p, item);
    const int64_t sum_row = int64_t(tile.columns) * padded_outputs;
    for (int first = 0; first < p.middle; first += chunk_channels) {
      const int count = std::min(chunk_channels, p.middle - first);
      const int64_t row_stride = int64_t(p.seen(tile.columns)) * count;
      fill(p, tile, first, count, seen);
      for (int row = 0; row < tile.rows; row += group) {
        const int rows = std::min(group, tile.rows - row);
        const auto run = p.kernel == 3 ? convolve<3> : convolve<5>;
        run(p, {rows, tile.columns}, seen + row * p.stride * row_stride, row_stride, first, count,
            mixed);
        multiply({1, rows * tile.columns}, {mixed, 0, count}, count,
                 p.project + int64_t(first) * panel, p.middle, first == 0 ? bias : nullptr,
                 {sums + row * sum_row, 0, padded_outputs}, padded_outputs, Unchanged{});
      }
    }
    finish_tile(p, tile, sums, padded_outputs);
  }
}

void inverted_residual_expand(const InvertedResidualParams& p, float* expanded, int64_t begin,
                              int64_t end) {
  const int64_t pixels = int64_t(p.width) * p.channels, middle = int64_t(p.width) * p.middle;
  expand(p, {int(end - begin), p.width}, {p.input + begin * pixels, pixels, p.channels}, 0,
         p.middle, {expanded + begin * middle, middle, p.middle});
}

}  // namespace accel_rt::ACCEL_RT_SIMD

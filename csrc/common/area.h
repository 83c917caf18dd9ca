// Area averaging in whole numbers: when `size` pixels shrink to `cells`, a cell spans size / cells
// pixels. Measured in cells-ths of a pixel every border is an integer, and so are the weights.
#pragma once

#include "bilinear.h"

namespace accel_rt {
namespace {

constexpr int max_area_side = 32767;  // pixels, so that products of two sides fit an int

struct Span {
  int first, end;   // pixels [first, end) that the cell overlaps
  int begin, stop;  // the cell's borders, in cells-ths of a pixel
  int cells;

  // How much of `pixel` lies in the cell; the weights of a cell sum to `size`.
  ACCEL_RT_HD int weight(int pixel) const {
    const int low = pixel * cells, high = low + cells;
    return (high < stop ? high : stop) - (low > begin ? low : begin);
  }
};

ACCEL_RT_HD Span area_span(int cell, int size, int cells) {
  const int begin = cell * size, stop = begin + size;
  return {begin / cells, (stop - 1) / cells + 1, begin, stop, cells};
}

}  // namespace
}  // namespace accel_rt

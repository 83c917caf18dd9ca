// The end of a convolution on the CPU, in the pass that rounds its sums.
#pragma once

#include <limits>

#include "conv_finish.h"
#include "cpu.h"

namespace accel_rt {
namespace {

// Elements [begin, begin + count) of the output from `count` sums, bias included, which may be the
// output itself.
template <class T, class S>
inline void finish_run(const ConvFinish& finish, T* output, const S* sums, int64_t begin,
                       int64_t count) {
  using A = accumulate_t<T>;
  const A least = finish.relu ? A(0) : -std::numeric_limits<A>::infinity();
  const auto rectified = [least](A value) { return value < least ? least : value; };  // NaN stays
  T* out = output + begin;
  if (finish.shortcut == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) store(out[i], rectified(load(sums[i])));
  } else {
    const T* shortcut = static_cast<const T*>(finish.shortcut) + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) store(out[i], rectified(load(sums[i]) + load(shortcut[i])));
  }
}

}  // namespace
}  // namespace accel_rt

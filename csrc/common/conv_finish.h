// What follows a convolution in the pass that rounds its sums.
#pragma once

namespace accel_rt {

// output = relu(sums + bias + shortcut), of which each may be left out
struct ConvFinish {
  const float* bias = nullptr;     // [outputs]
  const void* shortcut = nullptr;  // like the output
  bool relu = false;

  bool only_bias() const { return shortcut == nullptr && !relu; }
};

}  // namespace accel_rt

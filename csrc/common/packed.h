// Weights that NAME_pack() lays out once for the processor at hand, and convolutions that read
// them.
#pragma once

#include "conv_finish.h"
#include "tensor.h"

namespace accel_rt {

// The kernels that a weight is laid out for; those of `plain` read it as it is.
enum class WeightLayout { plain, panels, amx };

// A packed weight is on the CPU, of the inputs' element type, and has four dimensions without gaps
// in NHWC order. Its sizes say how much a kernel reads, and are the operator's to check with
// require_packed(); what lies where inside of it is for its kernels alone.
inline Tensor empty_packed(const Tensor& weight, const Size4& sizes) {
  return empty_like(weight, sizes, weight.scalar_type(), MemoryFormat::ChannelsLast);
}

inline bool is_packed(const Tensor& packed, const Tensor& input) {
  return packed.dim() == 4 && packed.numel() > 0 && packed.is_cpu() && input.is_cpu() &&
         packed.scalar_type() == input.scalar_type() &&
         is_dense(packed, MemoryFormat::ChannelsLast);
}

inline void require_packed(bool fits, const char* op) {
  STD_TORCH_CHECK(fits, op, ": packed must come from ", op, "_pack for inputs of this type");
}

// A convolution's shortcut of its output's sizes in NHWC order, or none; `finish` will read it.
inline std::optional<Tensor> take_shortcut(const std::optional<Tensor>& shortcut,
                                           const Size4& sizes, const Tensor& input, ScalarType type,
                                           ConvFinish& finish, const char* op) {
  if (!shortcut.has_value()) return std::nullopt;
  require(is_like(*shortcut, sizes, input) && shortcut->scalar_type() == input.scalar_type(), op);
  const Tensor dense = nhwc(*shortcut, type);
  finish.shortcut = dense.const_data_ptr();
  return dense;
}

}  // namespace accel_rt

// Element types of the kernels, independent of torch.
#pragma once

namespace accel_rt {

enum class DType { f32, f64, bf16, f16 };

}  // namespace accel_rt

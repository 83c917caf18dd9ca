#pragma once

namespace accel_rt {

// What a cudaError_t returned by a kernel launch means
const char* cuda_error_text(int error);

}  // namespace accel_rt

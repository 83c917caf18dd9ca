#include <cuda_runtime.h>

#include "cuda_error.h"

namespace accel_rt {

const char* cuda_error_text(int error) { return cudaGetErrorString(cudaError_t(error)); }

}  // namespace accel_rt

// Launching on a tensor's device and torch's current stream, with errors raised.
#pragma once

#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>

#include "cuda_error.h"
#include "tensor.h"

namespace accel_rt {

// Torch's current stream on a device, as a cudaStream_t. The stable ABI of torch 2.10 does not tell
// it, and linking to libtorch_cuda would keep the library from loading on a CPU-only torch.
inline void* current_stream(int32_t device) {
  using Function = AOTITorchError (*)(int32_t, void**);
  static const Function function = [] {
    void* torch_cuda = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    return torch_cuda == nullptr ? nullptr
                                 : reinterpret_cast<Function>(
                                       dlsym(torch_cuda, "aoti_torch_get_current_cuda_stream"));
  }();
  STD_TORCH_CHECK(function != nullptr, "accel_rt: this torch does not tell its CUDA stream");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(function(device, &stream));
  return stream;
}

// Runs function(stream), which launches kernels and returns a cudaError_t.
template <class F>
void launch(const Tensor& on, F&& function) {
#ifdef ACCEL_RT_EMULATED_CUDA
  const int error = function(nullptr);
#else
  const torch::stable::accelerator::DeviceGuard guard(on.get_device_index());
  const int error = function(current_stream(on.get_device_index()));
#endif
  STD_TORCH_CHECK(error == 0, "accel_rt: CUDA kernel launch failed: ", cuda_error_text(error));
}

}  // namespace accel_rt

#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

#ifdef ACCEL_RT_CUDA
const uint8_t* bytes_of(const Tensor& tensor) {
  return static_cast<const uint8_t*>(tensor.const_data_ptr());
}

Tensor blend(const Tensor& frame, const Tensor& labels, const Tensor& palette, double alpha,
             const std::optional<Tensor>& keep) {
  const auto is_bytes = [&](const Tensor& tensor) {
    return tensor.scalar_type() == ScalarType::Byte && tensor.device() == frame.device();
  };
  require(frame.dim() == 4 && frame.size(3) == 3 && is_bytes(frame) && labels.dim() == 3 &&
              is_bytes(labels) && labels.size(0) == frame.size(0) &&
              labels.size(1) == frame.size(1) && labels.size(2) == frame.size(2) &&
              palette.dim() == 2 && palette.size(0) == 256 && palette.size(1) == 3 &&
              is_bytes(palette) &&
              (!keep.has_value() || (keep->dim() == 1 && keep->size(0) == 256 && is_bytes(*keep))),
          "overlay");
  const Tensor pixels = torch::stable::contiguous(frame);
  const Tensor classes = torch::stable::contiguous(labels);
  const Tensor colours = torch::stable::contiguous(palette);
  std::optional<Tensor> kept;
  if (keep.has_value()) kept = torch::stable::contiguous(*keep);
  const Tensor out =
      torch::stable::empty(sizes4(frame), ScalarType::Byte, std::nullopt, frame.device());
  const OverlayParams p{bytes_of(pixels),
                        bytes_of(classes),
                        bytes_of(colours),
                        kept.has_value() ? bytes_of(*kept) : nullptr,
                        static_cast<uint8_t*>(out.mutable_data_ptr()),
                        labels.numel(),
                        float(alpha),
                        float(1 - alpha)};
  if (p.pixels > 0) launch(frame, [&](void* stream) { return overlay_cuda(p, stream); });
  return out;
}
#endif

}  // namespace

// The CPU's implementation is registered from Python.
STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def(
      "overlay(Tensor frame, Tensor labels, Tensor palette, float alpha, Tensor? keep) -> Tensor");
}

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("overlay", TORCH_BOX(&blend));
}
#endif

}  // namespace accel_rt

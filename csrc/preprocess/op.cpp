#include <cmath>

#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/area.h"
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

#ifdef ACCEL_RT_CUDA
using Size2 = std::vector<int64_t>;

void check(const Tensor& frame, const Size2& processed, const Size2& padded, const Size2& size,
           const std::vector<double>& mean, const std::vector<double>& std, ScalarType dtype) {
  const auto is_size = [](const Size2& size) {
    return size.size() == 2 && size[0] > 0 && size[1] > 0 && size[0] <= max_area_side &&
           size[1] <= max_area_side;
  };
  require(frame.dim() == 4 && frame.scalar_type() == ScalarType::Byte && frame.size(3) == 3 &&
              is_size({frame.size(1), frame.size(2)}) && is_size(processed) && is_size(padded) &&
              is_size(size) && padded[0] >= processed[0] && padded[1] >= processed[1] &&
              mean.size() == 3 && std.size() == 3 && is_floating(dtype) &&
              dtype != ScalarType::Double,
          "preprocess");
}

ResizeParams whole_frame(const Tensor& frame, const std::vector<double>& mean) {
  ResizeParams p;
  p.frames = static_cast<const uint8_t*>(frame.const_data_ptr());
  p.images = frame.size(0);
  p.height = p.extent_height = int(frame.size(1));
  p.width = p.extent_width = int(frame.size(2));
  for (int c = 0; c < 3; ++c) p.border[c] = uint8_t(std::nearbyint(255 * mean[2 - c]));
  return p;
}

Tensor prepare(const Tensor& frame, Size2 processed, Size2 padded, Size2 size,
               std::vector<double> mean, std::vector<double> std, ScalarType dtype) {
  check(frame, processed, padded, size, mean, std, dtype);
  Tensor source = torch::stable::contiguous(frame);
  Tensor out =
      empty_like(frame, {frame.size(0), 3, size[0], size[1]}, dtype, MemoryFormat::ChannelsLast);
  if (frame.size(0) == 0) return out;
  NormaliseParams normalise;
  for (int c = 0; c < 3; ++c) {
    normalise.scale[c] = float(1 / (255 * std[c]));
    normalise.shift[c] = float(-mean[c] / std[c]);
  }
  ResizeParams p = whole_frame(source, mean);
  p.inner_height = int(processed[0]), p.inner_width = int(processed[1]);
  const bool scaled = size != padded;
  if (scaled && (p.height != p.inner_height || p.width != p.inner_width)) {
    // Two roundings to bytes, as on the CPU: first the processed frame, then its reduction
    p.out_height = p.inner_height, p.out_width = p.inner_width;
    const Tensor shrunk =
        torch::stable::empty(std::array<int64_t, 4>{frame.size(0), processed[0], processed[1], 3},
                             ScalarType::Byte, std::nullopt, frame.device());
    uint8_t* bytes = static_cast<uint8_t*>(shrunk.mutable_data_ptr());
    launch(frame, [&](void* stream) { return resize_cuda(p, bytes, stream); });
    source = shrunk;
    p = whole_frame(source, mean);
  }
  p.out_height = int(size[0]), p.out_width = int(size[1]);
  if (scaled) {
    p.extent_height = int(padded[0]), p.extent_width = int(padded[1]);
    p.inner_height = p.out_height, p.inner_width = p.out_width;
  } else {
    p.inner_height = int(processed[0]), p.inner_width = int(processed[1]);
  }
  void* target = out.mutable_data_ptr();
  launch(frame, [&](void* stream) {
    return resize_normalise_cuda(p, normalise, to_dtype(dtype), target, stream);
  });
  return out;
}
#endif

}  // namespace

// The CPU's implementation is registered from Python.
STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def(
      "preprocess(Tensor frame, SymInt[] processed, SymInt[] padded, SymInt[] size, float[] mean, "
      "float[] std, ScalarType dtype) -> Tensor");
}

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("preprocess", TORCH_BOX(&prepare));
}
#endif

}  // namespace accel_rt

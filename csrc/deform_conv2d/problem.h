// The torch side of one call of deform_conv2d: its tensors in kernel order and its geometry.
#pragma once

#include "../common/tensor.h"
#include "kernel.h"

namespace accel_rt {
namespace {

// The matrices view the tensors held here.
struct Problem {
  DeformParams p;
  ScalarType type;  // that the kernels and matrix products work on
  Tensor input, offset, weight;
  std::optional<Tensor> mask;
  int64_t out_channels, depth;  // depth: columns of a weight group's matrix
  int64_t tile;                 // pixels of a full tile

  Problem(const Tensor& x, const Tensor& off, const Tensor& w, const std::optional<Tensor>& m,
          const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
          const std::vector<int64_t>& dilation, int64_t tile_bytes)
      : type(kernel_type(x)), input(checked(x, off, w, m, stride, padding, dilation)) {
    const int64_t sizes[3] = {x.size(1), w.size(1), w.size(2) * w.size(3)};
    p.dtype = to_dtype(type);
    p.images = x.size(0);
    p.channels = to_int(x.size(1)), p.height = int(x.size(2)), p.width = int(x.size(3));
    p.kernel_height = int(w.size(2)), p.kernel_width = int(w.size(3));
    p.stride_y = int(stride[0]), p.stride_x = int(stride[1]);
    p.padding_y = int(padding[0]), p.padding_x = int(padding[1]);
    p.dilation_y = int(dilation[0]), p.dilation_x = int(dilation[1]);
    p.out_height = int(off.size(2)), p.out_width = int(off.size(3));
    p.groups = int(sizes[0] / sizes[1]);
    p.offset_groups = int(off.size(1) / (2 * sizes[2]));
    offset = nhwc(off, accumulate_type(type));
    weight = nhwc(w, type);
    if (m.has_value()) mask = nhwc(*m, accumulate_type(type));
    p.input = input.const_data_ptr();
    p.offset = offset.const_data_ptr();
    p.mask = mask.has_value() ? mask->const_data_ptr() : nullptr;
    out_channels = w.size(0);
    depth = sizes[1] * sizes[2];
    const int64_t row_bytes = depth * p.groups * int64_t(input.element_size());
    // As many tiles as are needed, all of much the same size
    const int64_t most = std::max<int64_t>(tile_bytes / row_bytes, 64);
    const int64_t tiles = (pixels() + most - 1) / most;
    tile = tiles > 1 ? (pixels() + tiles - 1) / tiles : pixels();
  }

  int64_t pixels() const { return p.images * p.out_height * p.out_width; }
  int64_t group_outputs() const { return out_channels / p.groups; }

  std::optional<Tensor> checked_bias(const std::optional<Tensor>& bias) const {
    if (!bias.has_value()) return std::nullopt;
    require(bias->dim() == 1 && is_floating(bias->scalar_type()) &&
                bias->device() == input.device() && bias->size(0) == out_channels,
            "deform_conv2d");
    return in_order(*bias, type);
  }

  Size4 output_sizes() const { return {p.images, out_channels, p.out_height, p.out_width}; }
  Tensor new_output() const {
    return empty_like(input, output_sizes(), type, MemoryFormat::ChannelsLast);
  }

  // [groups * tile, depth], uninitialised
  Tensor new_columns() const {
    return torch::stable::empty(std::array<int64_t, 2>{p.groups * tile, depth}, type, std::nullopt,
                                input.device());
  }
  // A weight group's part of such columns: [tile pixels, depth]
  Tensor group_columns(const Tensor& columns, const DeformTile& at, int64_t group) const {
    return matrix(columns, group * at.pixels * depth, at.pixels, depth, depth);
  }
  // [group outputs, depth]
  Tensor group_weight(const Tensor& of, int64_t group) const {
    return matrix(of, group * group_outputs() * depth, group_outputs(), depth, depth);
  }
  // A weight group's part of an NHWC tensor of output shape: [tile pixels, group outputs]
  Tensor group_output(const Tensor& of, const DeformTile& at, int64_t group) const {
    return matrix(of, at.first * out_channels + group * group_outputs(), at.pixels, group_outputs(),
                  out_channels);
  }

  template <class F>
  void for_tiles(F&& function) const {
    for (int64_t first = 0; first < pixels(); first += tile)
      function(DeformTile{first, std::min(tile, pixels() - first)});
  }

 private:
  Tensor checked(const Tensor& x, const Tensor& off, const Tensor& w,
                 const std::optional<Tensor>& m, const std::vector<int64_t>& stride,
                 const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation) const;
};

inline Tensor Problem::checked(const Tensor& x, const Tensor& off, const Tensor& w,
                               const std::optional<Tensor>& m, const std::vector<int64_t>& stride,
                               const std::vector<int64_t>& padding,
                               const std::vector<int64_t>& dilation) const {
  const auto in_range = [](const std::vector<int64_t>& pair, int64_t least) {
    return pair.size() == 2 && std::min(pair[0], pair[1]) >= least &&
           std::max(pair[0], pair[1]) <= max_side;
  };
  require(is_floating4(x) && is_floating4(off) && is_floating4(w) && off.device() == x.device() &&
              w.device() == x.device() && in_range(stride, 1) && in_range(padding, 0) &&
              in_range(dilation, 1) && w.numel() > 0 && x.size(1) > 0 && x.size(2) > 0 &&
              x.size(3) > 0 && x.size(1) % w.size(1) == 0 &&
              w.size(0) % (x.size(1) / w.size(1)) == 0 && sides_fit(w.size(2), w.size(3)),
          "deform_conv2d");
  int64_t out[2];
  for (int i = 0; i < 2; ++i) {
    const int64_t padded = x.size(2 + i) + 2 * padding[i];
    const int64_t reach = dilation[i] * (w.size(2 + i) - 1) + 1;
    require(reach <= padded && padded <= max_side, "deform_conv2d");
    out[i] = (padded - reach) / stride[i] + 1;
  }
  const int64_t taps = w.size(2) * w.size(3);
  const int64_t offset_groups = off.size(1) / (2 * taps);
  require(offset_groups > 0 && x.size(1) % offset_groups == 0 &&
              sizes4(off) == Size4{x.size(0), offset_groups * 2 * taps, out[0], out[1]} &&
              (!m.has_value() || is_like(*m, {x.size(0), offset_groups * taps, out[0], out[1]}, x)),
          "deform_conv2d");
  return nhwc(x, kernel_type(x));
}

}  // namespace
}  // namespace accel_rt

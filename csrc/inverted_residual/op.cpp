#include "../common/packed.h"
#include "kernel.h"

#ifdef ACCEL_RT_CPU
namespace accel_rt {
namespace {

constexpr int64_t panel = inverted_residual_panel;

int64_t panels(int64_t outputs) { return (outputs + panel - 1) / panel; }

// Whether `packed` is of so many panels of a 1x1 convolution's weights
bool is_pointwise(const Tensor& packed, const Tensor& input, int64_t outputs, int64_t channels) {
  return is_packed(packed, input) && sizes4(packed) == Size4{panels(outputs), panel, 1, channels};
}

bool is_bias(const Tensor& bias, const Tensor& input, int64_t outputs) {
  return bias.dim() == 1 && bias.size(0) == outputs && bias.is_cpu() &&
         bias.scalar_type() == input.scalar_type();
}

// Tiles that all threads have as many of, that leave what a tile sees in a core's cache, and that
// see little of their neighbours.
void choose_tiles(InvertedResidualParams& p) {
  constexpr int64_t seen_bytes = 512 * 1024;
  constexpr int narrow = 32;
  const auto bytes = [&] {
    return p.seen(p.tile_height) * int64_t(p.seen(p.tile_width)) *
           std::min(p.middle, inverted_residual_chunk) * int64_t(sizeof(float));
  };
  const auto half = [](int size) { return (size + 1) / 2; };
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t pieces = std::max<int64_t>((threads + p.images - 1) / p.images, 1);
  const int shared = p.reach() - p.stride;  // rows that two neighbours see
  p.tile_width = p.out_width;
  p.tile_height = int((p.out_height + pieces - 1) / pieces);
  while (bytes() > seen_bytes && half(p.tile_height) * p.stride >= 4 * shared)
    p.tile_height = half(p.tile_height);
  while (bytes() > seen_bytes && p.tile_width > narrow) p.tile_width = half(p.tile_width);
}

// Whether tiles would expand so many pixels of their neighbours that it pays to expand the whole
// image first
bool expands_often(const InvertedResidualParams& p) {
  const auto seen = [&](int size, int tile, int out) {
    int64_t sum = 0;
    for (int at = 0; at < out; at += tile) {
      const int first = at * p.stride - p.padding();
      sum += std::min(first + p.seen(std::min(tile, out - at)), size) - std::max(first, 0);
    }
    return sum;
  };
  const int64_t expanded =
      seen(p.height, p.tile_height, p.out_height) * seen(p.width, p.tile_width, p.out_width);
  return 2 * expanded > 3 * int64_t(p.height) * p.width;
}

void run(InvertedResidualParams p, const Tensor& input) {
  choose_tiles(p);
  Tensor expanded = no_tensor(input);
  if (expands_often(p)) {
    expanded = empty_like(input, {p.images, p.middle, p.height, p.width}, ScalarType::Float,
                          MemoryFormat::ChannelsLast);
    float* to = static_cast<float*>(expanded.mutable_data_ptr());
    torch::stable::parallel_for(0, p.images * p.height, 1, [&](int64_t begin, int64_t end) {
      ACCEL_RT_KERNEL(inverted_residual_expand)(p, to, begin, end);
    });
    p.input = to, p.channels = p.middle, p.expand = nullptr;
  }
  torch::stable::parallel_for(0, p.tiles(), 1, [&](int64_t begin, int64_t end) {
    ACCEL_RT_KERNEL(inverted_residual)(p, begin, end);
  });
}

// relu(project(depthwise(expand(input))) + shortcut)
Tensor inverted_residual(const Tensor& input, const Tensor& expand, const Tensor& expand_bias,
                         const Tensor& taps, const Tensor& depthwise_bias, const Tensor& project,
                         const Tensor& project_bias, const std::optional<Tensor>& shortcut,
                         int64_t stride, int64_t dilation, double most, bool relu) {
  constexpr auto name = "inverted_residual";
  const ScalarType type = ScalarType::Float;
  require(input.dim() == 4 && input.is_cpu() && input.scalar_type() == type &&
              sides_fit(input.size(2), input.size(3)) && expand_bias.dim() == 1 &&
              project_bias.dim() == 1 && project_bias.size(0) > 0,
          name);
  const int64_t middle = expand_bias.size(0), outputs = project_bias.size(0);
  require_packed(is_packed(taps, input) && (taps.size(2) == 3 || taps.size(2) == 5) &&
                     sizes4(taps) == Size4{1, middle, taps.size(2), taps.size(2)} &&
                     middle % inverted_residual_step == 0 &&
                     is_pointwise(expand, input, middle, input.size(1)) &&
                     is_pointwise(project, input, outputs, middle),
                 name);
  require(is_bias(expand_bias, input, middle) && is_bias(depthwise_bias, input, middle) &&
              is_bias(project_bias, input, outputs) && (stride == 1 || stride == 2) &&
              1 <= dilation && dilation <= max_side && most >= 0,
          name);
  // Of a dilation beyond the image only the middle taps are inside, as of one that reaches its edge
  const int64_t spread = std::min(dilation, std::max<int64_t>({input.size(2), input.size(3), 1}));
  const auto out_side = [&](int64_t side) { return (side + stride - 1) / stride; };
  const Size4 sizes{input.size(0), outputs, out_side(input.size(2)), out_side(input.size(3))};
  const Tensor source = nhwc(input, type);
  const Tensor biases[] = {in_order(expand_bias, type), in_order(depthwise_bias, type),
                           in_order(project_bias, type)};
  const Tensor out = empty_like(input, sizes, type, MemoryFormat::ChannelsLast);
  const auto floats = [](const Tensor& tensor) {
    return static_cast<const float*>(tensor.const_data_ptr());
  };
  ConvFinish rest{floats(biases[2]), nullptr, relu};
  const std::optional<Tensor> base = take_shortcut(shortcut, sizes, input, type, rest, name);
  if (out.numel() > 0)
    run({floats(source),
         floats(expand),
         floats(biases[0]),
         floats(taps),
         floats(biases[1]),
         floats(project),
         rest,
         static_cast<float*>(out.mutable_data_ptr()),
         sizes[0],
         to_int(input.size(1)),
         int(input.size(2)),
         int(input.size(3)),
         to_int(middle),
         to_int(outputs),
         int(sizes[2]),
         int(sizes[3]),
         int(taps.size(2)),
         int(stride),
         int(spread),
         float(most)},
        input);
  return in_layout_of(out, input);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def(
      "inverted_residual(Tensor input, Tensor expand, Tensor expand_bias, Tensor taps, "
      "Tensor depthwise_bias, Tensor project, Tensor project_bias, Tensor? shortcut, int stride, "
      "int dilation, float most, bool relu) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, CPU, m) {
  m.impl("inverted_residual", TORCH_BOX(&inverted_residual));
}

}  // namespace accel_rt
#endif

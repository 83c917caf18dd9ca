#include "../common/panels.h"
#include "../common/scratch.h"
#include "kernel.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

constexpr int side = winograd_side, span = winograd_span, places = winograd_places;
constexpr int lanes = Vector<float>::lanes;

// One dimension of F(2, 3): of the inputs, the products and, for packing, the weights.
inline void transform_inputs(Floats& d0, Floats& d1, Floats& d2, Floats& d3) {
  const Floats sum = d1 + d2, difference = d2 - d1;
  d0 -= d2, d3 = d1 - d3, d1 = sum, d2 = difference;
}

inline void transform_products(Floats& m0, Floats& m1, Floats m2, Floats m3) {
  m0 += m1 + m2;
  m1 -= m2 + m3;
}

inline void transform_weights(float& g0, float& g1, float& g2, float& g3) {
  const float ends = (g0 + g2) / 2, middle = g1 / 2;
  g3 = g2, g1 = ends + middle, g2 = ends - middle;
}

inline void store_vector(float* to, const Floats& vector) { floats_at(to) = vector; }

#if defined(__AVX512F__)
// In assembly, since this level is compiled for processors without the instruction, too.
inline void store_vector(BFloat16* to, const Floats& vector) {
  Vector<uint16_t, vector_bytes / 2>::type rounded;
  asm("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(vector));
  std::memcpy(to, &rounded, sizeof rounded);
}
#endif

// Where a tile's first output is
struct TileAt {
  int64_t image;
  int y, x;
};

inline TileAt tile_at(const WinogradParams& p, int64_t tile) {
  const int columns = p.tile_columns(), rows = p.tile_rows();
  const int column = int(tile % columns), row = int(tile / columns % rows);
  const int64_t start = tile / columns / rows;
  const int x = int(start % p.dilation), y = int(start / p.dilation % p.dilation);
  return {start / p.dilation / p.dilation, (row * side * p.dilation) + y,
          (column * side * p.dilation) + x};
}

// One thread's working memory for `max_tiles` tiles at a time. Places are padded by a cache line:
// at a power-of-two stride they would evict each other from L1.
template <class T>
struct Workspace {
  int64_t input_stride, sum_stride;  // from place to place
  T *zeros, *inputs;                 // [channels]; [places, tiles, channels]
  float *no_bias, *sums;             // [panel_outputs]; [places, tiles, panel_outputs]
  TileAt* at;                        // [tiles]

  Workspace(int64_t max_tiles, int channels)
      : input_stride(max_tiles * channels + 64 / sizeof(T)),
        sum_stride(max_tiles * panel_outputs + 16),
        memory_(array(zeros, channels), array(inputs, places * input_stride),
                array(no_bias, panel_outputs), array(sums, places * sum_stride),
                array(at, max_tiles)) {
    std::memset(static_cast<void*>(zeros), 0, channels * sizeof(T));
    std::memset(no_bias, 0, panel_outputs * sizeof(float));
  }

 private:
  Scratch memory_;
};

// Transforms the inputs of a tile: to[place * stride + channel]
template <class T>
inline void transform_tile(const WinogradParams& p, const TileAt& at, const T* zeros, T* to,
                           int64_t stride) {
  const T* image = static_cast<const T*>(p.input) + at.image * p.height * p.width * p.channels;
  const T* from[span][span];
  for (int i = 0; i < span; ++i)
    for (int j = 0; j < span; ++j) {
      const int y = at.y + (i - 1) * p.dilation, x = at.x + (j - 1) * p.dilation;
      const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
      from[i][j] = inside ? image + (int64_t(y) * p.width + x) * p.channels : zeros;
    }
  for (int channel = 0; channel < p.channels; channel += lanes) {
    Floats d[span][span];
    for (int i = 0; i < span; ++i) {
      for (int j = 0; j < span; ++j) d[i][j] = load_vector(from[i][j] + channel);
      transform_inputs(d[i][0], d[i][1], d[i][2], d[i][3]);
    }
    for (int j = 0; j < span; ++j) {
      transform_inputs(d[0][j], d[1][j], d[2][j], d[3][j]);
      for (int i = 0; i < span; ++i) store_vector(to + (i * span + j) * stride + channel, d[i][j]);
    }
  }
}

// `count` of a vector's results that begin at element `at` of the output
template <class T>
inline void finish_vector(const WinogradParams& p, Floats result, int64_t at, int count) {
  T* out = static_cast<T*>(p.output) + at;
  T part[lanes] = {};
  if (p.finish.shortcut != nullptr) {
    const T* shortcut = static_cast<const T*>(p.finish.shortcut) + at;
    if (count < lanes) shortcut = static_cast<T*>(std::memcpy(part, shortcut, count * sizeof(T)));
    result += load_vector(shortcut);
  }
  const Floats zero = {};
  if (p.finish.relu) result = result < zero ? zero : result;  // NaN stays
  if (count == lanes) return store_vector(out, result);
  store_vector(part, result);
  std::memcpy(out, part, count * sizeof(T));
}

// A panel of a tile's outputs, from `output` on, from its sums: sums[place * stride + output]
template <class T>
inline void finish_tile(const WinogradParams& p, const TileAt& at, int output, const float* sums,
                        int64_t stride) {
  const int end = p.outputs - output < panel_outputs ? p.outputs - output : panel_outputs;
  for (int first = 0; first < end; first += lanes) {
    Floats m[span][span];
    for (int i = 0; i < span; ++i) {
      for (int j = 0; j < span; ++j) m[i][j] = floats_at(sums + (i * span + j) * stride + first);
      transform_products(m[i][0], m[i][1], m[i][2], m[i][3]);
    }
    const int count = end - first < lanes ? end - first : lanes;
    for (int j = 0; j < side; ++j) {
      transform_products(m[0][j], m[1][j], m[2][j], m[3][j]);
      for (int i = 0; i < side; ++i) {
        const int y = at.y + i * p.dilation, x = at.x + j * p.dilation;
        if (y >= p.height || x >= p.width) continue;
        const int64_t pixel = (at.image * p.height + y) * p.width + x;
        finish_vector<T>(p, m[i][j], pixel * p.outputs + output + first, count);
      }
    }
  }
}

template <class Word, class T>
void convolve(const WinogradParams& p, int64_t begin, int64_t end, int64_t max_tiles) {
  const int depth = p.channels / int(sizeof(typename Word::type) / sizeof(T));
  const Workspace<T> workspace(max_tiles, p.channels);
  for (int64_t first = begin; first < end; first += max_tiles) {
    const int64_t tiles = end - first < max_tiles ? end - first : max_tiles;
    for (int64_t i = 0; i < tiles; ++i) {
      workspace.at[i] = tile_at(p, first + i);
      transform_tile(p, workspace.at[i], workspace.zeros, workspace.inputs + i * p.channels,
                     workspace.input_stride);
    }
    const float* panel = static_cast<const float*>(p.packed);
    for (int output = 0; output < p.outputs; output += panel_outputs) {
      for (int place = 0; place < places; ++place, panel += int64_t(depth) * panel_outputs) {
        // Of the second row and column, products go into all outputs, each once
        const float* bias = place == span + 1 ? p.finish.bias + output : workspace.no_bias;
        for (int64_t row = 0; row < tiles; row += panel_pixels)
          add_product_of<Word>(
              tiles - row,
              {workspace.inputs + place * workspace.input_stride + row * p.channels, depth, panel,
               depth, bias, workspace.sums + place * workspace.sum_stride + row * panel_outputs,
               panel_outputs});
      }
      for (int64_t i = 0; i < tiles; ++i)
        finish_tile<T>(p, workspace.at[i], output, workspace.sums + i * panel_outputs,
                       workspace.sum_stride);
    }
  }
}

template <class Word, class T>
void pack(const T* weight, T* packed, int channels, int64_t begin, int64_t end) {
  constexpr int in_word = sizeof(typename Word::type) / sizeof(T);
  for (int64_t output = begin; output < end; ++output)
    for (int channel = 0; channel < channels; ++channel) {
      float g[span][span] = {};
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j)
          g[i][j] = load(weight[((output * 3 + i) * 3 + j) * channels + channel]);
        transform_weights(g[i][0], g[i][1], g[i][2], g[i][3]);
      }
      for (int j = 0; j < span; ++j) {
        transform_weights(g[0][j], g[1][j], g[2][j], g[3][j]);
        for (int i = 0; i < span; ++i) {
          const int64_t panel = output / panel_outputs * places + i * span + j;
          const int64_t word = (panel * (channels / in_word) + channel / in_word) * panel_outputs +
                               output % panel_outputs;
          store(packed[word * in_word + channel % in_word], g[i][j]);
        }
      }
    }
}

}  // namespace

void winograd_pack([[maybe_unused]] DType dtype, const void* weight, void* packed, int channels,
                   int64_t begin, int64_t end) {
#if defined(__AVX512F__)
  if (dtype == DType::bf16)
    return pack<WordOfPair>(static_cast<const BFloat16*>(weight), static_cast<BFloat16*>(packed),
                            channels, begin, end);
#endif
  pack<WordOfFloat>(static_cast<const float*>(weight), static_cast<float*>(packed), channels, begin,
                    end);
}

void winograd(const WinogradParams& p, int64_t begin, int64_t end, int64_t max_tiles) {
#if defined(__AVX512F__)
  if (p.dtype == DType::bf16) return convolve<WordOfPair, BFloat16>(p, begin, end, max_tiles);
#endif
  convolve<WordOfFloat, float>(p, begin, end, max_tiles);
}

}  // namespace accel_rt::ACCEL_RT_SIMD

// Building blocks of the CPU kernels. A kernel file is compiled once per SIMD level with
// ACCEL_RT_SIMD naming the level's namespace; its plain loops are left to the compiler's
// vectoriser. Nothing here may have external linkage outside that namespace, or the linker would be
// free to give a machine without AVX-512 the AVX-512 copy.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "bilinear.h"
#include "dtype.h"

namespace accel_rt {
namespace {

struct BFloat16 {
  uint16_t bits;
};

// Gradients, offsets and sums of float and bfloat16 are kept in float, those of double in double.
template <class T>
struct AccumulateType {
  using type = float;
};
template <>
struct AccumulateType<double> {
  using type = double;
};
template <class T>
using accumulate_t = typename AccumulateType<T>::type;

inline float load(const float& value) { return value; }
inline double load(const double& value) { return value; }
inline float load(const BFloat16& value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline void store(float& target, float value) { target = value; }
inline void store(double& target, double value) { target = value; }
// Rounds to nearest even. NaN stays NaN without a case of its own: the carry could only overflow
// one whose lower bits are set, and those that processors make or bfloat16 widens to have none, nor
// has what canonical() made of a caller's.
inline void store(BFloat16& target, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  target.bits = uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// A vector of A of the level's natural width; operators apply lane by lane.
#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
template <class A, int bytes = vector_bytes>
struct Vector {
  typedef A type __attribute__((vector_size(bytes), aligned(alignof(A)), may_alias));
  static constexpr int lanes = bytes / sizeof(A);
};

// A vector of elements, widened to what is computed in. For wide vectors the compiler's own way is
// a detour.
inline Vector<float>::type load_vector(const float* from) {
  return *reinterpret_cast<const Vector<float>::type*>(from);
}
inline Vector<double>::type load_vector(const double* from) {
  return *reinterpret_cast<const Vector<double>::type*>(from);
}
inline Vector<float>::type load_vector(const BFloat16* from) {
  using Floats = Vector<float>::type;
#if defined(__AVX512F__)
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return Floats(_mm512_maskz_slli_epi32(-1, _mm512_maskz_cvtepu16_epi32(-1, bits), 16));
#elif defined(__AVX2__)
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return Floats(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
#else
  Vector<uint16_t, vector_bytes / 2>::type bits;
  std::memcpy(&bits, from, sizeof bits);
  return Floats(__builtin_convertvector(bits, Vector<uint32_t>::type) << 16);
#endif
}

// Lane i of the result is lane Order::lane(i) of the two vectors laid end to end.
template <class Order, class V, int... i>
inline V shuffled(V first, V second, std::integer_sequence<int, i...>) {
#ifdef __clang__
  return __builtin_shufflevector(first, second, Order::lane(i)...);
#else  // which has clang's builtin from GCC 12 on only
  using Lanes = decltype(first < second);
  return __builtin_shuffle(first, second, Lanes{Order::lane(i)...});
#endif
}
template <class Order, class V>
inline V shuffled(V first, V second) {
  constexpr int lanes = sizeof(V) / sizeof(first[0]);
  return shuffled<Order>(first, second, std::make_integer_sequence<int, lanes>{});
}

// Squares of `span` rows and columns change places between two rows, `span` apart, of a matrix:
// what the upper row becomes, and the lower.
template <int lanes, int span>
struct Upper {
  static constexpr int lane(int i) { return i & span ? lanes + i - span : i; }
};
template <int lanes, int span>
struct Lower {
  static constexpr int lane(int i) { return i & span ? lanes + i : i + span; }
};

// Swaps rows and columns of a square: quadrants change places, then quadrants of quadrants, and so
// on.
template <int lanes, int span = lanes / 2>
inline void transpose(typename Vector<uint32_t, 4 * lanes>::type (&rows)[lanes]) {
  for (int i = 0; i < lanes; ++i) {
    if (i & span) continue;
    const auto above = rows[i], below = rows[i + span];
    rows[i] = shuffled<Upper<lanes, span>>(above, below);
    rows[i + span] = shuffled<Lower<lanes, span>>(above, below);
  }
  if constexpr (span > 1) transpose<lanes, span / 2>(rows);
}

// Lane i of the result is the sum over rows[i]: as in transpose(), but what would change places is
// added.
template <class A, int lanes = Vector<A>::lanes, int span = lanes / 2>
inline typename Vector<A>::type lane_sums(typename Vector<A>::type (&rows)[lanes]) {
  for (int i = 0; i < span; ++i)
    rows[i] = shuffled<Upper<lanes, span>>(rows[i], rows[i + span]) +
              shuffled<Lower<lanes, span>>(rows[i], rows[i + span]);
  if constexpr (span > 1) return lane_sums<A, lanes, span / 2>(rows);
  return rows[0];
}

// The taps of a sample that are read: those of Corners whose weight is not zero, in their order.
template <class T, class A>
struct Taps {
  const T* from[4];
  A weight[4];
  int count = 0;

  Taps(const T* image, const Corners<A>& at) {
    const bool all = (at.weight[0] != A(0)) & (at.weight[1] != A(0)) & (at.weight[2] != A(0)) &
                     (at.weight[3] != A(0));
    if (all) {  // usual, and faster without a count
      for (int k = 0; k < 4; ++k) from[k] = image + at.offset[k], weight[k] = at.weight[k];
      count = 4;
      return;
    }
    for (int k = 0; k < 4; ++k)
      if (at.weight[k] != A(0)) from[count] = image + at.offset[k], weight[count++] = at.weight[k];
  }
};

// Calls function(std::integral_constant<int, count>{}) for a number of taps that is not zero, so
// that loops over them are unrolled.
template <class F>
inline void for_count(int count, F&& function) {
  switch (count) {
    case 4:
      return function(std::integral_constant<int, 4>{});
    case 1:
      return function(std::integral_constant<int, 1>{});
    case 2:
      return function(std::integral_constant<int, 2>{});
    case 3:
      return function(std::integral_constant<int, 3>{});
  }
}

// out[i] = sum of the taps, each weighted, for i in [begin, end)
template <int taps, class O, class T, class A>
inline void blend_each(O* __restrict out, const Taps<T, A>& at, int64_t begin, int64_t end) {
  const T* from[taps];
  A weight[taps];
  for (int k = 0; k < taps; ++k) from[k] = at.from[k], weight[k] = at.weight[k];
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    A sum = weight[0] * load(from[0][i]);
    for (int k = 1; k < taps; ++k) sum += weight[k] * load(from[k][i]);
    store(out[i], sum);
  }
}

template <int taps, class T, class A>
inline void blend_taps(T* __restrict out, const Taps<T, A>& at, int64_t count) {
  blend_each<taps>(out, at, 0, count);
}

// Two neighbours of bfloat16 lie in one word: each half becomes floats by itself, without being
// moved apart, and both go back into it.
template <int taps>
inline void blend_taps(BFloat16* __restrict out, const Taps<BFloat16, float>& at, int64_t count) {
  using Bits = Vector<uint32_t>::type;
  using Floats = Vector<float>::type;
  // Halves lie at any even address, where a word may not: copied, which costs nothing.
  const auto loaded = [](const BFloat16* halves) {
    Bits pair;
    std::memcpy(&pair, halves, sizeof pair);
    return pair;
  };
  const auto low = [](const Bits& pair) { return Floats(pair << 16); };
  const auto high = [](const Bits& pair) { return Floats(pair & 0xffff0000u); };
  const auto rounded = [&](const Floats& sum) {
    const Bits bits = Bits(sum);
    return bits + 0x7fffu + ((bits >> 16) & 1u);  // see store()
  };
  const BFloat16* from[taps];
  float weight[taps];
  for (int k = 0; k < taps; ++k) from[k] = at.from[k], weight[k] = at.weight[k];
  const int64_t paired = count - count % (2 * Vector<float>::lanes);
  for (int64_t i = 0; i < paired; i += 2 * Vector<float>::lanes) {
    Bits pair = loaded(from[0] + i);
    Floats even = weight[0] * low(pair), odd = weight[0] * high(pair);
    for (int k = 1; k < taps; ++k) {
      pair = loaded(from[k] + i);
      even += weight[k] * low(pair);
      odd += weight[k] * high(pair);
    }
    const Bits both = (rounded(even) >> 16) | (rounded(odd) & 0xffff0000u);
    std::memcpy(static_cast<void*>(out + i), &both, sizeof both);
  }
  blend_each<taps>(out, at, paired, count);
}

// out[i] = the sample's channel i; zero where no tap is read
template <class T, class A>
inline void blend(T* __restrict out, const Taps<T, A>& at, int64_t count) {
  if (at.count == 0) std::memset(static_cast<void*>(out), 0, count * sizeof(T));
  for_count(at.count, [&](auto taps) { blend_taps<decltype(taps)::value>(out, at, count); });
}

// Copies `bytes` past the caches. Worth it for results too large to be found in a cache later:
// ordinary stores first fetch what they overwrite.
inline void stream_copy(void* to, const void* from, int64_t bytes) {
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
#if defined(__AVX2__)
  constexpr int64_t step = 64;
  const int64_t ragged = -reinterpret_cast<intptr_t>(target) & (step - 1);
  const int64_t head = ragged < bytes ? ragged : bytes;
  std::memcpy(target, source, head);
  for (bytes -= head, target += head, source += head; bytes >= step; bytes -= step) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target), _mm512_loadu_si512(source));
#else
    for (int part = 0; part < step; part += 32)
      _mm256_stream_si256(reinterpret_cast<__m256i*>(target + part),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + part)));
#endif
    target += step, source += step;
  }
#endif
  std::memcpy(target, source, bytes);
}

// Makes what was streamed visible to other threads.
inline void stream_fence() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// dots[k] += sum over i of gradient[i] * tap_k[i]
template <class T, class A>
inline void dot_taps(A dots[4], const T* __restrict gradient, const T* __restrict image,
                     const Corners<A>& at, int64_t count) {
  const T* __restrict t0 = image + at.offset[0];
  const T* __restrict t1 = image + at.offset[1];
  const T* __restrict t2 = image + at.offset[2];
  const T* __restrict t3 = image + at.offset[3];
  A d0 = 0, d1 = 0, d2 = 0, d3 = 0;
#pragma omp simd reduction(+ : d0, d1, d2, d3)
  for (int64_t i = 0; i < count; ++i) {
    const A g = load(gradient[i]);
    d0 += g * load(t0[i]);
    d1 += g * load(t1[i]);
    d2 += g * load(t2[i]);
    d3 += g * load(t3[i]);
  }
  dots[0] += d0, dots[1] += d1, dots[2] += d2, dots[3] += d3;
}

// image[tap_k + i] += weight_k * gradient[i]; one tap after the other, since taps may coincide
template <class T, class A>
inline void scatter(A* __restrict image, const Corners<A>& at, const T* __restrict gradient,
                    int64_t count) {
  for (int k = 0; k < 4; ++k) {
    const A w = at.weight[k];
    if (w == A(0)) continue;
    A* __restrict target = image + at.offset[k];
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) target[i] += w * load(gradient[i]);
  }
}

// Calls function(T{}) with the element type of `dtype`. Half precision is not among them: few
// processors compute in it, so the ops convert it to float first.
template <class F>
inline void for_dtype(DType dtype, F&& function) {
  switch (dtype) {
    case DType::f64:
      return function(double{});
    case DType::bf16:
      return function(BFloat16{});
    default:
      return function(float{});
  }
}

}  // namespace
}  // namespace accel_rt

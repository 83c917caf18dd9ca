#pragma once

#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 from) {
  const uint32_t bits = uint32_t(from.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline __nv_bfloat16 __float2bfloat16(float from) {
  uint32_t bits;
  std::memcpy(&bits, &from, sizeof bits);
  if (from != from) return {uint16_t((bits >> 16) | 0x40u)};
  return {uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

// Two values, and of two such the greater or the lesser ones; NaN where one of them is
struct __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
inline __nv_bfloat16 __hmax_nan(__nv_bfloat16 a, __nv_bfloat16 b) {
  return !(__bfloat162float(a) <= __bfloat162float(b)) && __bfloat162float(b) == __bfloat162float(b)
             ? a
             : b;
}
inline __nv_bfloat16 __hmin_nan(__nv_bfloat16 a, __nv_bfloat16 b) {
  return !(__bfloat162float(a) >= __bfloat162float(b)) && __bfloat162float(b) == __bfloat162float(b)
             ? a
             : b;
}
inline __nv_bfloat162 __hmax2_nan(__nv_bfloat162 a, __nv_bfloat162 b) {
  return {__hmax_nan(a.x, b.x), __hmax_nan(a.y, b.y)};
}
inline __nv_bfloat162 __hmin2_nan(__nv_bfloat162 a, __nv_bfloat162 b) {
  return {__hmin_nan(a.x, b.x), __hmin_nan(a.y, b.y)};
}

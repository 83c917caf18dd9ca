#pragma once

struct __half {
  _Float16 value;
};
inline float __half2float(__half from) { return float(from.value); }
inline __half __float2half(float from) { return {_Float16(from)}; }

// Two values, and of two such the greater or the lesser ones; NaN where one of them is
struct __half2 {
  __half x, y;
};
inline __half __hmax_nan(__half a, __half b) {
  return !(a.value <= b.value) && b.value == b.value ? a : b;
}
inline __half __hmin_nan(__half a, __half b) {
  return !(a.value >= b.value) && b.value == b.value ? a : b;
}
inline __half2 __hmax2_nan(__half2 a, __half2 b) {
  return {__hmax_nan(a.x, b.x), __hmax_nan(a.y, b.y)};
}
inline __half2 __hmin2_nan(__half2 a, __half2 b) {
  return {__hmin_nan(a.x, b.x), __hmin_nan(a.y, b.y)};
}

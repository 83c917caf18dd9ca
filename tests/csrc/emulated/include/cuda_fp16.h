#pragma once

struct __half {
  _Float16 value;
};
inline float __half2float(__half from) { return float(from.value); }
inline __half __float2half(float from) { return {_Float16(from)}; }

// overlay: blends each pixel of a frame with its class's colour.
#pragma once

#include <cstdint>

namespace accel_rt {

struct OverlayParams {
  const uint8_t* frames;   // [pixels, 3]
  const uint8_t* labels;   // [pixels]
  const uint8_t* palette;  // [256, 3], colours in the frame's order
  const uint8_t* keep;     // [256], zero for classes whose pixels stay as they are; or null
  uint8_t* out;            // [pixels, 3]
  int64_t pixels;
  float alpha;  // share of the colour
  float rest;   // and of the frame
};

// On the device and stream (a cudaStream_t); returns a cudaError_t.
int overlay_cuda(const OverlayParams& p, void* stream);

}  // namespace accel_rt

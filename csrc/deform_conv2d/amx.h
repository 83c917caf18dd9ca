// A deformable convolution of bfloat16 on AMX: tiles of output pixels small enough for a core's
// cache are gathered tap by tap and multiplied at once.
#pragma once

#include "kernel.h"

namespace accel_rt {

constexpr int64_t deform_amx_block = 32;  // pixels, outputs or channels

// Whether the shape suits: whole blocks of channels and of outputs, one weight group. The image is
// not looked at, which may have as many pixels as an int counts.
bool deform_amx_fits(const DeformParams& p, int64_t outputs);

// Packs blocks [begin, end) of outputs of weight [outputs, KH, KW, C], all of bfloat16, in as many
// elements.
void deform_amx_pack(const DeformParams& p, const void* weight, void* packed, int64_t outputs,
                     int64_t begin, int64_t end);

// output [N, OH, OW, outputs] of bfloat16; the given pixels, at most `most` at a time, which is in
// whole blocks
void deform_amx(const DeformParams& p, const DeformTile& pixels, int64_t most, const void* packed,
                const ConvFinish& finish, void* output, int64_t outputs);

}  // namespace accel_rt

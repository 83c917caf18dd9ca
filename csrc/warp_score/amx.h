// warp_score on AMX, whose products of bfloat16 add up to those of floats: a float is the sum of
// three terms of eight bits each, and of the nine products of two such sums the three smallest are
// below what rounding to float loses.
#pragma once

#include "kernel.h"

namespace accel_rt {

// Whether the shape suits: whole blocks of channels, no doubles
bool warp_score_amx_fits(DType dtype, int64_t depth);

// Elements of the packed weights of bfloat16
int64_t warp_score_amx_packed(int64_t classes, int64_t depth, int terms);

// Packs weight [classes, depth] of float, of whose elements the first `terms` terms are not zero,
// for features of dtype.
void warp_score_amx_pack(const float* weight, void* packed, DType dtype, int64_t classes,
                         int64_t depth, int terms);

// Pixels [begin, end) of N * H * W, with such weights. Features that are infinite give NaN.
void warp_score_amx(const WarpScoreParams& p, int terms, int64_t begin, int64_t end);

}  // namespace accel_rt

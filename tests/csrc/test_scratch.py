"""A kernel's working memory: arrays on lines of their own, and an exception where there is none."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
#include "common/scratch.h"
#include <cstdio>
using namespace accel_rt;
template <class... Arrays> bool fails(Arrays... arrays) {
  try { Scratch memory(arrays...); } catch (const std::bad_alloc&) { return true; }
  return false;
}
int main() {
  float* sums; char* bytes; double* none; int* last;
  const Scratch memory(array(sums, 17), array(bytes, 1), array(none, 0), array(last, 3));
  for (int i = 0; i < 17; ++i) sums[i] = 1;
  *bytes = 2, last[2] = 3;
  const auto at = [&](void* p) { return static_cast<char*>(p) - reinterpret_cast<char*>(sums); };
  std::printf("%ld %ld %ld %ld %d\\n", at(bytes), at(none), at(last), long(sums) % 64,
              sums[16] == 1 && *bytes == 2 && last[2] == 3);
  std::printf("%d %d %d %d\\n", fails(array(sums, int64_t(1) << 61)), fails(array(sums, -1)),
              fails(array(bytes, int64_t(1) << 62), array(none, int64_t(1) << 59)),
              fails(array(bytes, int64_t(1) << 55)));
}
"""


def test_arrays_lie_on_lines_of_their_own_and_impossible_sizes_throw(tmp_path):
    """Overflow of a product or a sum, a negative count, and more than any machine has."""
    source, program = tmp_path / "scratch.cpp", tmp_path / "scratch"
    source.write_text(PROGRAM)
    compiler = os.environ.get("CXX", "g++")
    command = [compiler, "-std=c++17", f"-I{ROOT}/csrc", str(source), "-o", str(program)]
    subprocess.run(command, check=True)
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split("\n")
    assert lines[0] == "128 192 192 0 1"
    assert lines[1] == "1 1 1 1"

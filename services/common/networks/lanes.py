"""How many numbers a vector of this processor holds, and what that makes of products of matrices."""

import platform

from llvmlite import binding

_FEATURES = binding.get_host_cpu_features()
#: Numbers (float32) in a vector, and vectors that fit the processor's registers.
LANES, REGISTERS = (16, 32) if _FEATURES.get("avx512f") else (8, 16) if _FEATURES.get("avx") else (4, 16)
if platform.machine() == "aarch64":
    REGISTERS = 32
#: Columns of the block of a product that is held in registers, and the heights it comes in, largest first: as much as
#: fits beside a row of the right factor and a number of the left one.
VECTORS = 2
WIDTH = VECTORS * LANES
HEIGHTS = (12, 4, 1) if REGISTERS == 32 else (6, 2, 1)
#: The heights of blocks of a single vector.
TALL = (24, 4, 1) if REGISTERS == 32 else (12, 4, 1)

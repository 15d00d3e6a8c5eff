"""The loop that a search spends its time in, compiled for this processor when it is imported (a fifth of a second)."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

#: Codes are asked for this many bytes before they are needed: by itself a processor asks too late, which doubles the
#: time of two threads that read a hundred megabytes.
AHEAD = 8192
#: Bytes that come from memory at once.
LINE = 64


@intrinsic
def _ask_for(typing, address):
    """Asks for the memory at an address (any integer); goes on at once."""

    def generate(context, builder, signature, arguments):
        number = ir.IntType(32)
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(prefetch, [pointer, number(0), number(3), number(1)])  # to read, to all caches, data
        return context.get_dummy_value()

    return types.void(types.intp), generate


@njit("i4[:,::1](i2[:,::1], i1[:,::1])", nogil=True)
def integer_products(digits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """digits @ codes.T, without a copy of the codes and at about the speed of memory.

    BLAS has no product of integers, and that of ONNX Runtime lays the codes out anew at every call.

    Args:
        digits: int16 (p, d).
        codes: int8 (n, d).

    Returns:
        int32 (p, n); sums must fit.
    """
    products = np.empty((len(digits), len(codes)), np.int32)
    ahead = codes.ctypes.data + AHEAD
    for row in range(codes.shape[0]):
        for line in range(row * codes.shape[1], (row + 1) * codes.shape[1], LINE):
            _ask_for(ahead + line)
        for probe in range(digits.shape[0]):
            total = np.int32(0)
            for place in range(codes.shape[1]):  # written so, it becomes vector instructions
                total += np.int32(codes[row, place]) * np.int32(digits[probe, place])
            products[probe, row] = total
    return products

"""The loop that a search spends its time in; run as machine code by integer_products.py."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from services.common.networks.vectors import kernel, pointer

#: Codes are asked for this many bytes before they are needed: by itself a processor asks too late, which doubles the
#: time of two threads that read a hundred megabytes.
AHEAD = 8192
#: Bytes that come from memory at once.
LINE = 64

_digits, _codes, _products = (pointer(kind) for kind in (types.int16, types.int8, types.int32))


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


@kernel
def run(digits_at, probes, codes_at, rows, dimension, products_at):
    """Digits, int16 (probes, dimension), times codes, int8 (rows, dimension), into products, int32 (probes, rows)."""
    for row in range(rows):
        code_at = codes_at + row * dimension
        for line in range(0, dimension, LINE):
            _ask_for(code_at + AHEAD + line)
        code = _codes(code_at)
        for probe in range(probes):
            digits = _digits(digits_at + 2 * dimension * probe)
            total = np.int32(0)
            for place in range(dimension):  # written so, it becomes vector instructions
                total += np.int32(code[place]) * np.int32(digits[place])
            _products(products_at + 4 * rows * probe)[row] = total

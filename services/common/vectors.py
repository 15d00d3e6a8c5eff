"""What convolutions spend their time in, in vector instructions: written in LLVM's language, for the processor at hand.

Each function takes addresses as integers, and distances in float32 numbers. Nothing is checked: the callers know sizes.
"""

import platform
from collections.abc import Callable, Sequence

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_FEATURES = binding.get_host_cpu_features()
#: Numbers in a vector, and vectors that fit the processor's registers.
LANES, _REGISTERS = (16, 32) if _FEATURES.get("avx512f") else (8, 16) if _FEATURES.get("avx") else (4, 16)
if platform.machine() == "aarch64":
    _REGISTERS = 32
_VECTORS = 2
#: Columns of the block of a product that is held in registers, and the heights it comes in, largest first: as much as
#: fits beside a row of the right factor and a number of the left one.
WIDTH = _VECTORS * LANES
HEIGHTS = (12, 4, 1) if _REGISTERS == 32 else (6, 2, 1)

_NUMBER = ir.FloatType()
_INTEGER = ir.IntType(64)
_VECTOR = ir.VectorType(_NUMBER, LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)
_BYTES = 4


class _Code:
    """Writes instructions at the place where numba is writing."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def address(self, start: ir.Value, distance: ir.Value | int = 0, of: ir.Type = _VECTOR) -> ir.Value:
        distance = distance if isinstance(distance, ir.Value) else _INTEGER(distance)
        there = self.builder.add(start, self.builder.mul(distance, _INTEGER(_BYTES)))
        return self.builder.inttoptr(there, of.as_pointer())

    def load(self, start: ir.Value, distance: ir.Value | int = 0) -> ir.Value:
        return self.builder.load(self.address(start, distance), align=_BYTES)

    def store(self, vector: ir.Value, start: ir.Value, distance: ir.Value | int = 0) -> None:
        self.builder.store(vector, self.address(start, distance), align=_BYTES)

    def place(self, row: int, pitch: ir.Value, column: int, pixel: ir.Value) -> ir.Value:
        """The distance of a pixel from the first."""
        b = self.builder
        return b.add(b.mul(pitch, _INTEGER(row)), b.mul(pixel, _INTEGER(column)))

    def spread(self, number: ir.Value) -> ir.Value:
        """A vector full of one number."""
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        first = self.builder.insert_element(_UNDEFINED, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, _UNDEFINED, zeros)

    def multiply_add(self, left: ir.Value, right: ir.Value, summand: ir.Value) -> ir.Value:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fmuladd.v{LANES}f32"
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, kind, name), [left, right, summand]
        )

    def rectified(self, vector: ir.Value, slopes: ir.Value) -> ir.Value:
        """PReLU."""
        positive = self.builder.fcmp_ordered(">", vector, ir.Constant(_VECTOR, None))
        return self.builder.select(positive, vector, self.builder.fmul(vector, slopes))

    def combine(self, factors: Sequence[float], vectors: Sequence[ir.Value]) -> ir.Value:
        """The sum of the vectors times their factors; one factor is 1 at least."""
        terms = sorted(((f, v) for f, v in zip(factors, vectors, strict=True) if f), key=lambda term: term[0] != 1)
        total = terms[0][1]
        for factor, vector in terms[1:]:
            if factor in (1, -1):
                total = (self.builder.fadd if factor == 1 else self.builder.fsub)(total, vector)
            else:
                total = self.multiply_add(ir.Constant(_VECTOR, [float(factor)] * LANES), vector, total)
        return total

    def transform(self, matrix: Sequence[Sequence[float]], tile: list[list[ir.Value]]) -> list[list[ir.Value]]:
        """matrix · tile · matrixᵀ, of vectors."""
        columns = [[self.combine(row, column) for row in matrix] for column in zip(*tile, strict=True)]
        return [[self.combine(factors, row) for factors in matrix] for row in zip(*columns, strict=True)]

    def stay_single(self) -> None:
        """The loop around is not unrolled by the compiler: it is as long as it should be."""
        nothing = ir.FunctionType(ir.VoidType(), [])
        self.builder.call(ir.InlineAsm(nothing, "", "", side_effect=True), [], attrs=("convergent", "nounwind"))

    def finish(self, vector: ir.Value, bias: ir.Value, slopes: ir.Value, add: ir.Value, target: ir.Value) -> None:
        """Adds the bias and, if `add`, what is at the target, a pointer; PReLU; to the target."""
        b = self.builder
        there = b.select(b.trunc(add, ir.IntType(1)), b.load(target, align=_BYTES), ir.Constant(_VECTOR, None))
        b.store(self.rectified(b.fadd(b.fadd(vector, bias), there), slopes), target, align=_BYTES)


def block_product(height: int) -> Callable:
    """A function for compiled code that multiplies `height` rows by a matrix of WIDTH columns.

    Its arguments: where the left factor is, the distance of its rows; the number of parts a row consists of, their
    distance and their length; where the right factor is, of parts times length rows that lie side by side; where the
    product goes, and the distance of its rows.
    """

    @intrinsic
    def multiply(typing, left, left_row, parts, part, length, right, product, product_row):
        def generate(context, builder, signature, arguments):
            left, left_row, parts, part, length, right, product, product_row = arguments
            code, count = _Code(builder), height * _VECTORS
            before = builder.block
            each_part, each_number, next_part, after = (builder.append_basic_block() for _ in range(4))
            builder.branch(each_part)

            builder.position_at_end(each_part)
            number_of_part, row_of_part = builder.phi(_INTEGER), builder.phi(_INTEGER)
            sums_of_part = [builder.phi(_VECTOR) for _ in range(count)]
            start = builder.mul(number_of_part, part)
            rows = [builder.add(start, builder.mul(left_row, _INTEGER(row))) for row in range(height)]
            rows = [code.address(left, row, of=_NUMBER) for row in rows]
            builder.branch(each_number)

            builder.position_at_end(each_number)
            number, row = builder.phi(_INTEGER), builder.phi(_INTEGER)
            sums = [builder.phi(_VECTOR) for _ in range(count)]
            factors = [code.load(row, LANES * vector) for vector in range(_VECTORS)]
            sums_now = list(sums)
            for line in range(height):
                spread = code.spread(builder.load(builder.gep(rows[line], [number])))
                for vector in range(_VECTORS):
                    place = line * _VECTORS + vector
                    sums_now[place] = code.multiply_add(spread, factors[vector], sums[place])
            code.stay_single()
            number_now = builder.add(number, _INTEGER(1))
            row_now = builder.add(row, _INTEGER(WIDTH * _BYTES))
            builder.cbranch(builder.icmp_signed("<", number_now, length), each_number, next_part)

            builder.position_at_end(next_part)
            part_now = builder.add(number_of_part, _INTEGER(1))
            builder.cbranch(builder.icmp_signed("<", part_now, parts), each_part, after)

            builder.position_at_end(after)
            for place, total in enumerate(sums_now):
                line, vector = divmod(place, _VECTORS)
                distance = builder.add(builder.mul(product_row, _INTEGER(line)), _INTEGER(LANES * vector))
                code.store(total, product, distance)

            zero = ir.Constant(_VECTOR, None)
            carried = [(number_of_part, _INTEGER(0), part_now), (row_of_part, right, row_now)]
            for phi, first, again in carried + [
                (phi, zero, now) for phi, now in zip(sums_of_part, sums_now, strict=True)
            ]:
                phi.add_incoming(first, before)
                phi.add_incoming(again, next_part)
            carried = [(number, _INTEGER(0), number_now), (row, row_of_part, row_now)]
            for phi, first, again in carried + list(zip(sums, sums_of_part, sums_now, strict=True)):
                phi.add_incoming(first, each_part)
                phi.add_incoming(again, each_number)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), generate

    return multiply


def tile_in(matrix: Sequence[Sequence[float]]) -> Callable:
    """A function for compiled code that transforms a square tile, of one vector of channels: matrix · tile · matrixᵀ.

    Its arguments: where the tile is, the distance of its rows and of its pixels; where the results go one after the
    other, and their distance.
    """

    @intrinsic
    def transform(typing, source, row, pixel, target, apart):
        def generate(context, builder, signature, arguments):
            source, row, pixel, target, apart = arguments
            code, side = _Code(builder), range(len(matrix))
            tile = [[code.load(source, code.place(y, row, x, pixel)) for x in side] for y in side]
            results = [result for line in code.transform(matrix, tile) for result in line]
            for number, result in enumerate(results):
                code.store(result, target, builder.mul(apart, _INTEGER(number)))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), generate

    return transform


def tile_out(matrix: Sequence[Sequence[float]]) -> Callable:
    """A function for compiled code that transforms products to a tile of pixels, of one vector of channels, and finishes.

    Its arguments: where the products are, and their distance; where the bias and the PReLU's slopes are; whether (1 or
    0) what is at the tile is added; where the tile is, the distance of its rows and of its pixels; how many rows and
    columns of it are wanted; where others may go.
    """

    @intrinsic
    def transform(typing, source, apart, bias, slopes, add, target, row, pixel, rows, columns, elsewhere):
        def generate(context, builder, signature, arguments):
            source, apart, bias, slopes, add, target, row, pixel, rows, columns, elsewhere = arguments
            code, side = _Code(builder), range(len(matrix[0]))
            tile = [[code.load(source, builder.mul(apart, _INTEGER(y * len(side) + x))) for x in side] for y in side]
            bias, slopes, elsewhere = code.load(bias), code.load(slopes), code.address(elsewhere)
            for y, line in enumerate(code.transform(matrix, tile)):
                for x, pixels in enumerate(line):
                    inside = builder.icmp_signed(">", rows, _INTEGER(y))
                    inside = builder.and_(inside, builder.icmp_signed(">", columns, _INTEGER(x)))
                    place = builder.select(inside, code.address(target, code.place(y, row, x, pixel)), elsewhere)
                    code.finish(pixels, bias, slopes, add, place)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 11), generate

    return transform


@intrinsic
def finish(typing, source, bias, slopes, add, target):
    """A vector of sums to pixels. Arguments: where they are, where the bias is, and see `tile_out`."""

    def generate(context, builder, signature, arguments):
        source, bias, slopes, add, target = arguments
        code = _Code(builder)
        code.finish(code.load(source), code.load(bias), code.load(slopes), add, code.address(target))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), generate


@intrinsic
def pool(typing, source, first, largest, share, target):
    """A vector of a window's pixels to those that are at the target already. Arguments: where it is, whether (1 or 0)
    it is the first, whether the largest is wanted instead of the sum, a factor (float32), and where the target is.
    """

    def generate(context, builder, signature, arguments):
        source, first, largest, share, target = arguments
        code, true = _Code(builder), ir.IntType(1)
        vector, before = builder.fmul(code.load(source), code.spread(share)), code.load(target)
        larger = builder.select(builder.fcmp_ordered(">", vector, before), vector, before)
        both = builder.select(builder.trunc(largest, true), larger, builder.fadd(vector, before))
        code.store(builder.select(builder.trunc(first, true), vector, both), target)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.float32, types.intp), generate


@intrinsic
def stay_apart(typing):
    """The function that calls this is not made part of those that call it: they are compiled in half the time."""

    def generate(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate

"""What convolutions spend their time in, in vector instructions: written in LLVM's language, for the processor at hand.

Each function takes addresses as integers, and distances in float32 numbers. Nothing is checked: the callers know sizes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from services.common.networks.lanes import LANES, VECTORS

_NUMBER = ir.FloatType()
_INTEGER = ir.IntType(64)
_VECTOR = ir.VectorType(_NUMBER, LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)
_BYTES = 4


#: For functions that are compiled to be loaded without numba: nothing in them can fail, or is made for Python.
kernel = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


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


@dataclass(frozen=True)
class _Factors:
    """What a block of a product is made of.

    Attributes:
        left, left_row: where the left factor is, and the distance of its rows.
        parts, part: how many parts a row consists of, and their distance.
        length, last: of each part, and of the last one.
        right: where the right factor is: rows of the block's columns that lie side by side, as many as a left row is long.
    """

    left: ir.Value
    left_row: ir.Value
    parts: ir.Value
    part: ir.Value
    length: ir.Value
    last: ir.Value
    right: ir.Value

    def length_of(self, builder: ir.IRBuilder, part: ir.Value) -> ir.Value:
        """Of the part of that number."""
        is_last = builder.icmp_signed("==", builder.add(part, _INTEGER(1)), self.parts)
        return builder.select(is_last, self.last, self.length)


def _block(builder: ir.IRBuilder, factors: _Factors, height: int, vectors: int) -> list[ir.Value]:
    """Multiplies `height` rows by `vectors` vectors of columns; a row's vectors follow each other in the result."""
    code, count = _Code(builder), height * vectors
    before = builder.block
    each_part, each_number, next_part, after = (builder.append_basic_block() for _ in range(4))
    builder.branch(each_part)

    builder.position_at_end(each_part)
    number_of_part, row_of_part = builder.phi(_INTEGER), builder.phi(_INTEGER)
    sums_of_part = [builder.phi(_VECTOR) for _ in range(count)]
    first = code.address(factors.left, builder.mul(number_of_part, factors.part), of=_NUMBER)
    rows = [builder.gep(first, [builder.mul(factors.left_row, _INTEGER(row))]) for row in range(height)]
    length = factors.length_of(builder, number_of_part)
    builder.branch(each_number)

    builder.position_at_end(each_number)
    number, row = builder.phi(_INTEGER), builder.phi(_INTEGER)
    sums = [builder.phi(_VECTOR) for _ in range(count)]
    columns = [code.load(row, LANES * vector) for vector in range(vectors)]
    sums_now = list(sums)
    for line in range(height):
        spread = code.spread(builder.load(builder.gep(rows[line], [number])))
        for vector in range(vectors):
            place = line * vectors + vector
            sums_now[place] = code.multiply_add(spread, columns[vector], sums[place])
    code.stay_single()
    number_now = builder.add(number, _INTEGER(1))
    row_now = builder.add(row, _INTEGER(vectors * LANES * _BYTES))
    builder.cbranch(builder.icmp_signed("<", number_now, length), each_number, next_part)

    builder.position_at_end(next_part)
    part_now = builder.add(number_of_part, _INTEGER(1))
    builder.cbranch(builder.icmp_signed("<", part_now, factors.parts), each_part, after)

    builder.position_at_end(after)
    zero = ir.Constant(_VECTOR, None)
    carried = [(number_of_part, _INTEGER(0), part_now), (row_of_part, factors.right, row_now)]
    for phi, start, again in carried + [(phi, zero, now) for phi, now in zip(sums_of_part, sums_now, strict=True)]:
        phi.add_incoming(start, before)
        phi.add_incoming(again, next_part)
    carried = [(number, _INTEGER(0), number_now), (row, row_of_part, row_now)]
    for phi, start, again in carried + list(zip(sums, sums_of_part, sums_now, strict=True)):
        phi.add_incoming(start, each_part)
        phi.add_incoming(again, each_number)
    return sums_now


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
            sums = _block(builder, _Factors(left, left_row, parts, part, length, length, right), height, VECTORS)
            for place, total in enumerate(sums):
                line, vector = divmod(place, VECTORS)
                distance = builder.add(builder.mul(product_row, _INTEGER(line)), _INTEGER(LANES * vector))
                _Code(builder).store(total, product, distance)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), generate

    return multiply


def plane_product(height: int, vectors: int) -> Callable:
    """A function for compiled code that multiplies `height` pixels' channels by a matrix and finishes the result.

    A vector of channels is a plane of its own on either side, in which pixels follow each other. The arguments: where
    the pixels are; how many planes, their distance, and how many channels of the last are wanted; where the matrix is,
    of `vectors` vectors of columns; where bias and slopes are; whether (1 or 0) what is at the target is added; where
    the target's first plane is, and the distance of planes.
    """

    @intrinsic
    def multiply(typing, source, planes, plane, last, matrix, bias, slopes, add, target, target_plane):
        def generate(context, builder, signature, arguments):
            source, planes, plane, last, matrix, bias, slopes, add, target, target_plane = arguments
            code, lanes = _Code(builder), _INTEGER(LANES)
            sums = _block(builder, _Factors(source, lanes, planes, plane, lanes, last, matrix), height, vectors)
            biases = [code.load(bias, LANES * vector) for vector in range(vectors)]
            slopes = [code.load(slopes, LANES * vector) for vector in range(vectors)]
            for place, total in enumerate(sums):
                line, vector = divmod(place, vectors)
                to = code.address(target, code.place(vector, target_plane, line, lanes))
                code.finish(total, biases[vector], slopes[vector], add, to)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 10), generate

    return multiply


@dataclass(frozen=True)
class _Window:
    """A window of 3 × 3 that moves along three rows of pixels; `taps[y][x]` are its weights."""

    builder: ir.IRBuilder
    rows: tuple[ir.Value, ir.Value, ir.Value]
    taps: list[list[ir.Value]]

    def added(self, total: ir.Value, x: int, column: ir.Value) -> ir.Value:
        """The total and what the window's column x makes of a column of pixels."""
        code, distance = _Code(self.builder), self.builder.mul(column, _INTEGER(LANES))
        for row, taps in zip(self.rows, self.taps, strict=True):
            total = code.multiply_add(code.load(row, distance), taps[x], total)
        return total


def depthwise(stride: int) -> Callable:
    """A function for compiled code that convolves a row of pixels, one vector of channels, each with its own 3 × 3
    weights, and finishes it. Beside the row there are zeros. The stride is 1 or 2.

    Its arguments: where the rows above, at and below the windows' middles are; whether (1 or 0) there are ones above
    and below, else they may be any; where the nine vectors of weights, bias and slopes are; where the result goes, and
    of how many pixels it is.
    """

    @intrinsic
    def convolve(typing, above, middle, below, is_above, is_below, weights, bias, slopes, target, columns):
        def generate(context, builder, signature, arguments):
            *rows, is_above, is_below, weights, bias, slopes, target, columns = arguments
            code, zero, true = _Code(builder), ir.Constant(_VECTOR, None), ir.IntType(1)
            there = [builder.trunc(is_above, true), true(1), builder.trunc(is_below, true)]
            taps = [[code.load(weights, LANES * (3 * y + x)) for x in range(3)] for y in range(3)]
            taps = [[builder.select(there[y], tap, zero) for tap in taps[y]] for y in range(3)]
            window, bias, slopes = _Window(builder, tuple(rows), taps), code.load(bias), code.load(slopes)

            def finish(total: ir.Value, column: ir.Value) -> None:
                code.store(code.rectified(total, slopes), target, builder.mul(column, _INTEGER(LANES)))

            def step(number: ir.Value, begun: list[ir.Value]) -> list[ir.Value]:
                """`begun`: the sums of windows that reach beyond the columns before. Gives those beyond this step's."""
                if stride == 1:
                    finish(window.added(begun[0], 2, number), builder.sub(number, _INTEGER(1)))
                    return [window.added(begun[1], 1, number), window.added(bias, 0, number)]
                even = builder.mul(number, _INTEGER(2))
                odd = builder.add(even, _INTEGER(1))
                finish(window.added(window.added(begun[0], 1, even), 2, odd), number)
                return [window.added(bias, 0, odd)]

            if stride == 1:
                first = _INTEGER(0)
                begun = [window.added(bias, 1, first), window.added(bias, 0, first)]
                begun = _repeat(builder, _INTEGER(1), columns, begun, step)
                finish(begun[0], builder.sub(columns, _INTEGER(1)))
            else:
                _repeat(builder, _INTEGER(0), columns, [bias], step)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 10), generate

    return convolve


def _repeat(builder: ir.IRBuilder, first: ir.Value, end: ir.Value, vectors: list[ir.Value], step: Callable) -> list:
    """A loop from first to before the end. `step`, of the number and vectors, gives the vectors for the next number."""
    before = builder.block
    head, body, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    number, phis = builder.phi(_INTEGER), [builder.phi(_VECTOR) for _ in vectors]
    builder.cbranch(builder.icmp_signed("<", number, end), body, after)
    builder.position_at_end(body)
    again = step(number, phis)
    _Code(builder).stay_single()
    following = builder.add(number, _INTEGER(1))
    builder.branch(head)
    for phi, start, now in zip([number, *phis], [first, *vectors], [following, *again], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(now, builder.block)
    builder.position_at_end(after)
    return phis


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
def multiply_add(typing, left, right, target):
    """A vector times another is added to what is at the target. Arguments: where they are."""

    def generate(context, builder, signature, arguments):
        left, right, target = arguments
        code = _Code(builder)
        code.store(code.multiply_add(code.load(left), code.load(right), code.load(target)), target)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 3), generate


@intrinsic
def sigmoid(typing, place):
    """A vector becomes 1 / (1 + exp(-x)), to float32's precision, where it is: its argument.

    exp(-x) is taken as exp(-x / 1024) to the 1024th power, the former from its series: no library is asked.
    """

    def generate(context, builder, signature, arguments):
        code, double = _Code(builder), ir.VectorType(ir.DoubleType(), LANES)

        def constant(number: float) -> ir.Value:
            return ir.Constant(double, [number] * LANES)

        x = builder.fpext(code.load(arguments[0]), double)
        for sign, bound in (("<", 40.0), (">", -40.0)):
            x = builder.select(builder.fcmp_ordered(sign, x, constant(bound)), x, constant(bound))
        x, power = builder.fmul(x, constant(-1 / 1024)), constant(1.0)
        for order in range(5, 0, -1):
            power = builder.fadd(builder.fmul(builder.fmul(power, x), constant(1 / order)), constant(1.0))
        for _ in range(10):
            power = builder.fmul(power, power)
        result = builder.fdiv(constant(1.0), builder.fadd(constant(1.0), power))
        code.store(builder.fptrunc(result, _VECTOR), arguments[0])
        return context.get_dummy_value()

    return types.void(types.intp), generate


@intrinsic
def stay_apart(typing):
    """The function that calls this is not made part of those that call it: they are compiled in half the time."""

    def generate(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


def pointer(kind: types.Type) -> Callable:
    """A function for compiled code that makes an address a pointer to numbers of a kind, or to a record."""
    target = kind if isinstance(kind, types.Record) else types.CPointer(kind)

    @intrinsic
    def point(typing, address):
        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(target))

        return target(types.intp), generate

    return point

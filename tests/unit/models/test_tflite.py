"""Reading .tflite files, written here value by value, whole and broken."""

import flatbuffers
import numpy as np
import pytest
import tflite
from tflite import BuiltinOperator as Op

from deploy.models.formats import BrokenFile
from deploy.models.formats.tflite import read_layers
from deploy.models.networks.layers import build
from services.common.onnx import open_session
from tests.unit.models.test_layers import expected

RANDOM = np.random.default_rng(9)
SIDE = 9
KINDS = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.RELU, Op.ABS, Op.SUB, Op.MUL, Op.ADD, Op.RESHAPE, Op.SIN)


class Writer:
    """A file in the making: values by their numbers, operators one after the other."""

    def __init__(self, batch: int = 2, kind: int = tflite.TensorType.FLOAT32) -> None:
        self.builder = flatbuffers.Builder(1024)
        self.batch, self.kind = batch, kind
        self.tensors, self.operators, self.buffers = [], [], [self._buffer(b"")]
        self.shapes = []

    def value(self, *shape, weights=None) -> int:
        buffer = 0
        if weights is not None:
            self.buffers.append(self._buffer(np.asarray(weights, "<f4").tobytes()))
            buffer, shape = len(self.buffers) - 1, weights.shape
        sizes = self._numbers(shape)
        tflite.TensorStart(self.builder)
        tflite.TensorAddShape(self.builder, sizes)
        tflite.TensorAddType(self.builder, self.kind if weights is not None else tflite.TensorType.FLOAT32)
        tflite.TensorAddBuffer(self.builder, buffer)
        self.tensors.append(tflite.TensorEnd(self.builder))
        self.shapes.append(shape)
        return len(self.tensors) - 1

    def convolve(self, x: int, kernel, stride=1, same=True, depthwise=False, activation=0, dilation=1) -> int:
        _, rows, _, channels = self.shapes[x]
        window, filters = kernel.shape[1], kernel.shape[3] if depthwise else kernel.shape[0]
        left = -(-rows // stride) if same else (rows - window) // stride + 1
        name = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        facts = {"Padding": 0 if same else 1, "StrideW": stride, "StrideH": stride, "DilationWFactor": dilation}
        facts |= {"DilationHFactor": dilation, "FusedActivationFunction": activation}
        getattr(tflite, f"{name}Start")(self.builder)
        for fact, number in facts.items():
            getattr(tflite, f"{name}Add{fact}")(self.builder, number)
        options = getattr(tflite, f"{name}End")(self.builder)
        inputs = (x, self.value(weights=kernel), self.value(weights=RANDOM.normal(size=filters)))
        kind = Op.DEPTHWISE_CONV_2D if depthwise else Op.CONV_2D
        return self.operate(
            kind, inputs, (self.batch, left, left, filters), options, getattr(tflite.BuiltinOptions, name)
        )

    def prelu(self, x: int, halves=None) -> int:
        shape = self.shapes[x]
        halves = self.value(weights=RANDOM.uniform(-0.5, 1, shape[3]) if halves is None else halves)
        relu, magnitude = self.operate(Op.RELU, (x,), shape), self.operate(Op.ABS, (x,), shape)
        below = self.operate(Op.SUB, (x, magnitude), shape)
        return self.operate(Op.ADD, (relu, self.operate(Op.MUL, (halves, below), shape)), shape)

    def operate(self, kind: int, inputs, shape, options=None, options_type=0) -> int:
        output = self.value(*shape)
        given, gives = self._numbers(inputs), self._numbers([output])
        tflite.OperatorStart(self.builder)
        tflite.OperatorAddOpcodeIndex(self.builder, KINDS.index(kind))
        tflite.OperatorAddInputs(self.builder, given)
        tflite.OperatorAddOutputs(self.builder, gives)
        if options is not None:
            tflite.OperatorAddBuiltinOptionsType(self.builder, options_type)
            tflite.OperatorAddBuiltinOptions(self.builder, options)
        self.operators.append(tflite.OperatorEnd(self.builder))
        return output

    def end(self) -> bytes:
        """The file; the first value is the input."""
        codes = []
        for kind in KINDS:
            tflite.OperatorCodeStart(self.builder)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(self.builder, kind)
            codes.append(tflite.OperatorCodeEnd(self.builder))
        tensors, operators = self._offsets(self.tensors), self._offsets(self.operators)
        first, last = self._numbers([0]), self._numbers([len(self.tensors) - 1])
        tflite.SubGraphStart(self.builder)
        tflite.SubGraphAddTensors(self.builder, tensors)
        tflite.SubGraphAddInputs(self.builder, first)
        tflite.SubGraphAddOutputs(self.builder, last)
        tflite.SubGraphAddOperators(self.builder, operators)
        graphs = self._offsets([tflite.SubGraphEnd(self.builder)])
        codes, buffers = self._offsets(codes), self._offsets(self.buffers)
        tflite.ModelStart(self.builder)
        tflite.ModelAddVersion(self.builder, 3)
        tflite.ModelAddOperatorCodes(self.builder, codes)
        tflite.ModelAddSubgraphs(self.builder, graphs)
        tflite.ModelAddBuffers(self.builder, buffers)
        self.builder.Finish(tflite.ModelEnd(self.builder), b"TFL3")
        return bytes(self.builder.Output())

    def _buffer(self, data: bytes) -> int:
        content = self.builder.CreateByteVector(data)
        tflite.BufferStart(self.builder)
        tflite.BufferAddData(self.builder, content)
        return tflite.BufferEnd(self.builder)

    def _numbers(self, numbers) -> int:
        return self.builder.CreateNumpyVector(np.asarray(numbers, np.int32))

    def _offsets(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()


def kernel(*shape) -> np.ndarray:
    return RANDOM.normal(scale=0.3, size=shape)


def written(batch: int = 2, kind: int = tflite.TensorType.FLOAT32, **first) -> bytes:
    """Stem, a block that is added to its input, and one number a channel."""
    file = Writer(batch, kind)
    x = file.value(batch, SIDE, SIDE, 3)
    x = file.prelu(file.convolve(x, kernel(6, 3, 3, 3), stride=2, **first))
    y = file.prelu(file.convolve(x, kernel(1, 3, 3, 6), depthwise=True))
    x = file.operate(Op.ADD, (file.convolve(y, kernel(6, 1, 1, 6)), x), (batch, 5, 5, 6))
    x = file.convolve(x, kernel(1, 2, 2, 6), stride=2, depthwise=True)
    x = file.convolve(x, kernel(4, 3, 3, 6), same=False)
    file.operate(Op.RESHAPE, (x, file.value(2)), (batch, 4))
    return file.end()


@pytest.mark.parametrize("batch", [1, 2])
def test_the_network_computes_what_the_file_says(batch):
    network = read_layers(written(batch))
    assert network.side == SIDE and len(network.layers) == 8
    assert network.layers[0].does.pads == (1, 1, 1, 1) and network.layers[6].does.pads == (0, 0, 1, 1)
    pixels = RANDOM.normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)
    (templates,) = open_session(build(network, "net").SerializeToString()).run(None, {"pixels": pixels})
    np.testing.assert_allclose(templates, expected(network, pixels), atol=2e-5)


def test_weights_are_laid_out_anew():
    """Kernels lie with the channels last; relu(x) + a · (x - |x|) is 2a · x below zero."""
    file = Writer()
    full, each = kernel(2, 3, 3, 3), kernel(1, 3, 3, 2)
    x = file.prelu(file.convolve(file.value(2, SIDE, SIDE, 3), full), np.array([0.125, -0.5]))
    file.convolve(x, each, depthwise=True)
    first, prelu, second = (layer.does for layer in read_layers(file.end()).layers)
    np.testing.assert_array_equal(first.kernel, full.astype(np.float32).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(second.kernel[:, 0], each[0].astype(np.float32).transpose(2, 0, 1))
    assert prelu.tolist() == [0.25, -1] and second.depthwise and not first.depthwise


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty", b""),
        ("a web page", b"<!DOCTYPE html><html></html>"),
        ("the name alone", b"\x10\0\0\0TFL3"),
        ("cut short", written()[:700]),
        ("weights of another type", written(kind=tflite.TensorType.FLOAT16)),
        ("a dilated convolution", written(dilation=2)),
        ("an activation of its own", written(activation=tflite.ActivationFunctionType.RELU)),
    ],
)
def test_other_files_are_refused(name, data):
    with pytest.raises(BrokenFile):
        read_layers(data)


@pytest.mark.parametrize("kind", [Op.SIN, Op.RELU, Op.MUL])
def test_operators_that_are_not_known_are_refused(kind):
    file = Writer()
    x = file.convolve(file.value(2, SIDE, SIDE, 3), kernel(6, 3, 3, 3))
    file.operate(kind, (x,), file.shapes[x])
    with pytest.raises(BrokenFile):
        read_layers(file.end())


def test_no_damaged_byte_causes_anything_but_broken_file():
    whole = written()
    for position in range(0, len(whole), 7):
        damaged = whole[:position] + bytes([(0, 0x0F, 0x81, 0xFF)[position % 4]]) + whole[position + 1 :]
        try:
            network = read_layers(damaged)
            if position % 63 == 0:  # it takes long
                build(network, "damaged")
        except BrokenFile as error:
            assert str(error)

"""Makes finished models: fetches their weight files, converts them to ONNX, and records what was made of what."""

import glob
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx

from deploy.models.formats import BrokenFile, dlib_dat, mtcnn_joblib, onnx_layers, pth, tflite
from deploy.models.keras import convert as keras
from deploy.models.networks import dlib, layers, minifasnet, mtcnn
from deploy.models.sources import networks_of
from deploy.models.weights import WeightFile, WeightStore
from services.common.cache import make_once
from services.common.errors import ModelUnavailable
from services.common.models import FinishedModel, FinishedNetwork, find, record_path, sha256_of, to_record


@dataclass(frozen=True)
class Order:
    """A model to be made.

    Attributes:
        name: canonical, see sources.py.
        url: MODEL_URL, for a liveness model.
        weights: the folder that weight files are kept in.
        into: the folder for what is finished.
        mirror: see WeightStore.
    """

    name: str
    weights: Path
    into: Path
    url: str = ""
    mirror: str = ""


@dataclass(frozen=True)
class Maker:
    """Makes an ONNX file of a weight file.

    Attributes:
        revision: raise it when the same file comes to give other numbers, by more than rounding: templates that were
            made before are not compared with those that are made then.
        make: takes the weight file, the network's name, the model's, and the path to write to.
    """

    revision: int
    make: Callable[[Path, str, str, Path], None]


def finished(order: Order) -> FinishedModel | None:
    """The model, if it is there already."""
    return find(order.into, order.name, order.weights)


def make(order: Order) -> FinishedModel:
    """The model, made now if it is not there. Safe for several processes on one folder.

    Raises:
        ModelUnavailable: weights cannot be had or are broken, or the folder cannot be written to.
        ConverterMissing: see keras/convert.py.
    """
    try:
        make_once(
            record_path(order.into, order.name),
            lambda draft: _make(order, draft),
            lambda _: finished(order) is not None,
        )
    except OSError as error:
        raise ModelUnavailable(f"{order.name} cannot be kept in {order.into}: {error}") from error
    model = finished(order)
    if model is None:
        raise ModelUnavailable(f"{order.name} was made, and is not whole")
    _remove_others(model)
    return model


def _make(order: Order, record: Path) -> None:
    """Writes the networks beside the record, and the record."""
    store = WeightStore(order.weights, order.mirror)
    networks = {}
    for network, files in networks_of(order.name, order.url).items():
        weights, kind = _obtain(store, files)
        maker = _maker(kind)
        draft = record.with_name("draft.onnx")
        try:
            maker.make(weights, network, order.name, draft)
        except BrokenFile as error:
            raise ModelUnavailable(f"{weights} is not what it should be: {error}") from error
        sha256 = sha256_of(draft)
        written = draft.rename(record.with_name(f"{order.name}-{network}-{sha256[:16]}.onnx"))
        networks[network] = FinishedNetwork(written.name, sha256, weights.name, sha256_of(weights), maker.revision)
    record.write_text(to_record(FinishedModel(order.name, order.into, networks)))


def _remove_others(model: FinishedModel) -> None:
    """Networks of earlier weights, or of an earlier maker."""
    ours = {model.path(network) for network in model.networks}
    for path in set(model.folder.glob(f"{glob.escape(model.name)}-*.onnx")) - ours:
        path.unlink(missing_ok=True)


def _obtain(store: WeightStore, files: tuple[WeightFile, ...]) -> tuple[Path, str]:
    """One of the files, and its kind: one that is here, or else the first that can be fetched."""
    for weight in files:
        if path := store.find(weight):
            return path, _kind(weight)
    try:
        return store.get(files[0]), _kind(files[0])
    except ModelUnavailable as error:
        for weight in files[1:]:
            with suppress(ModelUnavailable):
                return store.get(weight), _kind(weight)
        alternative = f" {files[1].name}, its Keras file, does as well." if files[1:] else ""
        raise ModelUnavailable(f"{error}{alternative}") from error


def _kind(weight: WeightFile) -> str:
    """What a file is to be read as."""
    return weight.kind or Path(weight.name).suffix


def _maker(kind: str) -> Maker:
    """By the kind of file: its ending, or what its record says where files of one ending are made in several ways."""
    makers = {
        ".onnx": Maker(0, _take),
        ".dat": Maker(dlib.REVISION, _make_dlib),
        ".pth": Maker(0, _make_minifasnet),
        ".lz4": Maker(0, _make_mtcnn),
        ".h5": Maker(keras.REVISION, _make_keras),
        ".zip": Maker(keras.REVISION, _make_keras),
        "layers.tflite": Maker(layers.REVISION, _make_of_tflite),
        "layers.onnx": Maker(layers.REVISION, _make_of_layers),
        "classes.onnx": Maker(layers.REVISION, _make_of_classes),
    }
    return makers[kind]


def _take(weights: Path, network: str, model: str, target: Path) -> None:
    """A network that was published as ONNX: the same file, not kept twice where the disk is the same."""
    try:
        os.link(weights, target)
    except OSError:
        shutil.copyfile(weights, target)


def _make_dlib(weights: Path, network: str, model: str, target: Path) -> None:
    onnx.save(dlib.build(dlib_dat.read_network(weights.read_bytes())), target)


def _make_minifasnet(weights: Path, network: str, model: str, target: Path) -> None:
    onnx.save(minifasnet.build(pth.read_state_dict(weights.read_bytes())), target)


def _make_of_tflite(weights: Path, network: str, model: str, target: Path) -> None:
    onnx.save(layers.build(tflite.read_layers(weights.read_bytes()), model), target)


def _make_of_layers(weights: Path, network: str, model: str, target: Path) -> None:
    onnx.save(layers.build(onnx_layers.read_layers(weights.read_bytes()), model), target)


def _make_of_classes(weights: Path, network: str, model: str, target: Path) -> None:
    onnx.save(layers.build(onnx_layers.read_layers(weights.read_bytes()), model, classes=True), target)


def _make_mtcnn(weights: Path, network: str, model: str, target: Path) -> None:
    onnx.save(mtcnn.build(network, mtcnn_joblib.read_weights(weights)), target)


def _make_keras(weights: Path, network: str, model: str, target: Path) -> None:
    keras.convert(weights, target, None if network == "liveness" else model)

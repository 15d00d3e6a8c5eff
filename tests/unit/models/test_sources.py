"""What models are made of: every one has files with an address, or a place where they come from."""

import pytest

from deploy.models.sources import FR_LIVENESS, MINIFASNET, MINIFASNET_URL, MTCNN, YUNET, canonical, networks_of
from services.common.errors import UnknownModel
from services.common.recognisers import RecogniserName

MODELS = (*map(str, RecogniserName), MTCNN, YUNET, MINIFASNET, FR_LIVENESS)


@pytest.mark.parametrize("name", MODELS)
def test_records_are_whole(name):
    for files in networks_of(name).values():
        first = files[0]
        assert first.package or first.npm or (first.url.startswith("https://") and first.url.endswith(first.name))
        assert first.licence and first.source
        assert all(other.name.endswith((".h5", ".zip")) and not other.url for other in files[1:])


@pytest.mark.parametrize(
    ("given", "name"), [("dlib", "Dlib"), ("MTCNN", "MTCNN"), ("vgg-face", "VGG-Face"), ("Own.h5", "Own.h5")]
)
def test_names_in_any_case(given, name):
    assert canonical(given) == name


def test_a_name_that_nobody_knows():
    with pytest.raises(UnknownModel, match="'Dlibb' is unknown; there are VGG-Face, .*Dlib"):
        canonical("Dlibb")


@pytest.mark.parametrize(
    "url", [MINIFASNET_URL, MINIFASNET_URL + "/", MINIFASNET_URL.replace("/raw/", "/tree/"), "https://mirror.example/x"]
)
def test_addresses_of_minifasnets_files(url):
    folder = "https://mirror.example/x" if "mirror" in url else MINIFASNET_URL
    assert [files[0].url for files in networks_of(MINIFASNET, url).values()] == [
        f"{folder}/2.7_80x80_MiniFASNetV2.pth",
        f"{folder}/4_0_0_80x80_MiniFASNetV1SE.pth",
    ]


def test_a_keras_file_of_ones_own():
    (files,) = networks_of("own.h5", "https://host/uc?id=1").values()
    assert [(file.name, file.url, file.sha256) for file in files] == [("own.h5", "https://host/uc?id=1", None)]

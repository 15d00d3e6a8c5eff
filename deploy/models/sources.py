"""The files of weights that the liveness models are made of."""

import re

from deploy.models.weights import WeightFile

#: Where the authors keep both files; what MODEL_URL says for MODEL_NAME=MiniFASNet.
MINIFASNET_URL = "https://github.com/minivision-ai/Silent-Face-Anti-Spoofing/raw/master/resources/anti_spoof_models"

#: Size of the part of the photo that each network wants to see over that of the face box; file; SHA-256.
MINIFASNETS = (
    (2.7, "2.7_80x80_MiniFASNetV2.pth", "a5eb02e1843f19b5386b953cc4c9f011c3f985d0ee2bb9819eea9a142099bec0"),
    (4.0, "4_0_0_80x80_MiniFASNetV1SE.pth", "84ee1d37d96894d5e82de5a57df044ef80a58be2b218b5ed7cdfd875ec2f5990"),
)


def minifasnet_files(url: str = MINIFASNET_URL) -> dict[float, WeightFile]:
    """MiniFASNet's two files, by the scale of the crop that each wants.

    Args:
        url: the address of the folder that holds them; a GitHub folder may be given as a browser shows it.
    """
    folder = re.sub(r"^(https://github\.com/[^/]+/[^/]+)/(?:tree|blob)/", r"\1/raw/", url).rstrip("/")
    return {
        scale: WeightFile(
            name=name,
            url=f"{folder}/{name}",
            sha256=sha256,
            licence="Apache-2.0",
            commercial_use=True,
            source="minivision-ai/Silent-Face-Anti-Spoofing, resources/anti_spoof_models",
        )
        for scale, name, sha256 in MINIFASNETS
    }


def keras_file(name: str, url: str) -> WeightFile:
    """The original toolkit's own model, or one like it.

    Args:
        name: MODEL_NAME; what is before the last slash does not count.
        url: MODEL_URL: the address of the file itself, on Google Drive as a rule.
    """
    return WeightFile(
        name=name.rsplit("/", 1)[-1],
        url=url,
        sha256=None,
        licence="unknown",
        commercial_use=False,
        source="whoever set MODEL_URL",
    )

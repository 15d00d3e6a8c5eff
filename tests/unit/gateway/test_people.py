import pytest

from services.gateway.errors import InvalidName, InvalidPersonId
from services.gateway.pipeline.people import check_person_id, display_name, normalise_name


@pytest.mark.parametrize(
    ("name", "stored", "shown"),
    [
        ("Dwayne Johnson", "dwayne_johnson", "Dwayne Johnson"),
        ("  dwayne\tJOHNSON ", "dwayne_johnson", "Dwayne Johnson"),
        ("dwayne_johnson", "dwayne_johnson", "Dwayne Johnson"),
        ("O'Brien-Smith", "o'brien-smith", "O'brien-smith"),
        ("../../etc/passwd", "etc_passwd", "Etc Passwd"),
        ("Zoë Ñandú", "zoë_ñandú", "Zoë Ñandú"),
        ("अनुष्का शर्मा", "अनुष्का_शर्मा", "अनुष्का शर्मा"),
        ("a\0b", "a_b", "A B"),
        ("ශ්\u200dරී ලංකා", "ශ්\u200dරී_ලංකා", "ශ්\u200dරී ලංකා"),
        ("می\u200cنا\u200c \u200dراد", "می\u200cنا_راد", "می\u200cنا راد"),
        ("क्\u200dषमा", "क्\u200dषमा", "क्\u200dषमा"),
        ("so\u00adphie \u200eann\u2060a", "sophie_anna", "Sophie Anna"),
        ("a\u200bb", "a_b", "A B"),
    ],
)
def test_names(name: str, stored: str, shown: str):
    assert normalise_name(name) == stored
    assert display_name(stored) == shown


@pytest.mark.parametrize("name", ["", " ", "..", "/", "'", "x" * 121, "é" * 61, "\u200d", "\u200c \u200d", "Zo\ufffd"])
def test_names_that_are_none(name: str):
    with pytest.raises(InvalidName):
        normalise_name(name)


def test_ids_match_as_a_whole():
    assert check_person_id("RECO_ID_1", r"RECO_ID_\d+") == "RECO_ID_1"
    for other in ("RECO_ID_1x", "xRECO_ID_1", "RECO_ID_1\n", ""):
        with pytest.raises(InvalidPersonId):
            check_person_id(other, r"RECO_ID_\d+")


@pytest.mark.parametrize(
    "person_id", ["", ".", "..", "a/b", "a\\b", "c:", ".hidden", " x", "x ", "a\nb", "é" * 61, "a\ufffd"]
)
def test_ids_are_safe_folder_names_whatever_the_pattern(person_id: str):
    with pytest.raises(InvalidPersonId):
        check_person_id(person_id, r"(?s).*")


def test_a_pattern_that_would_take_for_ever_does_not():
    with pytest.raises(InvalidPersonId):
        check_person_id("a" * 100 + "!", r"(a+)+")

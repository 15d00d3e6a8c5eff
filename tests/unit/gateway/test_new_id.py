"""IDs that are made for people who come without one."""

from itertools import islice

import pytest
import re2

from services.common.errors import InvalidRequest
from services.gateway.pipeline.new_id import TRIES, made_ids


@pytest.mark.parametrize(
    "pattern",
    [
        r"RECO_ID_\d+",
        r"\d{9}",
        r".*",
        r".+",
        r"(?i)emp-[0-9]{4,8}",
        r"[0-9a-f-]{36}",
        r"(AB|AC)?\d+",
        r"K[0-9]",
        r"[A-Z]{2}\d{9}",
    ],
)
def test_they_match_as_a_whole_and_differ(pattern: str):
    made = list(islice(made_ids(pattern, ""), 3))
    assert all(re2.fullmatch(pattern, one) for one in made)
    assert len(set(made)) == 3 or pattern == r"K[0-9]"


def test_the_same_request_gets_the_same():
    assert list(made_ids(r"\d+", "r-1")) == list(made_ids(r"\d+", "r-1")) != list(made_ids(r"\d+", "r-2"))
    assert len(set(made_ids(r"\d+", "r-1"))) == TRIES


@pytest.mark.parametrize("pattern", [r"[A-Z]{3}", r"x|y", r"a", r"é\d{40}"])
def test_where_none_can_be_made_it_says_so(pattern: str):
    with pytest.raises(InvalidRequest, match="give one"):
        next(made_ids(pattern, ""))

"""The gateway on fakes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.gateway.fake_gateway import FakeGateway


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    """One without people or uploads."""
    with ThreadPoolExecutor(4) as executor:
        yield FakeGateway(executor)

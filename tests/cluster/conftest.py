"""What the tests on the real API server share."""

from collections.abc import Iterator

import pytest

from tests.contract import jwt_worlds
from tests.contract.jwt_worlds import Issuer
from tests.lab.realparts import ApiServer


@pytest.fixture(scope="module")
def issuing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Issuer, ApiServer]]:
    """An issuer of JWT-SVIDs, and an API server that takes them."""
    with jwt_worlds.issuing(tmp_path_factory.mktemp("issuer")) as made:
        yield made

from __future__ import annotations

import pytest

from tests.weight.kit import FakeContext, tiny_data, tiny_encoder


@pytest.fixture
def ctx() -> FakeContext:
    return FakeContext({"tiny:": tiny_encoder(), "letters:": tiny_data()})

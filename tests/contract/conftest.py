"""Fixtures that run each test once per implementation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.aws.api import PAGE_SIZE
from tests.contract.worlds import IMPLEMENTATIONS, OVER_HTTP, ApiOver, World


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def shared_world(request: pytest.FixtureRequest) -> Iterator[World]:
    with IMPLEMENTATIONS[request.param]() as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> World:
    """World that also contains the pools of other tests."""
    shared_world.cut_pages(PAGE_SIZE)
    return shared_world


@pytest.fixture(params=OVER_HTTP)
def api_over(request: pytest.FixtureRequest) -> ApiOver:
    return OVER_HTTP[request.param]

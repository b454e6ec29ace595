"""Argo CD once for all tests of this folder. Run them in one process: it is one installation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.argo.argocd import argocd as running


@pytest.fixture(scope="session")
def argocd(operator: None) -> Iterator[None]:
    """Argo CD, for as long as tests need it."""
    with running():
        yield

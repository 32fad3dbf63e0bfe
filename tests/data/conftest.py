import os
from pathlib import Path

import pytest


@pytest.fixture
def data_root() -> Path:
    """Where the real data lie, for tests marked with `data`."""
    return Path(os.environ["DIABOLO_DATA"])


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder, for downloads and for decoded arrays alike."""
    monkeypatch.delenv("DIABOLO_DATA", raising=False)
    monkeypatch.setenv("DIABOLO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"

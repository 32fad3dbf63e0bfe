"""Real data for the tests: used where `DIABOLO_DATA` holds it; a closing line names what was left out."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

FOLDERS = {"mnist": "mnist", "fashion-mnist": "fashion-mnist", "cifar10": "cifar-10-batches-bin"}


def at_hand(name: str) -> bool:
    root = os.environ.get("DIABOLO_DATA")
    return root is not None and (Path(root) / FOLDERS[name]).is_dir()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reference scores and decoded arrays of the tests go to a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIABOLO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse what a device without float64 would: numbers that have it before they are on the host."""
    fetch = torch.Tensor.cpu

    def cpu(x: torch.Tensor) -> torch.Tensor:
        assert x.dtype != torch.float64
        return fetch(x)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # what is tested is small: more threads only wait for each other
    config.addinivalue_line("markers", "data(name): needs a data set under DIABOLO_DATA")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [i for i in items if any(not at_hand(m.args[0]) for m in i.iter_markers("data"))]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if names := [name for name in FOLDERS if not at_hand(name)]:
        terminalreporter.write_line(f"left out, not at hand under DIABOLO_DATA: tests on {', '.join(names)}")

"""How much memory is free, by what a container says."""

from pathlib import Path

import pytest

from diabolo import memory


@pytest.mark.parametrize(("limit", "free"), [("1000", 1000 - (700 - 200)), ("400", 0), ("max", None)])
def test_of_a_container_s_limit_what_is_taken_is_not_free(
    limit: str, free: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"max": limit, "current": "700", "stat": "anon 500\ninactive_file 200\nactive_file 50"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(memory, "CGROUPS", (tuple(str(tmp_path / name) for name in texts),))
    everything = memory.free_memory()
    if free is None:
        assert everything > 1000  # what the machine has
    else:
        assert everything == free

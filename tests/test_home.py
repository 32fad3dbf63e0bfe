"""~ stands for the home folder, wherever a run or what is written is named."""

from pathlib import Path

import pytest

import diabolo
from diabolo.errors import UserError
from diabolo.files import expanded
from diabolo.verbs.reproduce import reproduce


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder, and an empty folder to work in."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert not list(Path().iterdir())


def test_runs_and_what_is_written_may_lie_at_home(home):
    settings = {"encoder": {"name": "mlp", "widths": [8]}, "evaluation.live": 0, "data.limit": 200}
    options = {"epochs": 0, "settings": settings, "evaluate": False, "quiet": True}
    diabolo.fit("digits", "ae", out="~/run", **options)
    diabolo.fit("digits", "ae", out="~/run", resume=True, **options)
    diabolo.fit("digits", "ae", out="~/next", init="~/run", **options)
    assert diabolo.Run.open("~/run").folder == home / "run"
    scored = {"probes": ["knn"], "quiet": True}
    diabolo.evaluate("~/run", out="~/scores.json", report="~/page.html", **scored)
    diabolo.embed("~/run", "digits", out="~/features.npz", quiet=True)
    diabolo.evaluate("~/features.npz", **scored)
    diabolo.predict("~/run", probe="knn", out="~/made", quiet=True)
    diabolo.preview("digits", n=1, out="~/digits.png", quiet=True)
    reproduce(out="~/tables")
    for name in ("next/model.safetensors", "scores.json", "page.html", "made/predict.csv", "digits.png"):
        assert (home / name).is_file()
    assert (home / "tables" / "RESULTS.md").is_file()


@pytest.mark.parametrize("verb", [diabolo.compare, diabolo.search])
def test_so_may_comparisons_and_searches(home, verb):
    (home / "taken").write_text("")
    with pytest.raises(UserError, match=rf"{home}/taken is a file"):
        verb("digits", ["ae"] if verb is diabolo.compare else "ae", out="~/taken", quiet=True)


def test_a_name_may_begin_with_the_sign_too():
    assert expanded("~nobody-is-called-so/run") == Path("~nobody-is-called-so/run")

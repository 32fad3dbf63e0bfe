"""The pages in a real browser: nothing goes wrong, nothing is fetched, and something is to be seen."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diabolo

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser on the path: {', '.join(NAMES)}")

PHONE, DESKTOP = (390, 2400), (1280, 2000)
DARK = ("--blink-settings=preferredColorScheme=0",)
BAD = """<img hidden src="http://127.0.0.1:9/x.png"><script>undefinedFunction()</script>"""


@dataclass(frozen=True)
class Opened:
    """console: what the page's console says. requested: what it asked for. seen: [H, W, 3]."""

    console: list[str]
    requested: list[str]
    seen: np.ndarray


def opened(page: Path, folder: Path, size: tuple[int, int] = DESKTOP, *options: str) -> Opened:
    """Open a page without a window, and look at what the browser wrote down."""
    picture, log = folder / "seen.png", folder / "requests.json"
    words = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
        *("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'profile'}"),
        *(f"--log-net-log={log}", f"--screenshot={picture}", f"--window-size={size[0]},{size[1]}"),
        *(*options, page.as_uri()),
    ]
    said = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stderr
    with Image.open(picture) as image:
        seen = np.asarray(image.convert("RGB"))
    return Opened(re.findall(r'CONSOLE.*?\] "(.*)", source', said), _requests(log.read_text("utf-8")), seen)


def _requests(log: str) -> list[str]:
    """What the page asked for: what the browser fetches for itself, such as its clock, has no origin."""
    try:
        events = json.loads(log)["events"]
    except ValueError:  # the browser left before it closed the list
        events = json.loads(log.rstrip().rstrip(",") + "]}")["events"]
    asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
    return [params["url"] for params in asked if params["initiator"] != "not an origin" and "url" in params]


def colours(seen: np.ndarray) -> int:
    return len(np.unique(seen.reshape(-1, 3), axis=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of two methods on digits: its page, and in `runs` a page of each; and a search."""
    folder = tmp_path_factory.mktemp("comparison") / "c"
    settings = {"encoder": {"name": "mlp", "widths": [16]}, "evaluation.measures": ["similarity"]}
    settings |= {"evaluation.probes": ["linear"], "training.batch_size": 256}
    diabolo.compare("digits", ["vae", "simclr"], seeds=1, epochs=1, settings=settings, out=folder, quiet=True)
    settings |= {"evaluation.measures": None}
    diabolo.search("digits", "ae", trials=5, epochs=1, settings=settings, out=folder / "search", quiet=True)
    return folder


PAGES = ("comparison.html", "search/search.html", "runs/vae-0/report.html", "runs/simclr-0/report.html")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_in_peace_and_fetches_nothing(folder: Path, tmp_path: Path, name: str) -> None:
    found = opened(folder / name, tmp_path)
    assert found.console == []
    assert found.requested == []
    assert colours(found.seen) > 100


@pytest.mark.parametrize("name", PAGES)
def test_a_page_follows_the_dark_theme_and_fits_a_phone(folder: Path, tmp_path: Path, name: str) -> None:
    found = opened(folder / name, tmp_path, PHONE, *DARK)
    assert colours(found.seen) > 100
    dark = np.array([0x15, 0x17, 0x1A])
    assert (found.seen == dark).all(axis=2).mean() > 0.4
    # Nothing is cut off at the right: there the page has its margin, all the way down.
    assert (found.seen[:, -12:] == dark).all()


def test_what_a_page_must_not_do_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(BAD)
    found = opened(page, tmp_path)
    assert found.requested == ["http://127.0.0.1:9/x.png"]
    assert any("undefinedFunction" in line for line in found.console)
    assert colours(found.seen) == 1

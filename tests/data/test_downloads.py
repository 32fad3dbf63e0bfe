"""Downloads from a server that is good, wrong, or breaks off."""

import hashlib
import io
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from diabolo.data.catalog import CATALOG, DataSetEntry, Download
from diabolo.data.fetch import data_folder, fetch, find
from diabolo.errors import UserError

CONTENT = bytes(range(256)) * 40


def md5(raw):
    return f"md5:{hashlib.md5(raw).hexdigest()}"


def archive(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return stream.getvalue()


@pytest.fixture
def server():
    """Serves what is put into `files`; `asked` is what was asked for. Names with `cut` break off half way."""

    class Handler(BaseHTTPRequestHandler):
        files: ClassVar[dict[str, bytes]]
        asked: ClassVar[list[str]]

        def do_GET(self):
            name = self.path.strip("/")
            self.asked.append(name)
            if name not in self.files:
                self.send_error(404)
                return
            raw = self.files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2] if "cut" in name else raw)

        def log_message(self, format, *arguments):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.files, Handler.asked = {}, []
    Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    Handler.base = f"http://127.0.0.1:{httpd.server_port}"
    yield Handler
    httpd.shutdown()
    httpd.server_close()


def data_set(*downloads):
    return DataSetEntry("no:where", "for the test", folder="some-set", downloads=downloads)


def left_behind(folder):
    return [path for path in folder.rglob("*") if path.suffix != ".lock"]


def test_good_files_arrive_and_are_not_fetched_again(server, cache):
    server.files["a.bin"] = CONTENT
    entry = data_set(Download(f"{server.base}/a.bin", md5(CONTENT), ("a.bin",)))
    folder = fetch(entry)
    assert folder == cache / "some-set"
    assert left_behind(cache) == [folder, folder / "a.bin"]
    assert (folder / "a.bin").read_bytes() == CONTENT
    fetch(entry)
    assert server.asked == ["a.bin"]


def test_archives_are_unpacked_and_paths_in_them_are_not_trusted(server, cache):
    raw = archive({"set/a.bin": b"a" * 100, "../../b.bin": b"b" * 100, "/tmp/evil": b"c"})
    server.files["set.tar.gz"] = raw
    folder = fetch(data_set(Download(f"{server.base}/set.tar.gz", md5(raw), ("a.bin", "b.bin"))))
    assert sorted(left_behind(cache)) == [folder, folder / "a.bin", folder / "b.bin"]
    assert (folder / "b.bin").read_bytes() == b"b" * 100


@pytest.mark.parametrize(
    ("name", "checksum", "reason"),
    [
        ("a.bin", md5(b"other"), "checksum"),
        ("cut.bin", md5(CONTENT), "broke"),
        ("missing.bin", md5(CONTENT), "404"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(server, cache, name, checksum, reason):
    server.files |= {"a.bin": CONTENT, "cut.bin": CONTENT, "missing.bin": CONTENT}
    if name == "missing.bin":
        del server.files[name]
    with pytest.raises(UserError, match=reason) as error:
        fetch(data_set(Download(f"{server.base}/{name}", checksum, (name,))))
    assert "\n" not in str(error.value)
    assert name in str(error.value)
    assert left_behind(cache) == []


@pytest.mark.parametrize(
    "raw",
    [archive({"set/a.bin": b"a"}), archive({"a.bin": b"a" * 10**5, "b.bin": b"b"})[:90], b"no tar"],
    ids=["a file lacks", "cut", "no tar"],  # an archive's bytes hold the time
)
def test_wrong_archives_leave_nothing(server, cache, raw):
    server.files["set.tar.gz"] = raw
    with pytest.raises(UserError, match=r"set\.tar\.gz"):
        fetch(data_set(Download(f"{server.base}/set.tar.gz", md5(raw), ("a.bin", "b.bin"))))
    assert left_behind(cache) == []


def test_no_network(server, cache):
    server.files["a.bin"] = CONTENT
    with pytest.raises(UserError, match="no connection"):
        fetch(data_set(Download("http://127.0.0.1:9/a.bin", md5(CONTENT), ("a.bin",))))
    assert left_behind(cache) == []


def test_files_at_hand_are_used_as_they_are(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_DATA", str(tmp_path))
    folder = tmp_path / "some-set"
    folder.mkdir()
    (folder / "a.bin.xz").write_bytes(b"repacked")
    server.files["b.bin"] = CONTENT
    entry = data_set(
        Download(f"{server.base}/a.bin", md5(CONTENT), ("a.bin",)),
        Download(f"{server.base}/b.bin", md5(CONTENT), ("b.bin",)),
    )
    assert fetch(entry) == folder == data_folder() / "some-set"
    assert server.asked == ["b.bin"]  # only what is missing
    assert find(folder, "a.bin") == folder / "a.bin.xz"


def test_every_published_file_has_a_checksum():
    for entry in CATALOG.values():
        for download in entry.downloads:
            algorithm, _, digest = download.checksum.partition(":")
            assert len(digest) == {"md5": 32, "sha256": 64}[algorithm]
            assert download.url.startswith("http")

"""Downloads: the right bytes under their name or nothing there, and no file twice. The server is this machine."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from archives_on_disk import write_ucmerced, zip_ucmerced
from run_command import run

from aljax.commands import prepare
from aljax.data.archives import builders
from aljax.data.archives.download import TREESATAI, UCMERCED, download
from aljax.data.archives.ucmerced import open_ucmerced
from aljax.errors import InputError


class Publisher:
    """Serves files by name, notes every request, and can break off in the middle of a file."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.requests = files, list[str]()
        self.breaks_off = False
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.removeprefix("/")
        self.requests.append(name)
        content = self.files.get(name)
        handler.send_response(404 if content is None else 200)
        handler.send_header("Content-Length", str(len(content or b"")))
        handler.end_headers()
        if content:
            handler.wfile.write(content[: len(content) // 2] if self.breaks_off else content)

    def offer(self, name: str, kind: str = "sha256", checksum: str = "") -> dict[str, str]:
        digest = checksum or hashlib.new(kind, self.files.get(name, b"")).hexdigest()
        return {f"http://127.0.0.1:{self.server.server_port}/{name}": f"{kind}:{digest}"}

    def offer_all(self, kind: str = "sha256") -> dict[str, str]:
        return {url: checksum for name in self.files for url, checksum in self.offer(name, kind).items()}


@pytest.fixture
def publisher(tmp_path_factory) -> Iterator[Publisher]:
    zips = zip_ucmerced(write_ucmerced(tmp_path_factory.mktemp("files")), tmp_path_factory.mktemp("zips") / "zips")
    publisher = Publisher({path.name: path.read_bytes() for path in zips.iterdir()})
    thread = threading.Thread(target=publisher.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield publisher
    publisher.server.shutdown()
    thread.join()
    publisher.server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_file_with_the_right_checksum_is_taken_and_not_fetched_again(kind: str, publisher, tmp_path: Path) -> None:
    offers = publisher.offer_all(kind)
    download(offers, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == publisher.files
    assert sorted(publisher.requests) == sorted(publisher.files)
    download(offers, tmp_path)
    assert len(publisher.requests) == len(publisher.files)


def test_file_with_another_checksum_is_refused_and_not_kept(publisher, tmp_path: Path) -> None:
    wrong = publisher.offer("multilabels.zip", "md5", "0" * 32)
    with pytest.raises(InputError, match=r"multilabels\.zip could not be downloaded \(.*does not match.*\): try again"):
        download(wrong, tmp_path)
    assert not list(tmp_path.iterdir())


def test_file_that_was_changed_on_disk_is_fetched_again(publisher, tmp_path: Path) -> None:
    (tmp_path / "multilabels.zip").write_bytes(b"something else")
    download(publisher.offer("multilabels.zip"), tmp_path)
    assert (tmp_path / "multilabels.zip").read_bytes() == publisher.files["multilabels.zip"]


def test_interrupted_download_is_reported_and_its_repetition_fetches_what_is_missing(publisher, tmp_path: Path) -> None:
    first, second = (publisher.offer(name) for name in ("multilabels.zip", "UCMerced_LandUse.zip"))
    download(first, tmp_path)
    publisher.breaks_off = True
    with pytest.raises(InputError, match=r"UCMerced_LandUse\.zip could not be downloaded \(.*\): try again") as caught:
        download(first | second, tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["multilabels.zip"]
    publisher.breaks_off = False
    download(first | second, tmp_path)
    assert (tmp_path / "UCMerced_LandUse.zip").read_bytes() == publisher.files["UCMerced_LandUse.zip"]
    assert publisher.requests == ["multilabels.zip", "UCMerced_LandUse.zip", "UCMerced_LandUse.zip"]


def test_what_a_killed_download_left_is_removed(publisher, tmp_path: Path) -> None:
    (tmp_path / "tmpab12cd_3").write_bytes(b"half a file")
    download(publisher.offer("multilabels.zip"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["multilabels.zip"]


def test_file_that_is_not_offered_and_a_server_that_is_gone_are_reported(publisher, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"other\.zip could not be downloaded \(404.*--manual-dir"):
        download(publisher.offer("other.zip"), tmp_path)
    with pytest.raises(InputError, match=r"multilabels\.zip could not be downloaded \(.*refused"):
        download({"http://127.0.0.1:9/multilabels.zip": "md5:" + "0" * 32}, tmp_path)


def test_prepare_downloads_what_it_is_not_given(publisher, tmp_path: Path, monkeypatch, capsys) -> None:
    offers = publisher.offer_all()
    monkeypatch.setattr(builders.UcmercedMultilabel, "downloads", offers)
    publisher.breaks_off = True
    assert run(monkeypatch, prepare.main, "ucmerced", "--out", tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: http://127.0.0.1:")
    publisher.breaks_off = False
    assert run(monkeypatch, prepare.main, "ucmerced", "--out", tmp_path) == 0
    downloaded = tmp_path / "downloads" / "ucmerced_multilabel"
    assert open_ucmerced(tmp_path, 64).fingerprint() == open_ucmerced(downloaded, 64).fingerprint()
    fetched = len(publisher.requests)
    assert run(monkeypatch, prepare.main, "ucmerced", "--out", tmp_path) == 0
    assert len(publisher.requests) == fetched


def test_every_file_of_the_archives_has_a_name_and_a_checksum_of_its_own() -> None:
    for files, count in ((UCMERCED, 2), (TREESATAI, 23)):
        assert len({url.rpartition("/")[2] for url in files}) == len({*files.values()}) == count
        for checksum in files.values():
            kind, _, digest = checksum.partition(":")
            assert len(bytes.fromhex(digest)) == hashlib.new(kind).digest_size

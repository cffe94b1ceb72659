"""Catalogs of checkpoints, and downloading what they list: from a server on this machine, in place of one by https."""

import dataclasses
import http.client
import http.server
import json
import re
import shutil
import threading
import urllib.request

import pytest

from contrastiveseg.checkpoints import models_job
from contrastiveseg.checkpoints.download import _HttpsAlone, download, open_https
from contrastiveseg.checkpoints.header import digest, read_card
from contrastiveseg.checkpoints.model_catalog import OWN, catalog_models, read_catalog
from contrastiveseg.checkpoints.starters import FOLDER, starter, starters
from contrastiveseg.cli import main
from contrastiveseg.descriptions import ModelsJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Progress
from contrastiveseg.results import CatalogModel

ADDRESS = "https://nowhere.invalid/heart.safetensors"


@pytest.fixture(scope="module")
def content() -> bytes:
    return starter("macl-3d-tiny").read_bytes()


@pytest.fixture
def model(content) -> CatalogModel:
    sha = digest(starter("macl-3d-tiny"))
    return CatalogModel("heart", "hearts", "CT", len(content), sha, "CC-BY-NC-4.0", "Doe, 2026.", ADDRESS)


class Server:
    """Answers with ``content``; ``ranges`` is whether it can begin in the middle, ``most`` bytes at most are sent."""

    def __init__(self, content: bytes) -> None:
        self.content, self.ranges, self.most, self.starts = content, True, len(content), []
        served = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                start = int(asked[1]) if asked and served.ranges else 0
                served.starts.append(int(asked[1]) if asked else 0)
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(served.content) - start))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(served.content) - 1}/{len(served.content)}")
                self.end_headers()
                self.wfile.write(served.content[start : start + served.most])

            def log_message(self, *given) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def open(self, address: str, start: int):
        """In place of :func:`open_https`."""
        assert address == ADDRESS
        connection = http.client.HTTPConnection(*self.http.server_address)
        connection.request("GET", "/", headers={"Range": f"bytes={start}-"} if start else {})
        return connection.getresponse()


@pytest.fixture
def server(content):
    made = Server(content)
    yield made
    made.http.shutdown()
    made.http.server_close()


def write_catalog(path, *models, **more):
    path.write_text(json.dumps({"models": [{**dataclasses.asdict(m), **more} for m in models]}))
    return path


def test_the_catalog_that_ships_describes_the_starters_that_ship():
    listed = read_catalog(OWN)
    assert {model.name for model in listed} == set(starters())
    for model in listed:
        file, card = starter(model.name), read_card(starter(model.name))
        assert (model.size, model.sha256) == (file.stat().st_size, digest(file))
        assert (model.license, model.citation) == (card.provenance.license, card.provenance.citation)
        assert model.address == ""


def test_the_schema_names_the_fields_of_a_model():
    schema = json.loads((FOLDER / "catalog.schema.json").read_text())
    entry = schema["properties"]["models"]["items"]
    fields = dataclasses.fields(CatalogModel)
    assert list(entry["properties"]) == [field.name for field in fields]
    assert entry["required"] == [field.name for field in fields if field.default is dataclasses.MISSING]
    assert json.loads(OWN.read_text())["$schema"] == "catalog.schema.json"


def test_models_are_listed(capsys, tmp_path, model):
    catalog = write_catalog(tmp_path / "ours.json", model)
    assert main(["models", "--catalog", str(catalog)]) == 0
    told = capsys.readouterr().out
    assert "starter:macl-3d-tiny" in told
    assert f"heart (5.6 MB): {ADDRESS}" in told
    assert "License: CC-BY-NC-4.0" in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "../heart"}, "name must be"),
        ({"sha256": "12"}, "64 hexadecimal"),
        ({"size": 0}, "size must be"),
        ({"size": "5"}, "expected int"),
        ({"purpose": "a\nb"}, "one line each"),
        ({"address": "http://example.org/x"}, "by https"),
        ({"address": "file:///etc/passwd"}, "by https"),
        ({"address": "https:///x"}, "by https"),
        ({"address": "https://me:secret@example.org/x"}, "by https"),
        ({"address": "https://example.org/x y"}, "by https"),
        ({"address": "https://[bad/x"}, "by https"),
        ({"run": "rm"}, "unknown run"),
    ],
)
def test_a_catalog_that_is_none_is_refused(tmp_path, model, change, words):
    with pytest.raises(InputError, match=words):
        read_catalog(write_catalog(tmp_path / "ours.json", model, **change))


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "{}", '{"models": 1}', '{"models": [{}]}'])
def test_what_is_no_json_catalog_is_refused(tmp_path, text):
    path = tmp_path / "ours.json"
    path.write_text(text)
    with pytest.raises(InputError):
        read_catalog(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_catalog(tmp_path / "none.json")


def test_two_models_of_one_name_are_refused(tmp_path, model):
    catalog = write_catalog(tmp_path / "ours.json", dataclasses.replace(model, name="MACL-3d-tiny"))
    with pytest.raises(InputError, match="Two models"):
        catalog_models([catalog])


def test_a_download_is_checked_and_put_in_place_at_once(server, model, tmp_path):
    seen, output = [], tmp_path / "new" / "heart.safetensors"
    download(model, output, emit=seen.append, open_address=server.open)
    assert output.read_bytes() == server.content
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    done = [event.done for event in seen if isinstance(event, Progress)]
    assert done[-1] == model.size
    with pytest.raises(InputError, match="exists already"):
        download(model, output, open_address=server.open)
    assert server.starts == [0]


def test_a_download_goes_on_where_it_was_stopped(server, model, tmp_path):
    output, seen = tmp_path / "heart.safetensors", []
    with pytest.raises(Cancelled, match="goes on from there"):
        download(
            model, output, emit=seen.append, cancelled=lambda: isinstance(seen[-1], Progress), open_address=server.open
        )
    assert not output.exists()
    (part,) = tmp_path.iterdir()
    there = part.stat().st_size
    assert 0 < there < model.size
    download(model, output, open_address=server.open)
    assert server.starts == [0, there]
    assert output.read_bytes() == server.content


def test_a_connection_that_breaks_off_is_told_and_gone_on_with(server, model, tmp_path):
    output, server.most = tmp_path / "heart.safetensors", 1_000_000
    with pytest.raises(InputError, match=r"could not be downloaded.*goes on from there"):
        download(model, output, open_address=server.open)
    server.most, server.ranges = len(server.content), False
    download(model, output, open_address=server.open)  # of a server that sends whole files only
    assert len(server.starts) == 2
    assert server.starts[1] > 0
    assert output.read_bytes() == server.content


def test_another_file_than_the_one_named_is_removed(server, model, tmp_path):
    output = tmp_path / "heart.safetensors"
    server.content = server.content[:-1] + b"x"
    with pytest.raises(InputError, match="SHA-256 is another"):
        download(model, output, open_address=server.open)
    assert list(tmp_path.iterdir()) == []
    server.content += b"more"
    server.most = len(server.content)
    with pytest.raises(InputError, match="more than"):
        download(model, output, open_address=server.open)
    assert not output.exists()


def test_a_file_that_is_no_checkpoint_is_not_kept(server, model, tmp_path):
    server.content = b"\x80\x04 a pickle"
    path = tmp_path / "there"
    path.write_bytes(server.content)
    model = dataclasses.replace(model, size=len(server.content), sha256=digest(path))
    with pytest.raises(InputError, match="holds no checkpoint"):
        download(model, tmp_path / "heart.safetensors", open_address=server.open)
    assert [file.name for file in tmp_path.iterdir()] == ["there"]


def test_only_https_is_opened_and_followed():
    with pytest.raises(InputError, match="not https"):
        open_https("http://127.0.0.1/x", 0)
    with pytest.raises(InputError, match="not https"):
        open_https("file:///etc/hostname", 0)
    request = urllib.request.Request(ADDRESS)
    with pytest.raises(InputError, match="not https"):
        _HttpsAlone().redirect_request(request, None, 302, "", {}, "http://nowhere.invalid/x")
    led_on = _HttpsAlone().redirect_request(request, None, 302, "", {}, "https://other.invalid/x")
    assert led_on.full_url == "https://other.invalid/x"


def test_the_job_downloads_by_name_and_tells_the_license(server, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models_job.download, "__defaults__", (*models_job.download.__defaults__[:-1], server.open))
    catalog = write_catalog(tmp_path / "ours.json", model)
    monkeypatch.chdir(tmp_path)
    assert main(["models", "--catalog", str(catalog), "--download", "heart"]) == 0
    told = capsys.readouterr()
    assert "downloaded: heart.safetensors" in told.out
    assert "The weights are under Apache-2.0" in told.out  # as the checkpoint says
    assert (tmp_path / "heart.safetensors").read_bytes() == server.content


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"download": "liver"}, r"No model is called 'liver'. There are: synthetic"),
        ({"download": "macl-3d-tiny"}, "name it as starter:macl-3d-tiny"),
        ({"download": "macl-3d-tiny", "output": "x.pth"}, "ends in .safetensors"),
        ({"output": "x.safetensors"}, "name what with --download"),
    ],
)
def test_what_cannot_be_downloaded_is_refused(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        models_job.models(ModelsJob(**options))
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_whole_already_needs_no_connection(model, content, tmp_path):
    output = tmp_path / "heart.safetensors"
    shutil.copy(starter("macl-3d-tiny"), tmp_path / f"heart.safetensors.{model.sha256[:16]}.part")
    download(model, output, open_address=None)
    assert output.read_bytes() == content

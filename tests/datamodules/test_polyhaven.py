from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.polyhaven import SOURCES, USER_AGENT, Asset, PolyHaven, RemoteFile, choose, fetch_panoramas
from datamodules.scenes import read_split
from zoo.errors import ConfigError, DataError

AUTHORS = {"attic": {"Ann": "All"}, "beach": {"Ben": "Photography", "Eva": "Processing"}, "cave": {"Ann": "All"}}
CATEGORIES = {"attic": ["indoor"], "beach": ["outdoor", "night"], "cave": ["outdoor"]}


class Service:
    """A server with Poly Haven's replies, and the faults that a test sets.

    ``faults`` maps a path to what its next requests meet, one each: a status, ``cut`` (half of what was asked for, then
    the line drops), ``slow`` (nothing, until the client has given up), ``whole`` (a range is ignored), ``flipped`` or
    ``endless`` (until the client hangs up).
    """

    def __init__(self) -> None:
        self.contents = {f"/dl/{name}_4k.hdr": name.encode() * 50_000 for name in AUTHORS}
        self.faults: dict[str, list[int | str]] = {}
        self.requests: list[tuple[str, str | None]] = []  # path and range
        self.agents: set[str | None] = set()
        self.sizes: dict[str, int] = {}  # stated in place of the true ones
        self.released = threading.Event()
        self.hung_up = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                service.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        self.agents.add(handler.headers.get("User-Agent"))
        fault = next(iter(self.faults.get(handler.path, ())), None)
        if fault is not None:
            self.faults[handler.path].pop(0)
        body = self.body(handler.path)
        status = 404 if body is None else 200
        body = body or b""
        if isinstance(fault, int):
            status, body = fault, b"no"
        if fault == "slow":
            self.released.wait(5)
            handler.close_connection = True
            return
        if fault == "endless":
            handler.send_response(200)
            handler.end_headers()
            handler.close_connection = True
            try:  # 100 MiB at most
                for _ in range(400):
                    handler.wfile.write(bytes(2**18))
            except OSError:
                self.hung_up.set()
            return
        if fault == "flipped":
            body = bytes([body[0] ^ 1]) + body[1:]
        if wanted and status == 200 and fault != "whole":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            body, status = (body[start:], 206) if start < len(body) else (b"", 416)
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        if status == 429:
            handler.send_header("Retry-After", "0")
        handler.end_headers()
        if fault == "cut":
            body = body[: len(body) // 2]
            handler.close_connection = True
        handler.wfile.write(body)

    def body(self, path: str) -> bytes | None:
        name = path.rpartition("/")[2]
        if path.startswith("/assets?type=hdris"):
            wanted = set(filter(None, path.partition("&categories=")[2].split(",")))
            return json.dumps(
                {
                    id: {"name": id.title(), "authors": AUTHORS[id], "categories": CATEGORIES[id], "evs_cap": 12}
                    for id in reversed(AUTHORS)
                    if wanted <= set(CATEGORIES[id])
                }
            ).encode()
        if path.startswith("/files/") and name in AUTHORS:
            file = f"/dl/{name}_4k.hdr"
            content = self.contents[file]
            entry = {
                "size": self.sizes.get(name, len(content)),
                "md5": hashlib.md5(content).hexdigest(),
                "url": self.url + file,
            }
            return json.dumps({"hdri": {"4k": {"hdr": entry}}, "tonemapped": {}}).encode()
        return self.contents.get(path)

    def file(self, name: str) -> RemoteFile:
        content = self.contents[f"/dl/{name}_4k.hdr"]
        return RemoteFile(f"{self.url}/dl/{name}_4k.hdr", len(content), hashlib.md5(content).hexdigest())

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@pytest.fixture
def client(service: Service) -> PolyHaven:
    return PolyHaven(service.url, pause=0)


def fetch_all(client: PolyHaven, folder: Path, **arguments: object) -> list[str]:
    fetched = fetch_panoramas(client, choose(client.panoramas()), folder, "4k", "hdr", **arguments)
    return sorted(entry.scene for entry in fetched)


def test_panoramas_come_with_their_facts_in_the_order_of_ids(service, client):
    attic, beach, cave = client.panoramas()
    assert (attic.id, beach.id, cave.id) == ("attic", "beach", "cave")
    assert beach == Asset("beach", "Beach", ("Ben", "Eva"), ("outdoor", "night"))
    assert service.agents == {USER_AGENT}


def test_categories_are_left_to_the_service(service, client):
    assert [asset.id for asset in client.panoramas(["outdoor", "night"])] == ["beach"]
    assert service.requests == [("/assets?type=hdris&categories=outdoor,night", None)]


def test_panoramas_are_fetched_checked_and_listed(service, client, tmp_path):
    assert fetch_all(client, tmp_path / "new") == ["attic", "beach", "cave"]
    folder = tmp_path / "new"
    assert sorted(path.name for path in folder.iterdir()) == [*(f"{name}_4k.hdr" for name in AUTHORS), SOURCES]
    assert (folder / "beach_4k.hdr").read_bytes() == service.contents["/dl/beach_4k.hdr"]
    listed = json.loads((folder / SOURCES).read_text())
    assert listed["licence"] == "CC0-1.0"
    file = service.file("beach")
    assert listed["train"][1] == {
        "file": "beach_4k.hdr",
        "scene": "beach",
        "title": "Beach",
        "url": file.url,
        "size": file.size,
        "md5": file.md5,
        "licence": "CC0-1.0",
        "authors": ["Ben", "Eva"],
    }


def test_the_list_is_a_split_file_with_the_protocols_held_out_scenes(client, root, tmp_path):
    fetch_all(client, tmp_path)
    splits = read_split(tmp_path / SOURCES, [root / "datamodules" / "panoramas"])
    assert [scene.name for scene in splits["train"]] == ["attic", "beach", "cave"]
    assert {scene.licence for scene in splits["train"]} == {"CC0-1.0"}
    assert "circus_arena" in [scene.name for scene in splits["val"]]
    assert "chinese_garden" in [scene.name for scene in splits["test"]]


def test_what_is_there_is_not_fetched_again(service, client, tmp_path):
    fetch_all(client, tmp_path)
    before = (tmp_path / SOURCES).read_bytes()
    service.requests.clear()
    assert fetch_all(client, tmp_path) == ["attic", "beach", "cave"]
    assert not [path for path, _ in service.requests if path.startswith("/dl/")]
    assert (tmp_path / SOURCES).read_bytes() == before


def test_a_later_run_keeps_what_earlier_ones_have_listed(client, tmp_path):
    beach = client.panoramas(["night"])
    fetch_panoramas(client, beach, tmp_path, "4k", "hdr")
    fetch_panoramas(client, [a for a in client.panoramas() if a.id == "cave"], tmp_path, "4k", "hdr")
    listed = json.loads((tmp_path / SOURCES).read_text())["train"]
    assert [entry["scene"] for entry in listed] == ["beach", "cave"]


def test_a_changed_file_is_fetched_again(service, client, tmp_path):
    path = tmp_path / "cave.hdr"
    path.write_bytes(b"something else")
    client.fetch(service.file("cave"), path)
    assert path.read_bytes() == service.contents["/dl/cave_4k.hdr"]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_server_is_asked_again(service, client, tmp_path, status):
    service.faults["/dl/cave_4k.hdr"] = [status, status]
    service.faults["/files/cave"] = [status]
    assert fetch_all(client, tmp_path) == ["attic", "beach", "cave"]


def test_a_server_that_stays_broken_ends_in_an_error_and_keeps_what_is_finished(service, client, tmp_path):
    last = choose(client.panoramas())[-1].id
    service.faults[f"/dl/{last}_4k.hdr"] = [500] * 5
    with pytest.raises(DataError, match=r"failed 5 times.*500.*again later"):
        fetch_all(client, tmp_path)
    listed = json.loads((tmp_path / SOURCES).read_text())["train"]
    assert [entry["scene"] for entry in listed] == sorted({*AUTHORS} - {last})


def test_a_dropped_line_goes_on_where_it_broke(service, client, tmp_path):
    service.faults["/dl/cave_4k.hdr"] = ["cut", "cut"]
    client.fetch(service.file("cave"), tmp_path / "cave.hdr")
    assert (tmp_path / "cave.hdr").read_bytes() == service.contents["/dl/cave_4k.hdr"]
    assert [wanted for _, wanted in service.requests] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_line_that_drops_often_is_borne_with_as_long_as_bytes_come(service, client, tmp_path):
    service.faults["/dl/cave_4k.hdr"] = ["cut"] * 8
    client.fetch(service.file("cave"), tmp_path / "cave.hdr")
    assert len(service.requests) == 9


def test_a_part_of_a_killed_run_is_gone_on_with(service, client, tmp_path):
    content = service.contents["/dl/cave_4k.hdr"]
    (tmp_path / "cave.hdr.part").write_bytes(content[:77])
    client.fetch(service.file("cave"), tmp_path / "cave.hdr")
    assert (tmp_path / "cave.hdr").read_bytes() == content
    assert [wanted for _, wanted in service.requests] == ["bytes=77-"]
    assert [path.name for path in tmp_path.iterdir()] == ["cave.hdr"]


@pytest.mark.parametrize("part", [b"x" * 77, b"x" * 200_000, b"x" * 300_000])
def test_a_part_of_another_file_is_dropped(service, client, tmp_path, part):
    (tmp_path / "cave.hdr.part").write_bytes(part)
    client.fetch(service.file("cave"), tmp_path / "cave.hdr")
    assert (tmp_path / "cave.hdr").read_bytes() == service.contents["/dl/cave_4k.hdr"]


def test_a_server_without_ranges_sends_all_again(service, client, tmp_path):
    service.faults["/dl/cave_4k.hdr"] = ["cut", "whole"]
    client.fetch(service.file("cave"), tmp_path / "cave.hdr")
    assert (tmp_path / "cave.hdr").read_bytes() == service.contents["/dl/cave_4k.hdr"]


def test_a_silent_server_is_left_and_asked_again(service, tmp_path):
    client = PolyHaven(service.url, pause=0, timeout=0.2)
    service.faults["/dl/cave_4k.hdr"] = ["slow"]
    client.fetch(service.file("cave"), tmp_path / "cave.hdr")
    assert (tmp_path / "cave.hdr").exists()


def test_a_file_with_another_md5_never_appears_and_the_others_do(service, client, tmp_path):
    service.faults["/dl/cave_4k.hdr"] = ["flipped"]
    with pytest.raises(DataError, match=r"1 of 3 panoramas couldn't be had \(cave\)"):
        fetch_all(client, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attic_4k.hdr", "beach_4k.hdr", SOURCES]
    assert fetch_all(client, tmp_path) == ["attic", "beach", "cave"]  # the next run mends it


@pytest.mark.parametrize("stated", [100, 199_999, 200_001, 10**6])
def test_a_file_of_another_size_is_refused(service, client, tmp_path, stated):
    service.sizes["cave"] = stated
    with pytest.raises(DataError, match=r"\(cave\)"):
        fetch_all(client, tmp_path)
    assert not list(tmp_path.glob("cave*"))


def test_a_file_without_an_end_is_hung_up_on(service, client, tmp_path):
    service.faults["/dl/cave_4k.hdr"] = ["endless"]
    with pytest.raises(DataError, match="isn't the file that the service lists"):
        client.fetch(service.file("cave"), tmp_path / "cave.hdr")
    assert service.hung_up.wait(5)
    assert not list(tmp_path.iterdir())


def test_a_part_longer_than_what_the_server_has_is_not_asked_for_again(service, client, tmp_path):
    (tmp_path / "cave.hdr.part").write_bytes(b"x" * 200_000)
    file = service.file("cave")
    with pytest.raises(DataError, match="isn't the file that the service lists"):
        client.fetch(RemoteFile(file.url, 200_001, file.md5), tmp_path / "cave.hdr")
    assert [wanted for _, wanted in service.requests] == ["bytes=200000-", None]
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_gone_is_left_out_by_name(service, client, tmp_path):
    service.faults["/dl/cave_4k.hdr"] = [404]
    with pytest.raises(DataError, match=r"1 of 3 panoramas couldn't be had \(cave\)"):
        fetch_all(client, tmp_path)
    assert Counter(path for path, _ in service.requests)["/dl/cave_4k.hdr"] == 1


def test_a_panorama_without_the_wanted_file_is_passed_over_for_the_next(service, client, tmp_path, caplog):
    first, second, _ = (asset.id for asset in choose(client.panoramas()))
    service.faults[f"/files/{first}"] = [404]
    assert fetch_all(client, tmp_path, count=1) == [second]
    assert f"{first} is passed over" in caplog.text


def test_a_resolution_that_nothing_has_is_refused_with_those_there_are(client, tmp_path):
    with pytest.raises(DataError, match=r"no panorama of 3k as hdr can be had \(.* only of 4k\)"):
        fetch_panoramas(client, client.panoramas(), tmp_path / "new", "3k", "hdr")
    assert not (tmp_path / "new").exists()


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(service, client, tmp_path):
    service.sizes["cave"] = 10**18
    with pytest.raises(DataError, match=r"has room for \d+ MB"):
        fetch_all(client, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_list_is_refused_by_name(client, tmp_path):
    (tmp_path / SOURCES).write_text('{"train": [{"fi')
    with pytest.raises(DataError, match=r"sources\.json is damaged"):
        fetch_all(client, tmp_path)


@pytest.mark.parametrize("reply", [b"[1]", b'{"hdri": 3}', b"<html>", b'{"hdri": {"4k": {"hdr": {"size": 1}}}}'])
def test_another_layout_of_the_service_is_told(service, client, reply):
    service.contents["/files/other"] = reply
    with pytest.raises(DataError, match=r"/files/other answered"):
        client.file(Asset("other", "Other", (), ()), "4k", "hdr")


def test_a_file_address_that_is_no_web_address_is_refused(service, client):
    reply = {"hdri": {"4k": {"hdr": {"size": 1, "md5": "0", "url": "file:///etc/hostname"}}}}
    service.contents["/files/other"] = json.dumps(reply).encode()
    with pytest.raises(DataError, match=r"no http\(s\)"):
        client.file(Asset("other", "Other", (), ()), "4k", "hdr")


def test_an_unreachable_service_ends_in_one_error(tmp_path):
    with pytest.raises(DataError, match="failed 5 times"):
        PolyHaven("http://127.0.0.1:1", pause=0).panoramas()


@pytest.mark.parametrize(("api", "pause"), [("ftp://example.org", 0), ("here", 0), ("http://example.org", -1)])
def test_settings_that_cannot_be_are_refused(api, pause):
    with pytest.raises(ConfigError):
        PolyHaven(api, pause)


def test_each_request_waits_for_the_pause(service):
    client = PolyHaven(service.url, pause=0.05)
    started = time.monotonic()
    for _ in range(3):
        client.panoramas()
    assert time.monotonic() - started >= 0.15


def assets(ids: list[str]) -> list[Asset]:
    return [Asset(id, id, (), ()) for id in ids]


@given(st.sets(st.text("abcdef", min_size=1, max_size=6), min_size=2, max_size=30), st.randoms())
def test_the_choice_depends_on_seed_and_ids_alone(ids, random):
    shuffled = sorted(ids)
    random.shuffle(shuffled)
    order = choose(assets(shuffled), 1)
    assert order == choose(assets(sorted(ids)), 1)
    gone = shuffled[0]
    assert [asset for asset in order if asset.id != gone] == choose(assets(shuffled[1:]), 1)


def test_another_seed_gives_another_order():
    ids = [f"place{number}" for number in range(20)]
    assert choose(assets(ids), 0) != choose(assets(ids), 1)


@pytest.mark.parametrize("id", ["chinese_garden", "royal_esplanade", "kloppenheim_02", "spruit_sunrise_puresky"])
def test_places_of_held_out_scenes_are_never_chosen(id):
    assert choose(assets([id, "sunset_fairway"])) == assets(["sunset_fairway"])

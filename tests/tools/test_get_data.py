from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def tool(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("get_data", root / "tools" / "get_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service with two panoramas; its replies are files."""
    folder = tmp_path_factory.mktemp("service")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=folder)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    (folder / "files").mkdir()
    assets = {id: {"name": id, "authors": {"Ann": "All"}, "categories": ["outdoor"]} for id in ("beach", "cave")}
    (folder / "assets").write_text(json.dumps(assets))
    for id in assets:
        content = id.encode()
        (folder / f"{id}.hdr").write_bytes(content)
        entry = {"size": len(content), "md5": hashlib.md5(content).hexdigest(), "url": f"{url}/{id}.hdr"}
        (folder / "files" / id).write_text(json.dumps({"hdri": {"2k": {"hdr": entry}}}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield url
    server.shutdown()
    server.server_close()


def run(tool: ModuleType, *arguments: object) -> int:
    return tool.main(["polyhaven", "--pause", "0", *map(str, arguments)])


def test_panoramas_are_fetched_into_a_folder(tool, api, tmp_path, capsys):
    out = tmp_path / "panoramas"
    assert run(tool, "--api", api, "--resolution", "2k", "-o", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["beach_2k.hdr", "cave_2k.hdr", "sources.json"]
    assert "2 panoramas" in capsys.readouterr().out


def test_count_takes_the_first_of_the_listed_order(tool, api, tmp_path, capsys):
    assert run(tool, "--api", api, "--list") == 0
    first = capsys.readouterr().out.split()[0]
    assert run(tool, "--api", api, "--resolution", "2k", "--count", 1, "-o", tmp_path) == 0
    assert [path.name for path in tmp_path.glob("*.hdr")] == [f"{first}_2k.hdr"]


def test_list_names_each_panorama_and_fetches_nothing(tool, api, tmp_path, capsys):
    assert run(tool, "--api", api, "--list", "-o", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines) == ["beach", "cave"]
    assert all(line.endswith("outdoor (Ann)") for line in lines)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give -o DIR"),
        (["-o", "out", "--count", "0"], "--count is 0"),
        (["-o", "out", "--pause", "-1"], "the pause between requests is -1"),
        (["-o", "out", "--api", "nowhere"], "no address of a service"),
        (["-o", "out", "--api", "http://127.0.0.1:1"], "failed 5 times"),
        (["-o", "out", "--resolution", "4k"], "no panorama of 4k as hdr"),
    ],
)
def test_a_wrong_command_ends_with_one_line_and_status_2(tool, api, monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(tool, *([] if "--api" in arguments else ["--api", api]), *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("get_data.py: ")
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--resolutio", "4k"], ["--format", "png"], []])
def test_abbreviations_unknown_values_and_no_service_are_refused(tool, arguments):
    with pytest.raises(SystemExit) as refused:
        tool.main(["polyhaven", *arguments] if arguments else [])
    assert refused.value.code == 2

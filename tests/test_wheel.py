"""What a user has who installs the package without the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import zoo
from zoo.files import sha256_of
from zoo.hub_index import INDEX_NAME, Weights, file_name, index_text, parse_index
from zoo.weights import write_weights

NAME = "multipurpose_cnn_x2"  # the smallest

# Sockets are cut off first: what comes with the package needs no network.
SCRIPT = f"""
import socket
socket.socket.connect = None
import torch, zoo
from zoo.runs import find_config
print(zoo.__file__)
print(zoo.load("{NAME}")(torch.full((1, 3, 9, 16), 0.5)).mean().item())
print(find_config("jsinet_x2"))
"""


def run(*words: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=os.environ | environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the project, with weights published in it."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is absent: pip install '.[dev]'")
    copy = tmp_path_factory.mktemp("project")
    for folder in ("zoo", "datamodules", "callbacks", "configs"):
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy)
    shipped = copy / "zoo" / "pretrained"
    torch.manual_seed(0)
    path = shipped / file_name(NAME, "v1")
    write_weights(path, zoo.create(NAME).state_dict(), {"name": NAME, "tag": "v1"})
    own = Weights(NAME, "v1", path.name, sha256_of(path), path.stat().st_size, "CC0-1.0")
    others = parse_index((shipped / INDEX_NAME).read_text(), INDEX_NAME)
    (shipped / INDEX_NAME).write_text(index_text([*others, own]))
    run("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", copy / "dist", copy)
    return next((copy / "dist").glob("*.whl"))


def test_a_wheel_holds_all_but_the_photographs(wheel: Path, root: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("zoo", "datamodules", "callbacks"):
        files = {str(path.relative_to(root)) for path in (root / folder).rglob("*") if path.is_file()}
        wanted = {name for name in files if not name.endswith((".exr", ".safetensors", ".pyc"))}
        assert wanted <= names
    configs = {f"zoo/{path.relative_to(root)}" for path in (root / "configs").rglob("*.yaml")}
    assert configs <= names
    assert f"zoo/pretrained/{file_name(NAME, 'v1')}" in names
    assert not [name for name in names if name.endswith(".exr") or name.startswith(("tests", "tools"))]


def test_installed_it_loads_by_name_what_came_with_it_without_a_network(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    run("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel)
    lines = run(
        "-P", "-c", SCRIPT, PYTHONPATH=str(site), SRITM_HOME=str(tmp_path / "home"), SRITM_ZOO_URL=""
    ).splitlines()
    torch.manual_seed(0)
    expected = zoo.create(NAME)(torch.full((1, 3, 9, 16), 0.5)).mean().item()
    assert lines[0] == str(site / "zoo" / "__init__.py")
    assert float(lines[1]) == pytest.approx(expected, rel=1e-5)
    assert lines[2] == str(site / "zoo" / "configs" / "jsinet_x2.yaml")
    assert not (tmp_path / "home" / "weights").exists()

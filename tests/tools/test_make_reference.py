from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from tools import make_reference


def test_the_reference_is_made_without_a_warning_and_has_every_public_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pdoc", reason="pdoc is absent: pip install '.[docs]'")
    assert make_reference.main(["-o", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "index.html")
    assert (tmp_path / "index.html").is_file()
    for module in make_reference.MODULES:
        page = (tmp_path / f"{module.replace('.', '/')}.html").read_text(encoding="utf-8")
        shown = set(re.findall(r'<section id="(\w+)">', page))
        names = getattr(importlib.import_module(module), "__all__", None)
        assert shown if names is None else set(names) <= shown, module
    page = (tmp_path / "zoo.html").read_text(encoding="utf-8")
    assert "Arguments:" in page  # the docstrings' sections are read as such
    assert "<h6" in page


def test_without_pdoc_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "pdoc", None)
    assert make_reference.main([]) == 2
    assert "pip install 'sritm-zoo[docs]'" in capsys.readouterr().err

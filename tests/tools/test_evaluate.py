from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def test_the_tool_is_the_command(root: Path, capsys: pytest.CaptureFixture) -> None:
    spec = importlib.util.spec_from_file_location("evaluate", root / "tools" / "evaluate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--model", "no_such_model"]) == 2
    assert "no model 'no_such_model' in the zoo" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        module.main([])
    assert "give --model, or --table" in capsys.readouterr().err

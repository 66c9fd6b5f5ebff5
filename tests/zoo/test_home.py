from __future__ import annotations

from pathlib import Path

import pytest

from zoo.home import sritm_home


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SRITM_HOME": "/data/zoo", "XDG_CACHE_HOME": "/cache"}, "/data/zoo"),
        ({"SRITM_HOME": "~/zoo"}, "/home/me/zoo"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/sritm-zoo"),
        ({}, "/home/me/.cache/sritm-zoo"),
        ({"SRITM_HOME": "", "XDG_CACHE_HOME": ""}, "/home/me/.cache/sritm-zoo"),
    ],
)
def test_the_home_follows_the_environment(monkeypatch, environment, expected):
    for name in ("SRITM_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert sritm_home() == Path(expected)

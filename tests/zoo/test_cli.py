"""The command ``sritm``: models and weights in a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from zoo import hub, hub_transfer
from zoo.cli import main
from zoo.files import sha256_of
from zoo.hub_index import Weights, file_name, index_text
from zoo.weights import weights_bytes

NAME = "multipurpose_cnn_x2"


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tags ``v1`` and ``val_v1``; nothing in the cache, nothing with the package."""
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SRITM_ZOO_URL", raising=False)
    monkeypatch.setattr(hub, "SHIPPED", tmp_path / "shipped")
    folder = tmp_path / "site"
    folder.mkdir()
    torch.manual_seed(0)
    state = zoo.create(NAME).half().state_dict()
    entries = []
    for tag in ("v1", "val_v1"):
        path = folder / file_name(NAME, tag)
        path.write_bytes(weights_bytes(state, {"name": NAME, "tag": tag}))
        scores = {"psnr": 40.126, "psnr_matched": 41.5}
        command = f"python tools/evaluate.py --model {NAME}.{tag}"
        size, digest = path.stat().st_size, sha256_of(path)
        entries.append(Weights(NAME, tag, path.name, digest, size, "CC0-1.0", scores, "embedded test", command))
    (folder / "index.json").write_text(index_text(entries))
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_list_is_a_table_of_models_with_their_weights_scores_and_where_they_are(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "list", "multi*_x2").splitlines() == [
        "name                 parameters  weights   PSNR  matched  licence  where",
        "multipurpose_cnn_x2     250,099  none yet",
    ]
    said(capsys, "download", NAME, "--source", str(site))
    assert said(capsys, "list", "multi*_x2", "--source", str(site)).splitlines() == [
        "name                 parameters  weights   PSNR  matched  licence  where",
        "multipurpose_cnn_x2     250,099  v1       40.13    41.50  CC0-1.0  here, in the cache",
        "                                 val_v1   40.13    41.50  CC0-1.0  to be fetched",
    ]
    assert len(said(capsys, "list").splitlines()) == 1 + len(zoo.list_models())


def test_list_says_what_this_machine_knows_of_where_a_mirror_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SRITM_ZOO_URL", str(tmp_path / "nowhere"))
    assert "none yet\n\nonly what this machine knows of: file://" in said(capsys, "list", NAME)
    assert "index.json can't be fetched: there is no such file" in refused(
        capsys, "list", NAME, "--source", str(tmp_path / "nowhere")
    )


def test_show_tells_of_a_model_and_of_its_weights(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "knows of no weights multipurpose_cnn_x2.v1, but of none; sritm list" in refused(
        capsys, "show", f"{NAME}.v1"
    )
    assert "the authors' weights of multipurpose_cnn_x2 aren't in this" in refused(capsys, "show", f"{NAME}.paper")
    said(capsys, "download", NAME, f"{NAME}.val_v1", "--source", str(site))
    text = said(capsys, "show", NAME)
    for part in (
        "parameters  250,099",
        "multiply-adds  46,620 for each pixel of the output",
        "memory  303 MB for a megapixel of the output",
        "reach  7 rows and 7 columns",
        "output  bt2020-pq-ycbcr2020-narrow-10",
        f"weights  {NAME}.val_v1, ",
        "scores  psnr 40.13, psnr_matched 41.5",
        "measured on  embedded test",
        f"by  python tools/evaluate.py --model {NAME}.v1",
        "licence  CC0-1.0",
        f"from  {site.as_uri()}",
        "@inproceedings{multipurpose_cnn,",
    ):
        assert part in text
    assert f"{NAME}.val_v1," not in said(capsys, "show", f"{NAME}.v1")
    assert "weights  none needed" in said(capsys, "show", "bicubic+oracle")


def test_download_names_the_file_and_verify_and_cache_tell_of_it(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = hub.cached_path(NAME, "v1")
    assert said(capsys, "verify") == "no weights are on this machine\n"
    assert said(capsys, "cache") == f"{path.parent}: no weights\n"
    assert said(capsys, "download", NAME, "--source", str(site)) == f"{path}\n"
    assert said(capsys, "verify") == f"right     {NAME}.v1  {path}\n"
    assert said(capsys, "cache").splitlines()[1].split() == [
        f"{NAME}.v1",
        f"{path.stat().st_size:,}",
        "bytes",
        site.as_uri(),
    ]
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["verify", NAME]) == 1
    assert f"WRONG     {NAME}.v1: {path} is not the published" in capsys.readouterr().out
    assert "is not the published" in refused(capsys, "download", NAME)
    assert said(capsys, "cache", "--clear", f"{NAME}.v1") == "freed 0.5 MB\n"
    assert list(path.parent.iterdir()) == []


def test_clear_without_a_name_leaves_what_was_imported(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "download", NAME, f"{NAME}.val_v1", "--source", str(site))
    imported = hub.cached_path(NAME, "paper")
    imported.write_bytes(hub.cached_path(NAME, "v1").read_bytes())
    hub.record(NAME, "paper", "research only")
    said(capsys, "cache", "--clear", f"{NAME}.*")
    assert [weights.tag for weights in hub.cached()] == ["paper"]
    assert "the cache has no weights" in refused(capsys, "cache", "--clear", f"{NAME}.v9")
    said(capsys, "cache", "--clear")
    assert [weights.tag for weights in hub.cached()] == ["paper"]
    assert "here, in the cache" in said(capsys, "list", NAME)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "jsinet_x3"], "no model 'jsinet_x3' in the zoo; did you mean"),
        (["download", "jsinet_x3"], "no model 'jsinet_x3'"),
        (["download", "jsinet_x2"], "jsinet_x2 has no published weights yet"),
        (["download", "bicubic+oracle"], "bicubic+oracle is a baseline and has no weights"),
        (["verify", "jsinet_x2"], "this machine knows of no weights jsinet_x2"),
        (["cache", "--clear", "jsinet_x3"], "no model 'jsinet_x3'"),
        (["download", "jsinet_x2", "--source", "s3://bucket"], "mirror s3://bucket is of no known kind"),
        (["show", "jsinet_x2."], "no model 'jsinet_x2.' in the zoo; leave out the point"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, *words)


def test_a_download_that_is_stopped_ends_in_one_line(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hub_transfer, "fetch", stop)
    assert main(["download", NAME, "--source", str(site)]) == 130
    assert capsys.readouterr().err == "stopped\n"

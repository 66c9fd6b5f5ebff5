"""A workspace of W&B that lays out what runs log: the page of ``zoo.run_page``, online and for several runs at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from callbacks.score_table import TABLE
from zoo.errors import ConfigError, one_line
from zoo.fit.dashboards import PROJECT, STEP
from zoo.run_files import PANELS_NAME, rounds_of_panels
from zoo.run_page import SECTIONS, TITLES

# What a run may log beyond the keys that have titles.
_KEYS = (
    *TITLES,
    "train/loss_rec",
    "train/loss_adv",
    "train/loss_fm",
    "train/loss_d1",
    "train/loss_d2",
    "stages/stage",
    "stages/rate_D1",
    "stages/rate_D2",
    "data/samples",
    "data/crop",
    "data/lost_samples",
)
# Charts of several curves by title; the others have one for each key.
_TOGETHER = {
    "Parts of the loss": [key for key in _KEYS if key.startswith("train/loss_")],
    "Learning rate": [key for key in _KEYS if key.startswith("stages/rate")],
}
_LOGARITHMIC = ("train/loss", *_TOGETHER["Parts of the loss"])


def build_workspace(entity: str, project: str = PROJECT, panels: Mapping[str, Sequence[str]] | None = None) -> Any:
    """The workspace, not saved yet.

    Args:
        entity: account or team that the project belongs to.
        project: where the runs are.
        panels: names of pictures by frame, as :func:`find_panels` gives them; the section of pictures shows these.

    Returns:
        A ``wandb_workspaces.workspaces.Workspace``; its ``save()`` needs an account.

    Raises:
        ConfigError: the package isn't there.
    """
    ws, wr = _packages()
    sections = [
        ws.Section(name=title, panels=list(_charts(wr, section)), is_open=True, pinned=section == "val")
        for section, title in sorted(SECTIONS.items(), key=lambda item: item[0] != "val")
    ]
    sections[0].panels.append(wr.WeavePanelSummaryTable(table_name=TABLE))
    browsers = [
        wr.MediaBrowser(title=frame, media_keys=[f"{PANELS_NAME}/{frame}/{name}" for name in names], num_columns=4)
        for frame, names in (panels or {}).items()
    ]
    if browsers:
        sections.insert(1, ws.Section(name="Panels", panels=browsers, is_open=True))
    return ws.Workspace(
        name="SR-ITM training",
        entity=entity,
        project=project,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=STEP, group_by_prefix="first"),
    )


def find_panels(run_dir: Path) -> dict[str, list[str]]:
    """Frames and their panels of a run: those of its newest round.

    Raises:
        ConfigError: the folder has no panels.
    """
    rounds = rounds_of_panels(run_dir)
    if not rounds:
        raise ConfigError(f"{run_dir} has no {PANELS_NAME}/: give the folder of a run that has drawn some")
    return {
        frame.name: sorted(path.stem for path in frame.glob("*.png"))
        for frame in sorted(rounds[-1].iterdir())
        if frame.is_dir()
    }


def spec(workspace: Any) -> str:
    """What W&B would be sent, as JSON; the numbers of its panels are drawn anew each time."""
    # The package writes it out only on its way to the server.
    text = workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    return json.dumps(json.loads(text), indent=2)


def save(workspace: Any) -> str:
    """Save a workspace online.

    Returns:
        Its address.

    Raises:
        ConfigError: W&B has no key here, or refuses.
    """
    try:
        return workspace.save().url
    except Exception as error:  # the package and its client raise what they like
        raise ConfigError(
            f"W&B doesn't take the workspace ({one_line(error)}): give an account with `wandb login`, and a team and "
            "project that exist; --print shows it without one"
        ) from error


def _packages() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ConfigError("workspaces need the package wandb-workspaces: pip install 'sritm-zoo[dashboard]'") from error
    return ws, wr


def _charts(wr: Any, section: str) -> Iterator[Any]:
    """The line charts of a section."""
    joined = {key: title for title, keys in _TOGETHER.items() for key in keys}
    charts: dict[str, list[str]] = {}
    for key in (key for key in _KEYS if key.startswith(f"{section}/")):
        title, unit = TITLES.get(key, (key.partition("/")[2].replace("_", " "), ""))
        title = joined.get(key, f"{title}, {unit}" if unit not in ("", "%") else title)
        charts.setdefault(title, []).append(key)
    for title, keys in charts.items():
        yield wr.LinePlot(title=title, x=STEP, y=keys, log_y=True if keys[0] in _LOGARITHMIC else None)

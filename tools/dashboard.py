"""Lay out a project's runs online, in a workspace of W&B.

python tools/dashboard.py --entity TEAM --project sritm-zoo --run runs/jsinet_x2
python tools/dashboard.py --print
python tools/dashboard.py -o workspace.json
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zoo.errors import ZooError
from zoo.fit.dashboards import PROJECT
from zoo.fit.workspace import build_workspace, find_panels, save, spec


def main(argv: list[str] | None = None) -> int:
    """Build the workspace, and save it online or show it.

    Returns:
        0, or 2 after an error that the user can mend, said in one line.
    """
    options = _parser().parse_args(argv)
    try:
        panels = find_panels(options.run) if options.run else None
        workspace = build_workspace(options.entity, options.project, panels)
        if options.output is not None:
            options.output.write_text(spec(workspace) + "\n", encoding="utf-8")
        print(spec(workspace) if options.print else options.output or save(workspace))
    except (ZooError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dashboard", description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--entity", default="", help="account or team on W&B")
    parser.add_argument("--project", default=PROJECT, help=f"project on W&B; {PROJECT} by default")
    parser.add_argument("--run", type=Path, help="a run's folder: its frames are those whose panels are laid out")
    parser.add_argument("--print", action="store_true", help="print the workspace instead of saving it online")
    parser.add_argument("-o", "--output", type=Path, help="write it into this file instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())

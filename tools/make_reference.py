"""The reference of the public modules as HTML pages, from their docstrings.

python tools/make_reference.py                    # build/reference/index.html
python tools/make_reference.py -o site/reference
"""

import argparse
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import zoo

ROOT = Path(__file__).resolve().parent.parent
MODULES = (
    "zoo",
    "zoo.signal",
    "zoo.rgb",
    "zoo.color",
    "zoo.ops",
    "zoo.nets",
    "zoo.losses",
    "zoo.metrics",
    "zoo.baselines",
    "zoo.modules",
    "zoo.evaluation",
    "zoo.convert.tiling",
    "datamodules",
    "callbacks",
)
"""What users may build on; the rest may change without a word."""


def main(argv: list[str] | None = None) -> int:
    """Write the pages.

    Returns:
        0, or 2 after an error that the user can mend, said in one line.
    """
    parser = argparse.ArgumentParser(
        prog="make_reference.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "build" / "reference", help="folder (default: build/reference)"
    )
    options = parser.parse_args(argv)
    try:
        import pdoc
    except ImportError:
        print("make_reference.py: pdoc is absent; pip install 'sritm-zoo[docs]'", file=sys.stderr)
        return 2
    # Those that are imported when they are asked for must be there for pdoc, which only looks.
    vars(zoo).update({name: getattr(zoo, name) for name in zoo.__all__})
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"sritm-zoo {zoo.__version__}")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="pdoc")  # a name or type that it can't find
        pdoc.pdoc(*MODULES, output_directory=options.output)
    print(options.output / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())

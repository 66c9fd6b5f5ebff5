"""The command line of the ablations: ``python tools/ablate.py``."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch

from datamodules.cache import ShardCache
from datamodules.sets import open_set
from zoo.ablation.report import gather, table_text
from zoo.ablation.running import plan_runs, train_all
from zoo.ablation.tables import TABLES, Budget, read_ablation
from zoo.errors import ConfigError, ZooError, one_line
from zoo.evaluation.tables import finite
from zoo.files import replacing, write_json
from zoo.home import sritm_home
from zoo.runs import git_commit

_EXAMPLES = """\
examples:
  python tools/ablate.py deep_sritm.table1 --updates 300 --seeds 0 1 2 --jobs 2
  python tools/ablate.py jsigan.table3 --columns a b c --updates 20000 --data shards/mine --crop 160
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ablate.py",
        description="Train all columns of a paper's ablation and print its table with our figures "
        "(docs/ablations.md). The same command goes on where it was stopped.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("table", help=f"{', '.join(TABLES)}, or a file like those in configs/ablations")
    parser.add_argument("--columns", nargs="+", metavar="LETTER", help="only these (default: all)")
    parser.add_argument("--updates", type=int, default=300, help="of each run, both stages together (default: 300)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="runs of each column (default: 0 1 2)")
    parser.add_argument("--data", metavar="SET", help="shards (default: the table's, embedded)")
    parser.add_argument("--crop", type=int, metavar="PIXELS", help="HR size of crops (default: the table's)")
    parser.add_argument("--batch", type=int, help="samples of an update (default: the table's)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="runs at once (default: one for each GPU, else one); they share the cores"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder of all runs (default: runs/ablations/TABLE)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train, score, print.

    Returns:
        0; 1 if a run has no result; 2 after an error that the user can mend, said in one line; 130 if stopped.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    options = parser().parse_args(words)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's is as good as Ctrl-C
    try:
        return _run(options, shlex.join(["python", "tools/ablate.py", *words]))
    except (ZooError, OSError) as error:
        print(f"ablate.py: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ablate.py: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(options: argparse.Namespace, command: str) -> int:
    ablation = read_ablation(options.table).chosen(options.columns)
    budget = Budget(options.updates, options.data, options.crop, options.batch)
    jobs = options.jobs if options.jobs is not None else max(1, torch.cuda.device_count())
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}: give 1 or more")
    if (seed := min(options.seeds)) < 0:
        raise ConfigError(f"--seeds {seed}: give 0 or more")
    if budget.data not in (None, "embedded"):
        open_set(budget.data, ShardCache(sritm_home() / "cache", 0))  # says now if there is none
    output = options.output or Path("runs", "ablations", ablation.name)
    runs = plan_runs(ablation, budget, list(dict.fromkeys(options.seeds)), output)
    failed = 0
    with closing(train_all(runs, ablation.name, jobs, output)) as ended:  # what is training ends with an error here
        for run, failure in ended:
            said = failure
            if said is None and (result := run.result) is not None:
                said = f"{result['psnr']:.2f} dB, SSIM {result['ssim']:.4f}, {result['seconds']:.0f} s"
            failed += failure is not None
            print(f"({run.column}) seed {run.seed}: {said}", flush=True)
    scores = gather(ablation, runs)
    text = table_text(ablation, budget, scores)
    with replacing(output / "table.md") as path:
        path.write_text(text, encoding="utf-8")
    write_json(output / "scores.json", finite({"command": command, "commit": git_commit(), "columns": scores}))
    print(f"\n{text}")
    return 1 if failed else 0

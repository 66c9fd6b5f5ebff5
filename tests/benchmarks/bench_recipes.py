"""Our recipes against the papers', at equal updates and data, over several seeds.

    python tests/benchmarks/bench_recipes.py                                   # JSInet x2: 300 updates, three seeds
    python tests/benchmarks/bench_recipes.py deep_sritm_x2 --updates 400 --seeds 0 1 2 --jobs 2 -o runs/recipes

Trained and scored (PSNR of protocol val-v1, raw, on the published weights after the last update) are:

- ours: configs/NAME.yaml, whose schedule is one of the run's length;
- paper: configs/paper/NAME.yaml as it is: at these lengths its boundaries, hundreds of epochs away, aren't reached;
- paper 1e-5, 1e-4, 1e-3: the same with this rate, and its boundaries at the same fractions of the run. The best after
  one seed is trained with the others too: the paper's recipe, re-tuned for the budget.

All see the same pictures in crops of one size, and the same random start for each seed. What is done is kept in the
output folder; the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import yaml

RATES = (1e-5, 1e-4, 1e-3)
BATCHES = 50  # of an epoch, however long the set


def stage_rates(name: str, rate: float | None) -> list[dict[str, Any]]:
    """The paper's rates in a run shorter than its boundaries, or scaled so that the first stage has ``rate``."""
    path = Path(__file__).parents[2] / "configs" / "paper" / f"{name}.yaml"
    stages = yaml.safe_load(path.read_text())["model"]["init_args"]["rates"]
    if rate is None:
        # Said in full: what is left out of a list's entry is taken from the config's.
        return [{"peak": stage["peak"], "shape": "constant", "at": []} for stage in stages]
    return [{**stage, "peak": stage["peak"] * rate / stages[0]["peak"]} for stage in stages]


def train(name: str, condition: str, seed: int, options: argparse.Namespace) -> float:
    """One run; returns its score in dB."""
    from zoo.fit.configuration import FitCLI

    if options.jobs > 1:
        torch.set_num_threads(1)
    config = f"configs/{name}.yaml" if condition == "ours" else f"configs/paper/{name}.yaml"
    epochs = options.updates // BATCHES
    given = {
        "config": config,
        "seed_everything": seed,
        "data.root": options.data,
        "data.crop": f"[{options.crop}]" if name.startswith("jsinet") else f"[{options.crop}, {options.crop}]",
        "data.batch_size": 8,
        "trainer.max_epochs": epochs,
        "trainer.limit_train_batches": BATCHES,
        "trainer.accelerator": options.accelerator,
        "trainer.precision": options.precision,
        "trainer.check_val_every_n_epoch": epochs + 1,
    }
    if name.startswith("deep_sritm"):
        given["stage.epoch"] = epochs // 2
    if condition != "ours":
        rate = float(condition.removeprefix("paper ")) if condition != "paper" else None
        given["model.rates"] = json.dumps(stage_rates(name, rate))
    cli = FitCLI([f"--{key}={value}" for key, value in given.items() if value is not None])
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    return float(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0]["val/psnr"])


def main() -> int:
    """Train what isn't there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="jsinet_x2", choices=("jsinet_x2", "deep_sritm_x2"))
    parser.add_argument("--updates", type=int, default=300, help=f"of each run, a multiple of {BATCHES}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", default="embedded", help="a set of shards, or embedded")
    parser.add_argument("--crop", type=int, default=80, help="HR pixels, for all")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, of one thread each where more than one")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", help="of all runs; the fastest of the hardware by default")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/recipes"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{options.name}-{options.updates}.json"
    scores: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}

    def fill(pairs: list[tuple[str, int]]) -> None:
        todo = [(condition, seed) for condition, seed in pairs if str(seed) not in scores.get(condition, {})]
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            runs = {pair: pool.submit(train, options.name, *pair, options) for pair in todo}
            for (condition, seed), run in runs.items():
                scores.setdefault(condition, {})[str(seed)] = run.result()
                path.write_text(json.dumps(scores, indent=2))
                print(f"{condition}, seed {seed}: {run.result():.2f} dB", flush=True)

    tuned = [f"paper {rate:g}" for rate in RATES]
    fill([(condition, options.seeds[0]) for condition in ("ours", "paper", *tuned)])
    best = max(tuned, key=lambda condition: scores[condition][str(options.seeds[0])])
    fill([(condition, seed) for seed in options.seeds[1:] for condition in ("ours", "paper", best)])

    print(f"\n{options.name}, {options.updates} updates of batch 8, HR {options.crop}; dB raw, mean and deviation")
    for condition, results in scores.items():
        values = list(results.values())
        spread = f"{statistics.stdev(values):5.2f}" if len(values) > 1 else "    -"
        print(f"{condition:12} {statistics.mean(values):6.2f} {spread}  ({len(values)} seeds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

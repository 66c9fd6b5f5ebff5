"""Ending a run that is told to stop: by Ctrl-C, or by a scheduler's SIGTERM."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Trainer

from callbacks.stop_request import RunStopped


def explain_stop(stop: RunStopped) -> str:
    """One line of what stopped the run, what of it is saved, and how to go on."""
    name = stop.signal.name
    if stop.saved is None:
        return f"stopped by {name} before the first checkpoint: start the run anew"
    if stop.complete:
        return f"stopped by {name}, all is saved in {stop.saved}: go on with the same command and --ckpt_path last"
    return (
        f"stopped by {name} at once, work since {stop.saved} is lost: go on from there with the same command and "
        "--ckpt_path last"
    )


def finish_if_trained(trainer: Trainer, run_dir: Path, checkpoint: Path) -> None:
    """Have a run whose training is over do what follows it, unless that was done when ``checkpoint`` was new.

    A kill may come between the last checkpoint and the report. Lightning skips all of a fit without epochs left, the
    hooks that publish and report included.
    """
    written = run_dir / "report.json"
    if written.is_file() and written.stat().st_mtime_ns > checkpoint.stat().st_mtime_ns:
        return
    loop = trainer.fit_loop
    run, end = loop.run, loop.on_run_end
    ended = False

    def end_once() -> None:
        nonlocal ended
        if not ended:
            ended = True
            end()

    def run_and_end() -> None:
        run()
        loop.on_run_end()

    loop.run, loop.on_run_end = run_and_end, end_once  # type: ignore[method-assign]

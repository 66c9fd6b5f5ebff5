"""Each recipe is whole: it parses, builds its network, trains on what it says, and says each fact once."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import zoo
from zoo.errors import ConfigError
from zoo.fit import FitCLI
from zoo.modules import DeepSRITMModule, JSIGANModule, JSINetModule, SRITMModule
from zoo.optim import Rate

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OURS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
PAPERS = sorted(f"paper/{path.stem}" for path in CONFIGS.glob("paper/*.yaml"))
MODULES: dict[str, type[SRITMModule]] = {m.__name__: m for m in (DeepSRITMModule, JSIGANModule, JSINetModule)}


def said(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


@pytest.fixture(scope="module")
def run_dirs() -> dict[str, str]:
    """The folder of each recipe built so far."""
    return {}


@pytest.mark.parametrize("name", OURS + PAPERS)
def test_a_recipe_builds_a_run(name: str, run_dirs: dict[str, str]) -> None:
    cli = FitCLI(["--config", name, "--trainer.accelerator", "cpu"])
    config = said(name)
    assert cli.model.net.scale == cli.datamodule.scale == config["scale"]
    # What `check` asks before a run is begun; the data module has refused crops that don't fit by now.
    cli.config_init.stage.setup(cli.trainer, cli.model, "fit")
    cli.model.configure_optimizers()
    cli.model.check_data(cli.datamodule)
    assert cli.trainer.max_epochs == config["trainer"]["max_epochs"]
    assert cli.datamodule.roots == ["embedded"]
    # A folder for each, or one recipe would refuse to begin where another has been.
    assert cli._run_dir() not in run_dirs.values()
    run_dirs[name] = cli._run_dir()


def test_each_network_that_a_module_trains_has_a_recipe_that_makes_it() -> None:
    trained = {module.arch for module in MODULES.values()}
    names = [name for name in zoo.list_models() if name.rpartition("_x")[0] in trained]
    assert len(names) == 8
    for name in names:
        recipe = zoo.info(name).recipe
        assert recipe is not None, name
        config = yaml.safe_load((CONFIGS.parent / recipe).read_text())
        module = MODULES[config["model"]["class_path"]]
        assert f"{module.arch}_x{config['scale']}" == name
        assert Path(recipe).stem == {"jsigan_x2": "jsigan"}.get(name, name)


# Batch, first epoch of the second stage, epochs (Deep SR-ITM: 491,800 and 663,930 updates; JSI-GAN: 250 and 10 epochs).
PUBLISHED = {
    "deep_sritm": (16, 200, 470),
    "jsinet": (8, None, 250),
    "jsigan": (8, 250, 260),
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_recipe_says_what_the_authors_did(name: str) -> None:
    config = said(name)
    module = MODULES[config["model"]["class_path"]]
    batch, switch, epochs = PUBLISHED[module.arch]
    assert config["data"]["batch_size"] == batch
    assert config["data"]["crop"] == [160]
    assert config.get("stage", {}).get("epoch") == switch
    assert config["trainer"]["max_epochs"] == epochs
    assert config["trainer"]["precision"] == "32-true"
    assert config["average"] is None
    assert config["best"] == "last"
    defaults = {key: argument.default for key, argument in inspect.signature(module).parameters.items()}
    values = dict(config["model"]["init_args"])
    rates = [Rate(**rate) for rate in values.pop("rates")]
    assert rates == list(defaults["rates"])
    others = {key: value for key, value in values.items() if value != defaults[key]}
    assert others == ({"optimizer": "sgd"} if name.endswith("_sgd") else {})


def test_the_papers_rates_fall_at_their_epochs() -> None:
    first, second = (Rate(**rate) for rate in said("paper/deep_sritm_x2")["model"]["init_args"]["rates"])
    each = 2459  # updates of an epoch
    assert [first(each * epoch + 1, each * 200) for epoch in (0, 199)] == [5e-7, 5e-7]
    rates = [second(each * epoch + 1, each * 270) for epoch in (0, 249, 250, 259, 260, 269)]
    assert rates == pytest.approx([1e-7, 1e-7, 1e-8, 1e-8, 1e-9, 1e-9])
    gan = said("paper/jsigan_x2")["model"]["init_args"]["rates"]
    each = 4917
    rates = [Rate(**gan[0])(each * epoch + 1, each * 250) for epoch in (0, 199, 200, 224, 225, 249)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])
    rates = [Rate(**gan[1])(each * epoch, each * 10) for epoch in range(10)]
    assert rates == pytest.approx([1e-6] * 6 + [8e-7, 6e-7, 4e-7, 2e-7])


def commands() -> list[str]:
    """What the heads of the recipes say to type."""
    texts = [path.read_text() for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name != "ablations"]
    return [line for text in texts for line in re.findall(r"^# +python tools/fit\.py (.+)$", text, re.MULTILINE)]


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_a_command_in_a_head_is_understood(command: str) -> None:
    words = shlex.split(command)
    if "--model.weights" in words:  # a file of a run that isn't there
        place = words.index("--model.weights")
        del words[place : place + 2]
    cli = FitCLI([*words, "--trainer.accelerator", "cpu"])
    cli.config_init.stage.setup(cli.trainer, cli.model, "fit")


class TestTwoScales:
    """One is taken, and then by all, or it is refused."""

    @staticmethod
    def files(folder: Path, *texts: str) -> list[str]:
        words = ["--config", "jsinet_x2", "--trainer.accelerator", "cpu"]
        for number, text in enumerate(texts):
            path = folder / f"{number}.yaml"
            path.write_text(text)
            words += ["--config", str(path)]
        return words

    def test_a_later_config_changes_network_and_data_alike(self, tmp_path: Path) -> None:
        cli = FitCLI(self.files(tmp_path, "scale: 4"))
        assert cli.model.net.scale == cli.datamodule.scale == 4

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("scale: 2\nscale: 4\n", r"0\.yaml says scale again in line 2: leave one of them"),
            ("scale: 2\nmodel: {init_args: {scale: 4}}", r"model\.init_args\.scale in .*0\.yaml follows from scale"),
            ("scale: 2\ndata: {scale: 4}", r"data\.scale in .*0\.yaml follows from scale: set that instead"),
            ("data: {crop: [80], crop: [160]}", r"0\.yaml says crop again in line 1"),
        ],
    )
    def test_a_second_one_that_would_be_overlooked_is_refused(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            FitCLI(self.files(tmp_path, text))

    def test_crops_that_do_not_fit_the_scale_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"data\.crop is \[90\].* multiples of scale 4"):
            FitCLI(self.files(tmp_path, "scale: 4", "data: {crop: [90]}"))

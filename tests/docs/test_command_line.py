"""docs/command-line.md is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

from infra_validator import api
from infra_validator.cli.main import cli
from infra_validator.report import Report, Verdict
from infra_validator.spec_text import read_specs
from tests.docs.test_docs import DOCS, README, load_generator, marked, prose

PAGE = DOCS / "command-line.md"


def test_the_generated_part_is_current() -> None:
    generate = load_generator()
    page = PAGE.read_text()
    assert page == generate.replace_generated(page, generate.render_commands(cli)), (
        "run docs/generate.py"
    )


@pytest.mark.parametrize("name", cli.commands)
def test_every_command_and_option_is_described(name: str) -> None:
    text = prose(PAGE)
    assert f"### `infra-validator {name}`" in text
    assert f"`infra-validator {name}" in text.partition("## Exit codes")[0]
    for parameter in cli.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert f"`{', '.join(parameter.opts)}" in text.replace("\\|", "|"), parameter.name


def test_options_that_the_page_names_are_there() -> None:
    known = {
        option
        for command in [cli, *cli.commands.values()]
        for parameter in command.params
        for option in parameter.opts
    } | {"--help", "--port", "--FLAG", "--enable_batching"}
    for page in (PAGE, README):
        blocks = re.findall(r"infra-validator .*", page.read_text())
        for option in re.findall(r"(?<![\w-])--[a-zA-Z_-]+", " ".join(blocks)):
            assert option in known, f"{page.name}: {option}"


def test_the_settings_of_the_page_are_taken() -> None:
    from infra_validator.proto import infra_validator_pb2 as pb
    from infra_validator.spec_text import Assigner

    text = PAGE.read_text()
    settings = re.findall(r"--set ('[^']*'|[^\s`]+)", text)
    settings = [setting.strip("'") for setting in settings if setting != "PATH=VALUE"]
    assert len(settings) > 8
    for setting in settings:
        path, _, value = setting.partition("=")
        Assigner(pb.Specs()).assign(path, value, "the page")


def test_the_file_of_the_page_is_taken() -> None:
    specs = read_specs(marked(PAGE)["production.txtpb"], "the page")
    parsed = api.parse_specs(
        specs.serving_spec, specs.validation_spec, specs.request_spec, with_examples=True
    )
    assert parsed.platform.name == "local_docker"
    assert parsed.limits.loading_seconds == 120


@pytest.mark.usefixtures("leaves_nothing")
def test_the_library_is_called_as_the_page_says(
    saved_model: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model").symlink_to(saved_model)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "eval").symlink_to(split)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(marked(PAGE)["library"], names)  # noqa: S102
    report = names["report"]
    assert isinstance(report, Report)
    assert report.verdict == Verdict.BLESSED
    assert len(report.binaries[0].attempts[0].requests) == 20

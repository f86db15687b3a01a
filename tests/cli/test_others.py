"""infra-validator inspect, report, doctor, and what all commands share."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra_validator.version import __version__
from tests.cli.command import ESCAPE, Done, Terminal, arguments, environment, run, run_here

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


def test_inspect_shows_the_model(saved_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(saved_model, base / "3")
    done = run("inspect", base)
    assert done.code == 0, done.err
    assert "serving_default   predict   in    examples   string   [?]" in done.out
    assert "written by TensorFlow" in done.out
    assert "1 numbered version" in done.err
    assert "\x1b" not in done.out


def test_inspect_prints_json(python_model: Path) -> None:
    done = run("inspect", python_model, "--json")
    assert (done.code, done.err) == (0, "")
    [graph] = json.loads(done.out)["meta_graphs"]
    assert graph["python_ops"][0]["signatures"] == ["serving_default"]


def test_inspect_on_a_narrow_terminal(python_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "m\x1b[2Jx"
    shutil.copytree(python_model, model)
    done = Terminal("inspect", model, columns=40).wait()
    assert done.code == 0, done.out
    assert "calls a Python function" in " ".join(ESCAPE.sub("", done.out).split())
    assert "\x1b[2J" not in done.out


def test_inspect_tells_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(capsys, "inspect", tmp_path / "nowhere").code == 2
    empty = run_here(capsys, "inspect", tmp_path)
    assert (empty.code, empty.out) == (1, "")
    assert "holds no saved_model.pb" in empty.err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 99}', "\xff"])
def test_what_is_no_report_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "r.json").write_text(text, encoding="latin-1")
    done = run_here(capsys, "report", tmp_path / "r.json")
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert str(tmp_path / "r.json") in done.err


def test_doctor_tells_what_is_there(tmp_path: Path) -> None:
    server = tmp_path / "tensorflow_model_server"
    server.write_text("#!/bin/sh\necho 'TensorFlow ModelServer: 9.9'\n")
    server.chmod(0o755)
    nothing = {"DOCKER_HOST": "unix:///nowhere", "KUBECONFIG": "/nowhere"}
    done = run("doctor", "--json", PATH=f"{tmp_path}:{os.environ['PATH']}", **nothing)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    platforms = {one["name"]: one for one in found["platforms"]}
    assert "9.9" in platforms["local_process"]["text"]
    assert not platforms["local_docker"]["found"]
    assert platforms["local_docker"]["advice"]
    assert not platforms["kubernetes"]["found"]
    versions = {one["name"]: one["text"] for one in found["versions"]}
    assert versions["tensorflow"] == importlib.metadata.version("tensorflow")
    required = run("doctor", "--platform", "local_docker", **nothing)
    assert required.code == 1
    assert "✗ local_docker" in required.out


@pytest.mark.usefixtures("docker_client")
def test_doctor_finds_a_real_engine(docker_client: Any) -> None:
    done = run("doctor", "--platform", "local_docker")
    assert done.code == 0, done.out
    assert f"Docker engine {docker_client.version()['Version']}" in " ".join(done.out.split())


@pytest.mark.parametrize("command", [(), ("validate",), ("inspect",), ("report",), ("doctor",)])
def test_help_is_complete(capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    done = run_here(capsys, *command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage: infra-validator" in done.out
    assert ("Examples:" in done.out) == bool(command)


def test_the_version_is_told() -> None:
    assert run("--version") == Done(0, f"infra-validator, version {__version__}\n", "")


def test_wrong_commands_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(capsys, "validat")
    assert (done.code, done.out) == (2, "")
    assert "No such command" in done.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("infra-validator va", "validate"),
        ("infra-validator validate --plat", "--platform"),
        ("infra-validator validate --platform local_d", "local_docker"),
        ("infra-validator validate --set serving_spec.local_docker.mem", "memory="),
        ("infra-validator doctor --platform kub", "kubernetes"),
        ("infra-validator validate exp", "dir,exp"),
        ("infra-validator inspect exp", "dir,exp"),
        ("infra-validator validate --examples da", "file,da"),
        ("infra-validator validate --requests re", "file,re"),
        ("infra-validator report ou", "file,ou"),
    ],
)
def test_the_shell_completes(words: str, expected: str) -> None:
    done = run(
        _INFRA_VALIDATOR_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    assert done.code == 0, done.err
    assert expected in done.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell: str) -> None:
    done = run(_INFRA_VALIDATOR_COMPLETE=f"{shell}_source")
    if shell == "bash" and done.code != 0:
        pytest.skip(f"click finds no bash of 4.4 or later: {done.err}")
    assert "_INFRA_VALIDATOR_COMPLETE" in done.out


def test_a_real_bash_completes(tmp_path: Path) -> None:
    if run(_INFRA_VALIDATOR_COMPLETE="bash_source").code != 0:
        pytest.skip("click finds no bash of 4.4 or later")
    (tmp_path / "exported").mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = ["bash", "--norc", "--noprofile", "-i"]
    terminal = Terminal(program=shell, columns=200, cwd=tmp_path, PATH=path, INPUTRC="/dev/null")
    [setup] = (line for line in PAGE.read_text().splitlines() if "bash_source infra" in line)
    terminal.type(f"{setup.strip()}; echo rea''dy\n")
    terminal.read_until("ready")
    for typed, completed in [
        ("infra-validator va\t", "infra-validator validate "),
        ("exp\t", "validate exported/"),
        (
            " --set serving_spec.local_docker.mem\t4g",
            "exported/ --set serving_spec.local_docker.memory=4g",
        ),
        (" --set serving_spec.tensorflow_serving.e\tA", "serving_spec.tensorflow_serving.env.A"),
    ]:
        terminal.type(typed)
        terminal.read_until(completed)
    terminal.type("\x15exit\n")  # the line is cleared first
    terminal.wait()


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        arguments("validate", "--help"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({}),
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert b"Traceback" not in said
    assert b"Exception ignored" not in said


def test_the_program_is_installed() -> None:
    program = Path(sys.executable).parent / "infra-validator"
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    assert __version__ in done.stdout

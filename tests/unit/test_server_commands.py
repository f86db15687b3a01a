"""The commands that start a server by hand, and words of a shell."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_validator import docker_config
from infra_validator.docker_config import DeviceRequest, DockerSettings, Mount, Ulimit
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.runners import docker_command, process_command
from infra_validator.runners.docker_container import container_config
from infra_validator.runners.shell import comment, quote
from infra_validator.servers.tensorflow_serving import TensorFlowServing

HOSTILE = 'it\'s $(touch /tmp/x) `id` "q" \\ $HOME;\n#'


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_a_quoted_text_is_one_word(text: str) -> None:
    assert shlex.split(quote(text)) == [text]


def test_a_folder_is_written_as_a_variable() -> None:
    assert quote("/gone/a/b c", {"/gone/a": "folder"}) == "\"$folder\"'/b c'"
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"folder=/x; printf %s {quote('--p=/gone/a/' + HOSTILE, {'/gone/a': 'folder'})}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"--p=/x/{HOSTILE}"


@given(st.text())
def test_a_comment_is_one_line(text: str) -> None:
    assert len(comment(text).splitlines()) == 1


def test_the_process_is_started_with_the_same_layout(tmp_path: Path) -> None:
    """The script, run: the model is where the server looks for it."""
    model = tmp_path / "model's $folder"
    model.mkdir()
    (model / "saved_model.pb").write_text("the model")
    (tmp_path / "batching_parameters_file").write_text("the batching")
    text = process_command.reproduce(
        [
            "bash",
            "-c",
            'cat "${1#*=}"/1/saved_model.pb "${2#*=}"',
            "bash",
            "--model_base_path=/gone/0-1/models/m",
            "--batching_parameters_file=/gone/0-1/batching_parameters_file.conf",
        ],
        workdir="/gone/0-1",
        link="/gone/0-1/models/m/1",
        model=str(model),
        model_uri=str(model),
        config_files=["batching_parameters_file"],
        variables=["TOKEN"],
    )
    done = subprocess.run(
        ["bash", "-euc", text], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "the modelthe batching"
    assert "TOKEN" in text
    assert "/gone" not in text


def test_a_remote_model_is_to_be_copied_first() -> None:
    text = process_command.reproduce(
        ["server", "--a"],
        workdir="/gone",
        link="/gone/m/1",
        model="/gone/copy",
        model_uri="gs://bucket/model\nrm -rf /",
        config_files=[],
        variables=[],
    )
    assert (
        text.splitlines()[0] == "# Copy gs://bucket/model rm -rf / into the folder ./model first."
    )
    assert 'ln -s "$PWD"/model "$folder"/m/1' in text


def docker_words(config: dict[str, Any], **given: Any) -> list[str]:
    script = docker_command.docker_script(
        config,
        **{
            "model": "/models/penguin",
            "model_uri": "/models/penguin",
            "layout": "m/1",
            "platform": None,
            **given,
        },
    )
    command = "\n".join(line for line in script.splitlines() if not line.startswith("#"))
    return shlex.split(command.replace("\\\n", ""))


def config_of(
    settings: DockerSettings | None = None, model: str | None = "/models/penguin", **binary: Any
) -> dict[str, Any]:
    return container_config(
        settings or make_settings(),
        TensorFlowServing(model_name="m", image="tensorflow/serving:2.16.1", **binary),
        model=model,
        user="65534:65534",
        labels={"l": "v"},
        processors=2,
        publish_at="127.0.0.1",
        init=True,
    )


def make_settings(**fields: Any) -> DockerSettings:

    return dataclasses.replace(docker_config.parse(pb.LocalDockerConfig()), **fields)


def test_the_container_is_started_with_the_same_options() -> None:
    assert docker_words(config_of(args=("--enable_batching=true",))) == [
        *("docker", "run", "--rm", "--publish", "127.0.0.1:8500:8500"),
        *("--mount", "type=bind,source=/models/penguin,target=/model/m/1,readonly"),
        *("--env", "MODEL_NAME=m", "--env", "MODEL_BASE_PATH=/model"),
        *("--user", "65534:65534", "--init", "--read-only", "--tmpfs", "/tmp"),  # noqa: S108
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "640"),
        *("tensorflow/serving:2.16.1", "--max_num_load_retries=0"),
        *("--load_retry_interval_micros=0", "--enable_batching=true"),
    ]


def test_a_copied_model_is_mounted() -> None:
    words = docker_words(config_of(model=None))
    assert [word for word in words if word.startswith("type=")] == [
        "type=bind,source=/models/penguin,target=/model/m/1,readonly"
    ]


def test_values_of_variables_are_not_told() -> None:
    words = docker_words(config_of(env={"TOKEN": "secret", "A": HOSTILE}))
    environment = [after for word, after in itertools.pairwise(words) if word == "--env"]
    assert environment == ["TOKEN", "A", "MODEL_NAME=m", "MODEL_BASE_PATH=/model"]
    assert "secret" not in " ".join(words)


def test_limits_devices_and_mounts_are_told() -> None:
    settings = make_settings(
        cpus=1.5,
        memory=2**30,
        shared_memory=2**20,
        ulimits=(Ulimit("nofile", 1024, 2048),),
        device_requests=(
            DeviceRequest("", 2, (), ("gpu",)),
            DeviceRequest("", -1, (), ("gpu",)),
            DeviceRequest("nvidia", 0, ("0", "GPU-1"), ("gpu", "utility")),
        ),
        network="of mine",
        mounts=(Mount("/a,b", "/data", writable=False), Mount("cache", "/cache", writable=True)),
        capabilities=("SYS_NICE",),
        writable_root=True,
        allow_new_privileges=True,
        user="me",
    )
    words = docker_words(config_of(settings), platform="linux/amd64")
    options = list(itertools.pairwise(words))
    for option in [
        ("--cpus", "1.5"),
        ("--memory", "1073741824b"),
        ("--memory-swap", "1073741824b"),
        ("--shm-size", "1048576b"),
        ("--ulimit", "nofile=1024:2048"),
        ("--gpus", "count=2"),
        ("--gpus", "count=all"),
        ("--gpus", '"device=0,GPU-1",driver=nvidia,"capabilities=gpu,utility"'),
        ("--network", "of mine"),
        ("--mount", 'type=bind,"source=/a,b",target=/data,readonly'),
        ("--mount", "type=volume,source=cache,target=/cache"),
        ("--cap-add", "SYS_NICE"),
        ("--user", "me"),
        ("--platform", "linux/amd64"),
    ]:
        assert option in options, option
    assert "--read-only" not in words
    assert "--security-opt" not in words


def test_configuration_files_are_mounted_from_here() -> None:
    config = config_of(config_files={"batching_parameters_file": b"secret"})
    script = docker_command.docker_script(
        config, model="/m", model_uri="gs://b/m", layout="m/1", platform=None
    )
    assert script.splitlines()[:2] == [
        "# Copy gs://b/m into the folder ./model first.",
        "# Write the content of config_files['batching_parameters_file'] to "
        "./batching_parameters_file first.",
    ]
    assert '"type=bind,source=$PWD/model,target=/model/m/1,readonly"' in script
    assert "source=$PWD/batching_parameters_file" in script
    assert "--batching_parameters_file=" in script
    assert "secret" not in script


@pytest.mark.parametrize("model", ["/a b/'c'", "/a,b", '/a"b'])
def test_any_path_can_be_mounted(model: str) -> None:
    words = docker_words(config_of(model=model), model=model, model_uri=model)
    [mount] = [word for word in words if word.startswith("type=")]
    [fields] = csv.reader([mount])
    assert f"source={model}" in fields

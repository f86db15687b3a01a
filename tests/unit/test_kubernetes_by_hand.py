"""The kubectl commands that the report tells."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra_validator.runners.kubernetes.by_hand import kubectl_script
from infra_validator.runners.kubernetes.step import StepPod
from tests.unit.test_kubernetes_manifest import CLAIM, CONFIG, URI, binary, build

OWNER = StepPod("step", "ns", "uid")


def script(manifest: dict[str, Any], model: str | None = "/models/m", **given: Any) -> str:
    values: dict[str, Any] = {
        "port": 8500,
        "model_uri": model or "gs://b/m/1",
        "layout": "m/1",
        "config_flags": (),
        **given,
    }
    return kubectl_script(manifest, model=model, **values)


def applied(text: str) -> Any:
    """The Pod that kubectl is given."""
    body = text.partition("<<'END_OF_MANIFEST'\n")[2].partition("\nEND_OF_MANIFEST\n")[0]
    return json.loads(body)


def test_the_pod_is_the_same_but_for_what_ties_it_to_the_validator() -> None:
    sent = build(owner=OWNER, serving=binary(args=("--a=$(HOME) 'quoted'",)))
    before = json.dumps(sent)
    pod = applied(script(sent))
    assert json.dumps(sent) == before
    assert pod["metadata"] == {
        "name": "infra-validator-by-hand",
        "namespace": "ns",
        "labels": {"sidecar.istio.io/inject": "false"},
        "annotations": {"sidecar.istio.io/inject": "false"},
    }
    assert pod["spec"] == {
        key: value for key, value in sent["spec"].items() if key != "activeDeadlineSeconds"
    }


SECRET = "hunter2"  # noqa: S105 - what must not be told
ENV = [{"name": "PASSWORD", "value": SECRET}]
HEADERS = {"port": 8501, "httpHeaders": [{"name": "Authorization", "value": SECRET}]}


@pytest.mark.parametrize(
    ("serving", "config", "names"),
    [
        ({"env": {"TOKEN": SECRET}}, {}, "TOKEN"),
        ({}, {"serving_pod_overrides": {"env": ENV}}, "PASSWORD"),
        (
            {"env": {"TOKEN": SECRET}},
            {
                "pod_patch": {
                    "spec": {
                        "initContainers": [{"name": "other", "image": "i", "env": ENV}],
                        "containers": [{"name": "proxy", "image": "i", "env": ENV}],
                    }
                }
            },
            "PASSWORD, TOKEN",
        ),
        (
            {},
            {
                "pod_patch": {
                    "spec": {
                        "containers": [
                            {
                                "name": "server",
                                "lifecycle": {"postStart": {"httpGet": HEADERS}},
                                "livenessProbe": {"httpGet": HEADERS},
                            }
                        ]
                    }
                }
            },
            "Authorization",
        ),
    ],
)
def test_values_of_variables_are_not_told(
    serving: dict[str, Any], config: dict[str, Any], names: str
) -> None:
    text = script(build(serving=binary(**serving), **config))
    assert SECRET not in text
    assert f'# Put the values of these in place of "(not shown)" first: {names}\n' in text
    [server] = [one for one in applied(text)["spec"]["containers"] if one["name"] == "server"]
    assert {"name": "MODEL_NAME", "value": "m"} in server["env"]


@pytest.mark.parametrize(
    ("pod", "given", "there", "not_there"),
    [
        (build(), {}, ["tar -C /models/m -chf - . |", "/model/m/1"], ["/config/", "# Copy"]),
        (build(), {"model_uri": "gs://b/m"}, ["# Copy gs://b/m into", "tar -C ./model"], []),
        (build(), {"model": "/a b"}, ["tar -C '/a b' -chf"], []),
        (build(), {"layout": "a b/1"}, ["'/infra-validator-received/model/a b/1'"], []),
        (build(CLAIM), {"model": None}, ["kubectl wait"], ["tar -C", "exec"]),
        (build(URI), {"model": None}, ["kubectl wait"], ["tar -C", "exec"]),
        (
            build(URI, serving=binary(config_files=CONFIG)),
            {"model": None, "config_flags": CONFIG},
            ["/config/batching_parameters_file <./batching_parameters_file", "echo 0 >"],
            ["tar -C"],
        ),
    ],
)
def test_files_are_sent_where_the_pod_waits_for_them(
    pod: dict[str, Any], given: dict[str, Any], there: Sequence[str], not_there: Sequence[str]
) -> None:
    text = script(pod, **given)
    subprocess.run(["bash", "-n", "-c", text], check=True)
    commands = text.partition("\nEND_OF_MANIFEST\n")[2]
    assert all(words in text for words in there), text
    assert not any(words in commands for words in not_there), text


HOSTILE = '\'; touch "$HERE/pwned"; $(touch $HERE/pwned) `touch $HERE/pwned`\nEND_OF_MANIFEST\n#'


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    serving = binary(model_name=HOSTILE, args=(f"--flag={HOSTILE}",), config_files={HOSTILE: b""})
    text = script(
        build(serving=serving),
        HOSTILE,
        model_uri=f"gs://{HOSTILE}",
        layout=f"{HOSTILE}/1",
        config_flags=[HOSTILE],
    )
    (tmp_path / "kubectl").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "kubectl").chmod(0o755)
    subprocess.run(
        ["bash", "-c", text],
        check=False,
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HERE": str(tmp_path)},
        capture_output=True,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["kubectl"]
    assert applied(text)["spec"]["containers"][0]["args"]

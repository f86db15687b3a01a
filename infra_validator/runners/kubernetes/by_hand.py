"""The `kubectl` commands that do by hand what the cluster was asked to do. Pure."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Collection, Mapping
from typing import Any

from infra_validator.kubernetes_config import HIDDEN, RECEIVER, SERVER, hide_values_of_pod
from infra_validator.runners.kubernetes.manifest import RECEIVED, RECEIVED_FIFO
from infra_validator.runners.shell import comment

_NAME = "infra-validator-by-hand"
_OWN_PREFIX = "infra-validator."

# Ours, and without secrets; of all other variables only the names are told.
_SHOWN_VARIABLES = {"MODEL_NAME", "MODEL_BASE_PATH"}


def kubectl_script(
    manifest: Mapping[str, Any],
    *,
    port: int,
    model: str | None,
    model_uri: str,
    layout: str,
    config_flags: Collection[str],
) -> str:
    """A shell script that starts the same server in a Pod, and brings its port here.

    The Pod lives until it is deleted: it has neither an owner nor a deadline, and
    no other validator takes it for one of its own. Values of environment variables
    and of the headers of probes are not told.

    Args:
        manifest: the body of POST /api/v1/namespaces/{namespace}/pods.
        port: the server's.
        model: the model's folder on this machine, if it is sent into the Pod; None
            if the Pod finds it by itself.
        model_uri: where the model really is, if that folder is a copy.
        layout: where the model lies below the base folder.
        config_flags: flags that are set to a file which is sent into the Pod.
    """
    pod, hidden = _pod(manifest)
    namespace = shlex.quote(pod["metadata"]["namespace"])
    execute = f"kubectl exec --stdin --namespace {namespace} {_NAME} --container {RECEIVER} --"
    lines = []
    if hidden:
        names = ", ".join(sorted(hidden))
        lines.append(comment(f'Put the values of these in place of "{HIDDEN}" first: {names}'))
    sent = []
    if model is not None:
        source = shlex.quote(model)
        if model_uri != model:
            lines.append(comment(f"Copy {model_uri} into the folder ./model first."))
            source = "./model"
        folder = shlex.quote(f"{RECEIVED}/model/{layout}")
        sent.append(
            f"tar -C {source} -chf - . | {execute} "
            f"""sh -c 'mkdir -p "$1" && tar -C "$1" --no-same-owner -xf -' sh {folder}"""
        )
    for flag in config_flags:
        lines.append(comment(f"Write the content of config_files[{flag!r}] to ./{flag} first."))
        file = shlex.quote(f"{RECEIVED}/config/{flag}")
        write = """sh -c 'mkdir -p "${1%/*}" && cat >"$1"' sh"""
        sent.append(f"{execute} {write} {file} <./{shlex.quote(flag)}")
    lines += [
        f"kubectl apply --namespace {namespace} --filename - <<'END_OF_MANIFEST'",
        json.dumps(pod, indent=2),
        "END_OF_MANIFEST",
    ]
    if sent:
        lines += [
            comment("The Pod waits for its files; the server starts once they are there."),
            f"until {execute} test -p {RECEIVED_FIFO} 2>/dev/null; do sleep 1; done",
            *sent,
            f"{execute} sh -c 'echo 0 >{RECEIVED_FIFO}'",
        ]
    return "\n".join(
        [
            *lines,
            f"kubectl wait --namespace {namespace} --for condition=Ready --timeout 10m pod/{_NAME}",
            comment(f"kubectl logs --namespace {namespace} {_NAME} --container {SERVER}"),
            comment(f"kubectl delete --namespace {namespace} pod/{_NAME}"),
            comment("It ends with each connection that is refused: while the server loads."),
            f"until kubectl port-forward --namespace {namespace} pod/{_NAME} {port}:{port}; "
            "do sleep 1; done",
        ]
    )


def _pod(manifest: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The Pod without what ties it to the validator, and which variables have lost their values."""
    pod: dict[str, Any] = copy.deepcopy(dict(manifest))
    metadata = pod["metadata"]
    metadata["name"] = _NAME
    metadata.pop("ownerReferences", None)
    for kind in ("labels", "annotations"):
        metadata[kind] = {
            key: value
            for key, value in metadata.get(kind, {}).items()
            if not key.startswith(_OWN_PREFIX)
        }
    pod["spec"].pop("activeDeadlineSeconds", None)
    return pod, hide_values_of_pod(pod, shown=_SHOWN_VARIABLES)

"""Runs the engine from a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra_validator import config
from infra_validator.files import Gfile
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report
from infra_validator.requests.examples import Examples
from infra_validator.runners.base import Platform
from infra_validator.validation.engine import Candidate, validate
from infra_validator.validation.progress import Observer, ignore
from infra_validator.waiting import Cancellation


def run(
    model: Path | str,
    *,
    split: Path | None = None,
    executable: str = "",
    env: dict[str, str] | None = None,
    args: tuple[str, ...] = (),
    config_files: dict[str, pb.ConfigFile] | None = None,
    limits: pb.ValidationSpec | None = None,
    signatures: tuple[str, ...] = (),
    num_examples: int = 3,
    make_warmup: bool = False,
    stamp_uri: str | None = None,
    images: tuple[str, ...] = (),
    image_name: str = "",
    platform: Platform | None = None,
    local_docker: pb.LocalDockerConfig | None = None,
    kubernetes: pb.KubernetesConfig | None = None,
    model_name: str = "",
    cancellation: Cancellation | None = None,
    request_fields: dict[str, Any] | None = None,
    observer: Observer = ignore,
) -> Report:
    """Validates a model on the local process platform, or on the one given."""
    serving_spec = pb.ServingSpec(
        tensorflow_serving=pb.TensorFlowServing(
            image_name=image_name,
            tags=images,
            args=args,
            env=env or {},
            config_files=config_files or {},
        ),
        model_name=model_name,
    )
    if local_docker is not None:
        serving_spec.local_docker.CopyFrom(local_docker)
    elif kubernetes is not None:
        serving_spec.kubernetes.CopyFrom(kubernetes)
    elif platform is None:
        serving_spec.local_process.executable = executable
    else:
        serving_spec.custom_platform.name = "given by the test"
    request_spec = pb.RequestSpec(
        tensorflow_serving=pb.TensorFlowServingRequestSpec(signature_names=signatures),
        num_examples=num_examples,
        make_warmup=make_warmup,
        **(request_fields or {}),
    )
    parsed = config.parse(
        serving_spec,
        limits or pb.ValidationSpec(num_tries=1, max_loading_time_seconds=120),
        request_spec if split is not None else None,
        query=split is not None,
    )
    given: dict[str, Any] = {}
    if platform is not None:
        find: Callable[[object], Platform] = lambda _: platform  # noqa: E731
        given["find_platform"] = find
    return validate(
        Candidate(
            str(model), None if split is None else Examples({"train": str(split)}), stamp_uri
        ),
        parsed,
        Gfile(),
        cancellation=cancellation,
        observer=observer,
        **given,
    )

"""Broken models and environments on a real Docker engine and a real cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report
from tests.engine.helpers import run
from tests.gallery.cases import Case, rename_in_functions
from tests.gallery.room import Room
from tests.gallery.test_gallery import check

pytestmark = pytest.mark.usefixtures("leaves_nothing")

InDocker = Callable[..., Report]


@pytest.fixture
def in_docker(docker_client: Any, model_server_image: str, room: Room) -> InDocker:
    """Validates on the engine; fields of LocalDockerConfig are given as `docker`."""
    name, _, tag = model_server_image.rpartition(":")

    def validate(**options: Any) -> Report:
        config = pb.LocalDockerConfig(**options.pop("docker", {}))
        options.setdefault("model", room.models.good)
        options.setdefault("image_name", name)
        return run(local_docker=config, images=(options.pop("tag", tag),), **options)

    return validate


def no_engine(room: Room, in_docker: InDocker) -> Report:
    return in_docker(docker={"client_base_url": f"unix://{room.folder}/nowhere.sock"})


def no_image(room: Room, in_docker: InDocker) -> Report:
    return in_docker(tag="no-such-tag", docker={"pull_policy": "NEVER"})


def no_registry(room: Room, in_docker: InDocker) -> Report:
    return in_docker(image_name="registry.invalid/serving")


def image_without_a_server(room: Room, in_docker: InDocker) -> Report:
    return in_docker(image_name="debian", tag="trixie-slim")


def too_little_memory(room: Room, in_docker: InDocker) -> Report:
    return in_docker(docker={"memory": "48m"})


def mount_source_missing(room: Room, in_docker: InDocker) -> Report:
    mount = pb.Mount(source=f"{room.folder}/nowhere", target="/x")
    return in_docker(docker={"mounts": [mount]})


def no_such_device(room: Room, in_docker: InDocker) -> Report:
    return in_docker(docker={"device_requests": [pb.DeviceRequest(count=-1)]})


def no_such_api(room: Room, in_docker: InDocker) -> Report:
    return in_docker(docker={"client_api_version": "1.99"})


def op_of_a_package(room: Room, in_docker: InDocker) -> Report:
    return in_docker(model=room.edited(rename_in_functions("Mul", "CaseFoldUTF8")))


INFRASTRUCTURE, CONFIGURATION = "infrastructure", "configuration"


@pytest.mark.parametrize(
    "case",
    [
        Case(no_engine, "engine_unavailable", INFRASTRUCTURE, "stage", "nowhere.sock", "Start the"),
        Case(no_image, "image_not_found", INFRASTRUCTURE, "image", "no-such-tag", "pull_policy"),
        Case(
            no_registry, "image_pull_failed", INFRASTRUCTURE, "image", "registry.invalid", "reaches"
        ),
        Case(image_without_a_server, "image_unusable", INFRASTRUCTURE, "start", "", "behave like"),
        Case(
            too_little_memory,
            "memory_limit_exceeded",
            "model",
            "load",
            "more than the 48 MiB",
            "The model's files have",
        ),
        Case(
            mount_source_missing,
            "mount_source_missing",
            CONFIGURATION,
            "start",
            "nowhere",
            "engine's",
        ),
        Case(no_such_device, "device_unavailable", CONFIGURATION, "start", "device_", "runtime"),
        Case(no_such_api, "engine_api_mismatch", CONFIGURATION, "stage", "API version", "unset"),
        Case(op_of_a_package, "op_missing", "model", "load", "'CaseFoldUTF8'", "tensorflow-text"),
    ],
    ids=lambda case: case.name,
)
def test_what_is_broken_is_told_by_docker(case: Case, room: Room, in_docker: InDocker) -> None:
    check(case.make(room, in_docker), case)  # type: ignore[call-arg]


def test_what_is_broken_is_told_by_a_cluster(room: Room, kubernetes_namespace: Any) -> None:
    name, tag = kubernetes_namespace.image

    def on_cluster(_: Room) -> Report:
        return run(
            room.edited(rename_in_functions("Mul", "CaseFoldUTF8")),
            image_name=name,
            images=(tag,),
            kubernetes=kubernetes_namespace.config(),
        )

    check(
        on_cluster(room),
        Case(on_cluster, "op_missing", "model", "load", "'CaseFoldUTF8'", "tensorflow-text"),
    )

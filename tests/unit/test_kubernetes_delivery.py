"""How the model gets to the server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra_validator import kubernetes_config
from infra_validator.faults import FaultError
from infra_validator.files import Gfile
from infra_validator.model_source import ModelSource
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.runners.kubernetes.api import ApiError
from infra_validator.runners.kubernetes.delivery import Step, Way, choose_way
from infra_validator.runners.kubernetes.places import ClaimModel, StreamedModel, UriModel
from infra_validator.runners.kubernetes.step import StepPod


class Claims:
    """An API that has one claim, or refuses to show it."""

    def __init__(self, modes: list[str] | None) -> None:
        self._modes = modes

    def get(self, path: str) -> Any:
        assert path == "/api/v1/namespaces/n/persistentvolumeclaims/data"
        if self._modes is None:
            raise ApiError(403, "no", "get", "persistentvolumeclaims")
        return {"spec": {"accessModes": self._modes}, "status": {}}


class Bucket(Gfile):
    """A remote file system with a model and what is beside it."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def listdir(self, path: Any) -> list[Any]:
        assert path == "gs://bucket/m"
        return [f"{name}/" for name in self._names]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "volume" / "Trainer" / "7"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    for path in (folder, folder / "saved_model.pb"):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.chown(path, 4321 if os.getuid() == 0 else -1, -1)
    return folder


def step(model: Path, namespace: str = "n") -> Step:
    manifest: Mapping[str, Any] = {
        "metadata": {"name": "step"},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "volumeMounts": [
                        {
                            "name": "v",
                            "mountPath": os.path.realpath(model.parents[1]),
                            "subPath": "team",
                        }
                    ],
                }
            ],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    }
    return Step(StepPod("step", namespace, "uid", node="node-1"), manifest)


def choose(
    uri: str,
    *,
    delivery: str = "AUTO",
    at: Step | None = None,
    modes: list[str] | None = None,
    files: Gfile | None = None,
) -> Way:
    settings = kubernetes_config.parse(pb.KubernetesConfig(model_delivery=delivery), 30)
    source = ModelSource(uri, files or Gfile(), Path("/nowhere"), lambda: None)
    return choose_way(settings, Claims(modes), "n", at, source)  # type: ignore[arg-type]


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(FaultError) as caught:
        choose(*args, **options)
    assert caught.value.fault.category == "model_not_shareable"
    return caught.value.fault.summary


def test_a_local_model_outside_of_the_cluster_is_streamed(model: Path) -> None:
    assert choose(str(model)) == Way("stream", StreamedModel())
    assert "does not run in a Pod" in refused(str(model), delivery="CLAIM")


@pytest.mark.parametrize(
    ("modes", "node"),
    [
        (["ReadWriteMany"], None),
        (["ReadWriteOnce", "ReadOnlyMany"], None),
        (["ReadWriteOnce"], "node-1"),
        (None, "node-1"),
    ],
)
@pytest.mark.parametrize("delivery", ["AUTO", "CLAIM"])
def test_a_claim_is_shared_whatever_its_mode(
    model: Path, modes: list[str] | None, node: str | None, delivery: str
) -> None:
    way = choose(str(model), at=step(model), modes=modes, delivery=delivery)
    assert way.name == "claim"
    assert way.place == ClaimModel("data", "team/Trainer/7")
    assert way.node == node
    assert way.user == (65534, 65534)


def test_a_claim_for_one_pod_only_is_not_shared(model: Path) -> None:
    options: dict[str, Any] = {"at": step(model), "modes": ["ReadWriteOncePod"]}
    assert choose(str(model), **options).name == "stream"
    assert "one Pod only" in refused(str(model), delivery="CLAIM", **options)


def test_a_step_in_another_namespace_shares_nothing(model: Path) -> None:
    other = step(model, "other")
    assert choose(str(model), at=other).name == "stream"
    assert "another namespace" in refused(str(model), at=other, delivery="CLAIM")


def test_a_model_that_is_reached_by_a_link_is_found_where_it_lies(
    model: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(model)
    way = choose(str(link), at=step(model), modes=["ReadWriteMany"])
    assert way.place == ClaimModel("data", "team/Trainer/7")


def test_links_that_lead_out_are_streamed(model: Path) -> None:
    (model / "assets").symlink_to("../../elsewhere")
    assert choose(str(model), at=step(model), modes=["ReadWriteMany"]).name == "stream"
    assert "links" in refused(str(model), at=step(model), delivery="CLAIM")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_who_may_read_it_runs_the_server(model: Path) -> None:
    (model / "saved_model.pb").chmod(0o600)
    way = choose(str(model), at=step(model), modes=["ReadWriteMany"])
    assert (way.name, way.user[0]) == ("claim", 4321)
    os.chown(model / "saved_model.pb", 0, 0)
    os.chown(model, 0, 0)
    assert choose(str(model), at=step(model), modes=["ReadWriteMany"]).name == "stream"
    forced = choose(str(model), at=step(model), modes=["ReadWriteMany"], delivery="CLAIM")
    assert forced.user[0] == 0
    os.chown(model / "saved_model.pb", 4322, 0)
    model.chmod(0o700)
    assert "no one user" in refused(str(model), at=step(model), delivery="CLAIM")


def test_a_uri_that_the_server_can_read_is_handed_to_it() -> None:
    way = choose("gs://bucket/m/7", files=Bucket("7", "notes"))
    assert way == Way("uri", UriModel("gs://bucket/m"))


@pytest.mark.parametrize(
    ("uri", "beside", "why"),
    [
        ("gs://bucket/m/7", ("6", "7"), "other versions beside it: 6"),
        ("gs://bucket/m/Format-Serving", ("Format-Serving",), "a number"),
        ("/a/local/7", (), "no URI"),
        ("file:///a/local/7", (), "no URI"),
    ],
)
def test_a_uri_that_the_server_cannot_use(uri: str, beside: tuple[str, ...], why: str) -> None:
    assert why in refused(uri, delivery="URI", files=Bucket(*beside))


def test_a_scheme_that_only_plugins_read_must_be_asked_for() -> None:
    class Other(Gfile):
        def listdir(self, path: Any) -> list[Any]:
            return ["7"]

    assert choose("s3://bucket/m/7", files=Other(), delivery="URI").name == "uri"
    with pytest.raises(FaultError) as caught:  # it is to be staged, which cannot be done here
        choose("ram://bucket/m/7", files=Gfile())
    assert caught.value.fault.category == "storage_failed"

"""What infra-validator doctor says of a real cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import run_here
from tests.platforms.kubernetes_cluster import Proxy, TestNamespace, write_kubeconfig
from tests.platforms.test_kubernetes import EVENT_RULES, OUTSIDE_RULES

Found = dict[str, dict[str, Any]]
Doctor = Callable[[Path], tuple[int, Found]]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Asks with a kubeconfig; gives the exit code and the findings."""

    def ask(kubeconfig: Path) -> tuple[int, Found]:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        done = run_here(capsys, "doctor", "--platform", "kubernetes", "--json")
        assert done.err == ""
        found = json.loads(done.out)
        platforms = {one["name"]: one for one in found["platforms"]}
        lacking = [name for name, one in platforms.items() if not one["found"]]
        assert [name for name in found["missing"] if name.startswith("kube")] == [
            name for name in lacking if name.startswith("kube")
        ]
        return done.code, platforms

    return ask


@pytest.fixture
def proxy(kubernetes_namespace: TestNamespace) -> Iterator[Proxy]:
    found = Proxy(kubernetes_namespace.api)
    yield found
    found.close()


def kubeconfig_of(proxy: Proxy, folder: Path, namespace: str) -> Path:
    return write_kubeconfig(folder / "k", proxy.address, {"token": "x"}, namespace, None)


def test_all_rights_of_the_docs(
    kubernetes_namespace: TestNamespace, doctor: Doctor, tmp_path: Path
) -> None:
    rules = [*OUTSIDE_RULES, *EVENT_RULES]
    code, found = doctor(kubernetes_namespace.user("doctor-all", rules, tmp_path))
    assert code == 0, found
    assert found["kubernetes namespace"]["text"].startswith(kubernetes_namespace.name)
    assert (
        found["kubernetes rights"]["text"] == f"all that is needed in {kubernetes_namespace.name}"
    )
    assert found["kubernetes rights"]["advice"] == ""


def test_events_are_welcome_and_not_needed(
    kubernetes_namespace: TestNamespace, doctor: Doctor, tmp_path: Path
) -> None:
    code, found = doctor(kubernetes_namespace.user("doctor-outside", OUTSIDE_RULES, tmp_path))
    assert code == 0, found
    assert "these would tell more: list events, watch events" in found["kubernetes rights"]["text"]
    assert '"resources": ["events"]' in found["kubernetes rights"]["advice"]


def test_what_the_advice_says_grants_what_lacks(
    kubernetes_namespace: TestNamespace, doctor: Doctor, tmp_path: Path
) -> None:
    few = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    code, found = doctor(kubernetes_namespace.user("doctor-few", few, tmp_path))
    assert code == 1
    rights = found["kubernetes rights"]
    assert "create pods, delete pods, get pods/log, get pods/exec" in rights["text"]
    assert "events" not in rights["text"]
    added = json.loads(f"[{rights['advice'].partition(': ')[2]}]")
    code, found = doctor(kubernetes_namespace.user("doctor-more", [*few, *added], tmp_path))
    assert code == 0, found
    assert found["kubernetes rights"]["advice"] == ""


def test_a_cluster_that_does_not_say_what_may_be_done(
    kubernetes_namespace: TestNamespace, doctor: Doctor, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.harm = lambda line: (403, {}, "") if "selfsubjectaccessreviews" in line else None
    code, found = doctor(kubeconfig_of(proxy, tmp_path, kubernetes_namespace.name))
    assert code == 0, found
    assert "does not say what may be done" in found["kubernetes rights"]["text"]
    assert "docs/platforms.md" in found["kubernetes rights"]["advice"]


def test_neither_version_nor_namespace_need_be_told(
    kubernetes_namespace: TestNamespace, doctor: Doctor, proxy: Proxy, tmp_path: Path
) -> None:
    def hide(line: str) -> tuple[int, dict[str, str], str] | None:
        path = line.split()[1]
        return (403, {}, "") if path in {"/version", kubernetes_namespace.path("")} else None

    proxy.harm = hide
    code, found = doctor(kubeconfig_of(proxy, tmp_path, kubernetes_namespace.name))
    assert code == 0, found
    assert found["kubernetes rights"]["text"].startswith("all that is needed")


def test_a_namespace_that_is_not_there(doctor: Doctor, proxy: Proxy, tmp_path: Path) -> None:
    code, found = doctor(kubeconfig_of(proxy, tmp_path, "no-such"))
    assert code == 1
    assert found["kubernetes"]["found"]
    assert "no namespace no-such" in found["kubernetes namespace"]["text"]
    assert "kubernetes rights" not in found


@pytest.mark.parametrize("answer", [(401, {}, ""), (200, {}, "<html>"), (500, {}, "broken")])
def test_what_is_no_cluster_for_us(
    doctor: Doctor, proxy: Proxy, tmp_path: Path, answer: tuple[int, dict[str, str], str]
) -> None:
    proxy.harm = lambda line: answer
    code, found = doctor(kubeconfig_of(proxy, tmp_path, "default"))
    assert code == 1
    assert not found["kubernetes"]["found"]
    assert proxy.address in found["kubernetes"]["text"]
    assert found.keys() & {"kubernetes namespace", "kubernetes rights"} == set()


@pytest.mark.parametrize("part", ["/namespaces/", "selfsubjectaccessreviews"])
def test_the_cluster_goes_away_in_between(
    doctor: Doctor, proxy: Proxy, tmp_path: Path, part: str
) -> None:
    proxy.harm = lambda line: (502, {}, "") if part in line else None
    code, found = doctor(kubeconfig_of(proxy, tmp_path, "default"))
    assert code == 1
    assert "HTTP 502" in found["kubernetes"]["text"]


def test_where_no_namespace_is_named_it_is_the_default_one(
    kubernetes_namespace: TestNamespace, doctor: Doctor, proxy: Proxy, tmp_path: Path
) -> None:
    _, found = doctor(kubeconfig_of(proxy, tmp_path, ""))
    assert found["kubernetes namespace"]["text"].startswith("default")

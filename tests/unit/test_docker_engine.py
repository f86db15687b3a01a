"""Where the engine is: settings, environment and contexts, and what ssh is told."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from infra_validator import docker_config
from infra_validator.faults import FaultError
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.runners.docker_engine import Engine
from infra_validator.runners.docker_ssh import ssh_arguments
from infra_validator.specs import SpecError

THERE = "unix:///there.sock"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def engine(**fields: Any) -> Engine:
    return Engine(docker_config.parse(pb.LocalDockerConfig(**fields)))


def context(folder: Path, name: str, content: str) -> None:
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(content)


def described(name: str, host: str) -> str:
    endpoints = {"docker": {"Host": host, "SkipTLSVerify": False}}
    return json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoints})


def choose(folder: Path, name: str) -> None:
    (folder / "config.json").write_text(json.dumps({"currentContext": name}))


def test_each_place_is_looked_at_in_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert engine().address == "unix:///var/run/docker.sock"
    choose(tmp_path, "default")
    assert engine().address == "unix:///var/run/docker.sock"
    context(tmp_path, "mine", described("mine", THERE))
    choose(tmp_path, "mine")
    assert engine().address == THERE
    context(tmp_path, "other", described("other", "unix:///other.sock"))
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert engine().address == "unix:///other.sock"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert engine().address == "unix:///var/run/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example.com:2375")
    assert engine().address == "tcp://engine.example.com:2375"
    assert engine(client_base_url=THERE).address == THERE


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "does not exist"),
        ("", "cannot be used"),
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        ("{}", "cannot be used"),
        ('{"Name": "bad", "Metadata": {}, "Endpoints": {"kubernetes": {}}}', "cannot be used"),
    ],
)
def test_a_context_that_cannot_be_used_is_named(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    choose(tmp_path, "bad")
    if content is not None:
        context(tmp_path, "bad", content)
    with pytest.raises(FaultError, match=f"context 'bad' {problem}") as caught:
        engine().address  # noqa: B018 - finding it is what is tested
    assert caught.value.fault.category == "engine_unavailable"
    assert "docker context ls" in caught.value.fault.hint


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "it is no JSON object"),
        ("3", "it is no JSON object"),
        ('{"auths": []}', "auths is no object"),
        ('{"auths": {"reg.example": 3}}', "auths: "),
        ('{"auths": {"reg.example": {"auth": "hunter2"}}}', "auths: "),
        ('{"credHelpers": "pass"}', "credHelpers is no object"),
        ('{"HttpHeaders": [["X", "hunter2"]]}', "HttpHeaders is no object"),
        ('{"proxies": null}', "proxies is no object"),
        ('{"credsStore": {"hunter2": 1}}', "credsStore is no text"),
        ('{"currentContext": ["mine"]}', "currentContext is no text"),
    ],
)
@pytest.mark.parametrize("fields", [{}, {"client_base_url": "unix:///nowhere.sock"}])
def test_a_configuration_that_cannot_be_used_is_named(
    tmp_path: Path, content: str, problem: str, fields: dict[str, str]
) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(FaultError) as caught, engine(**fields).connect():
        pass
    found = caught.value.fault
    assert found.category == "engine_unavailable"
    place = f"Docker's configuration {tmp_path}/config.json cannot be used: {problem}"
    assert found.summary.startswith(place)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "{}",
        '{"auths": {}, "credHelpers": {}, "HttpHeaders": {}, "proxies": {}, "credsStore": ""}',
        '{"auths": {"reg.example": {}, "other.example": {"auth": "bWU6aHVudGVyMg=="}}}',
        '{"psFormat": "x", "plugins": {"a": {"b": "c"}}}',
    ],
)
def test_a_configuration_that_can_be_used_is(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert engine(client_base_url=THERE).address == THERE


def test_certificates_that_are_not_there_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(FaultError, match="DOCKER_CERT_PATH") as caught:
        engine().address  # noqa: B018
    assert caught.value.fault.category == "engine_unavailable"
    # They are of no concern for a socket of this machine.
    monkeypatch.setenv("DOCKER_HOST", THERE)
    assert engine().address == THERE


@pytest.mark.parametrize(
    ("address", "is_local", "host"),
    [
        (THERE, True, "127.0.0.1"),
        ("http+unix:///there.sock", True, "127.0.0.1"),
        ("tcp://engine.example.com:2376", False, "engine.example.com"),
        ("engine.example.com:2376", False, "engine.example.com"),
        ("tcp://[::1]:2376", False, "::1"),
        ("tcp://localhost:2375", False, "127.0.0.1"),
        ("ssh://me@engine.example.com", False, "engine.example.com"),
        ("ssh://me@engine.example.com:22/run/me@1/a:b@c", False, "engine.example.com"),
        ("ssh://engine.example.com:22/run/me@1/docker.sock", False, "engine.example.com"),
        ("unix:/run/a:b@c/docker.sock", True, "127.0.0.1"),
        ("unix:///run/a:b@c/docker.sock", True, "127.0.0.1"),
    ],
)
def test_where_published_ports_are_reached(address: str, is_local: bool, host: str) -> None:
    found = engine(client_base_url=address)
    assert (found.is_local, found.host) == (is_local, host)
    assert engine(client_base_url=address, host_ip_address="192.0.2.7").host == "192.0.2.7"


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.7", "::1", "fe80::1%eth0"])
def test_an_address_is_its_own(address: str) -> None:
    assert engine(host_ip_address=address).find_addresses() == [address]


def test_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str, port: None, type: int) -> list[Any]:
        assert name == "engine.example.com"
        return [
            (socket.AF_INET6, type, 6, "", ("2001:db8::7", 0, 0, 0)),
            (socket.AF_INET, type, 6, "", ("192.0.2.7", 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    found = engine(client_base_url="tcp://engine.example.com:2376").find_addresses()
    assert found == ["2001:db8::7", "192.0.2.7"]


@pytest.mark.parametrize("name", ["nowhere.invalid", "a..b", "a" * 70])  # RFC 6761
def test_a_host_without_an_address_is_told(name: str) -> None:
    with pytest.raises(FaultError, match=f"'{name}'.* has no address: ") as caught:
        engine(host_ip_address=name).find_addresses()
    assert caught.value.fault.category == "platform_failed"
    assert "host_ip_address" in caught.value.fault.hint


@pytest.mark.parametrize(
    "address", ["tcp://[::1", "tcp://there:port", "tcp://there:99999", "127.0.0.1:1", "ftp://x"]
)
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(FaultError) as caught, engine(client_base_url=address).connect():
        pass
    assert caught.value.fault.category == "engine_unavailable"
    assert address in caught.value.fault.summary


FIRST = ["-o", "ConnectTimeout=30", "-T"]
DIAL = ["docker", "system", "dial-stdio"]


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("ssh://there", [*FIRST, "--", "there", *DIAL]),
        ("ssh://me@there", [*FIRST, "-l", "me", "--", "there", *DIAL]),
        ("ssh://me@there:22/", [*FIRST, "-l", "me", "-p", "22", "--", "there", *DIAL]),
        (
            "ssh://there/run/user/1/docker.sock",
            [
                *FIRST,
                "--",
                "there",
                "docker",
                "--host",
                "unix:///run/user/1/docker.sock",
                "system",
                "dial-stdio",
            ],
        ),
    ],
)
def test_what_ssh_is_told(url: str, arguments: list[str]) -> None:
    assert ssh_arguments(url) == arguments


@pytest.mark.parametrize(
    "url",
    ["ssh://", "ssh:///path", "ssh://-oProxyCommand=x", "ssh://a:port"],
)
def test_an_address_that_is_none_for_ssh_is_refused(url: str) -> None:
    with pytest.raises(FaultError) as caught, engine(client_base_url=url).connect():
        pass
    assert caught.value.fault.category == "engine_unavailable"


@pytest.mark.parametrize("where", ["field", "DOCKER_HOST", "context"])
@pytest.mark.parametrize(
    "url",
    [
        "tcp://me:hunter2@there:2375",
        "me:hunter2@there",
        "//me:hunter2@there",
        "ssh://:hunter2/@2@there",
        "ssh://me@corp.example:hunter2@there",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, url: str
) -> None:
    if where == "field":
        with pytest.raises(SpecError, match=r"client_base_url: it holds a password") as refused:
            engine(client_base_url=url)
        assert "hunter2" not in str(refused.value)
        return
    if where == "DOCKER_HOST":
        monkeypatch.setenv("DOCKER_HOST", url)
    else:
        context(tmp_path, "mine", described("mine", url))
        choose(tmp_path, "mine")
    with pytest.raises(FaultError, match="it holds a password") as caught, engine().connect():
        pass
    assert caught.value.fault.category == "engine_unavailable"
    assert "hunter2" not in str(caught.value.fault)


def test_no_ssh_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    there = engine(client_base_url="ssh://there")
    with pytest.raises(FaultError, match="no ssh") as caught, there.connect():
        pass
    assert "openssh-client" in caught.value.fault.hint

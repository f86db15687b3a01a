"""infra-validator doctor: what this machine can validate with, and what it lacks."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import click

from infra_validator.cli import exits

_SECONDS = 5.0
_REQUIRED = ("protobuf", "grpcio", "tensorflow", "tensorflow-serving-api")
_OPTIONAL = ("ml-pipelines-sdk", "tfx", "docker", "kubernetes")
_PLATFORMS = ("local_process", "local_docker", "kubernetes")
_SERVER = "tensorflow_model_server"
_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

_EPILOG = """\b
Examples:
  infra-validator doctor
  infra-validator doctor --platform local_docker

\b
Exit codes:
  0  all that was asked for is there
  1  something is missing
  2  wrong usage
"""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was looked at.

    Attributes:
        name: what.
        found: whether it is there and can be used.
        text: what was found: a version, an address; or why it cannot be used.
        advice: what to do where it is not there.
    """

    name: str
    found: bool
    text: str
    advice: str = ""


@click.command(epilog=_EPILOG, short_help="Say what this machine can validate with.")
@click.option(
    "--platform",
    "platforms",
    type=click.Choice(_PLATFORMS),
    multiple=True,
    help="A platform that must be usable here. Can be repeated. Default: local_process.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(platforms: tuple[str, ...], as_json: bool) -> int:
    """Say which platforms can be used here, in which versions, and what is missing.

    Nothing is started but "tensorflow_model_server --version". The Docker engine and
    the cluster are asked for their versions.
    """
    versions = [_version(name, required=True) for name in _REQUIRED]
    versions += [_version(name, required=False) for name in _OPTIONAL]
    found = {"local_process": _local_process(), "local_docker": _docker(), "kubernetes": _cluster()}
    missing = [one for one in versions[: len(_REQUIRED)] if not one.found]
    missing += [found[name] for name in platforms or ("local_process",) if not found[name].found]
    if as_json:
        record = {
            "python": platform.python_version(),
            "versions": [dataclasses.asdict(one) for one in versions],
            "platforms": [dataclasses.asdict(one) for one in found.values()],
            "missing": [one.name for one in missing],
        }
        click.echo(json.dumps(record, indent=2))
    else:
        _show(versions, list(found.values()))
    return exits.NOT_BLESSED if missing else exits.SUCCESS


def _show(versions: list[Finding], platforms: list[Finding]) -> None:
    from infra_validator.cli.output import columns, echo
    from infra_validator.report_summary import wrap
    from infra_validator.text import printable

    system = f"Python {platform.python_version()}, {platform.system()} {platform.release()}"
    echo(f"{system}\n")
    for title, findings in (("Packages", versions), ("Platforms", platforms)):
        echo(click.style(title, bold=True))
        entries = [
            (f"{'✓' if one.found else '✗'} {one.name}", printable(_sentence(one)))
            for one in findings
        ]
        echo("\n".join(wrap(entries, columns())) + "\n")


def _sentence(finding: Finding) -> str:
    return f"{finding.text}. {finding.advice}" if finding.advice else finding.text


def _version(package: str, *, required: bool) -> Finding:
    try:
        return Finding(package, True, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        why = f"Install {package}." if required else _NEEDED_FOR[package]
        return Finding(package, False, "not installed", why)


_NEEDED_FOR = {
    "ml-pipelines-sdk": "Needed in pipelines; install infra-validator with its dependencies.",
    "tfx": "Needed where pipelines run with the full TFX: pip install 'infra-validator[tfx]'.",
    "docker": "Needed for local_docker: pip install docker.",
    "kubernetes": "Needed for kubernetes; the extra infra-validator[kubernetes] brings it.",
}


def _local_process() -> Finding:
    name = "local_process"
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return Finding(name, False, "needs Linux 5.3 or later", "Use another platform.")
    program = shutil.which(_SERVER)
    if program is None:
        return Finding(
            name,
            True,
            f"the embedded model server (there is no {_SERVER} on PATH; the real one finds more)",
        )
    try:
        done = subprocess.run(  # noqa: S603 - the server that a validation would run
            [program, "--version"],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(
            name, False, f"{program} cannot be run ({error})", "Repair it, or take it off PATH."
        )
    said = ", ".join(done.stdout.split("\n")[:2]).strip(", ") or "version unknown"
    return Finding(name, True, f"{program} ({said})")


def _docker() -> Finding:
    from infra_validator import docker_config
    from infra_validator.faults import FaultError
    from infra_validator.proto import infra_validator_pb2 as pb

    name = "local_docker"
    try:
        from infra_validator.runners.docker_engine import Engine
    except ImportError as error:
        return Finding(name, False, f"{error}", _NEEDED_FOR["docker"])
    engine = Engine(docker_config.parse(pb.LocalDockerConfig(client_timeout_seconds=int(_SECONDS))))
    try:
        with engine.connect() as client:
            version = client.version()
    except ImportError as error:
        return Finding(name, False, f"{error}", _NEEDED_FOR["docker"])
    except FaultError as error:
        return Finding(name, False, error.fault.summary.rstrip("."), error.fault.hint)
    return Finding(
        name,
        True,
        f"Docker engine {version.get('Version')} (API {version.get('ApiVersion')}, "
        f"{version.get('Os')}/{version.get('Arch')}) at {engine.address}",
    )


def _cluster() -> Finding:
    name = "kubernetes"
    try:
        from kubernetes import client, config
    except ImportError as error:
        return Finding(name, False, f"{error}", _NEEDED_FOR["kubernetes"])
    import urllib3

    settings = client.Configuration()
    try:
        if _TOKEN.exists():
            config.load_incluster_config(settings)
            origin = "the cluster that this runs in"
        else:
            config.load_kube_config(client_configuration=settings)
            origin = "the current context of the kubeconfig"
    except (config.ConfigException, OSError) as error:
        return Finding(
            name,
            False,
            f"no cluster is configured ({error})",
            "Set KUBECONFIG, or write ~/.kube/config.",
        )
    settings.retries = False
    try:
        with client.ApiClient(settings) as api:
            version = client.VersionApi(api).get_code(_request_timeout=_SECONDS)
    except (client.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
        return Finding(
            name,
            False,
            f"the cluster at {settings.host} does not answer ({_first(error)})",
            "See that it runs and can be reached from here.",
        )
    return Finding(name, True, f"Kubernetes {version.git_version} at {settings.host}, {origin}")


def _first(error: BaseException) -> str:
    from infra_validator.text import first_line

    return first_line(str(error)) or type(error).__name__

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
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from infra_validator.cli import exits

if TYPE_CHECKING:
    from infra_validator.runners.kubernetes.api import Api

_SECONDS = 5.0
_REQUIRED = ("protobuf", "grpcio", "tensorflow", "tensorflow-serving-api")
_OPTIONAL = ("ml-pipelines-sdk", "tfx", "docker", "kubernetes")
_PLATFORMS = ("local_process", "local_docker", "kubernetes")
_SERVER = "tensorflow_model_server"
_FORBIDDEN = 403
_NOT_FOUND = 404

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
    the cluster are asked for their versions, the cluster also for your rights in the
    namespace where Pods would be made.
    """
    versions = [_version(name, required=True) for name in _REQUIRED]
    versions += [_version(name, required=False) for name in _OPTIONAL]
    found = {
        "local_process": [_local_process()],
        "local_docker": [_docker()],
        "kubernetes": _cluster(),
    }
    looked_at = [one for findings in found.values() for one in findings]
    missing = [one for one in versions[: len(_REQUIRED)] if not one.found]
    for name in platforms or ("local_process",):
        missing += [one for one in found[name] if not one.found]
    if as_json:
        record = {
            "python": platform.python_version(),
            "versions": [dataclasses.asdict(one) for one in versions],
            "platforms": [dataclasses.asdict(one) for one in looked_at],
            "missing": [one.name for one in missing],
        }
        click.echo(json.dumps(record, indent=2))
    else:
        _show(versions, looked_at)
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


def _cluster() -> list[Finding]:
    """The cluster, the namespace in which Pods would be made, and what may be done there."""
    from infra_validator.faults import Phase

    name = "kubernetes"
    try:
        from infra_validator.runners.kubernetes.api import (
            Api,
            ApiError,
            ClusterConfigError,
            ConnectionFailed,
            find_cluster,
        )
        from infra_validator.runners.kubernetes.faults import (
            diagnose_api_error,
            diagnose_unreachable,
        )

        cluster = find_cluster(None, None)
    except ImportError as error:
        return [Finding(name, False, f"{error}", _NEEDED_FOR["kubernetes"])]
    except ClusterConfigError as error:
        return [
            Finding(
                name,
                False,
                f"no cluster is configured ({error})",
                "Set KUBECONFIG, or write ~/.kube/config.",
            )
        ]
    api = Api(cluster, _SECONDS)
    try:
        try:
            version = str(api.call("GET", "/version").get("gitVersion"))
        except ApiError as error:
            if error.status != _FORBIDDEN:
                raise
            version = "(which version may not be asked)"
        origin = (
            "the cluster that this runs in"
            if cluster.in_cluster
            else "the current context of the kubeconfig"
        )
        found = Finding(name, True, f"Kubernetes {version} at {api.address}, {origin}")
        return [found, *_namespace(api)]
    except ApiError as error:
        refused = diagnose_api_error(
            error.status, error.body, error.verb, error.resource, "", Phase.STAGE
        )
        text = f"the cluster at {api.address}: {refused.summary.rstrip('.')}"
        return [Finding(name, False, text, refused.hint)]
    except ConnectionFailed as error:
        unreachable = diagnose_unreachable(api.address, str(error), Phase.STAGE)
        advice = "See that it runs and can be reached from here."
        return [Finding(name, False, unreachable.summary.rstrip("."), advice)]
    except ClusterConfigError as error:
        return [Finding(name, False, f"{error}", "Correct the kubeconfig.")]
    finally:
        api.close()


def _namespace(api: Api) -> Iterator[Finding]:
    from infra_validator.runners.kubernetes import rights
    from infra_validator.runners.kubernetes.api import ApiError
    from infra_validator.runners.kubernetes.platform import default_namespace

    namespace = default_namespace(api.cluster)
    name, elsewhere = "kubernetes namespace", "ServingSpec.kubernetes.namespace names another one"
    try:
        api.call("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}")
    except ApiError as error:
        if error.status == _NOT_FOUND:
            text = f"the cluster has no namespace {namespace}, which is the default here"
            yield Finding(name, False, text, f"Create it; {elsewhere}.")
            return
        if error.status != _FORBIDDEN:
            raise
    yield Finding(name, True, f"{namespace}, unless {elsewhere}")
    name = "kubernetes rights"
    wanted = rights.IN_A_STEP if api.cluster.in_cluster else rights.FROM_OUTSIDE
    try:
        missing = rights.missing(api, namespace, wanted)
    except ApiError as error:
        if error.passing:
            raise
        yield Finding(
            name,
            True,
            f"the cluster does not say what may be done in {namespace} (HTTP {error.status} to a "
            "SelfSubjectAccessReview)",
            "docs/platforms.md lists the rights that are needed.",
        )
        return
    lacking = [right for right in missing if right.needed]
    listed = ", ".join(f"{right.verb} {right.resource}" for right in lacking or missing)
    advice = f"Add to a Role in {namespace} that is bound to you: {rights.role_rules(missing)}"
    if lacking:
        yield Finding(name, False, f"you may not do this in {namespace}: {listed}", advice)
    elif missing:
        text = f"all that is needed in {namespace}; these would tell more: {listed}"
        yield Finding(name, True, text, advice)
    else:
        yield Finding(name, True, f"all that is needed in {namespace}")

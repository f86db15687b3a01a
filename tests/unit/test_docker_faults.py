"""What engines, registries and Docker Desktop say, and what is made of it.

Where no other source is given, the text was recorded from moby 20.10 itself, or is
put together as its sources do it; names, addresses and numbers are exchanged.
"""

from __future__ import annotations

import pytest

from infra_validator.faults import Blame, Phase
from infra_validator.runners.docker_faults import (
    diagnose_engine_error,
    diagnose_engine_lost,
    diagnose_init,
    diagnose_memory,
    diagnose_no_engine,
)
from infra_validator.text import first_line

PULL = [
    # moby, distribution/errors.go: translatePullError, for a name that is not there at all
    (
        "pull access denied for nowhere, repository does not exist or may require 'docker login': "
        "denied: requested access to the resource is denied",
        "image_pull_denied",
    ),
    # The command line client puts a prefix before it
    (
        "Error response from daemon: pull access denied for nowhere, repository does not exist or "
        "may require 'docker login'",
        "image_pull_denied",
    ),
    (
        "manifest for registry.example.com/a:nope not found: manifest unknown: manifest unknown",
        "image_not_found",
    ),
    # distribution/distribution, registry/api/v2/errors.go: ErrorCodeNameUnknown
    (
        "name unknown: repository name not known to registry",
        "image_not_found",
    ),
    # moby, distribution/pull_v2_unix.go
    (
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
        "image_unusable",
    ),
    (
        'Head "https://registry.example.com/v2/a/manifests/1": unauthorized: incorrect username '
        "or password",
        "image_pull_denied",
    ),
    (
        'Head "https://registry.example.com/v2/a/manifests/1": no basic auth credentials',
        "image_pull_denied",
    ),
    # Amazon ECR with a token that has expired (aws/aws-cli issue 7977)
    (
        "pull access denied for registry.example.com/a, repository does not exist or may require "
        "'docker login': denied: Your authorization token has expired. Reauthenticate and try "
        "again.",
        "image_pull_denied",
    ),
    # The same before 2020 (awslabs/amazon-ecr-credential-helper issue 7)
    (
        "error parsing HTTP 403 response body: invalid character 'Y' looking for beginning of "
        "value: \"Your Authorization Token has expired. Please run 'aws ecr get-login' to fetch a "
        'new one."',
        "image_pull_denied",
    ),
    # Docker Hub's rate limit, HTTP 429 (docs.docker.com/docker-hub/usage)
    (
        "toomanyrequests: You have reached your pull rate limit. You may increase the limit by "
        "authenticating and upgrading: https://www.docker.com/increase-rate-limit",
        "image_pull_failed",
    ),
    (
        'Get "https://registry.example.com/v2/": dial tcp: lookup registry.example.com: no such '
        "host",
        "image_pull_failed",
    ),
    (
        'Get "https://registry.example.com/v2/": net/http: request canceled while waiting for '
        "connection (Client.Timeout exceeded while awaiting headers)",
        "image_pull_failed",
    ),
    (
        'Get "https://registry.example.com/v2/": dial tcp 192.0.2.1:443: connect: connection '
        "refused",
        "image_pull_failed",
    ),
    (
        'Get "https://registry.example.com/v2/": x509: certificate signed by unknown authority',
        "image_pull_failed",
    ),
    (
        'Get "https://registry.example.com/v2/": proxyconnect tcp: dial tcp 192.0.2.1:3128: '
        "connect: no route to host",
        "image_pull_failed",
    ),
    ("received unexpected HTTP status: 503 Service Unavailable", "image_pull_failed"),
    ("unexpected EOF", "image_pull_failed"),
    ("filesystem layer verification failed for digest sha256:0", "image_pull_failed"),
    (
        "failed to register layer: Error processing tar file(exit status 1): write /x: no space "
        "left on device",
        "image_pull_failed",
    ),
    # No refusal of a registry, which was never reached
    (
        'Get "https://registry.example.com/v2/": dial unix /run/proxy.sock: connect: permission '
        "denied",
        "image_pull_failed",
    ),
]


@pytest.mark.parametrize(("message", "category"), PULL)
def test_why_an_image_cannot_be_pulled(message: str, category: str) -> None:
    found = diagnose_engine_error(message, Phase.IMAGE, "registry/image:1")
    assert (found.category, found.phase) == (category, Phase.IMAGE)
    assert found.blame == Blame.INFRASTRUCTURE
    assert found.transient == (category == "image_pull_failed")
    assert found.detail == message
    assert found.hint
    assert message.partition("\n")[0][:100] in found.summary


START = [
    # No runtime for GPUs
    (
        'could not select device driver "" with capabilities: [[gpu]]',
        "device_unavailable",
        Blame.CONFIGURATION,
    ),
    # With the NVIDIA runtime and no driver (NVIDIA/nvidia-container-toolkit issue 556)
    (
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to "
        "start container process: error during container init: error running hook #0: error "
        "running hook: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\n"
        "nvidia-container-cli: initialization error: driver rpc error: failed to process "
        "request: unknown",
        "device_unavailable",
        Blame.CONFIGURATION,
    ),
    # The same, older (NVIDIA/nvidia-docker issue 1629)
    (
        "failed to create shim: OCI runtime create failed: container_linux.go:380: starting "
        "container process caused: process_linux.go:545: container init caused: Running hook #0:: "
        "error running hook: exit status 1, stdout: , stderr: nvidia-container-cli: initialization "
        "error: nvml error: driver not loaded: unknown",
        "device_unavailable",
        Blame.CONFIGURATION,
    ),
    (
        'invalid mount config for type "bind": bind source path does not exist: /nowhere',
        "mount_source_missing",
        Blame.CONFIGURATION,
    ),
    # Docker Desktop for Mac, folders outside of the shared ones (palico-ai/palico-ai issue 160)
    (
        "Mounts denied: \r\nThe path /opt/models is not shared from the host and is not known to "
        "Docker.\r\nYou can configure shared paths from Docker -> Preferences... -> Resources -> "
        "File Sharing.",
        "mount_denied",
        Blame.INFRASTRUCTURE,
    ),
    # The same of 2018 (docker/for-mac issue 3258)
    (
        "Mounts denied: \nThe path /var/models\nis not shared from OS X and is not known to "
        "Docker.\nYou can configure shared paths from Docker -> Preferences... -> File Sharing.",
        "mount_denied",
        Blame.INFRASTRUCTURE,
    ),
    # A folder that macOS protects (docker/cli issue 2879)
    (
        "Mounts denied: approving /Users/me/Desktop/model: file does not exist",
        "mount_denied",
        Blame.INFRASTRUCTURE,
    ),
    # Docker Desktop for Windows (polio-nanopore/piranha issue 133)
    (
        "b'user declined directory sharing D:\\\\Users\\\\me\\\\model'",
        "mount_denied",
        Blame.INFRASTRUCTURE,
    ),
    # The same, older (docker/for-win issue 7507)
    (
        "status code not OK but 500: "
        '{"Message":"Unhandled exception: Filesharing has been cancelled"}',
        "mount_denied",
        Blame.INFRASTRUCTURE,
    ),
    # A folder that the engine itself may not look into, NFS or FUSE (replicate/cog issue 261)
    (
        'invalid mount config for type "bind": stat /home/me/model: permission denied',
        "mount_denied",
        Blame.INFRASTRUCTURE,
    ),
    ("No such container: infra-validator-0123456789ab", "server_killed", Blame.INFRASTRUCTURE),
    (
        "driver failed programming external connectivity on endpoint x (0): Bind for "
        "127.0.0.1:32768 failed: port is already allocated",
        "port_taken",
        Blame.INFRASTRUCTURE,
    ),
    (
        "driver failed programming external connectivity on endpoint x (0): Error starting "
        "userland proxy: listen tcp4 127.0.0.1:32768: bind: address already in use",
        "port_taken",
        Blame.INFRASTRUCTURE,
    ),
    ("No such image: infra-validator/nowhere:1", "image_not_found", Blame.INFRASTRUCTURE),
    (
        "image with reference a:1 was found but does not match the specified platform: wanted "
        "linux/arm64, actual: linux/amd64",
        "image_unusable",
        Blame.INFRASTRUCTURE,
    ),
    # moby 20.10 with runc 1.1, without an init process
    (
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to "
        'start container process: exec: "/usr/bin/nowhere": stat /usr/bin/nowhere: no such file '
        "or directory: unknown",
        "image_unusable",
        Blame.INFRASTRUCTURE,
    ),
    (
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to "
        'start container process: exec: "/etc/passwd": permission denied: unknown',
        "image_unusable",
        Blame.INFRASTRUCTURE,
    ),
    # runc, libcontainer/rootfs_linux.go, where a file system refuses the mount
    (
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to "
        'start container process: error mounting "/home/me/model" to rootfs at '
        '"/model/ranker/1": permission denied: unknown',
        "mount_denied",
        Blame.INFRASTRUCTURE,
    ),
    ("network nowhere not found", "configuration_invalid", Blame.CONFIGURATION),
    # moby 28 (ophub/amlogic-s9xxx-armbian issue 3196)
    (
        "failed to set up container networking: network nowhere not found",
        "configuration_invalid",
        Blame.CONFIGURATION,
    ),
    # Asked for more than there is: never right, however often it is tried
    (
        "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        "configuration_invalid",
        Blame.CONFIGURATION,
    ),
    (
        "unable to find user nobody2: no matching entries in passwd file",
        "configuration_invalid",
        Blame.CONFIGURATION,
    ),
    (
        'invalid CapAdd: unknown capability: "CAP_NOTHING"',
        "configuration_invalid",
        Blame.CONFIGURATION,
    ),
    (
        "failed to create shim task: OCI runtime create failed: runc create failed: wrong rlimit "
        "value: RLIMIT_NOTHING: unknown",
        "configuration_invalid",
        Blame.CONFIGURATION,
    ),
    (
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to "
        "start container process: error during container init: error setting rlimits for ready "
        "process: error setting rlimit type 7: operation not permitted: unknown",
        "configuration_invalid",
        Blame.CONFIGURATION,
    ),
    (
        "unable to find group nogroup2: no matching entries in group file",
        "configuration_invalid",
        Blame.CONFIGURATION,
    ),
    (
        "uids and gids must be in range 0-2147483647",
        "configuration_invalid",
        Blame.CONFIGURATION,
    ),
    ("Duplicate mount point: /tmp", "configuration_invalid", Blame.CONFIGURATION),
    ("containerd: container not started", "platform_failed", Blame.INFRASTRUCTURE),
    (
        "error creating overlay mount to /var/lib/docker/overlay2/x/merged: no space left on "
        "device",
        "platform_failed",
        Blame.INFRASTRUCTURE,
    ),
    ("", "platform_failed", Blame.INFRASTRUCTURE),
]


@pytest.mark.parametrize(("message", "category", "blame"), START)
def test_why_a_container_does_not_start(message: str, category: str, blame: Blame) -> None:
    found = diagnose_engine_error(message, Phase.START, "registry/image:1")
    assert (found.category, found.blame, found.phase) == (category, blame, Phase.START)
    assert found.detail == message
    assert found.evidence.events == (first_line(message),)
    assert "\n" not in found.summary
    assert found.transient == (category in {"port_taken", "platform_failed", "server_killed"})


def test_a_removed_container_is_no_matter_of_memory() -> None:
    found = diagnose_engine_error("No such container: x", Phase.START, "a:1")
    assert found.category == "server_killed"
    assert "memory" not in found.hint
    assert "removes containers" in found.hint


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "device_requests"),
        ("network nowhere not found", "network"),
        ('invalid mount config for type "bind": bind source path does not exist: /x', "mounts"),
        ("Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available", "cpus"),
        ("unable to find user nobody2: no matching entries in passwd file", "user"),
        ('invalid CapAdd: unknown capability: "CAP_NOTHING"', "capabilities"),
        ("runc create failed: wrong rlimit value: RLIMIT_NOTHING: unknown", "ulimits"),
        ("unable to find group nogroup2: no matching entries in group file", "user"),
        ("uids and gids must be in range 0-2147483647", "user"),
        ("Duplicate mount point: /tmp", "mounts"),
    ],
)
def test_a_field_that_cannot_work_here_is_named(message: str, field: str) -> None:
    summary = diagnose_engine_error(message, Phase.START, "registry/image:1").summary
    assert f"ServingSpec.local_docker.{field}:" in summary


@pytest.mark.parametrize(
    ("message", "category"),
    [
        # requests, around http.client
        (
            "Error while fetching server API version: ('Connection aborted.', "
            "PermissionError(13, 'Permission denied'))",
            "engine_access_denied",
        ),
        (
            "Error while fetching server API version: ('Connection aborted.', "
            "FileNotFoundError(2, 'No such file or directory'))",
            "engine_unavailable",
        ),
        (
            "Error while fetching server API version: ('Connection aborted.', "
            "ConnectionRefusedError(111, 'Connection refused'))",
            "engine_unavailable",
        ),
        (
            '400 Client Error for http+docker://localhost/v1.99/version: Bad Request ("client '
            'version 1.99 is too new. Maximum supported API version is 1.41")',
            "engine_api_mismatch",
        ),
        # moby 28 and later, for old clients (docker/for-win issue 6439)
        (
            '400 Client Error for http+docker://localhost/v1.23/version: Bad Request ("client '
            "version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your "
            'client to a newer version")',
            "engine_api_mismatch",
        ),
        # docker-py itself (docker/api/client.py)
        (
            "API versions below 1.24 are no longer supported by this library.",
            "engine_api_mismatch",
        ),
        (
            "500 Server Error for http+docker://localhost/version: Internal Server Error",
            "engine_unavailable",
        ),
        ("Invalid bind address protocol: foo://bar", "engine_unavailable"),
        # ssh (openssh-portable, sshconnect2.c): its user, not the engine's
        ("me@there: Permission denied (publickey,password).", "engine_unavailable"),
        # Docker's own client at the other end of it, for the socket there
        (
            "permission denied while trying to connect to the Docker daemon socket at "
            "unix:///var/run/docker.sock: dial unix /var/run/docker.sock: connect: permission "
            "denied",
            "engine_access_denied",
        ),
    ],
)
def test_why_the_engine_cannot_be_reached(message: str, category: str) -> None:
    found = diagnose_no_engine("unix:///run/engine.sock", message)
    assert (found.category, found.phase) == (category, Phase.STAGE)
    assert "unix:///run/engine.sock" in found.summary
    assert found.detail == message
    assert not found.transient
    assert found.hint


def test_an_engine_that_went_away_may_come_back() -> None:
    found = diagnose_engine_lost(Phase.LOAD, "Connection aborted.")
    assert (found.category, found.phase, found.transient) == ("engine_lost", Phase.LOAD, True)
    assert found.detail == "Connection aborted."


def test_a_server_beyond_its_own_limit_is_the_models_fault() -> None:
    found = diagnose_memory(512 * 1024**2, Phase.LOAD, 137)
    assert (found.category, found.blame) == ("memory_limit_exceeded", Blame.MODEL)
    assert "512 MiB" in found.summary
    assert "ServingSpec.local_docker.memory" in found.summary
    assert found.evidence.exit_code == 137
    assert found.evidence.events == ("OOMKilled",)
    assert not found.transient


def test_a_server_that_a_full_machine_killed_is_not() -> None:
    found = diagnose_memory(0, Phase.QUERY, 137)
    assert (found.category, found.blame) == ("out_of_memory", Blame.INFRASTRUCTURE)
    assert (found.phase, found.transient) == (Phase.QUERY, True)
    assert found.evidence.exit_code == 137


TINI = "[FATAL tini (7)] exec /usr/bin/nowhere failed: No such file or directory"


@pytest.mark.parametrize(
    ("exit_code", "log", "told"),
    [
        (127, f"{TINI}\n", "exec /usr/bin/nowhere failed: No such file or directory"),
        (126, "[FATAL tini (7)] exec /etc/passwd failed: Permission denied\n", "Permission denied"),
        (127, f"before\n{TINI}\nafter\n", "exec /usr/bin/nowhere failed"),
        # An entry point that itself misses a program has been run.
        (127, "/usr/bin/tf_serving_entrypoint.sh: line 3: nowhere: command not found\n", None),
        (127, "", None),
        (1, f"{TINI}\n", None),
        (127, f"said: {TINI}\n", None),
    ],
)
def test_an_entry_point_that_the_engines_init_cannot_run(
    exit_code: int, log: str, told: str | None
) -> None:
    found = diagnose_init(exit_code, log)
    if told is None:
        assert found is None
        return
    assert found is not None
    assert (found.category, found.phase, found.transient) == ("image_unusable", Phase.START, False)
    assert told in found.summary
    assert found.evidence.exit_code == exit_code

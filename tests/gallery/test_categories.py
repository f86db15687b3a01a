"""Every category of faults is produced by something real, or by what was recorded of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra_validator.faults import CATEGORIES
from tests.gallery.cases import CASES

TESTS = Path(__file__).parent.parent

DOCKER = "platforms/test_local_docker.py"
KUBERNETES = "platforms/test_kubernetes.py"
CLUSTER = "platforms/test_kubernetes_faults.py"
POD = "unit/test_kubernetes_faults.py"

# Category to the file and the test that produces it, where the gallery's own cases do not.
ELSEWHERE = {
    # On a real engine, or of a server that really ends.
    "memory_limit_exceeded": (
        DOCKER,
        "test_a_server_beyond_the_memory_of_production_is_the_models_fault",
    ),
    "mount_source_missing": (
        DOCKER,
        "test_what_the_engine_can_never_do_is_refused_once_and_by_its_field",
    ),
    "device_unavailable": (
        DOCKER,
        "test_what_the_engine_can_never_do_is_refused_once_and_by_its_field",
    ),
    "engine_api_mismatch": (DOCKER, "test_an_api_version_that_the_engine_does_not_speak_is_told"),
    "engine_unavailable": (DOCKER, "test_no_engine_names_the_socket_that_was_tried"),
    "engine_access_denied": (DOCKER, "test_a_user_who_may_not_use_the_socket_is_told"),
    "engine_lost": (DOCKER, "test_an_engine_that_is_lost_and_found_again_serves_the_next_try"),
    "image_not_found": (DOCKER, "test_an_image_that_may_not_be_pulled_is_missed_at_once"),
    "image_pull_denied": (DOCKER, "test_what_a_registry_refuses_is_told"),
    "image_pull_failed": (DOCKER, "test_no_registry_is_told"),
    "image_pull_timeout": (DOCKER, "test_a_pull_that_takes_too_long_is_told"),
    "image_unusable": (DOCKER, "test_an_image_that_cannot_be_run_is_told"),
    "mount_denied": (DOCKER, "test_a_model_that_the_engine_does_not_see_is_copied"),
    # On a real cluster.
    "cluster_unreachable": (KUBERNETES, "test_no_cluster_is_told"),
    "cluster_access_denied": (KUBERNETES, "test_a_right_that_lacks_is_named"),
    "connection_lost": (KUBERNETES, "test_a_break_of_the_connection_is_told_soon"),
    "pod_lost": (KUBERNETES, "test_a_pod_deleted_under_us_is_noticed"),
    "cluster_lost": (CLUSTER, "test_an_admission_webhook_that_is_gone"),
    "container_config_invalid": (CLUSTER, "test_why_a_pod_does_not_start"),
    "pod_invalid": (CLUSTER, "test_why_a_pod_does_not_start"),
    "pod_unschedulable": (CLUSTER, "test_why_a_pod_does_not_start"),
    "storage_limit_exceeded": (CLUSTER, "test_a_server_that_fills_the_disk"),
    "quota_exceeded": (CLUSTER, "test_a_quota_that_others_have_used_up_is_waited_for"),
    "pod_refused": (CLUSTER, "test_a_limit_range"),
    "volume_unavailable": (CLUSTER, "test_a_claim_that_nobody_fills"),
    "init_container_failed": (CLUSTER, "test_another_init_container_that_fails"),
    "pod_deadline_exceeded": (CLUSTER, "test_the_pods_own_deadline"),
    # Recorded: what a platform or a server says of it, put into a table.
    "pod_not_started": (POD, "test_what_a_pod_waited_for_too_long"),
    "pod_evicted": (POD, "test_a_pod_that_failed_as_a_whole"),
    "delivery_failed": (POD, "test_an_init_container_that_fails"),
    "delivery_timeout": (POD, "test_an_init_container_that_fails"),
    "port_taken": ("unit/test_docker_faults.py", "test_why_a_container_does_not_start"),
    "access_denied": ("unit/test_client_faults.py", "test_blames_by_the_status_code"),
    "message_too_large": (
        "unit/test_client_faults.py",
        "test_a_message_that_is_too_large_for_what_lies_between_is_not_for_want_of_memory",
    ),
    # Of files and of this process.
    "signature_unsupported": (
        "unit/test_from_examples.py",
        "test_a_signature_of_no_known_kind_is_the_configurations_fault",
    ),
    "model_not_shareable": (
        "unit/test_kubernetes_delivery.py",
        "test_a_claim_for_one_pod_only_is_not_shared",
    ),
    "storage_failed": (
        "unit/test_examples.py",
        "test_a_file_that_cannot_be_opened_is_the_storages_fault",
    ),
    "storage_denied": (
        "component/test_executor.py",
        "test_what_may_not_be_looked_at_is_nobodys_fault_but_the_storages",
    ),
    "internal_error": ("component/test_executor.py", "test_an_unexpected_error_leaves_a_report"),
    "platform_failed": (
        "platforms/test_local_process.py",
        "test_a_process_is_gone_if_its_threads_cannot_be_started",
    ),
}


def strings_of(file: str, test: str) -> Iterator[str]:
    """Literals of a test, its parameters, and the tables and helpers of its file."""
    found = False
    for node in ast.parse((TESTS / file).read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            if node.name != test:
                continue
            found = True
        for inner in ast.walk(node):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                yield inner.value
    assert found, f"{file} has no {test}"


def test_every_category_is_produced_by_a_test() -> None:
    shown = {case.category for case in CASES}
    assert shown & set(ELSEWHERE) == set(), "the gallery shows it already"
    assert shown | set(ELSEWHERE) == set(CATEGORIES)


@pytest.mark.parametrize("category", ELSEWHERE)
def test_the_test_that_is_named_is_there_and_is_about_the_category(category: str) -> None:
    assert category in set(strings_of(*ELSEWHERE[category]))

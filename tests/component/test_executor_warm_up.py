"""The executor where it makes warm-up, and where it keeps a request that failed."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tfx.utils import path_utils

import infra_validator as iv
from infra_validator.executor import ValidationFailedError
from infra_validator.report import FAILED_REQUEST_FILE_NAME
from infra_validator.tfrecord import read_records
from tests.component.test_executor import Run, model_uri  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("leaves_nothing")

_LIMIT_SECONDS = 120


@pytest.fixture
def execution(tmp_path: Path) -> Run:
    return Run(tmp_path)


def serving(stand_in: str, **env: str) -> iv.ServingSpec:
    return iv.ServingSpec(
        tensorflow_serving=iv.TensorFlowServing(env=env),
        local_process=iv.LocalProcessConfig(executable=stand_in),
    )


def requests(**fields: object) -> iv.RequestSpec:
    return iv.RequestSpec(
        tensorflow_serving=iv.TensorFlowServingRequestSpec(), num_examples=3, **fields
    )


def test_a_request_that_failed_is_kept_beside_the_report(
    execution: Run,
    model_uri: Path,  # noqa: F811
    split: Path,
    stand_in: str,
) -> None:
    execution.do(
        model_uri,
        split,
        serving=serving(stand_in, STAND_IN_REFUSE="2"),
        requests=requests(keep_failed_request=True),
    )
    assert execution.files == {
        "INFRA_NOT_BLESSED",
        "infra_validation_report.json",
        "infra_validation_report.html",
        FAILED_REQUEST_FILE_NAME,
    }
    assert execution.report["attachments"] == [FAILED_REQUEST_FILE_NAME]
    with (Path(execution.blessing.uri) / FAILED_REQUEST_FILE_NAME).open("rb") as file:
        assert len(list(read_records(file))) == 1


def test_of_an_execution_that_fails_it_is_kept_where_the_report_is(
    execution: Run,
    model_uri: Path,  # noqa: F811
    split: Path,
    stand_in: str,
) -> None:
    with pytest.raises(ValidationFailedError) as caught:
        execution.do(
            model_uri,
            split,
            serving=serving(stand_in, STAND_IN_FAULT="killed_on_request", STAND_IN_FAULT_FROM="2"),
            validation=iv.ValidationSpec(num_tries=1, fail_execution_when_undetermined=True),
            requests=requests(keep_failed_request=True),
        )
    report = execution.failed_report(caught.value)
    assert report["binaries"][0]["attempts"][0]["failed_requests"] == [2]
    assert (execution.working_dir / FAILED_REQUEST_FILE_NAME).stat().st_size > 0
    assert execution.files == set()


def test_the_user_is_warned_of_what_the_stamped_model_holds(
    execution: Run,
    model_uri: Path,  # noqa: F811
    split: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    execution.do(model_uri, split, requests=requests(make_warmup=True))
    [note] = execution.report["notes"]
    assert "personal data" in note
    assert note in [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
    assert execution.blessing.get_string_custom_property("requests") == "3 answered"


def test_warm_up_that_breaks_the_server_is_not_blessed(
    execution: Run,
    model_uri: Path,  # noqa: F811
    split: Path,
    stand_in: str,
) -> None:
    execution.do(
        model_uri,
        split,
        serving=serving(stand_in, STAND_IN_FAULT="exit_while_loading", STAND_IN_WARM_UP="1"),
        requests=requests(make_warmup=True),
    )
    assert execution.files == {
        "INFRA_NOT_BLESSED",
        "infra_validation_report.json",
        "infra_validation_report.html",
    }
    assert execution.blessing.get_int_custom_property("blessed") == 0
    assert not execution.blessing.has_custom_property("has_model")
    assert execution.blessing.get_string_custom_property("fault_category") == "warm_up_failed"


EXECUTE = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from infra_validator.waiting import Cancelled
    from tests.component.test_executor import Run
    from tests.component.test_executor_warm_up import requests, serving

    run = Run(Path(sys.argv[2]))
    try:
        run.do(
            sys.argv[3],
            Path(sys.argv[4]),
            serving=serving(
                sys.argv[5], STAND_IN_WARM_UP="1", STAND_IN_FAULT=sys.argv[6],
                STAND_IN_LOG="has warm-up"),
            requests=requests(make_warmup=True))
    except Cancelled as error:
        print("cancelled:", error, run.files)
        sys.exit(9)
    """
)


@pytest.mark.parametrize("fault", ["never_ready", "hang_on_request"])
def test_sigterm_while_the_stamped_model_is_tried_leaves_nothing(
    tmp_path: Path,
    model_uri: Path,  # noqa: F811
    split: Path,
    stand_in: str,
    fault: str,
) -> None:
    (tmp_path / "run").mkdir()
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", EXECUTE, str(Path(__file__).parents[2])),
            *(str(tmp_path / "run"), str(model_uri), str(split), stand_in, fault),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    stamped = Path(path_utils.stamped_model_path(str(tmp_path / "run" / "blessing")))
    limit = time.monotonic() + _LIMIT_SECONDS
    while not Path(path_utils.warmup_file_path(str(stamped))).exists():
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=_LIMIT_SECONDS)
    assert process.returncode == 9
    assert "cancelled: the validator was told to end (SIGTERM) set()" in output

"""infra-validator validate, with real models and the embedded server."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from infra_validator.report import FILE_NAME, PAGE_NAME, Report, Verdict
from tests.cli.command import Done, Terminal, run, run_here, started, visible

pytestmark = pytest.mark.usefixtures("leaves_nothing")


def test_a_good_model_is_blessed(saved_model: Path, split: Path, tmp_path: Path) -> None:
    stamped = tmp_path / "stamped"
    done = run(
        *("validate", saved_model, "--examples", split, "--num-examples", 3),
        *("--report", tmp_path / "new" / "out", "--stamped-model", stamped),
    )
    assert done.code == 0, done.err
    assert done.out.startswith("BLESSED\n")
    assert "3 sent (Predict serving_default), 3 answered" in done.out
    assert "embedded model server" in done.out
    assert (stamped / "assets.extra" / "tf_serving_warmup_requests").exists()
    written = Report.from_json((tmp_path / "new" / "out" / FILE_NAME).read_text())
    assert written.verdict == Verdict.BLESSED
    assert "<html" in (tmp_path / "new" / "out" / PAGE_NAME).read_text()
    lines = done.err.splitlines()
    assert [line.split("s  ", 1)[1] for line in lines[:3]] == [
        "Validation: configure",
        "Validation: stage",
        "TensorFlow Serving, attempt 1: start",
    ]
    assert any("load (at most 300 s)" in line for line in lines)
    assert "\x1b" not in done.out + done.err


def test_a_broken_model_is_not_blessed(python_model: Path, split: Path) -> None:
    done = run("validate", python_model, "--examples", split, "--json", "--quiet")
    assert done.code == 1, done.err
    assert done.err == ""
    found = Report.from_json(done.out)
    assert found.verdict == Verdict.NOT_BLESSED
    assert found.fault is not None
    assert found.fault.category == "op_missing"


def test_a_report_is_shown_again(python_model: Path, split: Path, tmp_path: Path) -> None:
    done = run("validate", python_model, "--examples", split, "--report", tmp_path)
    assert done.code == 1
    assert "The end of the server's log:" in done.out
    again = run("report", tmp_path / FILE_NAME)
    assert (again.code, again.err) == (0, "")
    without_place = [line for line in done.out.splitlines() if str(tmp_path) not in line]
    assert again.out.splitlines() == without_place
    piped = run("report", "-", stdin=(tmp_path / FILE_NAME).read_text())
    assert piped == again
    page = tmp_path / "page.html"
    assert run("report", tmp_path / FILE_NAME, "--html", page) == Done(0, "", "")
    assert page.read_text() == (tmp_path / PAGE_NAME).read_text()


def test_without_an_engine_nothing_can_be_said(saved_model: Path) -> None:
    done = run(
        *("validate", saved_model, "--platform", "local_docker", "--image", "a/b:1"),
        *("--num-tries", 1),
        DOCKER_HOST="unix:///nowhere/docker.sock",
    )
    assert done.code == 3
    assert done.out.startswith("UNDETERMINED")
    assert "With caching on" not in done.out
    assert "Traceback" not in done.err


def test_examples_that_do_not_fit_say_nothing_of_the_model(
    saved_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.tfrecord").write_bytes(b"no record at all")
    done = run("validate", saved_model, "--examples", tmp_path / "*.tfrecord")
    assert done.code == 2, done.out
    assert done.out.startswith("UNDETERMINED")
    assert "examples_unreadable" in done.out


def test_a_model_without_data_is_asked(saved_model: Path, tmp_path: Path) -> None:
    by_signature = run(
        *("validate", saved_model, "--from-signature", "--batch-size", 1, "--batch-size", 4),
        *("--parallel-requests", 2, "--stamped-model", tmp_path / "stamped", "--json", "--quiet"),
    )
    assert by_signature.code == 0, by_signature.out + by_signature.err
    report = Report.from_json(by_signature.out)
    carried = [request.description for request in report.binaries[0].asking_attempt.requests]
    assert len(carried) == 2
    assert "[1]" in carried[0]
    assert "[4]" in carried[1]
    assert report.warm_up is not None
    assert report.configuration["validation_spec"] == {"max_parallel_requests": 2}
    log = tmp_path / "stamped" / "assets.extra" / "tf_serving_warmup_requests"
    replayed = run("validate", saved_model, "--requests", log)
    assert replayed.code == 0, replayed.out
    assert "2 sent (Predict serving_default), 2 answered" in " ".join(replayed.out.split())
    missing = run("validate", saved_model, "--requests", tmp_path / "nowhere.JSON", "--quiet")
    assert "Reason      --requests:" in missing.out
    assert missing.code == 2


def test_the_report_names_the_model_so_that_it_is_found_from_anywhere(saved_model: Path) -> None:
    done = run(
        *("validate", saved_model.name, "--from-signature", "--json", "--quiet"),
        cwd=saved_model.parent,
    )
    report = Report.from_json(done.out)
    assert report.model == str(saved_model)
    [binary] = report.binaries
    assert str(saved_model) in str(binary.attempts[-1].server["reproduce"])


def test_a_failed_request_is_kept_where_that_is_asked(python_model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "infra_validation_failed_request.tfrecord"
    for options in ([], ["--keep-failed-request"]):
        done = run(
            *("validate", python_model, "--from-signature", "--report", tmp_path, "--quiet"),
            *options,
        )
        assert done.code == 1, done.out
        assert kept.exists() == bool(options)
        assert ("is kept with its content" in " ".join(done.out.split())) == bool(options)
    again = run("validate", python_model, "--requests", kept, "--quiet", "--json")
    assert Report.from_json(again.out).fault is not None


SPEC = """
serving_spec { model_name: "from-the-file" }
request_spec { num_examples: 2 }
validation_spec { max_loading_time_seconds: 77 }
"""


def test_options_win_over_the_file(saved_model: Path, split: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.txt").write_text(SPEC)
    done = run(
        *("validate", saved_model, "--examples", split, "--json", "--spec", tmp_path / "spec.txt"),
        *("--num-examples", 4, "--signature", "serving_default", "--env", "A=1", "--env", "HERE"),
        *("--set", "request_spec.num_examples=5", "--server-arg=--enable_batching=false"),
        HERE="there",
    )
    assert done.code == 0, done.err
    configuration = json.loads(done.out)["configuration"]
    assert configuration["serving_spec"]["model_name"] == "from-the-file"
    assert configuration["request_spec"]["num_examples"] == 5
    assert configuration["validation_spec"]["max_loading_time_seconds"] == 77
    serving = configuration["serving_spec"]["tensorflow_serving"]
    assert serving["env"] == {"A": "(not shown)", "HERE": "(not shown)"}
    assert serving["args"] == ["--enable_batching=false"]
    assert "load (at most 77 s)" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--nonsense"], "No such option"),
        (["--image", "a:1"], "the platform local_process runs no image"),
        (["--image", "a", "--platform", "local_docker"], "by a tag"),
        (["--image", "a:1@sha256:b", "--platform", "local_docker"], "not by both"),
        (["--image", "a:1", "--image", "b:1", "--platform", "local_docker"], "different names"),
        (["--image", "a:!", "--platform", "local_docker"], "'!' is not a tag"),
        (["--platform", "local_docker"], "--platform local_docker: no image is named"),
        (["--platform", "custom_platform"], "--platform custom_platform"),
        (["--num-examples", "many"], "--num-examples: expected a whole number of 32 bits"),
        (["--num-tries", "-1"], "Error: --num-tries: -1 is not a positive number"),
        (["--server-arg", "--port=1"], "Error: --server-arg: --port is set by the validator"),
        (["--env", "NOT_SET_ANYWHERE"], "--env NOT_SET_ANYWHERE: it is not set here"),
        (["--config-file", "batching"], "write FLAG=PATH"),
        (["--set", "x"], "write PATH=VALUE"),
        (["--set", "local_docker.memory=4g"], "is 'serving_spec.local_docker.memory' meant?"),
        (["--spec", "/nowhere"], "does not exist"),
        (["--from-signature", "--examples", "x"], "--examples and --from-signature: requests are"),
        (["--from-signature", "--requests", "x"], "one source at a time"),
        (["--from-signature", "--split", "x"], "no split can be chosen"),
        (["--requests", ""], "Error: --requests: empty"),
        (["--requests", "x.JSON", "--batch-size", "2"], "--batch-size: requests of --requests are"),
        (["--from-signature", "--batch-size", "0"], "Error: --batch-size: 0 is not a number"),
        (["--examples", ""], "Error: --examples: empty"),
        (["--report", ""], "Error: --report: empty"),
        (["--stamped-model", "", "--from-signature"], "Error: --stamped-model: empty"),
        (["--stamped-model", "x"], "Error: --stamped-model: nothing would be put there"),
        (
            ["--set", "request_spec.make_warmup=true", "--examples", "x"],
            "--stamped-model: not given",
        ),
        (["--report", "/dev/null/x"], "--report /dev/null/x: the folder cannot be made"),
        (["--report", "/proc"], "--report /proc: nothing can be written there"),
        (["--model-name", "a/b"], "Error: --model-name: 'a/b' cannot be the name"),
    ],
)
def test_wrong_usage_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    done = run_here(capsys, "validate", tmp_path, *options)
    assert (done.code, done.out) == (2, "")
    assert said in " ".join(done.err.split())
    assert "Traceback" not in done.err


def test_a_report_that_cannot_be_written_at_last_takes_no_verdict_along(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "out" / "infra_validation_report.html"
    page.mkdir(parents=True)
    done = run_here(capsys, "validate", saved_model, "--report", tmp_path / "out")
    assert done.code == 3
    assert done.out.startswith("BLESSED")
    assert "Error: the report cannot be written" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--executable", "no-such-server"], "--executable: 'no-such-server' is not on PATH"),
        (["--platform", "no_such"], "--platform: no platform 'no_such' is installed here"),
        (
            ["--config-file", "batching_parameters_file=/nowhere"],
            "--config-file 'batching_parameters_file': /nowhere cannot be read",
        ),
        (["--examples", "/nowhere"], "--examples: there is nothing at /nowhere"),
        (["--examples", "/nowhere", "--stamped-model", "/tmp"], "something at /tmp already"),  # noqa: S108
    ],
)
def test_a_configuration_that_cannot_work_here_counts_as_wrong_usage(
    saved_model: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    done = run_here(capsys, "validate", saved_model, *options)
    assert done.code == 2, done.out + done.err
    assert said in " ".join((done.out + done.err).split())


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("Split-a/x", b"", ["--examples", ".", "--split", "b"], "--split: the examples have no"),
        ("Split-a/x", b"", ["--examples", "."], "The split 'a' of the examples is empty"),
        ("empty/x", b"", ["--examples", "empty"], "is empty: "),
        ("x", b"no record", ["--examples", "x"], "The examples cannot be read"),
        ("x.json", b"{bad", ["--requests", "x.json"], "--requests: x.json: line 1: not JSON"),
        ("x.log", b"no record", ["--requests", "x.log"], "--requests: x.log: not a readable"),
        ("x/y", b"", ["--requests", "x"], "--requests: the file of requests cannot be read"),
        (
            "x",
            b"",
            ["--from-signature", "--stamped-model", "x/y"],
            "The model with warm-up requests cannot be written",
        ),
        (
            "x",
            b"",
            ["--from-signature", "--stamped-model", "nosuch://x/y"],
            "cannot be written: nosuch://x/y",
        ),
    ],
)
def test_files_that_cannot_be_used_count_as_wrong_usage(
    saved_model: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    options: list[str],
    said: str,
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    done = run_here(capsys, "validate", saved_model, *options)
    assert done.code == 2, done.out + done.err
    assert said in " ".join(done.out.split())
    assert "no server was started" in done.out


def test_a_scheme_that_nothing_reads_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "validate", "no-such-scheme://bucket/model").code == 2


def test_what_the_model_lacks_is_its_own_fault(
    saved_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_here(capsys, "validate", saved_model, "--from-signature", "--signature", "nowhere")
    assert done.code == 1
    assert "name one that it has in --signature" in " ".join(done.out.split())


def test_a_folder_that_is_not_there_is_wrong_usage_and_one_without_a_model_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = run_here(capsys, "validate", tmp_path / "nowhere")
    assert (missing.code, missing.out) == (2, "")
    assert "there is no such folder" in missing.err
    empty = run_here(capsys, "validate", tmp_path)
    assert empty.code == 1
    assert "holds no saved_model.pb" in " ".join(empty.out.split())


HOSTILE = "\x1b]0;taken\x07\x1b[2J\x1b[31mred\u202e\x9b1m"


def hostile(saved_model: Path, tmp_path: Path) -> list[object]:
    """A model's name, a server's words and a spec's name, all of which try to steer a terminal."""
    model = tmp_path / f"model{HOSTILE}"
    shutil.copytree(saved_model, model)
    server = tmp_path / f"server{HOSTILE}"
    server.write_text(f"#!/bin/sh\nprintf '%s\\n' '{HOSTILE}' >&2\nexit 3\n")
    server.chmod(0o755)
    return ["validate", model, "--executable", server, "--num-tries", 1]


def test_hostile_text_does_not_reach_a_pipe(saved_model: Path, tmp_path: Path) -> None:
    given = hostile(saved_model, tmp_path)
    done = run(*given)
    assert done.code == 3, done.out + done.err
    assert not set("\x1b\x07\x9b\u202e") & set(done.out + done.err)
    verbose = run(*given, "--verbose", "--quiet")
    assert not set("\x1b\x07\x9b\u202e") & set(verbose.out + verbose.err)
    refused = run("validate", f"{tmp_path}/nowhere{HOSTILE}", "--set", f"x{HOSTILE}=1")
    assert refused.code == 2
    assert not set("\x1b\x07\x9b\u202e") & set(refused.out + refused.err)


def test_hostile_text_does_not_steer_a_terminal(saved_model: Path, tmp_path: Path) -> None:
    done = Terminal(*hostile(saved_model, tmp_path)).wait()
    assert done.code == 3, done.out
    for sequence in ("\x1b]0;", "\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert sequence not in done.out


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_shows_the_progress_and_then_only_the_result(
    saved_model: Path, split: Path, columns: int
) -> None:
    done = Terminal("validate", saved_model, "--examples", split, columns=columns).wait()
    assert done.code == 0, done.out
    assert "of 300 s" in done.out
    assert "\x1b[32m" in done.out
    assert done.out.rindex("\x1b[?25h") > done.out.rindex("\x1b[?25l")  # the cursor is back
    progress, _, result = done.out.partition("BLESSED")
    assert progress.endswith("\x1b[1m")
    lines = visible(result)
    assert "load" not in lines[0]
    long = [line for line in lines if len(line) > min(columns, 100)]
    assert [line for line in long if str(saved_model) not in line] == []


@pytest.mark.parametrize(
    ("env", "escapes"),
    [({"NO_COLOR": "1"}, r"\x1b\[3\d"), ({"TERM": "dumb"}, r"\x1b")],
    ids=["NO_COLOR", "TERM=dumb"],
)
def test_colours_can_be_refused(saved_model: Path, env: dict[str, str], escapes: str) -> None:
    import re

    done = Terminal("validate", saved_model, **env).wait()
    assert done.code == 0, done.out
    assert re.search(escapes, done.out) is None, repr(done.out)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_and_leaves_nothing(
    saved_model: Path, sleeper: Path, number: signal.Signals, code: int
) -> None:
    with started("validate", saved_model, "--executable", sleeper, "--json") as process:
        assert process.stderr is not None
        assert any(": load" in line for line in process.stderr)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert "Nothing is left running" in err
    assert "Traceback" not in err


def test_control_c_ends_it_on_a_terminal(saved_model: Path, sleeper: Path) -> None:
    terminal = Terminal("validate", saved_model, "--executable", sleeper)
    terminal.read_until(" of 300 s")
    terminal.type("\x03")
    done = terminal.wait()
    assert done.code == 130
    assert "Traceback" not in done.out
    assert "\x1b[?25h" in done.out


def test_control_c_before_anything_started_ends_it_too(saved_model: Path, sleeper: Path) -> None:
    terminal = Terminal("validate", saved_model, "--executable", sleeper)
    terminal.read_until("begins")
    terminal.type("\x03")
    done = terminal.wait()
    assert done.code == 130, done.out
    assert "Traceback" not in done.out


def test_the_log_tells_each_change_with_the_time(python_model: Path, split: Path) -> None:
    done = run("validate", python_model, "--examples", split, "--verbose")
    assert done.code == 1
    lines = [line for line in done.err.splitlines() if "attempt 1: load, after " in line]
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err
    assert "ERROR" not in done.err

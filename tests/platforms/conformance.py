"""What every platform must do, whatever it runs servers on.

A platform's tests inherit `PlatformConformance` and give its fixtures.
"""

from __future__ import annotations

import abc
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra_validator.faults import FaultError, Phase
from infra_validator.files import Gfile
from infra_validator.model_source import ModelSource
from infra_validator.runners.base import (
    Closes,
    Exit,
    Platform,
    Runner,
    ServerTask,
    progress_of,
)
from infra_validator.servers.base import ServingBinary
from infra_validator.servers.tensorflow_serving import TensorFlowServing
from infra_validator.waiting import Deadline, Wake
from infra_validator.workspace import open_workspace

_LIMIT_SECONDS = 60.0


class PlatformConformance(abc.ABC):
    """The contract of `Platform` and `Runner`, against real servers."""

    @pytest.fixture
    @abc.abstractmethod
    def platform(self) -> Platform:
        """A platform that runs a server which loads any model."""

    @pytest.fixture
    @abc.abstractmethod
    def exiting_platform(self) -> Platform:
        """A platform that runs a server which prints "goodbye" and ends with exit code 3."""

    @abc.abstractmethod
    def count_servers(self, workdir: Path) -> int:
        """How many servers that were started for this work folder run now, asked of the system."""

    @pytest.fixture
    def wake(self) -> Wake:
        return Wake()

    @pytest.fixture
    def binary(self) -> ServingBinary:
        """The server; a platform that runs images gives one with an image."""
        return TensorFlowServing(model_name="a model")

    @pytest.fixture
    def task(self, binary: ServingBinary, saved_model: Path, wake: Wake) -> Iterator[ServerTask]:
        with open_workspace() as workspace:
            workdir = workspace / "0-1"
            workdir.mkdir()
            yield ServerTask(
                binary=binary,
                model=ModelSource(str(saved_model), Gfile(), workspace, lambda: None),
                workdir=workdir,
                wake=wake,
            )

    @pytest.fixture
    def started(
        self, platform: Platform, task: ServerTask
    ) -> Iterator[Callable[[Platform], Runner]]:
        """Starts a runner; it is stopped afterwards, and nothing of it may be left."""
        runners: list[Runner] = []

        def start(chosen: Platform) -> Runner:
            chosen.prepare(task.binary, task.model)
            runner = chosen.create_runner(task)
            runners.append(runner)
            runner.start()
            return runner

        yield start
        for runner in runners:
            runner.stop()
        assert self.count_servers(task.workdir) == 0

    @staticmethod
    def wait(wake: Wake, done: Callable[[], bool]) -> None:
        """Waits for a change that the runner wakes us for."""
        limit = Deadline.after(_LIMIT_SECONDS)
        while not done():
            assert not limit.expired(), "no wake-up told of the change"
            wake.wait(limit.remaining())

    def test_serves_the_model(
        self,
        platform: Platform,
        task: ServerTask,
        wake: Wake,
        started: Callable[[Platform], Runner],
    ) -> None:
        runner = started(platform)
        self.wait(wake, lambda: runner.endpoint() is not None)
        client = task.binary.connect(str(runner.endpoint()), wake)
        try:
            self.wait(wake, client.ready)
        finally:
            client.close()
        assert runner.phase() == Phase.LOAD
        assert runner.poll() is None
        assert runner.diagnose() is None
        assert self.count_servers(task.workdir) == 1

    def test_identity_is_plain_json_and_names_the_server(
        self, platform: Platform, started: Callable[[Platform], Runner]
    ) -> None:
        identity = started(platform).identity()
        assert json.loads(json.dumps(identity)) == identity
        assert identity["server"]

    def test_tells_the_exit_with_its_code_and_the_whole_log(
        self, exiting_platform: Platform, wake: Wake, started: Callable[[Platform], Runner]
    ) -> None:
        runner = started(exiting_platform)
        self.wait(wake, lambda: runner.poll() is not None)
        assert runner.poll() == Exit(3, "exit code 3")
        assert runner.logs().strip() == "goodbye"

    def test_stop_ends_the_server_and_may_be_repeated(
        self,
        platform: Platform,
        task: ServerTask,
        wake: Wake,
        started: Callable[[Platform], Runner],
    ) -> None:
        runner = started(platform)
        self.wait(wake, lambda: self.count_servers(task.workdir) == 1 or bool(runner.poll()))
        runner.stop()
        assert self.count_servers(task.workdir) == 0
        assert runner.poll() is not None
        runner.stop()

    def test_stop_right_after_start_leaves_nothing(
        self, platform: Platform, task: ServerTask, started: Callable[[Platform], Runner]
    ) -> None:
        started(platform).stop()
        assert self.count_servers(task.workdir) == 0

    def test_stop_without_start_does_no_harm(self, platform: Platform, task: ServerTask) -> None:
        runner = platform.create_runner(task)
        runner.stop()
        assert runner.poll() is None
        assert runner.logs() == ""

    def test_stop_from_a_thread_while_nobody_waits(
        self, platform: Platform, task: ServerTask, started: Callable[[Platform], Runner]
    ) -> None:
        runner = started(platform)
        stopper = threading.Thread(target=runner.stop)
        stopper.start()
        stopper.join(_LIMIT_SECONDS)
        assert not stopper.is_alive()
        assert self.count_servers(task.workdir) == 0

    def test_close_comes_last_and_may_be_repeated(
        self, platform: Platform, task: ServerTask, started: Callable[[Platform], Runner]
    ) -> None:
        started(platform).stop()
        for _ in range(2):
            if isinstance(platform, Closes):
                platform.close()
        assert self.count_servers(task.workdir) == 0

    def test_progress_is_a_text_or_nothing(
        self, platform: Platform, started: Callable[[Platform], Runner]
    ) -> None:
        progress = progress_of(started(platform))
        assert progress is None or (progress and "\n" not in progress)

    def test_a_model_that_cannot_be_staged_is_refused_before_any_start(
        self, platform: Platform, task: ServerTask, tmp_path: Path
    ) -> None:
        missing = ModelSource("ram://nowhere/model", Gfile(), tmp_path, lambda: None)
        with pytest.raises(FaultError) as caught:
            platform.prepare(task.binary, missing)
        assert caught.value.fault.category == "storage_failed"

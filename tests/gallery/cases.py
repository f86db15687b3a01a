"""Broken models and environments, each with what its report must say."""

from __future__ import annotations

import dataclasses
import gzip
import shutil
from collections.abc import Callable
from typing import Any

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report
from tests.conftest import example_bytes
from tests.engine.helpers import run
from tests.gallery.room import GOOD_RECORD, Room, warm_up_record

Make = Callable[[Room], Report]


@dataclasses.dataclass(frozen=True)
class Case:
    """A broken thing.

    Attributes:
        make: makes it and has it validated.
        category: of the fault.
        blame: of the fault.
        phase: of the fault.
        says: part of the fault's summary.
        hint: part of the fault's hint.
    """

    make: Make
    category: str
    blame: str
    phase: str
    says: str
    hint: str

    @property
    def name(self) -> str:
        """Of the function that makes it."""
        return self.make.__name__


CASES: list[Case] = []


def case(category: str, blame: str, phase: str, says: str, hint: str) -> Callable[[Make], Make]:
    """Adds a case to the gallery."""

    def add(make: Make) -> Make:
        CASES.append(Case(make, category, blame, phase, says, hint))
        return make

    return add


# The model's graph.


@case("model_missing", "model", "stage", "does not exist", "complete SavedModel")
def model_folder_missing(room: Room) -> Report:
    return run(room.folder / "nothing")


@case("model_missing", "model", "stage", "holds no saved_model.pb", "complete SavedModel")
def graph_missing(room: Room) -> Report:
    model = room.copy(room.models.good)
    (model / "saved_model.pb").unlink()
    return run(model)


@case("model_unreadable", "model", "stage", "truncated or corrupt", "complete SavedModel")
def graph_truncated(room: Room) -> Report:
    model = room.copy(room.models.good)
    graph = model / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-1000])
    return run(model, split=room.split)


@case("model_unreadable", "model", "load", "truncated or corrupt", "complete SavedModel")
def graph_truncated_and_nothing_asked(room: Room) -> Report:
    model = room.copy(room.models.good)
    graph = model / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-1000])
    return run(model)


@case("model_unreadable", "model", "stage", "holds no graph", "complete SavedModel")
def graph_empty(room: Room) -> Report:
    model = room.copy(room.models.good)
    (model / "saved_model.pb").write_bytes(b"")
    return run(model, split=room.split)


@case("tags_missing", "model", "load", "{ serve }", "The model has the tags training")
def tags_of_training(room: Room) -> Report:
    def edit(meta_graph: Any) -> None:
        meta_graph.meta_info_def.tags[:] = ["training"]

    return run(room.edited(edit))


@case("tags_missing", "model", "stage", "it has: training", "tag_set")
def tags_of_training_asked(room: Room) -> Report:
    def edit(meta_graph: Any) -> None:
        meta_graph.meta_info_def.tags[:] = ["training"]

    return run(room.edited(edit), split=room.split)


@case("signature_missing", "model", "stage", "Is 'serving_default' meant?", "signature_names")
def signature_misspelt(room: Room) -> Report:
    return run(room.models.good, split=room.split, signatures=("serving_defualt",))


@case("op_missing", "model", "load", "'FancyVariable'", "need the op FancyVariable")
def op_unknown(room: Room) -> Report:
    def edit(meta_graph: Any) -> None:
        for node in meta_graph.graph_def.node:
            if node.op == "VarHandleOp":
                node.op = "FancyVariable"

    return run(room.edited(edit))


def rename_in_functions(op: str, name: str) -> Callable[[Any], None]:
    """Changes an op that only functions have."""

    def edit(meta_graph: Any) -> None:
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                if node.op == op:
                    node.op = name

    return edit


@case("op_missing", "model", "load", "'FancyMul'", "need the op FancyMul")
def op_unknown_in_a_function(room: Room) -> Report:
    return run(room.edited(rename_in_functions("Mul", "FancyMul")))


@case("op_missing", "model", "load", "'CaseFoldUTF8'", "tensorflow-text")
def op_of_tensorflow_text(room: Room) -> Report:
    return run(room.edited(rename_in_functions("Mul", "CaseFoldUTF8")))


@case(
    "op_missing", "model", "load", "'SimpleMLInferenceOpWithHandle'", "tensorflow-decision-forests"
)
def op_of_decision_forests(room: Room) -> Report:
    return run(room.edited(rename_in_functions("Mul", "SimpleMLInferenceOpWithHandle")))


@case("op_missing", "model", "query", "'PyFunc'", "Python function")
def python_called(room: Room) -> Report:
    return room.ask("calls_python")


@case("graph_version_mismatch", "model", "load", "min consumer version 99999", "version 99999")
def graph_for_a_newer_tensorflow(room: Room) -> Report:
    def edit(meta_graph: Any) -> None:
        meta_graph.graph_def.versions.producer = 99999
        meta_graph.graph_def.versions.min_consumer = 99999

    return run(room.edited(edit))


@case(
    "op_missing",
    "model",
    "load",
    "'OpOfTomorrow'",
    "TensorFlow 99.1.0 wrote the model; the server's is the older",
)
def op_of_a_newer_tensorflow(room: Room) -> Report:
    def edit(meta_graph: Any) -> None:
        meta_graph.meta_info_def.tensorflow_version = "99.1.0"
        rename_in_functions("Mul", "OpOfTomorrow")(meta_graph)

    return run(room.edited(edit))


# What lies beside the graph.


@case("variables_unreadable", "model", "query", "without its variables", "complete SavedModel")
def variables_folder_missing(room: Room) -> Report:
    model = room.copy(room.models.good)
    shutil.rmtree(model / "variables")
    return run(model, split=room.split)


@case("variables_unreadable", "model", "load", "variables", "complete SavedModel")
def variables_data_missing(room: Room) -> Report:
    model = room.copy(room.models.good)
    for file in (model / "variables").glob("*.data-*"):
        file.unlink()
    return run(model)


@case("variables_unreadable", "model", "load", "Read less bytes", "complete SavedModel")
def variables_data_truncated(room: Room) -> Report:
    model = room.copy(room.models.good)
    for file in (model / "variables").glob("*.data-*"):
        file.write_bytes(b"")
    return run(model)


@case("variables_unreadable", "model", "load", "DATA_LOSS", "complete SavedModel")
def variables_index_corrupt(room: Room) -> Report:
    model = room.copy(room.models.good)
    (model / "variables" / "variables.index").write_bytes(b"no index")
    return run(model)


@case("asset_unreadable", "model", "load", "words.txt", "has no file in a folder assets")
def asset_missing(room: Room) -> Report:
    model = room.copy(room.models.lookup)
    (model / "assets" / "words.txt").unlink()
    return run(model)


# Warm-up that comes with the model.


@case("warm_up_failed", "model", "load", "warmup", "cannot be read to its end")
def warm_up_corrupt(room: Room) -> Report:
    return run(room.with_warm_up(b"this is no TFRecord file"))


@case("warm_up_failed", "model", "load", "Failed to parse warmup record", "cannot be read")
def warm_up_of_something_else(room: Room) -> Report:
    return run(room.with_warm_up([b"\xff\xff\xff no PredictionLog"]))


@case("warm_up_failed", "model", "load", "exceeds the maximum (1000)", "has 1001 requests")
def warm_up_too_long(room: Room) -> Report:
    return run(room.with_warm_up([GOOD_RECORD] * 1001))


@case("warm_up_failed", "model", "load", "assertion failed", "1 Predict fails")
def warm_up_request_failing(room: Room) -> Report:
    record = warm_up_record("fails", example_bytes(x=1.0))
    return run(room.with_warm_up([record], room.models.troubled))


@case("load_timeout", "model", "load", "within 15 s", "The model's files have")
def loads_too_slowly(room: Room) -> Report:
    record = warm_up_record("endless", example_bytes(x=1.0))
    return run(
        room.with_warm_up([record], room.models.troubled),
        limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=15),
    )


# Requests.


@case("request_failed", "model", "query", "Matrix size-incompatible", "serving signature")
def request_of_a_shape_that_does_not_fit(room: Room) -> Report:
    return room.ask("misfits")


@case("request_failed", "model", "query", "assertion failed", "serving signature")
def request_refused(room: Room) -> Report:
    return room.ask("fails")


@case("request_timeout", "model", "query", "within 1 s", "request_timeout_seconds")
def request_endless(room: Room) -> Report:
    return room.ask(
        "endless",
        limits=pb.ValidationSpec(
            num_tries=1, max_loading_time_seconds=60, request_timeout_seconds=1
        ),
    )


@case("request_failed", "model", "query", "FAILED_PRECONDITION", "serving signature")
def outputs_that_batching_cannot_divide(room: Room) -> Report:
    parameters = "max_batch_size { value: 8 } batch_timeout_micros { value: 0 }"
    return room.ask(
        "summed",
        args=("--enable_batching=true",),
        config_files={"batching_parameters_file": pb.ConfigFile(text=parameters)},
    )


@case("server_crashed", "model", "query", "request 1", "custom ops")
def server_crashed_by_a_request(room: Room) -> Report:
    return room.stand_in_with("exit_on_request")


# Examples.


@case("examples_missing", "data", "stage", "", "ExampleGen")
def examples_missing(room: Room) -> Report:
    return run(room.models.good, split=room.folder / "nothing")


@case("examples_missing", "data", "stage", "", "ExampleGen")
def examples_empty(room: Room) -> Report:
    return run(room.models.good, split=room.write_split([]))


@case("examples_unreadable", "data", "stage", "", "ExampleGen again")
def examples_corrupt(room: Room) -> Report:
    split = room.write_split([example_bytes(x=1.0)])
    for file in split.iterdir():
        file.write_bytes(gzip.compress(b"no records at all"))
    return run(room.models.good, split=split)


@case("examples_unfit", "data", "stage", "", "tf.Example")
def examples_of_another_kind(room: Room) -> Report:
    split = room.write_split([b"\xff\xfe no example"])
    return run(room.models.good, split=split)


@case("request_failed", "model", "query", "label", "with the same examples")
def examples_without_a_feature(room: Room) -> Report:
    return room.ask("demands")


@case("inputs_unmatched", "configuration", "stage", "matrix", "input_features")
def input_that_no_feature_feeds(room: Room) -> Report:
    return room.ask("tensors")


# The server's configuration.


@case("server_flags_refused", "configuration", "load", "Last entry", "config_files")
def batching_that_does_not_fit_itself(room: Room) -> Report:
    parameters = "max_batch_size { value: 8 } allowed_batch_sizes: 4"
    return run(
        room.models.good,
        args=("--enable_batching=true",),
        config_files={"batching_parameters_file": pb.ConfigFile(text=parameters)},
    )


@case("server_flags_refused", "configuration", "start", "Invalid protobuf file", "config_files")
def batching_file_malformed(room: Room) -> Report:
    return run(
        room.models.good,
        args=("--enable_batching=true",),
        config_files={"batching_parameters_file": pb.ConfigFile(text="max_batch_size {{{")},
    )


@case("server_flags_refused", "configuration", "start", "interpret", "args")
def flag_of_a_wrong_type(room: Room) -> Report:
    return run(room.models.good, args=("--grpc_max_threads=many",))


@case(
    "configuration_invalid", "configuration", "configure", "cannot be read", "Correct the setting"
)
def config_file_missing(room: Room) -> Report:
    file = pb.ConfigFile(uri=str(room.folder / "nothing.conf"))
    return run(room.models.good, config_files={"batching_parameters_file": file})


# What is run in the server's stead.


@case("executable_unusable", "configuration", "stage", "does not exist", "executable")
def executable_missing(room: Room) -> Report:
    return run(room.models.good, executable=str(room.folder / "nothing"))


@case("executable_unusable", "configuration", "stage", "not an executable file", "executable")
def executable_that_is_none(room: Room) -> Report:
    return run(room.models.good, executable=str(room.models.good / "saved_model.pb"))


@case("server_exited", "infrastructure", "start", "exit code 3", "by hand")
def server_that_only_exits(room: Room) -> Report:
    return run(room.models.good, executable=room.script("exit 3"))


@case("server_not_ready", "infrastructure", "load", "neither answered nor", "by hand")
def server_that_only_sleeps(room: Room) -> Report:
    return run(
        room.models.good,
        executable=room.script("exec sleep 60"),
        limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=1),
    )


@case("server_incompatible", "infrastructure", "load", "UNIMPLEMENTED", "behave as one")
def server_of_another_service(room: Room) -> Report:
    return room.stand_in_with("other_service")


@case("illegal_instruction", "infrastructure", "load", "illegal instruction", "AVX")
def server_for_another_processor(room: Room) -> Report:
    return run(room.models.good, executable=room.script("kill -ILL $$"))


@case("server_crashed", "model", "load", "crashed", "custom ops")
def server_crashed_by_loading(room: Room) -> Report:
    return run(
        room.models.good,
        executable=room.script("echo 'Loading servable version {name: m}'; kill -SEGV $$"),
    )


@case("server_killed", "infrastructure", "load", "was killed", "The model's files have")
def server_killed(room: Room) -> Report:
    return room.stand_in_with("killed_while_loading")


@case("out_of_memory", "infrastructure", "load", "no more memory", "The model's files have")
def server_given_no_memory(room: Room) -> Report:
    return run(
        room.models.good,
        executable=room.script(
            "echo \"terminate called after throwing an instance of 'std::bad_alloc'\"\n"
            "kill -ABRT $$"
        ),
    )


@case("gpu_unusable", "infrastructure", "start", "libcudnn.so.9", "driver")
def gpu_library_missing(room: Room) -> Report:
    return run(
        room.models.good,
        executable=room.script(
            "echo 'server: error while loading shared libraries: libcudnn.so.9: cannot open'; "
            "exit 127"
        ),
    )


@case("model_not_delivered", "infrastructure", "load", "does not find the model", "the platform")
def server_that_does_not_see_the_model(room: Room) -> Report:
    return run(
        room.models.good,
        executable=room.script(
            "echo 'Could not find base path /models/m for servable m with error NOT_FOUND'; "
            "exec sleep 60"
        ),
        model_name="m",
    )


@case("request_file_invalid", "data", "stage", "", "file of requests")
def request_file_malformed(room: Room) -> Report:
    file = room.folder / "requests.json"
    file.write_text('{"instances": [')
    return run(room.models.good, split=room.split, request_fields={"json_file": str(file)})


@case("model_load_failed", "model", "load", "cannot be loaded", "look at its log")
def server_that_gives_up_the_model(room: Room) -> Report:
    return room.stand_in_with("end_state")

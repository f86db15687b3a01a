import contextlib
import dataclasses
import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from infra_validator import config, request_config
from infra_validator.config import (
    DEFAULT_MAX_WARMUP_RECORDS,
    ConfigFileSource,
    LimitsConfig,
    RequestConfig,
)
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.request_config import Source, SourceConfig
from infra_validator.saved_model.warmup import MAX_WARMUP_RECORDS
from infra_validator.specs import SpecError

SERVING = "ServingSpec.tensorflow_serving"
REQUESTS = "RequestSpec.tensorflow_serving"


def serving(**fields: Any) -> dict[str, Any]:
    """A complete ServingSpec; None leaves a field out."""
    spec = {"tensorflow_serving": {}, "local_process": {}} | fields
    return {key: value for key, value in spec.items() if value is not None}


def with_server(**fields: Any) -> dict[str, Any]:
    return serving(tensorflow_serving=fields)


def requests(**fields: Any) -> dict[str, Any]:
    return {"tensorflow_serving": {}} | fields


def asked(**fields: Any) -> dict[str, Any]:
    return {"tensorflow_serving": fields}


def parse(
    serving_spec: dict[str, Any] | None = None,
    validation_spec: dict[str, Any] | None = None,
    request_spec: dict[str, Any] | None = None,
    *,
    query: bool = True,
) -> config.ValidationConfig:
    return config.parse(
        json_format.ParseDict(
            serving() if serving_spec is None else serving_spec, pb.ServingSpec()
        ),
        None
        if validation_spec is None
        else json_format.ParseDict(validation_spec, pb.ValidationSpec()),
        None if request_spec is None else json_format.ParseDict(request_spec, pb.RequestSpec()),
        query=query,
    )


def refusal(*specs: Any, **options: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse(*specs, **options)
    return str(caught.value)


def test_defaults_are_those_of_tfx() -> None:
    parsed = parse(request_spec=requests())
    assert parsed.model_name == "infra-validation-model"
    assert (parsed.limits.loading_seconds, parsed.limits.num_tries) == (300, 5)
    assert parsed.requests == RequestConfig(
        signature_names=("serving_default",),
        tag_set=("serve",),
        split_name=None,
        num_examples=1,
        make_warmup=False,
        max_warmup_records=1000,
        keep_failed_request=False,
    )


def test_defaults_of_our_own_fields() -> None:
    parsed = parse()
    assert (parsed.limits.request_seconds, parsed.limits.parallel_servers) == (60, 4)
    assert parsed.limits.parallel_requests == 1
    assert parsed.fail_execution_when_undetermined is False
    assert parsed.requests is None
    assert (parsed.platform.name, parsed.platform.settings) == ("local_process", {})
    assert (parsed.serving.args, parsed.serving.env, parsed.serving.config_files) == ((), {}, {})
    assert parsed.serving.images == ()


def test_what_is_given_is_kept() -> None:
    parsed = parse(
        {
            "model_name": "ranker",
            "local_process": {"executable": "/opt/server"},
            "tensorflow_serving": {
                "args": ["--enable_batching=true", "--grpc_max_threads=2"],
                "env": {"OMP_NUM_THREADS": "1"},
                "config_files": {
                    "batching_parameters_file": {"text": "max_batch_size { value: 8 }"},
                    "monitoring_config_file": {"uri": "gs://bucket/monitoring.pbtxt"},
                },
            },
        },
        {
            "max_loading_time_seconds": 7,
            "num_tries": 2,
            "request_timeout_seconds": 1.5,
            "max_parallel_servers": 9,
            "max_parallel_requests": 3,
            "fail_execution_when_undetermined": True,
        },
        {
            "tensorflow_serving": {
                "tag_set": ["serve", "gpu"],
                "signature_names": ["b", "a", "b"],
            },
            "split_name": "eval",
            "num_examples": 12,
            "make_warmup": True,
            "max_warmup_records": 20,
            "keep_failed_request": True,
        },
    )
    assert parsed.model_name == "ranker"
    assert parsed.platform.settings == {"executable": "/opt/server"}
    assert parsed.serving.args == ("--enable_batching=true", "--grpc_max_threads=2")
    assert parsed.serving.env == {"OMP_NUM_THREADS": "1"}
    assert parsed.serving.config_files == {
        "batching_parameters_file": ConfigFileSource("max_batch_size { value: 8 }", None),
        "monitoring_config_file": ConfigFileSource(None, "gs://bucket/monitoring.pbtxt"),
    }
    assert parsed.limits == LimitsConfig(
        loading_seconds=7,
        request_seconds=1.5,
        num_tries=2,
        parallel_servers=9,
        parallel_requests=3,
    )
    assert parsed.fail_execution_when_undetermined is True
    assert parsed.requests == RequestConfig(
        signature_names=("b", "a"),
        tag_set=("serve", "gpu"),
        split_name="eval",
        num_examples=12,
        make_warmup=True,
        max_warmup_records=20,
        keep_failed_request=True,
        source=SourceConfig(max_requests=12, signatures_chosen=True),
    )


LIMITS = [
    ("max_loading_time_seconds", "loading_seconds", 300),
    ("num_tries", "num_tries", 5),
    ("request_timeout_seconds", "request_seconds", 60),
    ("max_parallel_servers", "parallel_servers", 4),
    ("max_parallel_requests", "parallel_requests", 1),
]


@pytest.mark.parametrize(("field", "attribute", "default"), LIMITS)
def test_zero_means_unset(field: str, attribute: str, default: float) -> None:
    assert getattr(parse(None, {field: 0}).limits, attribute) == default


def test_more_warm_up_than_a_server_takes_is_refused() -> None:
    assert refusal(request_spec=requests(make_warmup=True, max_warmup_records=1001)).startswith(
        "RequestSpec.max_warmup_records: 1001 is too much"
    )
    assert "max_warmup_records" in refusal(request_spec=requests(max_warmup_records=-1))
    assert DEFAULT_MAX_WARMUP_RECORDS == MAX_WARMUP_RECORDS


def test_zero_examples_means_unset() -> None:
    parsed = parse(request_spec=requests(num_examples=0))
    assert parsed.requests is not None
    assert parsed.requests.num_examples == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, -1) for field, _, _ in LIMITS]
    + [("request_timeout_seconds", value) for value in (-0.001, math.inf, -math.inf, math.nan)],
)
def test_refuses_limits_that_are_no_positive_number(field: str, value: float) -> None:
    spec = pb.ValidationSpec()
    setattr(spec, field, value)
    with pytest.raises(SpecError, match=rf"^ValidationSpec\.{field}\b"):
        config.parse(json_format.ParseDict(serving(), pb.ServingSpec()), spec, query=False)


@pytest.mark.parametrize("query", [True, False])
def test_refuses_a_negative_number_of_examples(query: bool) -> None:
    said = refusal(None, None, requests(num_examples=-1), query=query)
    assert said.startswith("RequestSpec.num_examples:")


@given(
    field=st.sampled_from([field for field, _, _ in LIMITS]), value=st.integers(-(2**31), 2**31 - 1)
)
def test_every_limit_is_either_refused_by_name_or_positive(field: str, value: int) -> None:
    if value < 0 or value > 1e6:
        assert refusal(None, {field: value}).startswith(f"ValidationSpec.{field}:")
    else:
        assert min(dataclasses.astuple(parse(None, {field: value}).limits)) > 0


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "ServingSpec"),
        (serving(local_process=None), "ServingSpec"),
        (serving(tensorflow_serving=None), "ServingSpec"),
        (
            serving(local_process=None, local_docker={}),
            "ServingSpec.tensorflow_serving",
        ),
        (
            serving(local_process=None, local_docker={"cpus": -1}),
            "ServingSpec.local_docker.cpus",
        ),
        (serving(local_process=None, kubernetes={}), "ServingSpec.tensorflow_serving"),
        (
            serving(local_process=None, kubernetes={"namespace": "A"}),
            "ServingSpec.kubernetes.namespace",
        ),
        (serving(local_process=None, custom_platform={}), "ServingSpec.custom_platform.name"),
        (with_server(tags=[""]), f"{SERVING}.tags"),
        (with_server(tags=["2.16.1", ""]), f"{SERVING}.tags"),
        (with_server(digests=[""]), f"{SERVING}.digests"),
        (with_server(env={"MODEL_NAME": "x"}), f"{SERVING}.env"),
        (with_server(env={"MODEL_BASE_PATH": "/x"}), f"{SERVING}.env"),
        (with_server(env={"": "x"}), f"{SERVING}.env"),
        (with_server(env={"A=31337": "x"}), f"{SERVING}.env"),
        (with_server(env={"A\0": "x"}), f"{SERVING}.env"),
        (with_server(env={"A": "\0"}), f"{SERVING}.env"),
        (with_server(args=["enable_batching"]), f"{SERVING}.args[0]"),
        (with_server(args=["--enable_batching", "true"]), f"{SERVING}.args[1]"),
        (with_server(args=["--a=1", "", "--b=2"]), f"{SERVING}.args[1]"),
        (with_server(args=["--"]), f"{SERVING}.args[0]"),
        (with_server(args=["-"]), f"{SERVING}.args[0]"),
        (with_server(args=["---port=1"]), f"{SERVING}.args[0]"),
        (with_server(args=[" --a=1"]), f"{SERVING}.args[0]"),
        (with_server(args=["--a =1"]), f"{SERVING}.args[0]"),
        (with_server(args=["--a=\0"]), f"{SERVING}.args[0]"),
        (with_server(config_files={"f": {}}), f"{SERVING}.config_files['f']"),
        (with_server(config_files={"f": {"text": ""}}), f"{SERVING}.config_files['f']"),
        (with_server(config_files={"f": {"uri": ""}}), f"{SERVING}.config_files['f']"),
        (with_server(config_files={"--f": {"text": "x"}}), f"{SERVING}.config_files['--f']"),
        (with_server(config_files={"f=g": {"text": "x"}}), f"{SERVING}.config_files['f=g']"),
        (with_server(config_files={"../f": {"text": "x"}}), f"{SERVING}.config_files['../f']"),
        (with_server(config_files={"": {"text": "x"}}), f"{SERVING}.config_files['']"),
        (
            with_server(args=["--f=/x"], config_files={"f": {"text": "x"}}),
            f"{SERVING}.args[0]",
        ),
        (
            with_server(args=["--a=1", "-f-g=/x"], config_files={"f_g": {"text": "x"}}),
            f"{SERVING}.args[1]",
        ),
        (serving(model_name="a/b"), "ServingSpec.model_name"),
        (serving(model_name="/"), "ServingSpec.model_name"),
        (serving(model_name="."), "ServingSpec.model_name"),
        (serving(model_name=".."), "ServingSpec.model_name"),
        (serving(model_name="a\nb"), "ServingSpec.model_name"),
        (serving(model_name="a\0b"), "ServingSpec.model_name"),
        (serving(model_name="a[b]"), "ServingSpec.model_name"),
        (serving(model_name="a\\b"), "ServingSpec.model_name"),
        (serving(model_name="a\x7fb"), "ServingSpec.model_name"),
        (serving(model_name="x" * 201), "ServingSpec.model_name"),
        (serving(model_name="ü" * 101), "ServingSpec.model_name"),
    ],
)
def test_refuses_a_serving_spec_by_the_field(spec: dict[str, Any], field: str) -> None:
    said = refusal(spec)
    assert said.startswith(f"{field}:")
    assert "\n" not in said
    assert "31337" not in said


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "RequestSpec"),
        (requests(tensorflow_serving={"tag_set": [""]}), "RequestSpec.tensorflow_serving.tag_set"),
        (
            requests(tensorflow_serving={"signature_names": ["a", ""]}),
            "RequestSpec.tensorflow_serving.signature_names",
        ),
    ],
)
def test_refuses_a_request_spec_by_the_field(spec: dict[str, Any], field: str) -> None:
    assert refusal(None, None, spec).startswith(f"{field}:")


@pytest.mark.parametrize("name", ["a", "my-model_1.2", "x" * 200, "...", "ü" * 100])
def test_takes_a_model_name(name: str) -> None:
    assert parse(serving(model_name=name)).model_name == name


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"])))
def test_a_model_name_is_a_folder_of_its_own_or_refused(name: str) -> None:
    with contextlib.suppress(SpecError):
        taken = parse(serving(model_name=name)).model_name
        assert taken not in {"", ".", ".."}
        assert not set(taken) & {"/", "\0", "\n"}


@pytest.mark.parametrize(
    "flag",
    [
        "port",
        "rest_api_port",
        "grpc_socket_path",
        "model_name",
        "model_base_path",
        "model_config_file",
        "ssl_config_file",
    ],
)
@pytest.mark.parametrize(
    "spelling", ["--{}=1", "-{}=1", "--{}", "-{}", "--{}=", "--{}=a\nb", "hyphens", "alone"]
)
def test_refuses_reserved_flags_in_every_spelling(flag: str, spelling: str) -> None:
    if spelling == "hyphens":
        args = [f"--{flag.replace('_', '-')}=1"]
    elif spelling == "alone":
        args = [f"--{flag}", "1"]
    else:
        args = [spelling.format(flag)]
    said = refusal(with_server(args=["--enable_batching=true", *args]))
    assert said.startswith(f"{SERVING}.args[1]:")
    assert f"--{flag} " in said


@pytest.mark.parametrize("flag", sorted(config.RESERVED_FLAGS))
def test_refuses_reserved_flags_as_config_files(flag: str) -> None:
    said = refusal(with_server(config_files={flag: {"text": "x"}}))
    assert said.startswith(f"{SERVING}.config_files['{flag}']:")


@pytest.mark.parametrize(
    "argument",
    [
        "--enable_batching",
        "-enable_batching=true",
        "--model_config_file_poll_wait_seconds=0",
        "--rest_api_port_extra=1",
        "--tensorflow_session_config_file=/a b/c",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=1,b=2",
        "--text=two\nlines",
        "--port_=1",
    ],
)
def test_takes_flags_that_only_look_reserved(argument: str) -> None:
    assert parse(with_server(args=[argument])).serving.args == (argument,)


def test_the_local_process_platform_uses_no_image() -> None:
    parsed = parse(with_server(image_name="mine", tags=["1", "2"], digests=["sha256:" + 64 * "0"]))
    assert parsed.serving.images == ()


def test_a_custom_platform_has_its_own_name_and_settings() -> None:
    parsed = parse(
        serving(
            local_process=None,
            custom_platform={"name": "nomad", "config": {"cores": 2, "zones": ["a", None]}},
        )
    )
    assert parsed.platform.name == "nomad"
    assert parsed.platform.settings == {"cores": 2.0, "zones": ["a", None]}


def test_without_examples_a_request_spec_is_left_out() -> None:
    assert parse(request_spec=requests(num_examples=3), query=False).requests is None
    assert parse(request_spec={}, query=False).requests is None
    assert parse(request_spec=None, query=True).requests is None


def test_the_echo_holds_the_specs_but_no_values_of_variables() -> None:
    parsed = parse(
        serving(tensorflow_serving={"env": {"TOKEN": "hunter2"}, "args": ["--a=1"]}),
        {"num_tries": 2},
        requests(num_examples=3),
    )
    assert parsed.serving.env == {"TOKEN": "hunter2"}
    assert "hunter2" not in json.dumps(parsed.echo)
    assert list(parsed.echo["serving_spec"]["tensorflow_serving"]["env"]) == ["TOKEN"]
    assert parsed.echo["serving_spec"]["tensorflow_serving"]["args"] == ["--a=1"]
    assert parsed.echo["validation_spec"] == {"num_tries": 2}
    assert parsed.echo["request_spec"] == {"tensorflow_serving": {}, "num_examples": 3}
    assert parse().echo["request_spec"] is None


def test_the_echo_hides_every_one_of_many_variables() -> None:
    names = [f"TOKEN_{number}" for number in range(100)]
    parsed = parse(serving(tensorflow_serving={"env": dict.fromkeys(names, "hunter2")}))
    shown = parsed.echo["serving_spec"]["tensorflow_serving"]["env"]
    assert shown == dict.fromkeys(names, "(not shown)")


def test_parsing_leaves_the_specs_as_they_are() -> None:
    spec = json_format.ParseDict(with_server(env={"TOKEN": "hunter2"}), pb.ServingSpec())
    before = spec.SerializeToString(deterministic=True)
    config.parse(spec, query=False)
    assert spec.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("request_spec", "field"),
    [
        (requests(batch_sizes=[1, 0]), "RequestSpec.batch_sizes[1]: 0"),
        (requests(batch_sizes=[-1]), "RequestSpec.batch_sizes[0]: -1"),
        (requests(batch_sizes=[10**6]), "RequestSpec.batch_sizes[0]: 1000000"),
        (requests(split_names=[""]), "RequestSpec.split_names: an entry is empty"),
        (requests(split_names=["*", "a"]), 'RequestSpec.split_names: "*" means all'),
        (
            requests(split_names=["a"], split_name="b"),
            "RequestSpec.split_names: RequestSpec.split_name is set",
        ),
        (requests(json_file=" "), "RequestSpec.json_file: empty"),
        (requests(prediction_log_file=""), "RequestSpec.prediction_log_file: empty"),
        (requests(json_file="f", split_name="b"), "RequestSpec.json_file: requests are not made"),
        (requests(from_signature=True, split_names=["*"]), "RequestSpec.from_signature: requests"),
        (
            requests(json_file="f", batch_sizes=[2]),
            "RequestSpec.batch_sizes: requests of RequestSpec.json_file",
        ),
        (asked(signature_names=["*", "a"]), f'{REQUESTS}.signature_names: "*" means all'),
        (asked(input_features={"x": ""}), f"{REQUESTS}.input_features: an entry"),
        (
            asked(input_features={"x": "f"}, input_constants={"x": 1}),
            f"{REQUESTS}.input_constants: 'x' is in input_features too",
        ),
        (
            {**asked(input_features={"x": "f"}), "from_signature": True},
            f"{REQUESTS}.input_features: requests are not made from examples",
        ),
        (
            {**asked(multi_inference=True), "prediction_log_file": "f"},
            f"{REQUESTS}.multi_inference: requests of RequestSpec.prediction_log_file are sent",
        ),
    ],
)
def test_requests_that_cannot_be_made_are_refused(request_spec: dict[str, Any], field: str) -> None:
    assert refusal(request_spec=request_spec).startswith(field)


@pytest.mark.parametrize(
    ("fields", "kind", "uri"),
    [
        ({}, Source.EXAMPLES, None),
        ({"from_signature": False}, Source.EXAMPLES, None),
        ({"from_signature": True}, Source.SIGNATURE, None),
        ({"json_file": "/f"}, Source.JSON, "/f"),
        ({"prediction_log_file": "gs://b/f"}, Source.PREDICTION_LOG, "gs://b/f"),
    ],
)
def test_the_source_of_requests(fields: dict[str, Any], kind: Source, uri: str | None) -> None:
    parsed = parse(request_spec=requests(**fields), query=kind == Source.EXAMPLES).requests
    assert parsed is not None
    assert (parsed.source.kind, parsed.source.uri) == (kind, uri)
    left_out = parse(request_spec=requests(**fields), query=False).requests
    assert (left_out is None) == parsed.source.needs_examples


def test_how_requests_are_made() -> None:
    source = {
        "tensorflow_serving": {
            "signature_names": ["*"],
            "input_features": {"b": "f", "a": "g"},
            "input_constants": {"k": [1, "x", {"b64": "AA=="}], "big": "9007199254740993"},
            "multi_inference": True,
        },
        "split_names": ["train", "eval", "train"],
        "batch_sizes": [8, 1, 8],
    }
    parsed = parse(request_spec=source).requests
    assert parsed is not None
    assert parsed.source == SourceConfig(
        split_names=("train", "eval"),
        batch_sizes=(8, 1),
        signatures_chosen=True,
        input_features={"a": "g", "b": "f"},
        input_constants={"k": [1, "x", {"b64": "AA=="}], "big": "9007199254740993"},
        multi_inference=True,
    )


def test_a_constant_that_json_cannot_hold_is_its_text_or_refused() -> None:
    spec = pb.RequestSpec(tensorflow_serving=pb.TensorFlowServingRequestSpec())
    spec.tensorflow_serving.input_constants["x"] = math.inf
    try:
        json_format.MessageToJson(spec)
    except json_format.SerializeToJsonError:
        with pytest.raises(SpecError, match="JSON has no such number"):
            request_config.parse(spec)
    else:  # protobuf 3.20
        assert request_config.parse(spec).input_constants == {"x": "Infinity"}

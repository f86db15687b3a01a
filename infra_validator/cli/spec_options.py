"""Options that set fields of the specs, and what they make of them."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from infra_validator.cli.completion import complete_files
from infra_validator.config import PLATFORMS_WITH_IMAGES, PLATFORMS_WITHOUT_IMAGES
from infra_validator.specs import SpecError

Command = TypeVar("Command", bound=Callable[..., Any])

_PLATFORM = "serving_spec"
_SERVING = "serving_spec.tensorflow_serving"
_REQUESTS = "request_spec.tensorflow_serving"
_JSON_ENDINGS = (".json", ".jsonl", ".ndjson")


@dataclasses.dataclass(frozen=True)
class FieldOption:
    """An option for one field.

    Attributes:
        flag: the option.
        path: the field's path in `Specs`.
        metavar: what the value is.
        help: what it does.
        multiple: whether it may be given several times.
    """

    flag: str
    path: str
    metavar: str
    help: str
    multiple: bool = False

    @property
    def name(self) -> str:
        """The name of the parameter."""
        return self.flag.removeprefix("--").replace("-", "_")


FIELD_OPTIONS = (
    FieldOption(
        "--executable",
        "serving_spec.local_process.executable",
        "PROGRAM",
        "The tensorflow_model_server to run on local_process: a path, or a name on PATH. Default: "
        "tensorflow_model_server where PATH has one, else the embedded model server.",
    ),
    FieldOption(
        "--model-name",
        "serving_spec.model_name",
        "NAME",
        "The name under which the model is served and asked. Default: infra-validation-model.",
    ),
    FieldOption(
        "--server-arg",
        f"{_SERVING}.args",
        "--FLAG=VALUE",
        "A further flag of tensorflow_model_server, as in production. Can be repeated.",
        multiple=True,
    ),
    FieldOption(
        "--signature",
        f"{_REQUESTS}.signature_names",
        "NAME",
        "A signature to ask. Can be repeated. Default: serving_default.",
        multiple=True,
    ),
    FieldOption(
        "--tag",
        f"{_REQUESTS}.tag_set",
        "TAG",
        "A tag of the MetaGraph whose signatures are read; name all it has. Can be repeated. "
        "Default: serve.",
        multiple=True,
    ),
    FieldOption(
        "--split",
        "request_spec.split_name",
        "NAME",
        "The split to take the examples from. Default: the first.",
    ),
    FieldOption(
        "--num-examples",
        "request_spec.num_examples",
        "N",
        "How many examples to send to each signature. Default: 1.",
    ),
    FieldOption(
        "--batch-size",
        "request_spec.batch_sizes",
        "N",
        "How many examples one request carries. Can be repeated: each signature is asked in every "
        "size. Default: 1, or what a signature of a fixed batch size takes.",
        multiple=True,
    ),
    FieldOption(
        "--max-loading-time",
        "validation_spec.max_loading_time_seconds",
        "SECONDS",
        "How long the model may take to load. Default: 300.",
    ),
    FieldOption(
        "--request-timeout",
        "validation_spec.request_timeout_seconds",
        "SECONDS",
        "How long the server may take to answer one request. Default: 60.",
    ),
    FieldOption(
        "--parallel-requests",
        "validation_spec.max_parallel_requests",
        "N",
        "How many requests are under way to one server at the same time. Default: 1.",
    ),
    FieldOption(
        "--num-tries",
        "validation_spec.num_tries",
        "N",
        "How often a serving binary is tried at most, where the fault may pass. Default: 5.",
    ),
    FieldOption(
        "--max-parallel-servers",
        "validation_spec.max_parallel_servers",
        "N",
        "How many serving binaries are validated side by side. Default: 4.",
    ),
)


def spec_options(command: Command) -> Command:
    """Gives a command the options of this module."""
    for option in reversed(FIELD_OPTIONS):
        command = click.option(
            option.flag, metavar=option.metavar, help=option.help, multiple=option.multiple
        )(command)
    for decorate in (
        click.option(
            "--keep-failed-request",
            is_flag=True,
            help="Keep a request that fails, with its content, as a file beside the report.",
        ),
        click.option(
            "--requests",
            "requests_file",
            metavar="FILE",
            shell_complete=complete_files,
            help="Ask with the requests in FILE instead of examples: recorded ones in a TFRecord "
            "file of PredictionLog, or ones in the REST API's form if its name ends in .json, "
            ".jsonl or .ndjson.",
        ),
        click.option(
            "--from-signature",
            is_flag=True,
            help="Ask with requests made from the signature alone, with zeros and empty texts, "
            "instead of examples.",
        ),
        click.option(
            "--set",
            "assignments",
            metavar="PATH=VALUE",
            multiple=True,
            shell_complete=_complete_path,
            help="Set any field of the specs by its path, for example "
            "serving_spec.local_docker.memory=4g. Can be repeated; wins over all other options.",
        ),
        click.option(
            "--spec",
            "spec_file",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, allow_dash=True),
            help="A file with serving_spec, validation_spec and request_spec, in JSON or in "
            "protobuf's text format; - for standard input. Options win over it.",
        ),
        click.option(
            "--config-file",
            "config_files",
            metavar="FLAG=PATH",
            multiple=True,
            help="A configuration file of the server: the flag that names it there, and where it "
            "lies here. Can be repeated.",
        ),
        click.option(
            "--env",
            "variables",
            metavar="NAME[=VALUE]",
            multiple=True,
            help="An environment variable of the server; without a value, that of this "
            "environment. Can be repeated.",
        ),
        click.option(
            "--image",
            "images",
            metavar="IMAGE",
            multiple=True,
            help="Image to validate with, with a tag or a digest, for example "
            "tensorflow/serving:2.16.1. Can be repeated; all must serve the model.",
        ),
        click.option(
            "--platform",
            metavar="NAME",
            shell_complete=_complete_platform,
            help="Where the server runs: local_process, local_docker, kubernetes, or the name of a "
            "platform that another package provides. Default: local_process.",
        ),
    ):
        command = decorate(command)
    return command


def read_specs(given: Mapping[str, Any]) -> Any:
    """The `Specs` that the options make, those of the file first.

    Args:
        given: the values of the options of this module, by parameter.

    Raises:
        SpecError: for the first that can never work.
    """
    from infra_validator import spec_text
    from infra_validator.proto import infra_validator_pb2 as pb

    specs = pb.Specs()
    if given["spec_file"] is not None:
        specs = spec_text.read_specs(_read(given["spec_file"]), given["spec_file"])
    assigner = spec_text.Assigner(specs)
    if given["platform"] is not None:
        _choose_platform(specs, given["platform"])
    if given["images"]:
        _choose_images(specs, given["images"])
    for variable in given["variables"]:
        name, value = _variable(variable)
        specs.serving_spec.tensorflow_serving.env[name] = value
    for entry in given["config_files"]:
        flag, equals, path = entry.partition("=")
        if not equals:
            raise SpecError(
                f"--config-file {entry}: write FLAG=PATH, for example "
                "batching_parameters_file=batching.txt."
            )
        files = specs.serving_spec.tensorflow_serving.config_files
        files[flag.lstrip("-")].uri = path
    _choose_source(specs, given)
    if given["keep_failed_request"]:
        specs.request_spec.keep_failed_request = True
    for option in FIELD_OPTIONS:
        value = given[option.name]
        for one in value if option.multiple else [] if value is None else [value]:
            assigner.assign(option.path, one, option.flag)
    for assignment in given["assignments"]:
        path, equals, value = assignment.partition("=")
        if not equals or not path:
            raise SpecError(
                f"--set {assignment}: write PATH=VALUE, for example "
                "serving_spec.local_docker.memory=4g."
            )
        assigner.assign(path, value, f"--set {path}")
    _check_images(specs.serving_spec, given["images"])
    return specs


def _read(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.buffer.read().decode()
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"--spec {name}: cannot be read: {error}.") from None


def _choose_platform(specs: Any, name: str) -> None:
    serving = specs.serving_spec
    oneof = serving.DESCRIPTOR.oneofs_by_name["serving_platform"]
    if name == "custom_platform":
        raise SpecError("--platform custom_platform: give the name of the platform itself.")
    if name in {field.name for field in oneof.fields}:
        getattr(serving, name).SetInParent()
    else:
        serving.custom_platform.name = name


def _choose_images(specs: Any, images: Sequence[str]) -> None:
    serving = specs.serving_spec.tensorflow_serving
    for field in ("image_name", "tags", "digests"):
        serving.ClearField(field)
    names = set()
    for image in images:
        name, tag, digest = split_image(image)
        names.add(name)
        if tag:
            serving.tags.append(tag)
        if digest:
            serving.digests.append(digest)
    if len(names) > 1:
        raise SpecError(
            f"--image: the images have different names ({', '.join(sorted(names))}); validate "
            "with one name at a time."
        )
    serving.image_name = names.pop()


def _choose_source(specs: Any, given: Mapping[str, Any]) -> None:
    """Examples are the source if none of the options names another."""
    file = given["requests_file"]
    named = [
        flag
        for flag, value in (
            ("--examples", given["examples"] is not None),
            ("--requests", file is not None),
            ("--from-signature", given["from_signature"]),
        )
        if value
    ]
    if len(named) > 1:
        raise SpecError(
            f"{' and '.join(named)}: requests are made from one source at a time; keep one of them."
        )
    if given["from_signature"]:
        specs.request_spec.from_signature = True
    elif file is not None and file.lower().endswith(_JSON_ENDINGS):
        specs.request_spec.json_file = file
    elif file is not None:
        specs.request_spec.prediction_log_file = file
    elif given["examples"] is not None:
        specs.request_spec.ClearField("from_signature")
        specs.request_spec.ClearField("json_file")
        specs.request_spec.ClearField("prediction_log_file")


def split_image(image: str) -> tuple[str, str, str]:
    """The name, the tag and the digest of an image's reference.

    Raises:
        SpecError: if it has not exactly one of tag and digest.
    """
    rest, _, digest = image.partition("@")
    folder, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    if bool(tag) == bool(digest):
        raise SpecError(
            f"--image {image}: name the version by a tag (tensorflow/serving:2.16.1) or by a "
            "digest (tensorflow/serving@sha256:…), and not by both."
        )
    return f"{folder}{slash}{last}", tag, digest


def _check_images(serving_spec: Any, images: Sequence[str]) -> None:
    platform = serving_spec.WhichOneof("serving_platform") or "local_process"
    if images and platform in PLATFORMS_WITHOUT_IMAGES:
        raise SpecError(
            f"--image {images[0]}: the platform {platform} runs no image; add --platform "
            "local_docker or --platform kubernetes."
        )
    serving = serving_spec.tensorflow_serving
    if platform in PLATFORMS_WITH_IMAGES and not (serving.tags or serving.digests):
        raise SpecError(
            f"--platform {platform}: no image is named that it should run; add, for example, "
            "--image tensorflow/serving:2.16.1."
        )


def _variable(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if equals:
        return name, value
    if name not in os.environ:
        raise SpecError(f"--env {name}: it is not set here; write {name}=VALUE.")
    return name, os.environ[name]


def _complete_platform(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    from importlib.metadata import entry_points

    known = ["local_process", "local_docker", "kubernetes"]
    known += [point.name for point in entry_points(group="infra_validator.platforms")]
    return [name for name in known if name.startswith(incomplete)]


def _complete_path(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    from infra_validator.spec_text import field_paths

    return [
        path if path.endswith(".") else f"{path}="
        for path in field_paths()
        if path.startswith(incomplete)
    ]

"""The documentation is true: it lists all there is, is current, and its code runs."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from tfx import v1 as tfx
from tfx.types import standard_artifacts

import infra_validator as iv
from infra_validator import blessing, config, docker_config, faults, kubernetes_config, report
from infra_validator.faults import Evidence, Fault, Phase
from infra_validator.files import Gfile
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report, Verdict
from infra_validator.requests.examples import Examples
from infra_validator.requests.request import Method
from infra_validator.runners import docker_faults, kubernetes
from infra_validator.runners.docker_owner import MANAGED_LABEL
from infra_validator.spec_text import Assigner
from infra_validator.specs import to_message
from infra_validator.validation.engine import Candidate, validate
from tests.pipelines.components import BringExamples, BringModel
from tests.platforms import test_kubernetes
from tests.platforms.conformance import PlatformConformance

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARKED = re.compile(
    r"^<!-- (?:file|snippet): (\S+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def section(page: Path, heading: str) -> str:
    """What stands below a heading that is one name in backticks, up to the next heading."""
    parts = re.split(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert f"`{heading}`" in sections, f"{page.name} has no heading `{heading}`"
    return sections[f"`{heading}`"]


def table(text: str) -> dict[str, list[str]]:
    """The rows whose first cell is a name in backticks: that name to the other cells."""
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith("| `"):
            continue
        name, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("| ")))
        assert name.strip("`") not in rows, f"twice in a table: {name}"
        rows[name.strip("`")] = cells
    return rows


def marked(page: Path) -> dict[str, str]:
    """The blocks of code that a comment gives a name."""
    return dict(_MARKED.findall(page.read_text()))


# The specs.


def own_messages() -> Iterator[Descriptor]:
    return iter(pb.DESCRIPTOR.message_types_by_name.values())


def type_name(field: FieldDescriptor) -> str:
    """The type as a .proto file writes it."""
    if field.enum_type is not None:
        name = field.enum_type.name
    elif field.message_type is None:
        name = {
            FieldDescriptor.TYPE_STRING: "string",
            FieldDescriptor.TYPE_INT32: "int32",
            FieldDescriptor.TYPE_INT64: "int64",
            FieldDescriptor.TYPE_DOUBLE: "double",
            FieldDescriptor.TYPE_BOOL: "bool",
        }[field.type]
    elif field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return f"map<{type_name(key)}, {type_name(value)}>"
    else:
        name = field.message_type.name
    return f"repeated {name}" if field.label == FieldDescriptor.LABEL_REPEATED else name


@pytest.mark.parametrize("message", own_messages(), ids=lambda message: message.name)
def test_every_field_of_every_message_is_described(message: Descriptor) -> None:
    from tfx.proto import infra_validator_pb2 as tfx_pb

    described = table(section(DOCS / "protos.md", message.name))
    assert list(described) == [field.name for field in message.fields]
    theirs = tfx_pb.DESCRIPTOR.message_types_by_name.get(message.name)
    for field in message.fields:
        is_theirs = theirs is not None and field.name in theirs.fields_by_name
        number, type_, _default, effect, since = described[field.name]
        assert (number, type_.replace("`", "")) == (str(field.number), type_name(field))
        assert since == ("TFX" if is_theirs else "ours")
        assert len(effect) > 10


def own_enumerations() -> Iterator[EnumDescriptor]:
    return (kind for message in own_messages() for kind in message.enum_types)


@pytest.mark.parametrize("kind", own_enumerations(), ids=lambda kind: kind.name)
def test_every_value_of_every_enumeration_is_described(kind: EnumDescriptor) -> None:
    page = DOCS / "protos.md"
    qualified = f"{kind.containing_type.name}.{kind.name}"  # where messages share a name
    title = qualified if f"### `{qualified}`" in prose(page) else kind.name
    described = table(section(page, title))
    assert {name: cells[0] for name, cells in described.items()} == {
        value.name: str(value.number) for value in kind.values
    }
    assert all(len(effect) > 5 for _, effect in described.values())


def test_defaults_are_those_of_the_code() -> None:
    page = DOCS / "protos.md"
    for message, field, default in [
        ("ServingSpec", "model_name", config.DEFAULT_MODEL_NAME),
        ("TensorFlowServing", "image_name", config.DEFAULT_IMAGE_NAME),
        ("ValidationSpec", "max_loading_time_seconds", config.DEFAULT_MAX_LOADING_TIME_SECONDS),
        ("ValidationSpec", "num_tries", config.DEFAULT_NUM_TRIES),
        ("ValidationSpec", "request_timeout_seconds", config.DEFAULT_REQUEST_TIMEOUT_SECONDS),
        ("ValidationSpec", "max_parallel_servers", config.DEFAULT_MAX_PARALLEL_SERVERS),
        ("ValidationSpec", "max_parallel_requests", config.DEFAULT_MAX_PARALLEL_REQUESTS),
        ("RequestSpec", "max_warmup_records", config.DEFAULT_MAX_WARMUP_RECORDS),
        (
            "LocalDockerConfig",
            "client_timeout_seconds",
            docker_config.DEFAULT_CLIENT_TIMEOUT_SECONDS,
        ),
        ("LocalDockerConfig", "pull_timeout_seconds", docker_config.DEFAULT_PULL_TIMEOUT_SECONDS),
        ("LocalDockerConfig", "pull_policy", "IF_NOT_PRESENT"),
        ("LocalDockerConfig", "model_delivery", "AUTO"),
        *(
            (
                "KubernetesConfig",
                f"{name}_timeout_seconds",
                getattr(kubernetes_config, f"DEFAULT_{name.upper()}_TIMEOUT_SECONDS"),
            )
            for name in ("schedule", "pull", "start", "delivery", "client")
        ),
        ("KubernetesConfig", "image_pull_policy", "IF_NOT_PRESENT"),
        ("KubernetesConfig", "model_delivery", "AUTO"),
        ("RequestSpec", "num_examples", config.DEFAULT_NUM_EXAMPLES),
        ("TensorFlowServingRequestSpec", "tag_set", config.DEFAULT_TAG_SET[0]),
        ("TensorFlowServingRequestSpec", "signature_names", config.DEFAULT_SIGNATURE),
    ]:
        said = table(section(page, message))[field][2].strip('`[]"')
        assert said == (f"{default:g}" if isinstance(default, float) else str(default)), field


def test_reserved_names_are_listed() -> None:
    text = prose(DOCS / "protos.md")
    for flag in config.RESERVED_FLAGS:
        assert f"`--{flag}`" in text
    for variable in config.RESERVED_VARIABLES:
        assert f"`{variable}`" in text


def test_the_faults_of_an_engine_are_those_of_the_code() -> None:
    """What the page says of trying again, and of whose fault it is, for all that are diagnosed."""
    source = Path(docker_faults.__file__).read_text()
    described = faults_table("Faults")
    diagnosed = {name for name in faults.CATEGORIES if f'"{name}"' in source}
    # What an engine says without being understood belongs to no row.
    assert diagnosed - {"platform_failed"} <= described.keys()
    check_faults(described)


def faults_table(title: str) -> dict[str, str]:
    """Categories, and what the page says of trying again."""
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in section_by_title(DOCS / "platforms.md", title).splitlines()
        if line.startswith("|") and line.count("`") >= 2
    ]
    return {category.strip("`"): again for _, category, again in rows if category.startswith("`")}


def check_faults(described: Mapping[str, str]) -> None:
    for name, again in described.items():
        category = faults.CATEGORIES[name]
        assert again.startswith("yes" if category.transient else "no"), name
        assert again.endswith("the execution fails") == (
            category.blame == faults.Blame.CONFIGURATION
        ), name
        assert again.endswith("not blessed") == (category.blame == faults.Blame.MODEL), name


def test_the_faults_of_a_cluster_are_those_of_the_code() -> None:
    sources = "".join(path.read_text() for path in Path(kubernetes.__file__).parent.glob("*.py"))
    described = faults_table("Faults of a cluster")
    diagnosed = {name for name in faults.CATEGORIES if f'"{name}"' in sources}
    assert diagnosed - {"platform_failed", "internal_error"} == described.keys()
    check_faults(described)


def test_the_settings_of_kubernetes_are_those_of_the_code() -> None:
    text = prose(DOCS / "platforms.md")
    described = text.partition("## Kubernetes")[2].partition("## The local process")[0]
    for message in (pb.KubernetesConfig, pb.PodOverrides):
        for field in message.DESCRIPTOR.fields:
            assert re.search(rf"`(?:\w+\.)*{field.name}(?:\.\w+)*`", described), field.name
    for name in (kubernetes_config.SERVER, kubernetes_config.RECEIVER, MANAGED_LABEL):
        assert name in described


def test_the_roles_are_those_that_are_tested() -> None:
    yaml = pytest.importorskip("yaml")
    blocks = _FENCE.findall((DOCS / "platforms.md").read_text())
    roles = [yaml.safe_load(body) for kind, body in blocks if kind == "yaml"]
    rights = {
        role["metadata"]["name"]: {
            (resource, verb)
            for rule in role["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for role in roles
    }

    def of(rules: list[dict[str, Any]]) -> set[tuple[str, str]]:
        return {
            (resource, verb)
            for rule in rules
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    tested = test_kubernetes
    events = of(tested.EVENT_RULES)
    claims = {("persistentvolumeclaims", "get")}
    assert rights == {
        "infra-validator-in-a-step": of(tested.STEP_RULES) | events | claims,
        "infra-validator-from-outside": of(tested.OUTSIDE_RULES) | events,
    }


def test_the_settings_of_docker_are_those_of_the_code() -> None:
    text = prose(DOCS / "platforms.md")
    described = text.partition("## Local Docker")[2].partition("## The local process")[0]
    for field in pb.LocalDockerConfig.DESCRIPTOR.fields:
        if field.name != "platform":  # needs no more words than in the specs
            assert f"`{field.name}`" in described, field.name
    assert f"label={MANAGED_LABEL}" in described


# The report.

DATACLASSES = [
    *(
        kind
        for kind in vars(report).values()
        if dataclasses.is_dataclass(kind) and kind.__module__ == report.__name__
    ),
    Fault,
    Evidence,
]


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: kind.__name__)
def test_every_field_of_the_report_is_described(kind: type[Any]) -> None:
    described = table(section(DOCS / "report.md", kind.__name__))
    assert list(described) == [field.name for field in dataclasses.fields(kind)]
    assert all(len(cells) == 2 and all(cells) for cells in described.values())


def test_the_values_of_enumerations_are_listed() -> None:
    text = prose(DOCS / "report.md")
    for kind in (Phase, Verdict, report.Mode, report.ModelRole, faults.Blame, Method):
        for value in kind:
            assert f"`{value.value}`" in text, value


def test_every_property_and_file_of_the_artifact_is_described(tmp_path: Path) -> None:
    """All that `publish` ever sets: for a blessed model with warm-up, and for one not blessed."""
    found = faults.fault("server_killed", Phase.LOAD, "Killed.")
    everything: set[str] = set()
    files: set[str] = set()
    for number, (verdict, fault_, stamped) in enumerate(
        [(Verdict.BLESSED, None, 3), (Verdict.UNDETERMINED, found, None)]
    ):
        artifact = standard_artifacts.InfraBlessing()
        artifact.uri = str(tmp_path / str(number))
        blessing.publish(
            Report(
                schema_version=report.SCHEMA_VERSION,
                infra_validator_version=iv.__version__,
                verdict=verdict,
                reason="A reason.",
                mode=report.Mode.LOAD_ONLY,
                model="/model",
                platform="local_process",
                started_at="",
                seconds=1.0,
                configuration={},
                notes=(),
                phases=(),
                binaries=(),
                fault=fault_,
                warm_up_records_written=stamped,
            ),
            artifact,
        )
        everything |= set(artifact.mlmd_artifact.custom_properties)
        files |= {path.name for path in Path(artifact.uri).iterdir()}
    page = DOCS / "report.md"
    described = table(section_by_title(page, "The artifact's properties"))
    assert set(described) == everything
    assert files <= set(table(section_by_title(page, "The artifact's files")))


def section_by_title(page: Path, title: str) -> str:
    parts = re.split(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_table_is_current() -> None:
    generate = load_generator()
    page = (DOCS / "report.md").read_text()
    current = generate.render_categories(faults.CATEGORIES.values())
    assert page == generate.replace_generated(page, current), "run docs/generate.py"
    category = faults.Category("new_one", faults.Blame.DATA, True, "Do a | b.")
    row = "| `new_one` | data | yes | Do a \\| b. |\n"
    changed = generate.replace_generated(page, generate.render_categories([category]))
    assert row in changed
    assert row not in page


def test_the_schema_version_is_current() -> None:
    assert f"`schema_version` is {report.SCHEMA_VERSION}." in prose(DOCS / "report.md")


def test_a_captured_report_has_the_fields_of_the_code() -> None:
    import json

    [text] = [
        body for kind, body in _FENCE.findall((DOCS / "report.md").read_text()) if kind == "json"
    ]
    captured = json.loads(text)

    def check(value: Mapping[str, Any], kind: type[Any]) -> None:
        assert list(value) == [field.name for field in dataclasses.fields(kind)]

    check(captured, Report)
    check(captured["fault"], Fault)
    check(captured["fault"]["evidence"], Evidence)
    check(captured["phases"][0], report.PhaseReport)
    [binary] = captured["binaries"]
    check(binary, report.BinaryReport)
    [attempt] = binary["attempts"]
    check(attempt, report.AttemptReport)
    check(attempt["requests"][0], report.RequestReport)


# Links.


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / unquote(path)).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    assert broken_links(page, prose(page)) == []


def test_a_broken_link_is_found() -> None:
    text = "[a](nowhere.md) [b](report.md#nothing) [c](report.md) [d](https://example.org/x)"
    assert broken_links(DOCS / "protos.md", text) == ["nowhere.md", "report.md#nothing"]


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([^)#]+)\)", README.read_text()))
    only_on_the_site = {"index.md", "changelog.md"}
    assert linked >= {page.name for page in DOCS.glob("*.md")} - only_on_the_site


# Code.


def test_the_snippet_of_the_readme_builds_the_component(tmp_path: Path) -> None:
    [snippet] = [body for kind, body in _FENCE.findall(README.read_text()) if kind == "python"]
    model = BringModel(saved_model="/model")
    examples = BringExamples(split="/split")
    names: dict[str, Any] = {
        "trainer": SimpleNamespace(outputs={"model": model.outputs["model"]}),
        "example_gen": SimpleNamespace(outputs={"examples": examples.outputs["examples"]}),
    }
    exec(snippet, names)  # noqa: S102
    component = names["infra_validator"]
    assert isinstance(component, iv.InfraValidator)
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="readme",
        pipeline_root=str(tmp_path),
        components=[model, examples, component],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(tmp_path / "metadata.db")
        ),
    )
    assert component in pipeline.components
    assert component.inputs.keys() == {"model", "examples"}


@pytest.mark.parametrize(
    "name", [name for name in marked(DOCS / "protos.md") if name.startswith("requests-")]
)
def test_the_examples_of_requests_are_valid(name: str) -> None:
    names: dict[str, Any] = {
        "RequestSpec": iv.RequestSpec,
        "TensorFlowServingRequestSpec": iv.TensorFlowServingRequestSpec,
    }
    exec(marked(DOCS / "protos.md")[name], names)  # noqa: S102
    serving = pb.ServingSpec(
        tensorflow_serving=pb.TensorFlowServing(), local_process=pb.LocalProcessConfig()
    )
    spec = to_message(names["request_spec"], pb.RequestSpec, "request_spec")
    parsed = config.parse(serving, None, spec, query=name == "requests-mapping")
    assert parsed.requests is not None


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of docs/writing-a-platform.md, installed as far as Python can tell."""
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    blocks = marked(DOCS / "writing-a-platform.md")
    for name in ("pinned_process.py", "test_pinned_process.py"):
        (tmp_path / name).write_text(blocks[name])
    project = tomllib.loads(blocks["pyproject.toml"])["project"]
    metadata = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in project["entry-points"].items()
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pinned_process", raising=False)
    return tmp_path


def test_the_example_package_can_be_installed(tmp_path: Path) -> None:
    blocks = marked(DOCS / "writing-a-platform.md")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name in ("pinned_process.py", "pyproject.toml", "test_pinned_process.py"):
        (source / name).write_text(blocks[name])
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "uv", "pip", "install", "--python", sys.executable),
            *("--no-deps", "--no-build-isolation", "--offline", "--target", target, source),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (target / "pinned_process.py").exists()
    [package] = importlib.metadata.distributions(path=[str(target)])
    [point] = package.entry_points.select(group="infra_validator.platforms")
    assert (point.name, point.value) == ("pinned_process", "pinned_process:PinnedProcessPlatform")


@pytest.mark.usefixtures("third_party", "leaves_nothing")
def test_the_example_platform_is_set_as_the_page_says(saved_model: Path) -> None:
    [setting] = re.findall(r"--set '([^']*)'", (DOCS / "writing-a-platform.md").read_text())
    specs = pb.Specs()
    specs.serving_spec.custom_platform.name = "pinned_process"
    path, _, value = setting.partition("=")
    Assigner(specs).assign(path, value, "the page")
    found = iv.validate(str(saved_model), serving_spec=specs.serving_spec)
    assert found.verdict == Verdict.BLESSED, found.reason


def validate_pinned(serving_spec: pb.ServingSpec, model: Path, split: Path) -> Report:
    parsed = config.parse(
        serving_spec,
        pb.ValidationSpec(num_tries=1, max_loading_time_seconds=60),
        pb.RequestSpec(tensorflow_serving=pb.TensorFlowServingRequestSpec(), num_examples=3),
        query=True,
    )
    candidate = Candidate(str(model), Examples({"train": str(split)}))
    return validate(candidate, parsed, Gfile())


@pytest.mark.usefixtures("third_party", "leaves_nothing")
def test_the_example_platform_validates_a_real_model(saved_model: Path, split: Path) -> None:
    names: dict[str, Any] = {}
    exec(marked(DOCS / "writing-a-platform.md")["using"], names)  # noqa: S102
    found = validate_pinned(names["serving_spec"], saved_model, split)
    assert found.verdict == Verdict.BLESSED, found.reason
    assert found.platform == "pinned_process"
    [attempt] = found.binaries[0].attempts
    assert attempt.server["cpus"] == "0"
    assert len(attempt.requests) == 3


@pytest.mark.usefixtures("third_party", "leaves_nothing")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cpus": "none"}, "taskset"),
        ({}, "cpus: say which"),
        ({"cpus": "0", "cpu": "0"}, "unknown settings: cpu"),
    ],
)
def test_the_example_platform_refuses_bad_settings(
    saved_model: Path, split: Path, settings: dict[str, str], said: str
) -> None:
    serving_spec = pb.ServingSpec(tensorflow_serving=pb.TensorFlowServing())
    serving_spec.custom_platform.name = "pinned_process"
    serving_spec.custom_platform.config.update(settings)
    found = validate_pinned(serving_spec, saved_model, split)
    assert found.fault is not None
    assert found.fault.category == "configuration_invalid"
    assert said in found.fault.summary


def test_the_example_platform_passes_the_conformance_suite(third_party: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"),
            str(third_party / "test_pinned_process.py"),
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    contract = [name for name in dir(PlatformConformance) if name.startswith("test_")]
    assert f" {len(contract)} passed" in done.stdout

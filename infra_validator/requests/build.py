"""Makes all the requests of a validation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Sequence

from infra_validator import text
from infra_validator.config import RequestConfig
from infra_validator.files import FileSystem
from infra_validator.request_config import ALL, Source
from infra_validator.requests import drafts
from infra_validator.requests.drafts import METHODS, Draft, number
from infra_validator.requests.examples import Examples, Records, choose_splits, take_records
from infra_validator.requests.from_examples import Asked, ExampleSource, ModelFacts
from infra_validator.requests.from_json import read_json
from infra_validator.requests.from_log import read_log
from infra_validator.requests.from_signature import Knowledge, MadeUpSource
from infra_validator.requests.mapping import check_inputs_exist, unsupported
from infra_validator.requests.request import Request
from infra_validator.saved_model.composites import Composite, find_composites
from infra_validator.saved_model.graph import Graph
from infra_validator.saved_model.parsing_spec import StringUse, find_use
from infra_validator.saved_model.reader import Model, Signature, read_model

# More examples than these are not read for the sake of a fixed batch size.
_MOST_FOR_FIXED = 4096


@dataclasses.dataclass(frozen=True)
class Made:
    """The requests of a validation.

    Attributes:
        requests: in the order in which they are sent.
        notes: what the user should know of how they were made.
    """

    requests: tuple[Request, ...]
    notes: tuple[str, ...]


def make_requests(
    files: FileSystem,
    model_uri: str,
    model_name: str,
    asked: RequestConfig,
    examples: Examples | None,
) -> Made:
    """Makes requests from whatever the configuration says.

    Args:
        files: where model, examples and files of requests lie.
        model_uri: the SavedModel's folder.
        model_name: the name under which it is served.
        asked: what to ask.
        examples: the examples, where requests are made from them.

    Raises:
        FaultError: for a model, examples, a file or a configuration that no
            requests can be made from; says whose fault it is.
    """
    notes: list[str] = []
    model = read_model(files, model_uri, asked.tag_set)
    if asked.source.kind == Source.PREDICTION_LOG:
        made: Sequence[Draft] = _from_log(files, model, asked, notes)
    elif asked.source.kind == Source.JSON:
        made = read_json(
            files, asked.source.uri or "", model, _wanted(asked), asked.source.max_requests
        )
    else:
        made = list(_from_signatures(files, model, asked, examples, notes))
    if asked.source.uri is not None:
        _note_unasked(_wanted(asked), made, notes)
    return Made(tuple(number(made, model_name)), tuple(dict.fromkeys(notes)))


def choose_signatures(model: Model, names: Sequence[str], notes: list[str]) -> list[Signature]:
    """The signatures to ask.

    Args:
        model: the model that has them.
        names: their names, or "*" for all that take requests.
        notes: gets a line for those that are skipped.

    Raises:
        FaultError: "signature_missing" or "signature_unsupported".
    """
    if list(names) != [ALL]:
        chosen = [model.signature(name) for name in names]
        for signature in chosen:
            if _only_initialises(signature):
                raise unsupported(
                    f"The signature {signature.name!r} initialises the model; it takes no requests."
                )
        return chosen
    chosen = []
    for name, signature in sorted(model.signatures.items()):
        if _only_initialises(signature):
            continue
        if signature.method not in METHODS:
            notes.append(
                f"The signature {name!r} was not asked: TensorFlow Serving has no method "
                f"{signature.method!r}."
            )
        elif not signature.inputs:
            notes.append(f"The signature {name!r} was not asked: it has no inputs.")
        else:
            chosen.append(signature)
    if not chosen:
        raise unsupported("The model has no signature that takes requests.")
    return chosen


def _only_initialises(signature: Signature) -> bool:
    return signature.name.startswith("__saved_model_") or (
        not signature.inputs and not signature.method
    )


def _wanted(asked: RequestConfig) -> tuple[str, ...] | None:
    """The signatures chosen of a file of requests; None for all."""
    if not asked.source.signatures_chosen or asked.signature_names == (ALL,):
        return None
    return asked.signature_names


def _note_unasked(wanted: Sequence[str] | None, made: Sequence[Draft], notes: list[str]) -> None:
    """A file may hold requests to some of the chosen signatures only."""
    asked = {name for draft in made for name in (draft.signature, *draft.signature.split(", "))}
    for name in sorted(set(wanted or ()) - asked):
        notes.append(
            f"The signature {name!r} was not asked: no request to it was taken from the file."
        )


def _from_log(
    files: FileSystem, model: Model, asked: RequestConfig, notes: list[str]
) -> Sequence[Draft]:
    taken = read_log(files, asked.source.uri or "", _wanted(asked), asked.source.max_requests)
    for kind, count in sorted(taken.skipped.items()):
        notes.append(
            f"{count} records of {kind} in {asked.source.uri} were not sent: they are no requests "
            "that an inference service answers."
        )
    for draft in taken.drafts:
        for name in draft.signature.split(", "):
            model.signature(name)  # what the model does not have is its own fault
    return taken.drafts


def _from_signatures(
    files: FileSystem,
    model: Model,
    asked: RequestConfig,
    examples: Examples | None,
    notes: list[str],
) -> Iterator[Draft]:
    source = asked.source
    signatures = choose_signatures(model, asked.signature_names, notes)
    check_inputs_exist(signatures, source.input_features, source.input_constants)
    facts = _Facts(model)
    groups = _inference_groups(signatures) if source.multi_inference else []
    if source.kind == Source.SIGNATURE or examples is None:
        made_up = MadeUpSource(
            Knowledge(facts.composites, facts.use), source.batch_sizes, source.input_constants
        )
        for signature in signatures:
            yield from made_up.requests(signature, notes)
        for group in groups:
            yield from made_up.together(group, notes)
        return
    wanted = Asked(
        asked.num_examples, source.batch_sizes, source.input_features, source.input_constants
    )
    sizes = source.batch_sizes or _fixed_sizes(signatures, source.input_constants)
    count = max(asked.num_examples, *sizes)
    knowledge = ModelFacts(facts.composites, facts.parses_examples)
    sources = []
    for split in choose_splits(examples, asked.split_name, source.split_names):
        records = take_records(files, examples, split, count)
        _note_short(records, asked.num_examples, notes)
        sources.append(ExampleSource(records, examples.payload_format, wanted))
    for signature in signatures:
        for of_split in sources:
            yield from of_split.requests(signature, knowledge, notes)
    for group in groups:
        for of_split in sources:
            yield from of_split.together(group, notes)


def _note_short(records: Records, wanted: int, notes: list[str]) -> None:
    if len(records.values) < wanted:
        notes.append(
            f"The split {records.split_name!r} holds only "
            f"{text.count(len(records.values), 'example')}; {wanted} were asked for."
        )


def _fixed_sizes(signatures: Sequence[Signature], constants: Collection[str]) -> list[int]:
    """First dimensions that are fixed; where it is the batch's, as many examples are needed."""
    return [
        min(spec.shape[0] or 1, _MOST_FOR_FIXED)
        for signature in signatures
        for name, spec in signature.inputs.items()
        if spec.shape and name not in constants
    ] or [1]


def _inference_groups(signatures: Sequence[Signature]) -> list[list[Signature]]:
    """Classify and Regress signatures by the tensor that they take; one request asks one tensor."""
    groups: dict[str | None, list[Signature]] = {}
    for signature in signatures:
        if signature.method in {drafts.CLASSIFY, drafts.REGRESS} and len(signature.inputs) == 1:
            [spec] = signature.inputs.values()
            groups.setdefault(spec.endpoint, []).append(signature)
    if not groups:
        raise unsupported(
            "RequestSpec.tensorflow_serving.multi_inference: none of the signatures that are asked "
            "is for Classify or Regress."
        )
    return list(groups.values())


class _Facts:
    """What the graph tells of signatures; it is indexed when first asked."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @functools.cached_property
    def _graph(self) -> Graph:
        return Graph(self._model.meta_graph)

    def composites(self, signature: Signature) -> list[Composite]:
        return find_composites(self._graph, self._model.meta_graph, signature)

    def use(self, signature: Signature, name: str) -> StringUse:
        endpoint = signature.inputs[name].endpoint
        return find_use(self._graph, endpoint) if endpoint else StringUse(None, frozenset())

    def parses_examples(self, signature: Signature, name: str) -> bool:
        return self.use(signature, name).parsing is not None

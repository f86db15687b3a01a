"""The shell commands that start by hand what the local process platform started. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from infra_validator.runners.shell import comment, join_lines, quote


def reproduce(
    command: Sequence[str],
    *,
    workdir: str,
    link: str,
    model: str,
    model_uri: str,
    config_files: Iterable[str],
    variables: Iterable[str],
) -> str:
    """A shell script that lays out the model in a folder of its own and starts the same server.

    Args:
        command: what was run.
        workdir: the attempt's folder, which is gone by the time this is read.
        link: where the model was laid out in it.
        model: the model's folder on this machine.
        model_uri: where the model really is, if that folder is a copy.
        config_files: names of the flags that were set to a file in `workdir`.
        variables: names of the environment variables that were given.
    """
    folder = {workdir: "folder"}
    lines = ["folder=$(mktemp -d)"]
    if model_uri != model:
        lines.insert(0, comment(f"Copy {model_uri} into the folder ./model first."))
        source = '"$PWD"/model'
    else:
        source = shlex.quote(model)
    lines += [
        f"mkdir -p {quote(str(PurePath(link).parent), folder)}",
        f"ln -s {source} {quote(link, folder)}",
    ]
    for flag in config_files:
        name = quote(f"{workdir}/{flag}.conf", folder)
        lines.append(f"cp ./{flag} {name}  # the content of config_files[{flag!r}]")
    names = list(variables)
    if names:
        lines.append(comment(f"Export these first, with the values you use: {', '.join(names)}"))
    flags = next((at for at, word in enumerate(command) if word.startswith("--")), len(command))
    words = [quote(word, folder) for word in command]
    lines.append(join_lines([" ".join(words[:flags]), *words[flags:]]))
    return "\n".join(lines)

"""One line of what the parser of the configuration says in many."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, Literal, get_args, get_origin

from zoo.modules import SRITMModule

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "NoneType": "null",
    "Sequence": "a list",
    "list": "a list",
    "dict": "a mapping",
}


def explain(text: str, hints: Mapping[str, Any]) -> str:
    """The key, what is wrong with it, and what it may have meant.

    Args:
        text: the parser's message.
        hints: the parser's keys, with their types.
    """
    keys = [key for key in hints if not key.endswith(".help")]
    if match := re.match(r"unrecognized arguments: --([^ =]+)", text):
        return f"there is no option --{match[1]}{_near(match[1], keys, '--')}"
    if match := re.match(r"unrecognized arguments: (\S+)", text):
        return f"{match[1]!r} belongs to no option: options are --key value"
    if "arguments are required: model" in text:
        return "nothing to train: give a recipe with --config (configs/sample.yaml is the smallest)"
    key, problem = _innermost(text)
    if match := re.search(r"Problem with given class_path '([^']+)':\s+Option '([^']+)' is not accepted", text):
        known = list(inspect.signature(resolve_name(match[1])).parameters)
        return f"{key}: {match[1].rpartition('.')[2]} has no option {match[2]!r}{_near(match[2], known)}"
    if match := re.search(r"does not accept (?:nested key|option) '([^']+)'", text):
        return f"{key} has no option {match[1]!r}{_near(f'{key}.{match[1]}', keys)}"
    value = next(iter(re.findall(r"(?:Got|Given) value: (.*)", problem)), "")
    if key == "model":
        modules = ", ".join(sorted(c.__name__ for c in SRITMModule.__subclasses__()))
        if re.fullmatch(r"\w+", value):
            return f"there is no module {value!r} to train; known: {modules}"
        return f"model takes a module ({modules}), or class_path with init_args, not {value}"
    if expected := _expected(problem, hints.get(key)):
        example = f" such as [{value}]" if expected == ["a list"] else ""
        return f"{key} takes {_either(expected)}{example}, not {value!r}"
    lines = (line.strip(" -") for line in problem.splitlines())
    return f"{key}: {next((line for line in lines if line), text)}"


def _innermost(text: str) -> tuple[str, str]:
    """The key that is wrong, with the keys around it, and what is said of it alone."""
    path, problem = [], text
    while match := re.search(r'^( *)Parser key "([^"]+)":[^\n]*\n', problem, re.MULTILINE):
        path.append(match[2])
        deeper = rf"(?:[ \t]*\n|{match[1]} +[^\n]*(?:\n|$))*"  # lines that stand further in
        problem = re.match(deeper, problem[match.end() :])[0]  # type: ignore[index]
    return ".".join(path) or "the configuration", problem


def _expected(problem: str, hint: Any) -> list[str]:
    """What a key takes, in words."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    words: list[str] = []
    for kind, values in re.findall(r"Expected a (?:<class '([^']+)'>|typing\.Literal\[([^\]]*)\])", problem):
        words += [_TYPES.get(kind.rpartition(".")[2], kind)] if kind else values.split(", ")
    return list(dict.fromkeys(words))


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _near(word: str, known: Sequence[str], prefix: str = "") -> str:
    """A hint at what was meant: one of ``known``, or ``word`` with another first part."""
    near = difflib.get_close_matches(word, known, n=1)
    group, dot, rest = word.partition(".")
    groups = {key.partition(".")[0] for key in known}
    if dot and group not in groups and (better := difflib.get_close_matches(group, groups, n=1)):
        near = [f"{better[0]}.{rest}"]
    return f"; did you mean {prefix}{near[0]}?" if near else "; see --help"

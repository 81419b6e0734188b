"""Class names in all usual notations: plain, numbered, as a table, as JSON."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from hrnet_deploy.artifact.known_classes import imagenet_classes, imagenet_wnids
from hrnet_deploy.errors import UsageError
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import CLASSES, LINE_CHARACTERS

_LINE_LIMIT = 200
_LARGEST = 999_999_999
_WNID = re.compile(r"(n\d{8})(?:[\s,:;]+(.*))?")
# At most nine digits: a longer number is no index, and int() refuses 4,300.
_SPACED = (re.compile(r"(?P<id>\d{1,9})\s+(?P<name>.+)"), re.compile(r"(?P<name>.*\S)\s+(?P<id>\d{1,9})"))
_MARKED = (
    re.compile(r"(?P<id>\d{1,9})\s*[:,;\t|=]\s*(?P<name>.+)"),
    re.compile(r"(?P<id>\d{1,9})[.)]\s+(?P<name>.+)"),
    re.compile(r"(?P<name>.*\S)\s*[:,;\t|=]\s*(?P<id>\d{1,9})"),
)
_ID_COLUMNS = frozenset({"id", "index", "idx", "number", "value", "label", "label_id", "train_id", "trainid"}) | {
    "class_id",
    "class_index",
    "class_idx",
    "classid",
    "wnid",
    "synset",
}
_NAME_COLUMNS = ("name", "class_name", "classname", "label_name", "class", "category", "label", "text")
_NESTED = ("id2label", "idx_to_class", "label_names", "class_names", "classes", "names", "label2id", "class_to_idx")

_ITEM = r"""(\d{1,9}|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
_PAIR = re.compile(rf"\s*{_ITEM}\s*:\s*{_ITEM}\s*(,\s*\}}|,|\}})")
"""One entry of a printed Python dict, and what follows it."""
_ESCAPED = re.compile(r"\\(.)")
_NEARLY_ALL = 0.95
"""Share of names that all lists of ImageNet have in common; they differ in a few, such as the two cranes."""
Entry = tuple[str, str]
"""Position of a name, such as "line 3", and the name."""


def parse_class_list(text: str, origin: str) -> tuple[str, ...]:
    """Read the class names in a text, by class index; `origin` names it in errors."""
    first = text.strip().split("\n", 1)
    # A name such as "[void]" may well begin a plain list.
    structured = text.lstrip()[:1] in {"{", "["} and not (len(first) > 1 and first[0].rstrip()[-1:] in {"}", "]"})
    if structured:
        entries = _from_json(text, origin)
    else:
        text = text.rstrip()
        if text.count("\n") >= CLASSES:
            raise _too_many(origin)
        lines = [line.strip() for line in text.split("\n")]
        longest = max(range(len(lines)), key=lambda place: len(lines[place]))
        if len(lines[longest]) > LINE_CHARACTERS:  # patterns and tables take quadratic time
            raise _too_long(f"{origin}, line {longest + 1},", len(lines[longest]))
        plain = [(f"line {number}", line) for number, line in enumerate(lines, start=1)]
        entries = _table(lines, origin) or _numbered(plain, origin) or plain
    return _checked(list(_without_wnids(entries)), origin)


def names_in(value: object, origin: str) -> tuple[str, ...]:
    """Find class names, by class index, in a value of JSON or of a training file; `origin` names it in errors.

    The value is a list of names, a mapping of indices to names or of names to indices, or a mapping that holds one of
    these under a usual key, such as "id2label".
    """
    return _checked(list(_without_wnids(_entries_of(value, origin))), origin)


def _from_json(text: str, origin: str) -> list[Entry]:
    try:
        value = parse_json(text)
    except ValueError as error:
        value = _printed_dict(text.strip())
        if value is None:
            raise UsageError(
                f"{origin} must be JSON where it begins like it, got: {error!s:.80}. Correct it."
            ) from error
    return _entries_of(value, origin)


def _printed_dict(text: str) -> dict[int | str, int | str] | None:
    """Read a printed Python dict, such as a well-known list of ImageNet's; None for any other text."""
    pairs: dict[int | str, int | str] = {}
    place = 1
    while text.startswith("{") and (found := _PAIR.match(text, place)) is not None:
        key, value, end = found.groups()
        if set(_ESCAPED.findall(key + value)) - set("'\"\\"):
            return None
        pairs[_item(key)] = _item(value)
        place = found.end()
        if end.endswith("}"):
            return pairs if place == len(text) else None
    return None


def _item(text: str) -> int | str:
    """Read a number or a text in quotation marks."""
    return int(text) if text.isdecimal() else _ESCAPED.sub(r"\1", text[1:-1])


def _entries_of(value: object, origin: str) -> list[Entry]:
    if isinstance(value, Mapping):
        for key in _NESTED:
            if isinstance(value.get(key), (Mapping, list, tuple)):
                return _entries_of(value[key], origin)
        if all(_number(key) is not None for key in value):
            return _by_number([(int(str(key)), f"entry {key}", _name(name)) for key, name in value.items()], origin)
        if all(type(number) is int and 0 <= number <= _LARGEST for number in value.values()):
            return _by_number([(number, f"entry {name}", str(name)) for name, number in value.items()], origin)
        if all(_WNID.fullmatch(str(key)) for key in value):  # class folders are counted in the order of their names
            return [(f"entry {key}", _name(value[key])) for key in sorted(value)]
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        numbered = [(_number(item.get("id")), item) for item in value if isinstance(item, Mapping)]
        if numbered and len(numbered) == len(value) and all(number is not None for number, _ in numbered):
            rows = [(number or 0, f"entry {number}", _name(item.get("name"))) for number, item in numbered]
            return _by_number(rows, origin)
        return [(f"entry {index}", _name(item)) for index, item in enumerate(value)]
    raise UsageError(f"{origin} must hold class names by index, got {_shown(value)}. Give a list of names.")


def _name(value: object) -> str:
    """Return a name from JSON; Keras writes [WordNet id, name]. Any other value becomes a blank, which is refused."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(part, str) for part in value):
        value = value[1]
    if isinstance(value, Mapping):
        value = value.get("name")
    return value.strip() if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    if type(value) is int:
        return value if 0 <= value <= _LARGEST else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value) else None


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except (ValueError, RecursionError):  # a number of thousands of digits, or deep nesting
        return f"a {type(value).__name__}"


def _numbered(plain: list[Entry], origin: str) -> list[Entry]:
    """Split the numbers of all lines from the names; empty where numbers are missing or part of the names."""
    for pattern in (*_MARKED, *_SPACED):
        found = (pattern.fullmatch(line) for _, line in plain)
        # Up to the first line without a number: a pattern that fails takes quadratic time.
        matches = [match for match in itertools.takewhile(lambda match: match is not None, found) if match]
        if len(matches) < len(plain):
            continue
        rows = [
            (int(match["id"]), where, _unquoted(match["name"]))
            for match, (where, _) in zip(matches, plain, strict=True)
        ]
        numbers = {number for number, _, _ in rows}
        if not numbers & {0, 1}:
            continue
        # "type 1" and "type 2" are names: without their numbers they would be one.
        if pattern in _SPACED and len({name for _, _, name in rows}) < len(numbers):
            continue
        return _by_number(rows, origin)
    return []


def _by_number(rows: list[tuple[int, str, str]], origin: str) -> list[Entry]:
    """Sort names by their numbers, which begin with 0 or 1; the same name given twice for a number counts once."""
    first: dict[int, Entry] = {}
    for number, where, name in rows:
        if first.setdefault(number, (where, name))[1] != name:
            raise UsageError(
                f"{origin}, {where}, must have a number of its own, got {number} for '{first[number][1]:.40}' and "
                f"'{name:.40}'. Correct it."
            )
    start = min(first, default=0)
    missing = next((number for number in range(start, start + len(first)) if number not in first), None)
    if missing is not None or start not in {0, 1}:
        lacking = start if missing is None else missing
        raise UsageError(
            f"{origin} must number the classes from 0 or 1 without gaps, got no {lacking}. "
            "Add it; where the numbers belong to the names, write the names as a JSON list."
        )
    return [first[number] for number in sorted(first)]


def _table(lines: list[str], origin: str) -> list[Entry]:
    """Read the rows below a header with a column of names; empty where there is no such header."""
    for delimiter in ("\t", ",", ";"):
        header = [cell.strip().lower() for cell in _csv_rows(lines[:1], delimiter, origin)[0]]
        if len(header) < 2 or not (set(header) & _ID_COLUMNS and set(header) & set(_NAME_COLUMNS)):
            continue
        rows = _csv_rows(lines[1:], delimiter, origin)
        cells = [[cell.strip() for cell in row] + [""] * (len(header) - len(row)) for row in rows]
        numeric = [word for place, word in enumerate(header) if all(_number(row[place]) is not None for row in cells)]
        words = [word for word in sorted(_ID_COLUMNS, key=lambda word: word != "id") if word in numeric]
        ids = header.index(words[0]) if words else None
        names = next((header.index(word) for word in _NAME_COLUMNS if word in header and word not in words[:1]), None)
        if not cells or names is None:
            continue
        if ids is None:
            return [(f"line {place}", row[names]) for place, row in enumerate(cells, start=2)]
        numbered = [(int(row[ids]), f"line {place}", row[names]) for place, row in enumerate(cells, start=2)]
        return _by_number(numbered, origin)
    return []


def _csv_rows(lines: list[str], delimiter: str, origin: str) -> list[list[str]]:
    """Split lines into cells."""
    try:
        return list(csv.reader(lines, delimiter=delimiter)) or [[]]
    except csv.Error as error:  # such as a quotation without an end
        raise UsageError(f"{origin} must be a table where it begins like one, got: {error}. Correct it.") from error


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text.strip()


def _without_wnids(entries: list[Entry]) -> Iterator[Entry]:
    """Remove the WordNet ids before the names; a list of ids alone stays."""
    matches = [_WNID.fullmatch(name) for _, name in entries]
    alone = all(match is not None and not match[2] for match in matches)
    for (where, name), match in zip(entries, matches, strict=True):
        yield where, name if alone or match is None else (match[2] or "")


def _imagenet_names(names: list[str]) -> tuple[str, ...] | None:
    """Return ImageNet's short names for its WordNet ids or its long names, such as "tench, Tinca tinca"."""
    known = dict(zip(imagenet_wnids(), imagenet_classes(), strict=True))
    if names and known.keys() >= set(names):
        return tuple(known[name] for name in names)
    if len(names) != len(known):
        return None
    first = sum(name.split(",", 1)[0] == own for name, own in zip(names, known.values(), strict=True))
    return imagenet_classes() if first >= _NEARLY_ALL * len(names) else None


def _checked(entries: list[Entry], origin: str) -> tuple[str, ...]:
    usual = _imagenet_names([name for _, name in entries])
    if usual is not None:
        return usual
    if len(entries) > CLASSES:
        raise _too_many(origin)
    seen: dict[str, str] = {}
    for place, name in entries:
        where = f"{origin}, {place},"
        if not name:
            raise UsageError(
                f"{where} must hold a name, got a blank {place.partition(' ')[0]}. Write one class name a line."
            )
        if len(name) > _LINE_LIMIT:
            raise _too_long(where, len(name))
        if not name.isprintable():
            raise UsageError(f"{where} must be printable text, got {name!r}. Write one class name a line.")
        if name in seen:
            raise UsageError(f"{where} must differ from {seen[name]}, got '{name}' twice. Make the names unique.")
        seen[name] = place
    if not seen:
        raise UsageError(f"{origin} must hold at least one class name, got none. Write one class name a line.")
    return tuple(seen)


def _too_long(where: str, characters: int) -> UsageError:
    return UsageError(f"{where} must have at most {_LINE_LIMIT} characters, got {characters}. Shorten the name.")


def _too_many(origin: str) -> UsageError:
    return UsageError(f"{origin} must hold at most {CLASSES} class names, got more. Check the path.")

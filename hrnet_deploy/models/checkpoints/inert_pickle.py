"""Reading of pickles without calling, importing or creating anything that they name."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO, Any, ClassVar

# Protocol 2 calls two modules by their Python 2 names.
_PYTHON2_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_MAPPINGS = frozenset({"builtins.dict", "collections.OrderedDict", "collections.defaultdict", "collections.Counter"})
_SCALARS = (str, int, float, bytes, type(None))
_MAX_OBJECTS = 5_000_000
"""An object takes two bytes of a pickle and a hundred of memory; training files hold about ten thousand."""

_PythonUnpickler: Any = vars(pickle)["_Unpickler"]
"""The pure-Python unpickler. Its memo is a dict, where the C one allocates 64 GiB if an opcode requests it."""


@dataclass(frozen=True)
class PickledName:
    """A class or function that a pickle names, as "module.name"; it is never looked up."""

    name: str


@dataclass(eq=False)
class PickledObject:
    """A call in a pickle, recorded instead of executed: the callable, its arguments, and what is then set or added."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)


class InertUnpickler(_PythonUnpickler):  # type: ignore[misc]
    """Unpickles protocols 0 to 5 into plain containers, `PickledName` and `PickledObject`.

    Every opcode that calls something or touches an object's attributes is replaced.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, file: IO[bytes], persistent_load: Callable[[Any], Any]) -> None:
        super().__init__(file, encoding="latin1")  # Python 2 stored bytes as text
        self._persistent = persistent_load
        self._objects = 0

    def persistent_load(self, pid: Any) -> Any:
        """Resolve a persistent id."""
        return self._persistent(pid)

    def find_class(self, module_name: str, global_name: str, /) -> PickledName:
        """Record the name."""
        return PickledName(f"{_PYTHON2_MODULES.get(module_name, module_name)}.{global_name}")

    def get_extension(self, code: int) -> None:
        """Refuse numbers that stand for classes."""
        raise pickle.UnpicklingError(f"a pickle must name its classes, got extension {code}")

    def _instantiate(self, klass: Any, args: list[Any]) -> None:
        self.append(self._call(klass, tuple(args)))

    def _call(self, called: Any, arguments: tuple[Any, ...]) -> Any:
        if not isinstance(called, (PickledName, PickledObject)) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"a pickle must call what it names, got {type(called).__name__}")
        self._objects += 1
        if self._objects > _MAX_OBJECTS:
            raise pickle.UnpicklingError(f"a pickle must make at most {_MAX_OBJECTS:,} objects")
        if called.name not in _MAPPINGS:
            return PickledObject(called.name, arguments)
        mapping: dict[Any, Any] = {}
        for argument in arguments:
            pairs = argument.items() if isinstance(argument, dict) else argument if isinstance(argument, list) else ()
            for key, value in pairs:
                _put(mapping, key, value)
        return mapping

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def _newobj_ex(self) -> None:
        keywords = self.stack.pop()
        arguments = self.stack.pop()
        created = self._call(self.stack[-1], arguments)
        _put_all(created, keywords.items())
        self.stack[-1] = created

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, PickledObject):
            target.state = state
        elif not isinstance(target, (dict, list)):  # dicts and lists may have attributes, such as `_metadata`
            raise pickle.UnpicklingError(f"a pickle must give state to objects, got {type(target).__name__}")

    def _append(self) -> None:
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    def _appends(self) -> None:
        values = self.pop_mark()
        _extend(self.stack[-1], values)

    def _setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        _put_all(self.stack[-1], [(key, value)])

    def _setitems(self) -> None:
        values = self.pop_mark()
        _put_all(self.stack[-1], zip(values[::2], values[1::2], strict=True))

    def _dict(self) -> None:
        values = self.pop_mark()
        self.append({})
        _put_all(self.stack[-1], zip(values[::2], values[1::2], strict=True))

    def _frozenset(self) -> None:
        self.append(PickledObject("builtins.frozenset", items=self.pop_mark()))

    def _empty_set(self) -> None:
        self.append(PickledObject("builtins.set"))

    def _bytearray(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))  # Python's own method allocates the memory first

    for opcode, method in (
        (pickle.REDUCE, _reduce),
        (pickle.NEWOBJ, _reduce),
        (pickle.NEWOBJ_EX, _newobj_ex),
        (pickle.BUILD, _build),
        (pickle.APPEND, _append),
        (pickle.APPENDS, _appends),
        (pickle.ADDITEMS, _appends),
        (pickle.SETITEM, _setitem),
        (pickle.SETITEMS, _setitems),
        (pickle.DICT, _dict),
        (pickle.FROZENSET, _frozenset),
        (pickle.EMPTY_SET, _empty_set),
        (pickle.BYTEARRAY8, _bytearray),
    ):
        dispatch[opcode[0]] = method
    del opcode, method


def _extend(target: Any, values: list[Any]) -> None:
    if isinstance(target, PickledObject):
        target = target.items
    if not isinstance(target, list):
        raise pickle.UnpicklingError(f"a pickle must append to lists, got {type(target).__name__}")
    target.extend(values)


def _put_all(target: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    if isinstance(target, PickledObject):
        target = target.entries
    if not isinstance(target, dict):
        raise pickle.UnpicklingError(f"a pickle must set items of dicts, got {type(target).__name__}")
    for key, value in pairs:
        _put(target, key, value)


def _put(target: dict[Any, Any], key: Any, value: Any) -> None:
    """Set an item; other keys than scalars name no weights, and hashing nested ones can take forever."""
    if isinstance(key, _SCALARS):
        target[key] = value

"""Reading of pickles without calling, importing or creating anything that they name.

The interpreter is an own one, because Python's creates what a pickle claims before it can be limited. Its memory is
proportional to the bytes it has read: opcodes are counted, sizes are compared with the rest of the file, and only
scalars are hashed.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any

from hrnet_deploy.limits import PICKLE_DEPTH, PICKLE_NAME, PICKLE_STEPS
from hrnet_deploy.models.checkpoints.pickle_opcodes import ARGUMENTS, PUSHED, PickleStream
from hrnet_deploy.models.checkpoints.pickle_values import PickledName, PickledObject

# Protocol 2 calls two modules by their Python 2 names.
_PYTHON2_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_MAPPINGS = frozenset({"builtins.dict", "collections.OrderedDict", "collections.defaultdict", "collections.Counter"})
_SCALARS = (str, int, float, bytes, type(None))
_KEY_BITS = 64
"""Larger integers are no keys: multiples of 2^61 - 1 have one hash, so that a dict of many takes quadratic time."""
_PLACE_BITS = 32
_MAX_PROTOCOL = 5


def refuse_ids(_pid: object) -> Any:
    """Refuse persistent ids, which only the object given to torch.save has."""
    raise pickle.UnpicklingError("only the object may have storages")


def accept_names(_module: str, _name: str) -> None:
    """Accept every name; each is recorded only."""


def unpickle(
    stream: PickleStream,
    resolve: Callable[[Any], Any] = refuse_ids,
    check_name: Callable[[str, str], None] = accept_names,
) -> Any:
    """Read one pickle of protocols 0 to 5 into plain containers, scalars, `PickledName` and `PickledObject`.

    Args:
        stream: the pickle; its position is then behind the pickle.
        resolve: from a persistent id, which may be anything, to its value.
        check_name: raises for a module and name of a class or function that must not occur.

    Returns:
        The object. Dicts lack items whose keys are no scalars; containers may hold themselves and each other.

    Raises:
        pickle.UnpicklingError: no pickle, or one beyond the limits of `hrnet_deploy.limits`.
        EOFError: a pickle that ends too early.
    """
    return _Machine(stream, resolve, check_name).run()


class _Machine:
    """The stack machine of one pickle."""

    def __init__(
        self, stream: PickleStream, resolve: Callable[[Any], Any], check_name: Callable[[str, str], None]
    ) -> None:
        self._stream, self._resolve, self._check_name = stream, resolve, check_name
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self) -> Any:
        """Execute opcodes until STOP."""
        read = self._stream.stream.read
        while (opcode := read(1)) != pickle.STOP:
            self.count(1)
            argument = ARGUMENTS.get(opcode)
            operation = _OPERATIONS.get(opcode)
            if operation is None:
                if opcode:
                    raise pickle.UnpicklingError(f"a pickle must have known opcodes, got {opcode.hex()}")
                raise EOFError("its pickle ends too early")
            try:
                operation(self, argument(self._stream) if argument else None)
            except IndexError as error:
                raise pickle.UnpicklingError("a pickle must not take from an empty stack") from error
        if len(self.stack) != 1 or self.marked:
            raise pickle.UnpicklingError("a pickle must end with one object")
        return self.stack[0]

    def count(self, steps: int) -> None:
        """Add to the number of executed opcodes and copied items."""
        self.steps += steps
        if self.steps > PICKLE_STEPS:
            raise pickle.UnpicklingError(f"a pickle must have at most {PICKLE_STEPS} opcodes and copied items")

    def frame(self, size: int) -> None:
        """Check the size of a frame, which groups opcodes without a meaning."""
        if size > self._stream.end - self._stream.stream.tell():
            raise EOFError("its pickle ends too early")

    def push(self, value: Any) -> None:
        """Push a value, such as the argument of an opcode."""
        self.stack.append(value)

    def mark(self) -> None:
        """Begin a container."""
        if len(self.marked) >= PICKLE_DEPTH:
            raise pickle.UnpicklingError(f"a pickle must be nested at most {PICKLE_DEPTH} levels deep")
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """Take all values since the last mark."""
        values, self.stack = self.stack, self.marked.pop()
        return values

    def drop(self) -> None:
        """Drop a value, or an empty mark."""
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def dict_of_marked(self) -> None:
        """Push a dict of the values since the mark, keys and values in turn."""
        values = self.since_mark()
        self.push({})
        self.put_alternating(values)

    def name(self, names: tuple[Any, Any]) -> PickledName:
        """Record the name of a class or function."""
        module, name = names
        if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > PICKLE_NAME:
            raise pickle.UnpicklingError(f"names in a pickle must be texts of at most {PICKLE_NAME} characters")
        self._check_name(module, name)
        return PickledName(f"{_PYTHON2_MODULES.get(module, module)}.{name}")

    def resolve(self, pid: Any) -> None:
        """Push the value of a persistent id."""
        self.push(self._resolve(pid))

    def call(self, called: Any, arguments: Any) -> Any:
        """Record a call; a call of a kind of dict is a dict."""
        if not isinstance(called, (PickledName, PickledObject)) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"a pickle must call what it names, got {type(called).__name__}")
        if called.name not in _MAPPINGS:
            return PickledObject(called.name, arguments)
        mapping: dict[Any, Any] = {}
        for argument in arguments:
            if isinstance(argument, (dict, list)):
                self.count(len(argument))
                self.put(mapping, argument.items() if isinstance(argument, dict) else argument)
        return mapping

    def reduce(self) -> None:
        """Record the call of the lower value with the upper one."""
        arguments = self.stack.pop()
        self.push(self.call(self.stack.pop(), arguments))

    def call_with_keywords(self) -> None:
        """Record a call with keywords."""
        keywords, arguments, called = self.stack.pop(), self.stack.pop(), self.stack.pop()
        created = self.call(called, arguments)
        if not isinstance(keywords, dict):
            raise pickle.UnpicklingError("a pickle must give keywords as a dict")
        self.count(len(keywords))
        self.put(created, keywords.items())
        self.push(created)

    def call_marked(self) -> None:
        """Record the call of the first value since the mark with the others."""
        called, *arguments = self.since_mark() or [None]
        self.push(self.call(called, tuple(arguments)))

    def call_named(self, names: tuple[str, str]) -> None:
        """Record the call of a name with all values since the mark."""
        self.push(self.call(self.name(names), tuple(self.since_mark())))

    def name_on_stack(self) -> None:
        """Record the name whose two parts are on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        self.push(self.name((module, name)))

    def build(self) -> None:
        """Record the state of an object; that of dicts and lists, such as `_metadata`, is dropped."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, PickledObject):
            target.state = state
        elif not isinstance(target, (dict, list)):
            raise pickle.UnpicklingError(f"a pickle must give state to objects, got {type(target).__name__}")

    def extend(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        target = self.stack[-1]
        if isinstance(target, PickledObject):
            target.items = target.items if target.items is not None else []
            target = target.items
        if not isinstance(target, list):
            raise pickle.UnpicklingError(f"a pickle must append to lists, got {type(target).__name__}")
        target.extend(values)

    def put_one(self) -> None:
        """Set one item of the third value from above."""
        value, key = self.stack.pop(), self.stack.pop()
        self.put(self.stack[-1], [(key, value)])

    def put(self, target: Any, pairs: Iterable[Any]) -> None:
        """Set items of a dict; other keys than scalars name no weights, and nested ones can take forever to hash."""
        if isinstance(target, PickledObject):
            target.entries = target.entries if target.entries is not None else {}
            target = target.entries
        if not isinstance(target, dict):
            raise pickle.UnpicklingError(f"a pickle must set items of dicts, got {type(target).__name__}")
        for pair in pairs:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise pickle.UnpicklingError("items of dicts must be pairs")
            if isinstance(pair[0], _SCALARS) and not (isinstance(pair[0], int) and abs(pair[0]) >> _KEY_BITS):
                target[pair[0]] = pair[1]

    def put_marked(self) -> None:
        """Set items of the uppermost value from all values since the mark."""
        self.put_alternating(self.since_mark())

    def put_alternating(self, values: list[Any]) -> None:
        """Set items of the uppermost value from keys and values in turn."""
        if len(values) % 2:
            raise pickle.UnpicklingError("items of dicts must be pairs")
        self.put(self.stack[-1], zip(values[::2], values[1::2], strict=True))

    def tuple_of(self, count: int) -> None:
        """Replace the uppermost values by their tuple."""
        if len(self.stack) < count:
            raise IndexError
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def memorize(self, place: int | None) -> None:
        """Store the uppermost value; the places are keys of a dict, so that a high one costs nothing."""
        place = len(self.memo) if place is None else place
        if place >> _PLACE_BITS:
            raise pickle.UnpicklingError(f"a pickle must store at places below 2^{_PLACE_BITS}")
        self.memo[place] = self.stack[-1]

    def recall(self, place: int) -> None:
        """Push a stored value."""
        if place not in self.memo:
            raise pickle.UnpicklingError(f"a pickle must store what it recalls, got place {place}")
        self.push(self.memo[place])


def _check_protocol(_machine: _Machine, protocol: int) -> None:
    if protocol > _MAX_PROTOCOL:
        raise pickle.UnpicklingError(f"a pickle must have a protocol up to {_MAX_PROTOCOL}, got {protocol}")


def _push(value: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(value())


_OPERATIONS: dict[bytes, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(PUSHED, _Machine.push),
    pickle.PROTO: _check_protocol,
    pickle.FRAME: _Machine.frame,
    pickle.NONE: _push(lambda: None),
    pickle.NEWTRUE: _push(lambda: True),
    pickle.NEWFALSE: _push(lambda: False),
    pickle.EMPTY_TUPLE: _push(tuple),
    pickle.EMPTY_LIST: _push(list),
    pickle.EMPTY_DICT: _push(dict),
    pickle.EMPTY_SET: _push(lambda: PickledObject("builtins.set")),
    pickle.MARK: lambda machine, _: machine.mark(),
    pickle.POP: lambda machine, _: machine.drop(),
    pickle.POP_MARK: lambda machine, _: machine.since_mark(),
    pickle.DUP: lambda machine, _: machine.push(machine.stack[-1]),
    pickle.TUPLE: lambda machine, _: machine.push(tuple(machine.since_mark())),
    pickle.TUPLE1: lambda machine, _: machine.tuple_of(1),
    pickle.TUPLE2: lambda machine, _: machine.tuple_of(2),
    pickle.TUPLE3: lambda machine, _: machine.tuple_of(3),
    pickle.LIST: lambda machine, _: machine.push(machine.since_mark()),
    pickle.DICT: lambda machine, _: machine.dict_of_marked(),
    pickle.FROZENSET: lambda machine, _: machine.push(PickledObject("builtins.frozenset", items=machine.since_mark())),
    pickle.APPEND: lambda machine, _: machine.extend([machine.stack.pop()]),
    pickle.APPENDS: lambda machine, _: machine.extend(machine.since_mark()),
    pickle.ADDITEMS: lambda machine, _: machine.extend(machine.since_mark()),
    pickle.SETITEM: lambda machine, _: machine.put_one(),
    pickle.SETITEMS: lambda machine, _: machine.put_marked(),
    pickle.GLOBAL: lambda machine, names: machine.push(machine.name(names)),
    pickle.STACK_GLOBAL: lambda machine, _: machine.name_on_stack(),
    pickle.REDUCE: lambda machine, _: machine.reduce(),
    pickle.NEWOBJ: lambda machine, _: machine.reduce(),
    pickle.NEWOBJ_EX: lambda machine, _: machine.call_with_keywords(),
    pickle.INST: _Machine.call_named,
    pickle.OBJ: lambda machine, _: machine.call_marked(),
    pickle.BUILD: lambda machine, _: machine.build(),
    pickle.PERSID: _Machine.resolve,
    pickle.BINPERSID: lambda machine, _: machine.resolve(machine.stack.pop()),
    **dict.fromkeys((pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE), _Machine.memorize),
    **dict.fromkeys((pickle.GET, pickle.BINGET, pickle.LONG_BINGET), _Machine.recall),
}
"""The opcodes but STOP; extensions, which stand for registered classes, and buffers outside the file are missing."""

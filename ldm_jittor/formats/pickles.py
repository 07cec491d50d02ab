"""Pickles read as descriptions: nothing that they name is imported, and nothing that they ask for is called.

A pickle is a program for a small stack machine. Two of its instructions give code to run. A *global* imports a module.
A *call* (REDUCE and its kin) runs what was imported. Here a global is only its name, and a call is only a record of
that name and the arguments. So no file can run anything.

Calls that no checkpoint of arrays makes are refused all the same, because such a file holds no weights. Lightning's
callbacks and hyperparameters are objects that are merely allocated and given attributes. They become records too, which
the reader ignores.
"""

from __future__ import annotations

import pickletools
import sys
from _compat_pickle import IMPORT_MAPPING as PYTHON_2_NAMES  # which protocols up to 2 write
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, BinaryIO, NamedTuple

CALLS = frozenset(
    (
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.core.numeric._frombuffer",
        "numpy.dtype",
        "jittor.jittor_core.Var",
        "jittor_core.Var",
        "jittor.Var",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch.Size",
        "torch.device",
        "_codecs.encode",
        "builtins.set",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
    )
)
"""The calls that a checkpoint may describe."""
_BYSTANDERS = frozenset(
    (
        "functools.partial",
        *("datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "datetime.timezone"),
        *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "zoneinfo.ZoneInfo._unpickle"),
        *("builtins.complex", "builtins.slice", "builtins.range", "builtins.frozenset", "builtins.bytearray"),
        *("builtins.object", "collections.Counter", "collections.deque", "types.SimpleNamespace"),
        *("pathlib.Path", "pathlib.PurePosixPath", "pathlib.PureWindowsPath", "argparse.Namespace"),
        *("torch.torch_version.TorchVersion", "torch.serialization._get_layout", "torch.Generator"),
        *("numpy.random._pickle.__randomstate_ctor", "numpy.random._pickle.__generator_ctor"),
        *("numpy.random._pickle.__bit_generator_ctor", "random.Random"),
    )
)
"""Calls that make other things beside the weights: dates, settings, random states. They stand for nothing here."""
_KNOWN_PACKAGES = frozenset((*sys.stdlib_module_names, "numpy", "torch", "jittor", "jittor_core"))
_EMPTY = {"collections.OrderedDict": dict, "collections.defaultdict": dict, "builtins.bytes": bytes}
"""Calls that make an empty container, which other instructions then fill."""
_MAX_NAME = 200
"""For the name of a class or dtype. Two bytes can ask for a text again, so no longer text is scanned."""
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_FRESH: dict[str, Callable[[], Any]] = {
    **{"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False},
    **{"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": list, "EMPTY_TUPLE": tuple},
}


class Global(NamedTuple):
    """The name of a class or function."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Record:
    """An object as the pickle describes it: what would be called, with which arguments, and its state after that.

    `kind` is None where nothing would be called. Such an object is ignored, whatever its class.
    """

    def __init__(self, kind: Global | None, arguments: tuple):
        self.kind = kind
        self.arguments = arguments
        self.state: Any = None


def read(file: BinaryIO, persistent_load: Callable[[Any], Any] | None = None) -> Any:
    """The pickle at the file's position, as dicts, lists, tuples, numbers, texts, bytes and Records.

    Sets come back as lists. persistent_load: what to make of references to data outside the pickle. The file is left
    just behind the pickle. Raises UnpicklingError, with one line, for a damaged pickle, and for one that asks for a
    call outside CALLS.
    """
    try:
        return _Machine(persistent_load).run(file)
    except UnpicklingError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnpicklingError(f"damaged or no pickle ({shown(reason)})") from None


def shown(text: str) -> str:
    """A text from a file, fit for an error message of one line."""
    return text if len(text) <= _MAX_NAME and text.isprintable() else ascii(text[:_MAX_NAME])


class _Machine:
    """The pickle machine.

    It tries instructions that move values first, then those that fill containers, then those that name code.
    """

    def __init__(self, persistent_load: Callable[[Any], Any] | None):
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> Any:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in _LITERALS:
                self._push(argument)
            elif opcode.name in _FRESH:
                self._push(_FRESH[opcode.name]())
            else:
                self._move(opcode.name, argument)
        return self.stack.pop()

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _since_mark(self) -> list[Any]:
        """The values above the last mark, taken off together with it."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def _move(self, name: str, argument: Any) -> None:
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.outer.append(self.stack)
                self.stack = []
            case "POP":
                self.stack.pop()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                self._push(self.stack[-1])
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                if not 0 <= argument < 1 << 32:  # larger ones may be chosen to collide in the dict
                    raise UnpicklingError("damaged or no pickle (a memo index out of range)")
                self.memo[argument] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self._push(self.memo[argument])
            case _:
                self._fill(name, argument)

    def _fill(self, name: str, argument: Any) -> None:
        match name:
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                self.stack[-count:] = [tuple(self.stack[-count:])]
            case "TUPLE":
                self._push(tuple(self._since_mark()))
            case "LIST" | "FROZENSET":
                self._push(self._since_mark())
            case "DICT":
                self._push(_mapping(self._since_mark()))
            case "APPEND":
                self._extend([self.stack.pop()])
            case "APPENDS" | "ADDITEMS":
                self._extend(self._since_mark())
            case "SETITEM":
                value, key = self.stack.pop(), self.stack.pop()
                self._update([key, value])
            case "SETITEMS":
                self._update(self._since_mark())
            case _:
                self._describe(name, argument)

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):  # what a record holds is of no interest
            self.stack[-1].extend(items)

    def _update(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(_mapping(items))

    def _describe(self, name: str, argument: Any) -> None:
        match name:
            case "GLOBAL":
                self._push(_global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = self.stack.pop(), self.stack.pop()
                self._push(_global(module, attribute))
            case "REDUCE":
                arguments, kind = self.stack.pop(), self.stack.pop()
                self._push(_called(kind, arguments))
            case "INST":
                self._push(_called(_global(*argument.split(" ", 1)), tuple(self._since_mark())))
            case "OBJ":
                kind, *arguments = self._since_mark()
                self._push(_called(kind, tuple(arguments)))
            case "NEWOBJ" | "NEWOBJ_EX":
                del self.stack[-2 if name == "NEWOBJ" else -3 :]
                self._push(Record(None, ()))
            case "BUILD":
                state = self.stack.pop()
                if isinstance(self.stack[-1], Record):
                    self.stack[-1].state = state
            case "BINPERSID" if self.persistent_load is not None:
                self._push(self.persistent_load(self.stack.pop()))
            case _:
                raise UnpicklingError(f"has the instruction {name}, which no checkpoint needs")


def _mapping(items: list[Any]) -> dict[str, Any]:
    """Keys and values, in turns, as a dict. Keys that are no texts name no array, so they are left out and never
    hashed.

    The hash of a tuple that holds itself twice, a hundred times over, takes for ever, and integers can collide.
    """
    return {key: value for key, value in zip(items[::2], items[1::2]) if isinstance(key, str)}


def _global(module: Any, name: Any) -> Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise UnpicklingError("damaged or no pickle (a name that is no text)")
    if max(len(module), len(name)) > _MAX_NAME:
        raise UnpicklingError("damaged or no pickle (a name of great length)")
    module = PYTHON_2_NAMES.get(module, module).replace("numpy._core", "numpy.core")  # numpy 2 moved it
    return Global(shown(module), shown(name))


def _called(kind: Any, arguments: Any) -> Any:
    if isinstance(kind, Global) and _is_bystander(kind):
        return Record(None, ())
    if not isinstance(kind, Global) or str(kind) not in (*_EMPTY, *CALLS):
        named = kind if isinstance(kind, Global) else f"a {type(kind).__name__}"
        raise UnpicklingError(f"asks to call {named}: refused, only weights are read")
    if str(kind) in _EMPTY:
        return _EMPTY[str(kind)]()
    if not isinstance(arguments, tuple):  # made into one, a long text would take eight times its memory at every call
        raise UnpicklingError("damaged or no pickle (a call whose arguments are no tuple)")
    if str(kind) == "numpy.dtype" and not _is_plain(arguments[0]):
        raise UnpicklingError("asks for a numpy array of Python objects: refused, only numbers are read")
    return Record(kind, arguments)


def _is_bystander(kind: Global) -> bool:
    """Whether a call of it would make an object that is no array.

    Such an object is one of those above, or of a class of some project's own, such as a choice among its settings.
    """
    foreign = kind.module.split(".")[0] not in _KNOWN_PACKAGES
    return str(kind) in _BYSTANDERS or (foreign and kind.name.split(".")[-1].lstrip("_")[:1].isupper())


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, str) and len(dtype) <= _MAX_NAME and "O" not in dtype

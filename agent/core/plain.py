"""The methods of a dataclass, not compiled for it: for programs that would load `dataclasses` for a few instances.

Law: what these methods do is what those of `dataclasses` do. `core.late` alone imports it.
"""

from collections.abc import Callable, Mapping

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from typing import Any

_REQUIRED = object()
_FIELDS = "__plain_fields__"
Method = Callable[..., object]


class Field:
    """`words`: the arguments of `dataclasses.field`."""

    def __init__(self, **words: "Any") -> None:
        self.words = words
        self.compared, self.shown = words.get("compare", True), words.get("repr", True)

    def default(self) -> object:
        """_REQUIRED: there is none."""
        make = self.words.get("default_factory")
        return make() if make else self.words.get("default", _REQUIRED)


def keep_fields(cls: type) -> None:
    """Its own after those that it inherits."""
    own = {name: _field(vars(cls).get(name, _REQUIRED)) for name in vars(cls).get("__annotations__", {})}
    found = {**fields(cls), **own}
    for name, value in ((_FIELDS, found), ("__match_args__", tuple(found))):
        setattr(cls, name, value)


def _field(value: object) -> Field:
    if isinstance(value, Field):
        return value
    return Field() if value is _REQUIRED else Field(default=value)


def fields(cls: type) -> Mapping[str, Field]:
    return getattr(cls, _FIELDS, {})


def complete(cls: type, *, frozen: bool) -> None:
    """Give it its methods. __init__ comes last: it is how other threads see that the rest is there."""
    found = fields(cls)
    for name in [name for name, value in vars(cls).items() if isinstance(value, Field)]:
        if "default" in found[name].words:
            setattr(cls, name, found[name].default())
        else:
            delattr(cls, name)
    methods = {"__repr__": _repr(found), "__eq__": _eq(found), "__hash__": _hash(found) if frozen else None}
    methods |= {name: _refusing(cls, found) for name in ("__setattr__", "__delattr__") if frozen}
    for name, method in methods.items():
        if cls.__dict__.get(name) is None:  # the class has none of its own
            setattr(cls, name, method)
    setattr(cls, "__init__", _init(cls, found))  # noqa: B010 - to type checkers it is a method


def _init(cls: type, fields: Mapping[str, Field]) -> Method:
    def __init__(self: object, /, *values: object, **words: object) -> None:
        given = dict(zip(fields, values, strict=False))
        if len(values) > len(fields) or given.keys() & words.keys() or words.keys() - fields.keys():
            raise TypeError(f"{cls.__qualname__}() takes each of these once: {', '.join(fields)}")
        given |= words
        for name, field in fields.items():
            if name not in given:
                given[name] = field.default()
        if missing := [name for name in fields if given[name] is _REQUIRED]:
            raise TypeError(f"{cls.__qualname__}() lacks: {', '.join(missing)}")
        vars(self).update(given)
        if after := getattr(self, "__post_init__", None):
            after()

    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return __init__


def _repr(fields: Mapping[str, Field]) -> Method:
    names = [name for name, field in fields.items() if field.shown]

    def __repr__(self: object) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _eq(fields: Mapping[str, Field]) -> Method:
    values = _compared(fields)

    def __eq__(self: object, other: object) -> bool:
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _hash(fields: Mapping[str, Field]) -> Method:
    values = _compared(fields)

    def __hash__(self: object) -> int:
        return hash(values(self))

    return __hash__


def _compared(fields: Mapping[str, Field]) -> Callable[[object], tuple[object, ...]]:
    names = [name for name, field in fields.items() if field.compared]
    return lambda instance: tuple([getattr(instance, name) for name in names])


def _refusing(cls: type, fields: Mapping[str, Field]) -> Method:
    """Of a frozen class; what inherits from it may have attributes that are no fields."""

    def refuse(self: object, name: str, *value: object) -> None:
        if type(self) is cls or name in fields:
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot {'assign to' if value else 'delete'} field {name!r}")
        (object.__setattr__ if value else object.__delattr__)(self, name, *value)

    return refuse

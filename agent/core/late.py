"""`dataclass`, `field` and `replace` of the standard library, whose work is done when a class is first used, and
not when its module is loaded: most requests and programs use few of the classes that they load.

To load `dataclasses` takes as long as to start the bare interpreter, and it compiles the methods of each class. A
program that has not loaded it at the first instance of a class gets methods that are not compiled (`core.plain`):
slower to call, and there at once. Resident processes have loaded it.
Classes behave as those of `dataclasses`, to type checkers too. Not for `ClassVar`, and no option but `frozen`.
"""

import _thread
import sys

from agent.core import plain

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    _lock = _thread.RLock()  # two threads may make the first instance
    _KINDS = "__annotations__"
    field = plain.Field

    def dataclass(cls=None, /, *, frozen=False):
        return (lambda found: _prepare(found, frozen)) if cls is None else _prepare(cls, frozen)

    def replace(instance, /, **changes):
        kept = {name: getattr(instance, name) for name in type(instance).__match_args__ if name not in changes}
        return type(instance)(**kept, **changes)

    def _prepare(cls, frozen):
        first = _First(cls, frozen)

        def __init__(self, /, *values, **words):
            first.use()
            cls.__init__(self, *values, **words)

        plain.keep_fields(cls)
        cls.__init__ = __init__
        cls.__dataclass_fields__ = _Asked("__dataclass_fields__", first)
        cls.__dataclass_params__ = _Asked("__dataclass_params__", first)
        return cls

    class _First:
        """The first use of a class."""

        def __init__(self, cls, frozen):
            self.cls, self.frozen, self.over = cls, frozen, False

        def use(self):
            with _lock:
                if not self.over:
                    if "dataclasses" in sys.modules:
                        _compile(self.cls, self.frozen)
                    else:
                        plain.complete(self.cls, frozen=self.frozen)
                self.over = True

        def describe(self, name):
            """`dataclasses` has been loaded, and is to find its attribute of this name."""
            with _lock:
                self.use()
                if isinstance(self.cls.__dict__[name], _Asked):
                    _describe(self.cls, self.frozen)

    class _Asked:
        """An attribute that `dataclasses` reads of a class, or of one that inherits from it."""

        def __init__(self, name, first):
            self.name, self.first = name, first

        def __get__(self, instance, cls):
            self.first.describe(self.name)
            return getattr(cls, self.name)

    def _compile(cls, frozen):
        import dataclasses

        for name, value in list(vars(cls).items()):
            if isinstance(value, plain.Field):
                setattr(cls, name, dataclasses.field(**value.words))
        dataclasses.dataclass(frozen=frozen, init=False)(cls)
        # The real one is written for a subclass without fields of its own, and replaces ours at once.
        scratch = type(cls)(cls.__name__, (cls,), {_KINDS: {}, "__doc__": cls.__doc__})
        cls.__init__ = dataclasses.dataclass(frozen=frozen, repr=False, eq=False)(scratch).__init__

    def _describe(cls, frozen):
        """One that has plain methods, and keeps them."""
        import dataclasses

        found = {name: dataclasses.field(**value.words) for name, value in plain.fields(cls).items()}
        kinds = {
            name: kind for each in reversed(cls.__mro__) for name, kind in each.__dict__.get(_KINDS, {}).items()
        }
        scratch = dataclasses.dataclass(frozen=frozen)(type(cls)(cls.__name__, (), {_KINDS: kinds, **found}))
        cls.__dataclass_params__ = scratch.__dataclass_params__
        cls.__dataclass_fields__ = scratch.__dataclass_fields__

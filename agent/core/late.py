"""`dataclass` and `field` of the standard library, whose work is done when a class is first used, and not when its
module is loaded: most requests and programs use few of the classes that they load.

To write the methods of one class takes half a millisecond, and a request of the privileged helper loads a hundred.
Classes behave as those of `dataclasses` do, to type checkers too. Not for `slots=True`, which makes another class.
"""

import _thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
else:
    _lock = _thread.RLock()  # two threads may make the first instance

    def dataclass(cls=None, /, **options):
        return (lambda found: _prepare(found, options)) if cls is None else _prepare(cls, options)

    def field(**words):
        return _Field(words)

    class _Field:
        def __init__(self, words):
            self.words = words

    class _Fields:
        """In the place of __dataclass_fields__: `dataclasses.fields` and a subclass ask for it."""

        def __init__(self, options):
            self.options = options

        def __get__(self, instance, cls):
            owner = next(each for each in cls.__mro__ if each.__dict__.get("__dataclass_fields__") is self)
            _complete(owner)
            return cls.__dataclass_fields__

    def _prepare(cls, options):
        def __init__(self, *values, **words):
            _complete(cls)
            cls.__init__(self, *values, **words)

        cls.__init__, cls.__dataclass_fields__ = __init__, _Fields(options)
        return cls

    def _complete(cls):
        import dataclasses

        with _lock:
            pending = cls.__dict__["__dataclass_fields__"]
            if not isinstance(pending, _Fields):
                return
            for name, value in list(vars(cls).items()):
                if isinstance(value, _Field):
                    setattr(cls, name, dataclasses.field(**value.words))
            options = {**pending.options, "init": False}
            dataclasses.dataclass(**options)(cls)
            # The real one is written for a subclass without fields of its own, and replaces ours at once.
            scratch = type(cls)(cls.__name__, (cls,), {"__annotations__": {}, "__doc__": cls.__doc__})
            options = {**pending.options, "repr": False, "eq": False, "order": False}
            cls.__init__ = dataclasses.dataclass(**options)(scratch).__init__

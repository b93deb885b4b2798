"""Everything microx raises on purpose.

::

    MicroxError
    ├── InputError      a file, folder or argument that cannot be used as given
    ├── LandmarkError   a landmark backend that is missing or failed
    ├── CorpusError     a corpus folder that is damaged or made by another recipe
    ├── SplitError      subjects or videos that cannot be divided as asked
    └── ModelError      a model that does not fit its file, its inputs or its corpus

Each message is one line: which thing, what was expected, what was found, what to do.
A frame without a face is data, never an exception.
"""


class MicroxError(Exception):
    """Base of every error microx raises on purpose; the command line prints it as one line."""


class InputError(MicroxError, ValueError):
    """A file, folder or argument cannot be used as given."""


class LandmarkError(MicroxError, RuntimeError):
    """A landmark backend is missing, or ran and failed."""


class CorpusError(MicroxError, ValueError):
    """A corpus folder is damaged, or was made by another recipe."""


class SplitError(MicroxError, ValueError):
    """The subjects or videos at hand cannot be divided as asked."""


class ModelError(MicroxError, ValueError):
    """A model does not fit its file, its inputs or its corpus."""

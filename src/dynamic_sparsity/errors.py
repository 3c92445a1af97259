"""What can go wrong, as exceptions: one family, each also a subclass of the built-in error it is a case of."""


class DynamicSparsityError(Exception):
    """Base of every error this package raises on purpose."""


class DynamicSparsityWarning(UserWarning):
    """Something went wrong, and the work continues without it."""


class UnknownNameError(DynamicSparsityError, ValueError):
    """A task, column, split, policy or coordinate system that does not exist."""


class RowKeyError(UnknownNameError, IndexError):
    """A name where a row's number belongs: columns are chosen elsewhere."""


class InvalidSettingError(DynamicSparsityError, ValueError):
    """A setting whose value is out of range or does not fit the others."""


class SettingsMismatchError(DynamicSparsityError, ValueError):
    """A store was made with other settings than the ones now asked for."""


class StoreNotFoundError(DynamicSparsityError, FileNotFoundError):
    """There is no store at that path."""


class IncompleteStoreError(DynamicSparsityError, RuntimeError):
    """The store exists but was not finished."""


class CorruptInputError(DynamicSparsityError, ValueError):
    """A file is damaged, or is not what it is taken for; base of the errors for the kinds of files there are."""


class CorruptStoreError(CorruptInputError):
    """The store's bytes are not the ones that were written, or contradict its schema."""


class CorruptPolicyError(CorruptInputError):
    """A policy's file is damaged, or is not the file of a policy."""


class CorruptResultError(CorruptInputError):
    """A saved result or model of a learner is damaged, or is not what it is taken for."""


class WriteFailedError(DynamicSparsityError, OSError):
    """A file could not be written: the disk is full, or its folder may not be written to."""


class StoreLockedError(DynamicSparsityError, RuntimeError):
    """Another process is writing to the store."""


class UnsupportedModelError(DynamicSparsityError, NotImplementedError):
    """A model with features whose derivative this package can't give exactly."""


class UnsupportedPlatformError(DynamicSparsityError, NotImplementedError):
    """What is wanted needs another operating system."""


class NotConvergedError(DynamicSparsityError, ArithmeticError):
    """The constraint solver did not reach its tolerance, so no Jacobian can be trusted."""


class MissingDependencyError(DynamicSparsityError, ImportError):
    """An optional dependency is not installed; the message names the extra that has it."""


class WorkerError(DynamicSparsityError, RuntimeError):
    """A process that makes units failed or died."""


class UnitsFailedError(DynamicSparsityError, RuntimeError):
    """Some units of work failed again and again and were set aside; all others are finished."""


class TimeLimitError(DynamicSparsityError, TimeoutError):
    """The time that a run may take was over before all was done; what is finished is on disk."""


class HubError(DynamicSparsityError, OSError):
    """The Hugging Face Hub could not be reached, or did not answer as it should."""


class HubAccessError(HubError, PermissionError):
    """The Hub wants a token, or the token does not allow this."""


class HubNotFoundError(HubError, FileNotFoundError):
    """The repository, revision or file is not on the Hub, nor in the cache when offline."""

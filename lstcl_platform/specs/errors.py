"""The errors that mean: what the user gave us is wrong, or where it is kept is out of reach."""


class UserError(Exception):
    """Wrong input. The text is the complete message: where, what, what is allowed; no traceback is shown."""


class StorageError(OSError):
    """Storage is away, full, or refuses us: it says nothing of the files that it holds.

    The text is the complete message: which place, what happened, what to do. Never a reason to call a video or a
    checkpoint damaged: the run stops, and goes on when the storage is there again.
    """

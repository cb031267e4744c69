"""The one error that means: what the user gave us is wrong."""


class UserError(Exception):
    """Wrong input. The text is the complete message: where, what, what is allowed; no traceback is shown."""

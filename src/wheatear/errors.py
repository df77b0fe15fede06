"""The one exception that reaches a user: a clear line, no traceback."""


class InputError(Exception):
    """Something the user gave us cannot be used; the message is one line naming file, row and what to do."""

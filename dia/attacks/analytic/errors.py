"""The refusal of a closed form."""


class NotApplicable(Exception):
    """A precondition of a closed form fails; the message says which, and ends in the row's ``stop_reason``."""

"""What an analytic route says when it cannot be taken."""


class NotApplicable(Exception):
    """A precondition fails; the message says which, and ends in the row's ``stop_reason``."""

"""Simulates a kill in tests of what an interrupted run leaves behind."""


class Killed(BaseException):
    """No Exception, so that nothing handles it; not Ctrl-C, which commands report."""

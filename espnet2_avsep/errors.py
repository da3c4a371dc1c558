"""The one exception type for what a user gave us and we cannot use."""

import errno

# The disk is full, the quota is used up, the file system is read-only.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class InputError(ValueError):
    """Input that cannot be used: a file, an option, a configuration value.

    The message names the file or option, the value found, what was expected, and how
    to mend it. Commands print it without a traceback and exit with status 2.
    """

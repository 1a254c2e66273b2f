"""What people read of an error of the system: words, without its number."""

import errno
import ssl

import pytest

from service.errors import in_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "the connection was reset"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "the connection was reset"),
        (ConnectionResetError("Cannot write to closing transport"), "the connection was reset"),
        (OSError(errno.EHOSTUNREACH, "anything"), "No route to host"),
        (FileNotFoundError(errno.ENOENT, "anything", "/run/key"), "/run/key: No such file or directory"),
        (OSError(-2, "Name or service not known"), "Name or service not known"),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 113] b"), "Multiple exceptions: a, b"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
        (LookupError("CORDIAL_KEY is not set"), "CORDIAL_KEY is not set"),
    ],
)
def test_an_error_is_told_in_words(error: Exception, words: str) -> None:
    assert in_words(error) == words

"""Logs without secrets: one line of words about an error, and a filter that redacts whatever slips through."""

import logging
import re

_SECRETS = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # a JSON web token
    r"|(?<=client_secret=)[^&\s\"']+"
    r"|(?<=client_assertion=)[^&\s\"']+"
    r"|(?<=code_verifier=)[^&\s\"']+"
    r"|(?<=[?&]code=)[^&\s\"']+"
    r"|(?<=AccountKey=)[^;\s\"']+"
    r"|(?<=Bearer )\S+"
)


def redact(text: str) -> str:
    """Return ``text`` with every token, code, secret and key that it holds replaced."""
    return _SECRETS.sub("[redacted]", text)


def describe(error: BaseException) -> str:
    """Return one line about an error, without secrets."""
    return redact(f"{type(error).__name__}: {error}").replace("\n", " ")[:500]


class RedactingFilter(logging.Filter):
    """Redacts the finished text of every record; passes all of them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the record's text by its redacted form."""
        record.msg, record.args = redact(record.getMessage()), ()
        return True


def set_up() -> None:
    """Keep secrets out of the logs, and the client libraries' request logs out of them altogether. Idempotent."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(existing, RedactingFilter) for existing in handler.filters):
            handler.addFilter(RedactingFilter())
    # What these say of a failure reaches us as the failure itself, which is logged once, in our own words.
    for noisy in ("azure", "httpx", "httpcore", "msal", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)

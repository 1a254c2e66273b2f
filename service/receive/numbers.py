"""Numbers of JSON as text."""

from decimal import Decimal

# An exponent writes a number of any length in a few characters: 1e999999999.
MAX_DIGITS = 1_000


def number_text(value: object) -> str | None:
    """Return a JSON number as people write it (`12345.0` and `1.2345e4` are `12345`), exact to the last digit.

    None for anything that is no number, and for one that takes more than a thousand digits.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, Decimal) or not value.is_finite():
        return None
    if max(abs(value.adjusted()), len(value.as_tuple().digits)) > MAX_DIGITS:
        return None
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text

"""Who is who: which user ids of Heap are one contact of Cordial. The one rule of identity. Pure, no I/O.

Only ASCII letters and ASCII white space are folded, and only for addresses. Unicode's lower case makes a plain k of the
Kelvin sign U+212A: a visitor who calls himself so would be put on the list in somebody else's place.
"""

from collections.abc import Sequence
from decimal import Decimal

# The Cordial key whose values are addresses; the value of any other key is kept exactly as sent.
EMAIL = "email"

# An exponent writes a number of any length in a few characters: 1e999999999.
MAX_DIGITS = 1_000

_WHITE_SPACE = " \t\n\r\v\f"
_LOWER_CASE = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def canonical(user_id: str, key: str) -> str:
    """Return the one text of all user ids that are the same contact under this Cordial key.

    An address loses the ASCII white space around it and the case of its ASCII letters.
    """
    if key != EMAIL:
        return user_id
    trimmed = user_id.strip(_WHITE_SPACE)
    return trimmed.lower() if trimmed.isascii() else trimmed.translate(_LOWER_CASE)


def contact_of(user_id: str, key: str) -> str:
    """Return the contact (`key:value`) that a user id is under this Cordial key."""
    return f"{key}:{canonical(user_id, key)}"


def by_spelling(user_ids: Sequence[str], key: str) -> tuple[Sequence[str], list[tuple[str, str]]]:
    """Return the user ids that are written as their contact is, and (value of the contact, user id) of the others."""
    if key != EMAIL:
        return user_ids, []
    # Nearly always all are plain, and looking at them together is many times faster than at each.
    together = "".join(user_ids)
    if together.isascii() and together == together.lower() and not any(space in together for space in _WHITE_SPACE):
        return user_ids, []
    values = [canonical(user_id, key) for user_id in user_ids]
    plain = [user_id for value, user_id in zip(values, user_ids, strict=True) if value == user_id]
    return plain, [(value, user_id) for value, user_id in zip(values, user_ids, strict=True) if value != user_id]


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

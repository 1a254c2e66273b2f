"""The name of a segment's list (R10): a pure rule, the same for the same segment always.

1. An operator's own name for the segment id is used as it is.
2. Otherwise the account's prefix, then the segment's name with all whitespace removed, letter case kept.
3. What Cordial does not allow is mapped: accents are dropped, every other run of characters outside letters, digits,
   dash and underscore becomes one dash, and a hash of the original name follows, so that two names never become one.
4. Names longer than 128 characters are cut and hashed likewise; reserved words get `-list` behind them; a name of which
   nothing is left becomes `segment-<id>`.

Cordial's message on names lists letters, numbers and dashes; its own examples have underscores, so these stay.

What has the name already, a contact attribute or another segment's list, is passed by: `naming.py` asks for these.
"""

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Container, Iterator

import msgspec

from service.config.settings import RESERVED_LIST_NAMES, AccountSettings
from service.model.lists import Segment

_MAX_CHARACTERS = 128
_HASH_CHARACTERS = 8
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]+")


class ListName(msgspec.Struct, frozen=True):
    """A list's name, and why it differs from the segment's name without spaces; empty if it does not."""

    name: str
    note: str = ""


def list_name(segment_name: str, heap_id: str, *, prefix: str = "", chosen: str = "") -> ListName:
    """Return the name of the list that belongs to a segment."""
    if chosen:
        return ListName(chosen, "named in the configuration")
    bare = "".join(segment_name.split())
    kept = _NOT_ALLOWED.sub("-", _without_accents(bare)).strip("-") if _NOT_ALLOWED.search(bare) else bare
    if not kept.strip("-_"):
        return ListName(f"{prefix}segment-{_plain(heap_id)}", "nothing of the segment's name is allowed in a list name")
    wanted, allowed = prefix + bare, prefix + kept
    if allowed != wanted:
        return ListName(_hashed(allowed, wanted), "characters that Cordial does not allow were replaced")
    if len(allowed) > _MAX_CHARACTERS:
        return ListName(_hashed(allowed, wanted), "the name was longer than the 128 characters that Cordial allows")
    if is_reserved(allowed):
        return ListName(f"{allowed}-list", "the name is reserved in Cordial")
    return ListName(allowed)


def wanted_name(segment: Segment, settings: AccountSettings) -> ListName:
    """Return the name of a segment's list by the rule and the account's settings alone."""
    chosen = settings.list_names.get(segment.heap_id, "")
    return list_name(segment.name, segment.heap_id, prefix=settings.list_prefix, chosen=chosen)


def is_reserved(name: str) -> bool:
    """Tell whether Cordial or a contact's own fields use the name, in any letter case."""
    return name.lower() in RESERVED_LIST_NAMES


def beside_attribute(name: str) -> ListName:
    """Return the name to use where a contact attribute has the wanted one: they share a namespace in Cordial."""
    return ListName(_cut(name, "-list"), "a contact attribute has the name")


def beside_other_segment(name: str, heap_id: str, turn: int = 1) -> ListName:
    """Return the name to use where another segment's list has the wanted one; each `turn` gives another name."""
    suffix = f"-{_plain(heap_id)}" + (f"-{turn}" if turn > 1 else "")
    return ListName(_cut(name, suffix), "another segment has a list of the name")


def names_in_turn(wanted: ListName, heap_id: str, attributes: Container[str]) -> Iterator[ListName]:
    """Yield the names that a segment's list may have, without end; it gets the first that no other segment's list has."""
    first = beside_attribute(wanted.name) if wanted.name in attributes else wanted
    others = (beside_other_segment(first.name, heap_id, turn) for turn in itertools.count(1))
    return (each for each in itertools.chain([first], others) if each.name not in attributes)


def _hashed(allowed: str, original: str) -> str:
    digest = hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    return _cut(allowed, f"-{digest}")


def _cut(name: str, suffix: str) -> str:
    return name[: _MAX_CHARACTERS - len(suffix)] + suffix


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _plain(heap_id: str) -> str:
    """Return the segment id as it may stand in a name; ids of other characters are hashed."""
    if heap_id and not _NOT_ALLOWED.search(heap_id) and len(heap_id) <= 40:  # noqa: PLR2004
        return heap_id
    return hashlib.sha256(heap_id.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]

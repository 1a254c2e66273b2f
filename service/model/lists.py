"""Segments of Heap and the Cordial lists they own: the states of a list, and what they mean to an operator. Pure, no I/O."""

from enum import StrEnum

import msgspec


class ListState(StrEnum):
    """Whether a segment's list can be used.

    `unresolved`: there is none yet; the reason says what it waits for. `creating`: Cordial was asked to create it, and
    what came of it is not recorded yet. `ready`: known by the id that Cordial gave to it. `held`: a person has to decide;
    `HeldFor` says what.
    """

    UNRESOLVED = "unresolved"
    CREATING = "creating"
    READY = "ready"
    HELD = "held"


class HeldFor(StrEnum):
    """Why nothing is sent to a segment's list until a person decides.

    `awaiting_approval`: the segment is new, and the account holds new ones. `not_ours`: a list of the name exists that
    this service did not create. `name_refused`: Cordial does not take the name. `creation_in_doubt`: Cordial's answer to
    the creation was lost, and whether the list that now has the name is ours cannot be told. `deleted`: Cordial does not
    know the list any more. `not_accepted`: Cordial knows the list but refuses its name on contacts. `name_conflict`: two
    lists of the account have names that differ only in letter case. `other_cordial`: the list was created in what seems to
    be another Cordial account than the one that the configuration names now.
    """

    AWAITING_APPROVAL = "awaiting_approval"
    NOT_OURS = "not_ours"
    NAME_REFUSED = "name_refused"
    CREATION_IN_DOUBT = "creation_in_doubt"
    DELETED = "deleted"
    NOT_ACCEPTED = "not_accepted"
    NAME_CONFLICT = "name_conflict"
    OTHER_CORDIAL = "other_cordial"

    @property
    def what_to_do(self) -> str:
        """What a person can do about it."""
        return _WHAT_TO_DO[self]

    @property
    def is_decided_by_approval(self) -> bool:
        """Whether `approve` is one of the ways out."""
        return self in _DECIDED_BY_APPROVAL

    @property
    def is_ended_by_rebuild(self) -> bool:
        """Whether `rebuild` creates the list again."""
        return self in {HeldFor.DELETED, HeldFor.OTHER_CORDIAL}


_WHAT_TO_DO = {
    HeldFor.AWAITING_APPROVAL: "Look at its preview, then approve it, or switch the segment off in Heap.",
    HeldFor.NOT_OURS: "Set adopt_existing_lists = true to use that list, or give the segment another name in list_names.",
    HeldFor.NAME_REFUSED: "Give the segment another name in list_names.",
    HeldFor.CREATION_IN_DOUBT: "If nobody else created that list, approve it. Otherwise delete or rename it in Cordial.",
    HeldFor.DELETED: "Rebuild the list to create it again with its members, or switch the segment off in Heap.",
    HeldFor.NOT_ACCEPTED: "The service tries again every minute. If this lasts, ask Cordial's support.",
    HeldFor.NAME_CONFLICT: "Rename one of the two lists in Cordial.",
    HeldFor.OTHER_CORDIAL: "If it is the same Cordial account, approve one of its lists; otherwise put the old "
    "cordial_base_url and key back, or rebuild the list to create it in the account configured now.",
}
_DECIDED_BY_APPROVAL = frozenset({HeldFor.AWAITING_APPROVAL, HeldFor.CREATION_IN_DOUBT, HeldFor.OTHER_CORDIAL})


# A list's state, or what it is held for. docs/states.md draws what leads from one to the other.
Standing = ListState | HeldFor

_WITHOUT_LIST: dict[Standing, tuple[Standing, ...]] = {
    ListState.UNRESOLVED: (
        HeldFor.AWAITING_APPROVAL,
        ListState.CREATING,
        ListState.READY,
        HeldFor.NOT_OURS,
        HeldFor.NAME_REFUSED,
    ),
    HeldFor.AWAITING_APPROVAL: (ListState.UNRESOLVED, ListState.CREATING, ListState.READY, HeldFor.NOT_OURS),
    ListState.CREATING: (
        ListState.UNRESOLVED,
        ListState.READY,
        HeldFor.CREATION_IN_DOUBT,
        HeldFor.NOT_OURS,
        HeldFor.NAME_REFUSED,
    ),
    HeldFor.CREATION_IN_DOUBT: (ListState.UNRESOLVED, ListState.CREATING, ListState.READY, HeldFor.NOT_OURS),
    HeldFor.NOT_OURS: (ListState.UNRESOLVED, ListState.CREATING, ListState.READY),
    HeldFor.NAME_REFUSED: (ListState.UNRESOLVED, ListState.CREATING, ListState.READY, HeldFor.NOT_OURS),
}
_WITH_LIST: tuple[Standing, ...] = (
    ListState.READY,
    HeldFor.DELETED,
    HeldFor.NOT_ACCEPTED,
    HeldFor.NAME_CONFLICT,
    HeldFor.OTHER_CORDIAL,
)
LIST_TRANSITIONS: frozenset[tuple[Standing, Standing]] = frozenset(
    {(old, new) for old, following in _WITHOUT_LIST.items() for new in following}
    | {(old, new) for old in _WITH_LIST for new in (*_WITH_LIST, ListState.UNRESOLVED) if old != new}
)


class Segment(msgspec.Struct, frozen=True):
    """A Heap segment and the Cordial list it owns; `id` is the store's, `heap_id` is Heap's.

    `list_named_after` is the segment's name at the time the list got its own. `list_home` says in which Cordial account
    the list is: the API's URL, `#`, and a digest of the API key. `list_asked_at_ms` is when Cordial was last asked to create a list of the
    name and gave no answer that was recorded, 0 if there is nothing in doubt; `list_ids_before` are, as a JSON array, the
    ids of the lists that Cordial had right before. `list_count` is Cordial's last count. `confirmed`: so many are
    on the list, which are the settled ones without those whose rows in a file were refused, and who are being looked for.
    """

    id: int
    account: str
    heap_id: str
    name: str
    list_state: ListState
    list_name: str
    list_id: str
    list_reason: str
    list_named_after: str
    members: int
    settled: int
    pending: int
    waiting: int
    dead: int
    created_at_ms: int
    list_held_for: HeldFor | None = None
    list_home: str = ""
    list_ids_before: str = ""
    list_asked_at_ms: int = 0
    list_count: int | None = None
    confirmed: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` where a list is held for nothing, or for something without being held."""
        if (self.list_state is ListState.HELD) != (self.list_held_for is not None):
            raise ValueError(f"a list that is {self.list_state} cannot be held for {self.list_held_for}")

    @property
    def standing(self) -> Standing:
        """The list's state, or what it is held for."""
        return self.list_held_for or self.list_state


# How the reasons begin that keep a segment from getting its list.
_WAITS_FOR = "waits because the list "
_NO_ANSWER = "Cordial does not answer about its list: "
# How the reason ends of a list that only `rebuild` makes usable again.
_REBUILD_IT = "; rebuild it to create it again"


class VerifyResult(msgspec.Struct, frozen=True):
    """What Cordial counts on a list, how many members the ledger has there, settled, and how many changes are owed."""

    segment_id: int
    list_name: str
    counted: int
    expected: int
    owed: int

    @property
    def differs(self) -> bool | None:
        """Whether the two counts differ (R11); None while changes are owed, for then nobody can tell."""
        return None if self.owed else self.counted != self.expected


def awaits_approval() -> str:
    """Say that the segment is new, and the account holds new ones."""
    return "a new segment, held until you approve it (hold_new_segments = true); nothing is sent before that"


def not_ours(segment: Segment, existing_name: str, owner: str = "") -> str:
    """Say that a list of the name exists that is not the segment's (R10); `owner` is the account that it belongs to."""
    if owner:
        return (
            f"Cordial already has a list {existing_name}, and it belongs to a segment of the account {owner}; "
            f"{_name_of_its_own(segment)}"
        )
    return (
        f"Cordial already has a list {existing_name} that this service did not create; to use it set "
        f"adopt_existing_lists = true, or {_name_of_its_own(segment)}"
    )


def name_refused(segment: Segment, name: str, words: str) -> str:
    """Say that Cordial takes no list of this name; `words` are its own."""
    return f"Cordial refuses the name {name}: {words}; {_name_of_its_own(segment)}"


def creation_in_doubt(name: str, list_id: str) -> str:
    """Say that nobody can tell whether a list is the one that this service asked for."""
    return (
        f"Cordial's answer to the creation of the list {name} was lost; it is not known whether the list {name} (id {list_id}) is "
        "that one; if nobody else created it, approve it; otherwise delete or rename it in Cordial"
    )


def deleted(name: str, *, made_again: bool = False) -> str:
    """Say that somebody deleted the list in Cordial; `made_again`: another one has its name now."""
    again = f", and another list {name} exists that this service did not create" if made_again else ""
    return f"the list {name} was deleted in Cordial{again}{_REBUILD_IT}"


def is_to_rebuild(reason: str) -> bool:
    """Whether this is why a list is held, and `rebuild` the way out."""
    return reason.endswith(_REBUILD_IT)


def not_accepted(name: str) -> str:
    """Say that Cordial knows the list, but refuses its name on contacts."""
    return f"Cordial has the list {name}, but does not accept it on contacts; the service tries again"


def name_conflict(name: str, other: str) -> str:
    """Say that two lists of the account have the same name, letter case aside."""
    return f"the list {name} has the name of another list of this account, {other}; rename one of them in Cordial"


def other_cordial(name: str, old_url: str, new_url: str) -> str:
    """Say that the list seems to be in another Cordial account than the one configured now."""
    what = f"cordial_base_url was {old_url} and is {new_url} now" if old_url != new_url else "the API key has changed"
    return (
        f"the list {name} seems to be in another Cordial account: {what}; if it is the same account, approve one of its "
        "lists; otherwise put the old settings back, or rebuild the list to create it in this account"
    )


def waits_for_account(name: str) -> str:
    """Say that no list is created while it is not clear whose Cordial account this is."""
    return f"{_WAITS_FOR}{name} of this account is held: Cordial may be another account now"


def is_looked_for() -> str:
    """Say that nothing is known of the list yet."""
    return "the service looks for its list in Cordial"


def no_answer(words: str) -> str:
    """Say that Cordial cannot be asked for the list now; `words` say why."""
    return f"{_NO_ANSWER}{words}; the service asks again"


def is_kept_back(reason: str) -> bool:
    """Whether this is why a segment has no list yet. Otherwise its turn has not come: at a low rate, that takes minutes."""
    return reason.startswith((_WAITS_FOR, _NO_ANSWER))


def rename_refused(name: str, words: str) -> str:
    """Say that Cordial does not let the list follow its segment's new name; `words` are its own."""
    return f"Cordial refuses to rename the list to {name}: {words}; it keeps its name"


def would_create(note: str) -> str:
    """Say that a dry run keeps the list from being created; `note` is why its name is as it is, if that needs saying."""
    return "dry run: the list would be created" + (f"; {note}" if note else "")


def would_adopt(existing_name: str) -> str:
    """Say that a dry run keeps a list from being taken over that this service did not create."""
    return f"dry run: the list {existing_name}, which this service did not create, would be taken over"


def _name_of_its_own(segment: Segment) -> str:
    return f'give the segment another name: [accounts.{segment.account}.list_names] "{segment.heap_id}" = "…"'

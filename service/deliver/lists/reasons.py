"""Why a list stands as it does, in words for the operator: what is the matter, and what would change it. Pure."""

from service.model.lists import Segment


def not_accepted(name: str) -> str:
    """Say that Cordial knows the list, but refuses its name on contacts."""
    return f"Cordial has the list {name}, but does not accept it on contacts; it is tried again"


def deleted(name: str) -> str:
    """Say that somebody deleted the list in Cordial."""
    return f"the list {name} was deleted in Cordial; rebuild it to create it anew"


def not_ours(segment: Segment, existing_name: str) -> str:
    """Say that a list of the name exists that this service did not create (R10)."""
    return (
        f"Cordial already has a list {existing_name} that this service did not create; to use it set "
        f"adopt_existing_lists = true, or {_name_of_its_own(segment)}"
    )


def name_refused(segment: Segment, name: str, words: str) -> str:
    """Say that Cordial takes no list of this name; `words` are its own."""
    return f"Cordial refuses the name {name}: {words}; {_name_of_its_own(segment)}"


def rename_refused(name: str, words: str) -> str:
    """Say that Cordial does not let the list follow its segment's new name; `words` are its own."""
    return f"Cordial refuses to rename the list to {name}: {words}; it keeps its name"


def awaits_approval() -> str:
    """Say that the segment is new, and the account holds new ones."""
    return "a new segment, held until you approve it (hold_new_segments = true); nobody of it is sent before"


def would_create(note: str) -> str:
    """Say that a dry run keeps the list from being created; `note` is why its name is as it is, if that needs saying."""
    return "dry run: the list would be created" + (f"; {note}" if note else "")


def would_adopt(existing_name: str) -> str:
    """Say that a dry run keeps a list from being taken over that this service did not create."""
    return f"dry run: the list {existing_name}, which this service did not create, would be taken over"


def _name_of_its_own(segment: Segment) -> str:
    return f'give the segment a name of its own: [accounts.{segment.account}.list_names] "{segment.heap_id}" = "…"'

"""What the stand-in can do otherwise than Cordial's documents lead one to expect."""

from enum import StrEnum


class Deviation(StrEnum):
    """What the stand-in can be told to do otherwise than Cordial's documents lead one to expect.

    `creates_on_put`: an update creates the contact. `ignores_unknown_lists`: a key that is no list and no attribute is left
    out in silence. `no_slash`: a contact whose address has `/` is met by a path that is not there. `case_matters`: an
    address is found only as it was written. `one_list_a_call`: of several lists in a write only the first counts.
    `no_underscore`, `short_names`: a list's name may not hold `_`, or be longer than 64 characters. `reads_late`: a contact
    that is read shows its lists up to three seconds late. `rename_empties`, `old_name_stays`: a renamed list loses its members, or
    may still be written to by its old name. `subscribes_created`: a contact that a call creates is subscribed.
    `subscribes_imported`: so is one that an import creates with the status `none`.
    """

    CREATES_ON_PUT = "creates_on_put"
    IGNORES_UNKNOWN_LISTS = "ignores_unknown_lists"
    NO_SLASH = "no_slash"
    CASE_MATTERS = "case_matters"
    ONE_LIST_A_CALL = "one_list_a_call"
    NO_UNDERSCORE = "no_underscore"
    SHORT_NAMES = "short_names"
    READS_LATE = "reads_late"
    RENAME_EMPTIES = "rename_empties"
    OLD_NAME_STAYS = "old_name_stays"
    SUBSCRIBES_CREATED = "subscribes_created"
    SUBSCRIBES_IMPORTED = "subscribes_imported"

"""How long the lists of an account wait for what."""

import msgspec


class Timings(msgspec.Struct, frozen=True):
    """Durations in seconds.

    `retry`: until a held list is looked at again. `soon`: until Cordial or the store, which gave no answer, is asked again.
    `follow`: between two looks for segments that Heap has renamed. `look_again`: after so long in use, the id and name of a
    list are seen together again. `trust`: it is written to no longer than this without having been seen. `between_looks`:
    between two looks at Cordial's lists on average; the first looks of a burst may follow each other sooner. `doubt`: the
    answer to a creation was lost; for so long, a list of the name may be the one that was asked for. `idle`: between two looks
    at lists that nothing is sent to. `side_question`: for the answer to what is good to know but not needed.
    """

    retry: float = 60.0
    soon: float = 2.0
    follow: float = 60.0
    trust: float = 600.0
    look_again: float = 480.0
    between_looks: float = 3.0
    doubt: float = 600.0
    idle: float = 3_600.0
    side_question: float = 10.0

"""How long the lists of an account wait for what."""

import msgspec


class Timings(msgspec.Struct, frozen=True):
    """Durations in seconds.

    `retry`: until a held list is looked at again; `soon`: until Cordial or the store is asked again that gave no answer.
    `follow`: between two looks for segments that Heap has renamed. `trust`: a list in constant use is written to for so long
    after its id and name were seen together; they are seen again after `look_again`. `between_looks`: on average at least,
    whatever begins to be sent, but for the first of a burst. `doubt`: so long after a creation whose answer was lost, a list
    of the name may be the one asked for. `idle`: between two looks at lists that nothing is sent to. `side_question`: what is good to know, but not needed, is waited for so long.
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

"""What the stand-in's imports can be told to be."""

import msgspec


class ImportOptions(msgspec.Struct, frozen=True):
    """How imports behave where Cordial's contract leaves it open; the defaults are fast and the likelier readings.

    `delay_seconds`: how long a job is Scheduled, and again Pending. `rows_per_second`: how fast rows are carried out; 0
    is as fast as possible. `subscribes_existing`: a row that says nothing about the subscription also subscribes a
    contact that exists with the status `none`; otherwise it subscribes only contacts that it creates.
    `by_secondary_key`: a file without e-mail addresses is taken if it has a column of a secondary key; otherwise it
    fails. `asks_for_size`: the file is asked for by HEAD before the call is answered, so that a file may be asked for
    twice.
    """

    delay_seconds: float = 0
    rows_per_second: float = 0
    subscribes_existing: bool = False
    by_secondary_key: bool = False
    asks_for_size: bool = False

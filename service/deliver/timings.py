"""How long the parts of this stage wait; each part says what its own times mean."""

import msgspec

from service.deliver.imports.importer import Timings as ImportTimings
from service.deliver.lists.timings import Timings as ListTimings
from service.deliver.proof.read_back import Timings as ProofTimings
from service.deliver.proof.verifier import Timings as CountTimings
from service.deliver.retry import Timings as RetryTimings
from service.deliver.trial.trying import Timings as TrialTimings


class Timings(msgspec.Struct, frozen=True):
    """The times of every part. `may_fetch_again_seconds`: so long after Cordial has fetched a file, it may do so again.

    The last bytes of a download may be lost where the sender cannot see it.
    """

    retry: RetryTimings = RetryTimings()
    lists: ListTimings = ListTimings()
    imports: ImportTimings = ImportTimings()
    counts: CountTimings = CountTimings()
    proof: ProofTimings = ProofTimings()
    trial: TrialTimings = TrialTimings()
    may_fetch_again_seconds: float = 120.0

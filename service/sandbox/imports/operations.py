"""The calls of Cordial's contract about imports and jobs."""

from service.sandbox.imports.jobs import ImportJobs
from service.sandbox.operations import Operation

IMPORTS = "/v2/contactimports"
JOBS = "/v2/jobs"
JOB = "/v2/jobs/{id}"


def import_operations(jobs: ImportJobs) -> tuple[Operation, ...]:
    """Return the operations on an account's jobs; they address no contact of their own."""
    return (
        Operation("POST", IMPORTS, lambda _state, call: jobs.create(call.body), takes_body=True),
        Operation("GET", JOBS, lambda _state, call: jobs.find(call.query)),
        Operation("GET", JOB, lambda _state, call: jobs.get(call.path_value, call.query.get("fields", ""))),
    )

"""What is so at the moment somebody asks, as metrics. Pure: everything is given."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from service.model.accounts import AccountState, AccountStatus
from service.model.conditions import CATALOGUE
from service.model.views import AccountFigures


class StoreFiles(msgspec.Struct, frozen=True):
    """How large the store's files are, and what is left on their disk."""

    database_bytes: int
    wal_bytes: int
    disk_free_bytes: int


class Moment(msgspec.Struct, frozen=True):
    """Everything that is read at once.

    `backlog`: inbox, pending, waiting. `account_backlogs`: how much each account has of it, and may have. `pauses`: how
    often each account had to be stopped since the start. `conditions`: how many last of each kind and account.
    `figures` and `files` are None while they cannot be read.
    """

    version: str
    backlog: Mapping[str, int]
    backlog_limit: int
    account_backlogs: Mapping[str, tuple[int, int]]
    statuses: Mapping[str, AccountStatus]
    pauses: Mapping[str, int]
    conditions: Mapping[tuple[str, str], int]
    has_write_fault: bool
    figures: Sequence[AccountFigures] | None
    files: StoreFiles | None


def families(moment: Moment, now_ms: int) -> Iterator[Metric]:
    """Give the metrics of a moment; `now_ms` is its Unix time."""
    yield _gauge("build_info", "The version that runs; always 1.", "version", {moment.version: 1})
    yield _gauge(
        "backlog",
        "Accepted and not settled: users in the inbox, users guarded until their sync is judged or a person decides, changes that may be "
        "sent, changes that wait for a retry.",
        "state",
        moment.backlog,
    )
    yield _gauge("backlog_limit", "At this backlog, deliveries are answered 429.", "", {"": moment.backlog_limit})
    held = {account: held for account, (held, _) in moment.account_backlogs.items()}
    yield _gauge("account_backlog", "The account's part of the backlog.", "account", held)
    limits = {account: limit for account, (_, limit) in moment.account_backlogs.items()}
    yield _gauge(
        "account_backlog_limit", "At this backlog, the account's deliveries are answered 429.", "account", limits
    )
    yield from _accounts(moment)
    lasting = GaugeMetricFamily(
        "heap_cordial_condition",
        "How many conditions of each kind and account last; 0 without an account if none of a kind does.",
        labels=["id", "account", "severity"],
    )
    lasting_kinds = {kind for kind, _ in moment.conditions}
    none = {(kind, ""): 0 for kind in CATALOGUE if kind not in lasting_kinds}
    for (kind, account), number in {**moment.conditions, **none}.items():
        lasting.add_metric([kind, account, CATALOGUE[kind].severity.value], number)
    yield lasting
    yield _gauge("store_write_fault", "Whether the last write failed.", "", {"": moment.has_write_fault})
    if moment.files is not None:
        files = moment.files
        yield _gauge("store_database_bytes", "Size of the database file.", "", {"": files.database_bytes})
        yield _gauge("store_wal_bytes", "Size of the write-ahead log beside it.", "", {"": files.wal_bytes})
        yield _gauge("store_disk_free_bytes", "Free space on the store's disk.", "", {"": files.disk_free_bytes})
    if moment.figures is not None:
        yield from _kept(moment.figures, now_ms)


def _accounts(moment: Moment) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "heap_cordial_account_state",
        "1 for the current state of the account's sending; paused: by a person, or stopped because Cordial does not serve it.",
        labels=["account", "state"],
    )
    for account, status in moment.statuses.items():
        for state in AccountState:
            states.add_metric([account, state.value], status.state is state)
    yield states
    pauses = CounterMetricFamily(
        "heap_cordial_pauses",
        "How often the service stopped sending for the account because Cordial did not serve it.",
        labels=["account"],
    )
    for account, number in moment.pauses.items():
        pauses.add_metric([account], number)
    yield pauses
    rates = GaugeMetricFamily(
        "heap_cordial_found_rate",
        "The calls a second that are allowed for an operation now, if the service finds the rate itself.",
        labels=["account", "operation"],
    )
    for account, status in moment.statuses.items():
        for operation, calls_per_second in status.found_rates.items():
            rates.add_metric([account, operation], calls_per_second)
    yield rates


def _kept(figures: Sequence[AccountFigures], now_ms: int) -> Iterator[Metric]:
    ages = {
        each.account: 0.0 if each.oldest_open_ms is None else max(0.0, (now_ms - each.oldest_open_ms) / 1000)
        for each in figures
    }
    yield _gauge(
        "oldest_change_age_seconds",
        "Time since the first page of the oldest sync that is not settled; 0 when there is none.",
        "account",
        ages,
    )
    dead = {each.account: each.dead for each in figures}
    yield _gauge(
        "dead_letters", "Changes that failed and are not sent again until somebody retries them.", "account", dead
    )
    in_doubt = {each.account: each.in_doubt for each in figures}
    yield _gauge(
        "contacts_in_doubt", "Contacts with a call whose result is unknown, not read back yet.", "account", in_doubt
    )
    read_back = {each.account: each.read_back for each in figures}
    yield _gauge("members_read_back", "Members read back from Cordial in the last day.", "account", read_back)
    differ = {each.account: each.read_back_differ for each in figures}
    yield _gauge("members_differed", "Those of them that differed in Cordial.", "account", differ)
    lists = GaugeMetricFamily(
        "heap_cordial_lists",
        "Segments by the state of their list; a held one waits for an operator.",
        labels=["account", "state"],
    )
    for each in figures:
        for state, number in each.lists.items():
            lists.add_metric([each.account, state], number)
    yield lists
    travelling = {each.account: each.travelling for each in figures}
    yield _gauge("import_contacts", "Contacts whose changes are in an import now.", "account", travelling)


def _gauge(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a gauge with one value for each value of its label, or with one value and no label."""
    family = GaugeMetricFamily(f"heap_cordial_{name}", documentation, labels=[label] if label else [])
    for labelled, value in values.items():
        family.add_metric([labelled] if label else [], value)
    return family

"""The lists of an account's segments: how they are called, and what in Cordial stands in their way. Pure, no I/O."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from service.commands.checks.findings import Findings
from service.config.settings import AccountSettings
from service.deliver.lists import names
from service.model.lists import ListState, Segment


class CordialNames(msgspec.Struct, frozen=True):
    """What an account has in Cordial: its lists' names by their ids, and its contact attributes' keys, None if unread."""

    lists: Mapping[str, str]
    attributes: frozenset[str] | None


def check_lists(account: AccountSettings, segments: Iterable[Segment], known: CordialNames) -> Findings:
    """Say of each segment that the store knows, and of each name in the configuration, what its list is or would be."""
    findings = Findings()
    segments = list(segments)
    taken = {segment.list_name.lower() for segment in segments if segment.list_id}
    for segment in segments:
        if segment.list_id:
            findings.add(_check_own(segment, known))
        elif segment.list_state is not ListState.CREATING:
            chosen = account.list_names.get(segment.heap_id, "")
            wanted = names.list_name(segment.name, segment.heap_id, prefix=account.list_prefix, chosen=chosen)
            name = _free_name(wanted, segment.heap_id, known, taken)
            # The next segment of the same name gets another one.
            taken.add(name.lower())
            findings.add(_check_new(account, f"segment “{segment.name}”", segment.heap_id, name, known, wanted=wanted))
    seen = {segment.heap_id for segment in segments}
    for heap_id, name in account.list_names.items():
        if heap_id not in seen:
            findings.add(_check_new(account, f"segment {heap_id}", heap_id, name, known, wanted=names.ListName(name)))
    return findings


def _check_own(segment: Segment, known: CordialNames) -> Findings:
    where = f"accounts.{segment.account}"
    if segment.list_id not in known.lists:
        fault = (
            f"{where}: the list {segment.list_name} of segment “{segment.name}” is no longer in Cordial; "
            f"`heap-cordial rebuild id:{segment.id}` creates it again"
        )
        return Findings(faults=[fault])
    held = f", held: {segment.list_reason}" if segment.list_state is ListState.HELD else ""
    return Findings(notes=[f"{where}: segment “{segment.name}” has the list {known.lists[segment.list_id]}{held}"])


def _free_name(wanted: names.ListName, heap_id: str, known: CordialNames, taken: Collection[str]) -> str:
    possible = names.names_in_turn(wanted, heap_id, known.attributes or frozenset())
    return next(each.name for each in possible if each.name.lower() not in taken)


def _check_new(
    account: AccountSettings,
    subject: str,
    heap_id: str,
    name: str,
    known: CordialNames,
    *,
    wanted: names.ListName,
) -> Findings:
    where = f"accounts.{account.name}"
    if wanted.name in (known.attributes or frozenset()):
        subject = f"{subject}, beside a contact attribute of its name,"
    if name.lower() not in {other.lower() for other in known.lists.values()}:
        return Findings(notes=[f"{where}: {subject} would get a new list {name}"])
    if account.adopt_existing_lists:
        return Findings(notes=[f"{where}: {subject} would take over the list {name}"])
    fault = (
        f"{where}: Cordial has a list {name} that {subject} would need; set adopt_existing_lists = true to use it, or "
        f'give the segment another name: [{where}.list_names] "{heap_id}" = "…"'
    )
    return Findings(faults=[fault])

"""What is left to do by hand in Heap, in Cordial and here, once the files are written. Pure, no I/O."""

import ipaddress

from service.commands.initial.answers import Answers
from service.commands.initial.files import InitialFiles

_PERMISSIONS = (
    "Get lists, Add a list, Get a single list, Add a contact, Update a contact, Get a single contact",
    "Get attributes (recommended: lists share their names with contact attributes)",
    "Add a contact import job, Get a single job (only for bulk imports, see public_url in config.toml)",
    'Update a list (only for on_segment_rename = "rename")',
)


def advice(answers: Answers, files: InitialFiles, own_address: str | None) -> list[str]:
    """Return the lines to show; `own_address` is that of this host's interface towards Cordial, if it has one."""
    lines = [
        "",
        "In Heap, under Integrations > Developer hub, make an integration that receives segments:",
        f"  webhook URL       {answers.webhook_url}",
        "  OAuth redirect    leave it empty",
        f"  identity          the user property that holds Cordial's {answers.identify_by}",
    ]
    if not answers.heap_secret:
        lines.append(f"  secret            reveal it there and put it into {files.heap_secret}")
    lines += [
        "",
        "In Cordial, under Administration > API keys, make a key:",
        *(f"  permission        {permission}" for permission in _PERMISSIONS),
        f"  IP allow-list     {_address(own_address)}",
    ]
    if not answers.cordial_api_key:
        lines.append(f"  key               put it into {files.cordial_api_key}")
    missing = [path for path, given in _later(answers, files) if not given]
    if missing:
        lines += ["", "A secret's file must be yours alone: umask 077; cat > FILE, paste, Enter, Ctrl-D."]
    lines += [
        "",
        "Then:",
        f"  heap-cordial check --config {files.config}",
        f"  heap-cordial serve --config {files.config}",
    ]
    lines += [
        f"  heap-cordial preview SEGMENT --config {files.config}    what would be sent of a new segment, which is held",
        f"  heap-cordial approve SEGMENT --config {files.config}    let it through; never Heap's sample segment",
    ]
    if answers.dry_run:
        lines.append("Until dry_run = false stands in the configuration, nothing is written to Cordial.")
    return lines


def _later(answers: Answers, files: InitialFiles) -> list[tuple[object, str]]:
    return [(files.heap_secret, answers.heap_secret), (files.cordial_api_key, answers.cordial_api_key)]


def _address(own: str | None) -> str:
    if own is None:
        return "the address under which this host reaches the internet; it cannot be told now, for Cordial is not reachable"
    if ipaddress.ip_address(own).is_global:
        return f"{own}, the address of this host's own interface towards Cordial, unless a proxy or NAT changes it"
    return (
        f"not {own}, which is private: the address that NAT gives this host; whoever runs the network or rents you the "
        "host knows it"
    )

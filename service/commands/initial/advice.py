"""What is left to do by hand in Heap, in Cordial and here, once the files are written. Pure, no I/O."""

import ipaddress
import shlex

from service.commands.initial.files import DEFAULT_URL, Answers, InitialFiles

_HOST_MISSING = " (put the host at which Heap reaches this machine in the place of your-host)"
_PERMISSIONS = (
    "Get lists, Add a list, Get a single list, Add a contact, Update a contact, Get a single contact",
    "Get attributes (recommended: lists share their names with contact attributes)",
    "Add a contact import job, Get a single job, Get jobs (only to send large changes as files, with public_url)",
    'Update a list (only for on_segment_rename = "rename")',
)


def advice(answers: Answers, files: InitialFiles, own_address: str | None) -> list[str]:
    """Return the lines to show before `steps`; `own_address` is that of this host's interface towards Cordial, if any."""
    lines = [
        "",
        "In Heap, under Integrations > Developer hub, create an integration that receives segments:",
        f"  webhook URL       {answers.webhook_url}{_HOST_MISSING if answers.url == DEFAULT_URL else ''}",
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
    if not (answers.heap_secret and answers.cordial_api_key):
        lines += ["", "Let only yourself read a secret's file: umask 077; cat > FILE, paste, Enter, Ctrl-D."]
    return [*lines, "", "Then, one after the other:"]


def steps(answers: Answers, files: InitialFiles, program: str) -> list[tuple[str, str]]:
    """Return what to do then, each with its command; `program` is how this shell calls heap-cordial."""
    config = f"--config {shlex.quote(str(files.config))}"
    account = shlex.quote(answers.account)
    found = [
        ("Check everything:", f"{program} check {config}"),
        ("Start the service. Continue in another terminal:", f"{program} serve {config}"),
        ("In Heap, switch a segment on and press Sync now. See it arrive:", f"{program} lists {config}"),
        ("See what would be sent. SEGMENT is the segment's name in Heap:", f"{program} preview 'SEGMENT' {config}"),
    ]
    if answers.dry_run:
        path = shlex.quote(str(files.config))
        found.append(
            (
                "End the dry run. Nothing is sent yet: each new segment waits for your approval:",
                f"sed -i 's/^dry_run = true/dry_run = false/' {path} && {program} reload {config}",
            )
        )
    found += [
        (
            "Make a trial with your own test contacts: replace the addresses. Large changes can be sent as files only after a trial:",
            f"{program} trial --account {account} --contact you+test@example.com --subscribed you@example.com {config}",
        ),
        (
            "Approve the segment: now it is live. Never approve Heap's sample segment:",
            f"{program} approve 'SEGMENT' {config}",
        ),
        ("Compare the list with Cordial's own count:", f"{program} verify 'SEGMENT' {config}"),
    ]
    return found


def _address(own: str | None) -> str:
    if own is None:
        return "the IP address with which this machine reaches the internet; Cordial cannot be reached now, so it is not known"
    if ipaddress.ip_address(own).is_global:
        return f"{own}, the IP address of this machine towards Cordial, unless a proxy or NAT changes it"
    return (
        f"not {own}, which is private; use the public IP address of this machine, which the administrator of the "
        "network knows"
    )

"""Why Cordial does not serve an account: what that is called, and what to do about it, for all that tell of it. Pure, no I/O."""

from typing import NamedTuple


class Stop(NamedTuple):
    """A reason in a few words, with {account} to be filled in and empty where there are none of its own; and what to do."""

    title: str
    what_to_do: str


# Of a reason that has no advice of its own, and of the kind of condition as a whole.
WHAT_TO_DO = "See what Cordial answers, and do what the runbook says of the reason."
_WAIT = "Wait: the service goes on by itself."

# By the first word of why an account was stopped, which is that of Cordial's answer. docs/operations.md has a row for each.
STOPPED = {
    "unauthorized": Stop(
        "Cordial rejects the API key for {account}",
        "Replace the API key, or allow this host's IP address: in Cordial, see Administration > API keys.",
    ),
    "forbidden": Stop(
        "Cordial forbids the calls for {account}",
        "Give the API key the permissions that the README names. If it has them, see whether Cordial or a firewall blocks this "
        "host's IP address.",
    ),
    "no_api_key": Stop(
        "The Cordial API key for {account} cannot be read",
        "Set cordial_api_key_file or cordial_api_key_env to a readable, non-empty secret.",
    ),
    "not_a_secondary_key": Stop(
        "", "Set identify_by to a key that is a unique secondary key in Cordial, then reload the configuration."
    ),
    "unreachable": Stop(
        "Cordial cannot be reached for {account}",
        f"{_WAIT} If it lasts, see whether this machine reaches Cordial: the network, DNS, a proxy, cordial_base_url.",
    ),
    "timeout": Stop(
        "Cordial does not answer in time for {account}",
        f"{_WAIT} If it lasts, see whether this machine reaches Cordial: the network, DNS, a proxy.",
    ),
    "not_json": Stop(
        "", f"{_WAIT} If it lasts, see whether cordial_base_url is right, and what answers there in Cordial's place."
    ),
    "unexpected_answer": Stop(
        "", f"{_WAIT} If it lasts, see whether cordial_base_url is right, and what answers there in Cordial's place."
    ),
    "http_404": Stop("", "See whether cordial_base_url is right, and what answers there in Cordial's place."),
    "refused": Stop(
        "Cordial refuses every change for {account}",
        "Correct what Cordial's words name: most often a setting in Cordial, or identify_by. The service tries again by itself.",
    ),
}
_SERVER_ERROR = "http_5"
_IS_DOWN = Stop(
    "Cordial is down ({status}) for {account}",
    f"{_WAIT} Cordial is down, or something in front of it. If it lasts, see Cordial's status page, and a proxy if there is one.",
)


def stop_of(reason: str) -> Stop:
    """Return what is so; `reason` may have Cordial's words after a colon."""
    word = reason.partition(":")[0]
    if word.startswith(_SERVER_ERROR):
        return _IS_DOWN._replace(title=_IS_DOWN.title.replace("{status}", word.removeprefix("http_")))
    return STOPPED.get(word, Stop("", WHAT_TO_DO))

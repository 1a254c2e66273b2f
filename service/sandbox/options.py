"""What the stand-in Cordial can be told to be."""

import msgspec

from service.sandbox.deviations import Deviation
from service.sandbox.imports.options import ImportOptions

DEFAULT_API_KEY = "sandbox-key"


class SandboxOptions(msgspec.Struct, frozen=True):
    """How a stand-in Cordial behaves; the defaults are an account that is fast, unlimited and without faults.

    `rate`: calls per second for each (method, endpoint); 0 is no limit. The limit holds in every window of
    `rate_window_seconds`, over which `rate` times `rate_window_seconds` calls pass. `latency_ms`: how long each
    call is held before it takes effect. `error_rate`: share of calls, 0 to 1, that get a random fault, drawn with
    `seed`. `secondary_keys`: unique attributes a contact may be addressed by, beside `email`. `attributes`: the other
    contact attributes, key to type (`string`, `number`, `date`, `array` or `geo`). `journal`: keep every call, not
    only the last hundred. `imports`: how contact imports behave. `deviations`: what it does otherwise than documented.
    """

    api_key: str = DEFAULT_API_KEY
    rate: float = 0
    rate_window_seconds: float = 1
    rate_headers_on_success: bool = True
    latency_ms: float = 0
    error_rate: float = 0
    seed: int = 0
    secondary_keys: tuple[str, ...] = ("custID",)
    attributes: dict[str, str] = msgspec.field(default_factory=lambda: {"firstName": "string", "lastName": "string"})
    journal: bool = False
    imports: ImportOptions = ImportOptions()
    deviations: frozenset[Deviation] = frozenset()

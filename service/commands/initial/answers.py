"""What a new configuration needs to know."""

import msgspec


class Answers(msgspec.Struct, frozen=True):
    """An account's first configuration. `url` is where the world reaches the service; empty secrets are put in later."""

    account: str
    url: str
    cordial_base_url: str
    identify_by: str
    dry_run: bool
    heap_secret: str = ""
    cordial_api_key: str = ""

    @property
    def webhook_url(self) -> str:
        """The address to give to Heap."""
        return f"{self.url.rstrip('/')}/webhooks/heap/{self.account}"

"""Which Cordial account the lists are in: another one may be behind the same configuration (R10)."""

import hashlib
from collections.abc import Sequence

from service.config.secrets import CachedSecret
from service.config.settings import AccountSettings
from service.deliver.lists.questions import CordialLists, Directory, Missing, NoAnswer
from service.model.lists import Segment

# The counts of so many lists are compared, to see whether this is still the same Cordial account.
_MAX_COMPARED = 5
_KEY_DIGEST_CHARACTERS = 16


class CordialHome:
    """Tells the Cordial account that is configured now from the one that lists were created in.

    A home is the API's URL, `#`, and a digest of the API key.
    """

    def __init__(self, settings: AccountSettings, api_key: CachedSecret, cordial: CordialLists) -> None:
        self._settings = settings
        self._api_key = api_key
        self._cordial = cordial
        # The key that the lists were last seen with.
        self._key = ""
        # The home that the lists were last seen in.
        self.here = ""

    @property
    def is_known(self) -> bool:
        """Whether the lists were seen with some key since the start."""
        return bool(self._key)

    def is_key_new(self) -> bool:
        """Tell whether the key has changed since the lists were last seen."""
        try:
            return bool(self._key) and self._api_key.get() != self._key
        except (OSError, LookupError):
            return False

    def key(self) -> str:
        """Return the current key. Raises `OSError` or `LookupError` if it cannot be read."""
        return self._api_key.get()

    def of(self, key: str) -> str:
        """Return the home that belongs to the configured URL and this key."""
        digest = hashlib.sha256(f"{self._settings.name}\n{key}".encode()).hexdigest()[:_KEY_DIGEST_CHARACTERS]
        return f"{self._settings.cordial_base_url}#{digest}"

    def see(self, key: str) -> None:
        """Note that all lists were just seen with this key."""
        self._key, self.here = key, self.of(key)

    async def elsewhere(self, directory: Directory, ours: Sequence[Segment], here: str) -> set[int] | None:
        """Return the lists that seem to be in another Cordial account; None while Cordial's answers do not tell.

        Another URL is another account until a person says otherwise. Another key is looked at: keys are replaced, and
        then the lists are still there, under their ids and names, and as large as they were.
        """
        moved = [each for each in ours if each.list_home and each.list_home != here]
        if not moved:
            return set()
        if all(url_of(each.list_home) == url_of(here) for each in moved):
            is_same = await self._is_same_account(directory, moved)
            if is_same is None:
                return None
            if is_same:
                return set()
        return {each.id for each in moved}

    async def _is_same_account(self, directory: Directory, ours: Sequence[Segment]) -> bool | None:
        found = [each for each in ours if each.list_id in directory.lists]
        same = [each for each in found if directory.lists[each.list_id].name == each.list_name]
        if len(same) * 2 < len(ours):
            return False
        filled = sorted((each for each in same if _last_size(each)), key=_last_size, reverse=True)[:_MAX_COMPARED]
        alike = 0
        for segment in filled:
            counted = await self._cordial.count(segment.list_id)
            if isinstance(counted, NoAnswer):
                return None
            size = _last_size(segment)
            tolerance = max(1, size // 10)
            alike += not isinstance(counted, Missing) and counted.number > 0 and abs(counted.number - size) <= tolerance
        return alike * 2 >= len(filled)


def url_of(home: str) -> str:
    """Return the API's URL of a home."""
    return home.partition("#")[0]


def _last_size(segment: Segment) -> int:
    return segment.list_count if segment.list_count is not None else segment.settled

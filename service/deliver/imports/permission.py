"""Whether the files of imports may be used in this Cordial account (R14)."""

from service.config.settings import AccountSettings
from service.model.trial import may_use_files
from service.store.port import Trials


async def are_files_permitted(settings: AccountSettings, trials: Trials) -> bool:
    """Return whether large backlogs may travel as files, whether or not the account only makes a dry run.

    Cordial needs an address to fetch them from, and a trial must have shown that they subscribe nobody, unless the operator
    does without one. Raises `StoreUnavailableError`.
    """
    if not settings.public_url:
        return False
    results = await trials.results(settings.name, settings.cordial_base_url)
    return may_use_files(results, creates_contacts=settings.create_contacts, untested=settings.bulk_untested)

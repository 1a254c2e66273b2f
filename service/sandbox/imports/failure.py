"""Why an import cannot be carried out."""


class ImportFailedError(Exception):
    """The job ends as Failed; its text is for the stand-in's own page, Cordial's contract gives no reason."""

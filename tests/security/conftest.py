from tests.integration.conftest import quick_retries

__all__ = ["quick_retries"]

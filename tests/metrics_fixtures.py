"""What a scrape of the service says, and what the files for Prometheus and Grafana ask of it."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

DOCS = Path(__file__).parents[1] / "docs"
_PATIENCE_SECONDS = 30.0
_METRIC = re.compile(r"\b(heap_cordial_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=|!=|=~|!~)"([^"]*)"')


class Scrape:
    """Every sample of one scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def value(self, name: str, **labels: str) -> float:
        """Return the one sample that has this name and exactly these labels."""
        [value] = [each.value for each in self.samples if each.name == name and each.labels == labels]
        return float(value)

    def label_values(self, name: str, label: str) -> set[str]:
        return {each.labels[label] for each in self.samples if each.name == name and label in each.labels}


async def scrape(url: str) -> Scrape:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        return Scrape(await answer.text())


async def scraped_in_time(url: str, is_complete: Callable[[Scrape], bool]) -> Scrape:
    """Return the first scrape that is complete; some figures follow what the store and Cordial know by a moment."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not is_complete(found := await scrape(url)):  # noqa: ASYNC110  metrics are looked at from outside
            await asyncio.sleep(0.05)
        return found


class Reference(NamedTuple):
    """A metric that an expression names, and what it asks of its labels: (label, operator, value)."""

    metric: str
    matchers: list[tuple[str, str, str]]


def references(expression: str) -> Iterator[Reference]:
    """Give every metric of ours in a PromQL expression, or in prose."""
    for metric, matchers in _METRIC.findall(expression):
        yield Reference(metric, _MATCHER.findall(matchers))

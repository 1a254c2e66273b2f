"""The dashboard, the alert rules and the description of the metrics, held to what a working service really shows."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.metrics_fixtures import DOCS, Scrape, references, scrape
from tests.service_fixtures import delivering, users

HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scraped(tmp_path_factory) -> Scrape:
    """A scrape of a service that has taken deliveries, settled changes and given one up."""
    directory = tmp_path_factory.mktemp("service")
    async with delivering(directory, create_contacts=False, requests_per_second="auto") as world:
        world.cordial.state.create_contact("email:known@example.com", "known@example.com")
        await world.deliver("Readers", ["known@example.com", *users(1, "unknown")])
        await world.settled()
        # One person could not be added, which is a condition.
        await world.until(lambda: "people_failed" in world.conditions())
        return await scrape(world.service.url)


def dashboard_expressions() -> Iterator[str]:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            yield from (target["expr"] for target in panel["targets"])


def alert_rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def assert_shown(scraped: Scrape, expression: str) -> None:
    """Assert that the expression names metrics of ours, all of which exist, with labels and values that they have."""
    found = list(references(expression))
    assert found, expression
    for metric, matchers in found:
        assert metric in scraped.names, expression
        for label, operator, value in matchers:
            values = scraped.label_values(metric, label)
            assert values, f"{metric} has no label {label}: {expression}"
            if operator == "=":
                assert value in values, f"{label} of {metric} is never {value}: {expression}"
    assert expression.count("(") == expression.count(")"), expression


async def test_the_dashboard_asks_for_metrics_that_exist(scraped):
    expressions = list(dashboard_expressions())
    assert len(expressions) > 20
    for expression in expressions:
        assert_shown(scraped, expression)


async def test_the_panels_of_the_dashboard_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((DOCS / "grafana-dashboard.json").read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


async def test_the_alerts_ask_for_metrics_that_exist_and_say_what_to_do(scraped):
    rules = alert_rules()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert_shown(scraped, str(rule["expr"]))
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        part = str(rule["annotations"]["runbook_url"]).removeprefix("docs/operations.md#")
        headings = re.findall(r"(?m)^#+ (.+)$", (DOCS / "operations.md").read_text())
        assert part in {"{{ $labels.id }}", *(heading.lower().replace(" ", "-") for heading in headings)}
        assert re.fullmatch(r"\d+m", str(rule.get("for", "0m")))


async def test_what_the_alerts_say_names_labels_that_their_metrics_have(scraped):
    for rule in alert_rules():
        named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        for metric, _ in references(str(rule["expr"])):
            assert all(scraped.label_values(metric, label) for label in named), rule["alert"]


async def test_the_description_lists_every_metric_with_its_labels_and_no_other(scraped):
    rows = re.findall(r"(?m)^\| `(heap_cordial_\w+)` \|([^|]*)\|", (DOCS / "monitoring.md").read_text())
    described = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    shown: dict[str, set[str]] = {}
    for family in scraped.families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown[name] = {label for sample in family.samples for label in sample.labels if label != "le"}
    assert described == shown


@pytest.mark.parametrize("path", [*DOCS.parent.glob("*.md"), *DOCS.rglob("*.md")], ids=lambda path: path.name)
async def test_every_metric_that_a_document_mentions_exists(scraped, path):
    names = scraped.names | {name.removesuffix(end) for name in scraped.names for end in HISTOGRAM_SUFFIXES}
    assert {reference.metric for reference in references(path.read_text())} <= names

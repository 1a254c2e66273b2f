"""Litestream's configuration that ships fits the store that ships."""

from pathlib import Path

import yaml

from service.config.settings import StoreSettings

ROOT = Path(__file__).parents[2]


def test_it_replicates_the_store_of_the_configuration_that_ships():
    document = yaml.safe_load((ROOT / "docs/litestream.yml").read_text(encoding="utf-8"))
    assert [database["path"] for database in document["dbs"]] == [StoreSettings().path]
    assert document["dbs"][0]["replica"].keys() >= {"type", "path"}

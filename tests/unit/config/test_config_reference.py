"""`docs/configuration.md` is what the settings and `config.toml` say today, and nothing of them is missing in it."""

import re

import pytest

from service.config.keys import SECTIONS, keys_of
from service.config.reloading import plan_reload
from service.config.settings import AccountSettings, ApiKeySettings, NoticeSettings
from tools.configuration_reference import ROOT, TARGET, reference

SHIPPED = (ROOT / "config.toml").read_text(encoding="utf-8")
WRITTEN = TARGET.read_text(encoding="utf-8")
TABLES = {
    **SECTIONS,
    "api_keys.marketing": ApiKeySettings,
    "notices.ops": NoticeSettings,
    "accounts.acme": AccountSettings,
}


def test_the_document_is_current():
    assert reference(SHIPPED) == WRITTEN, "run: make docs"


@pytest.mark.parametrize("table", TABLES)
def test_every_key_has_its_facts_once(table):
    section = WRITTEN.split(f"\n## [{table}]\n")[1].split("\n## ")[0]
    facts = re.findall(rf"(?m)^- `(\w+).*; `HEAP_CORDIAL__{table.upper().replace('.', '__')}__(\w+)`$", section)
    assert all(variable == key.upper() for key, variable in facts)
    assert sorted(key for key, _ in facts) == sorted(keys_of(TABLES[table]))


def without_signs(text: str) -> str:
    return re.sub(r"(?m)^> ?|^```.*$|[#\s]", "", text)


def test_every_line_of_the_comments_is_there():
    comments = re.findall(r"(?m)^# (.*)$", SHIPPED)[1:]
    written = without_signs(WRITTEN)
    assert [line for line in comments if without_signs(line) not in written] == []


def test_a_default_or_bound_that_changes_shows():
    assert "`port = 8080` by default; a whole number from 1 to 65535; a change needs a restart;" in WRITTEN
    assert "`max_attempts = 5` by default; a whole number from 1 to 1000; SIGHUP applies a change;" in WRITTEN
    assert "`cordial_api_key_file`: required, this or the other;" in WRITTEN


def test_a_key_that_no_setting_has_is_told():
    with pytest.raises(KeyError, match="colour"):
        reference(SHIPPED + '\n# Its colour.\n#colour = "red"\n')


def test_what_a_reload_applies_is_what_the_document_says(read, acme):
    before = read(acme)
    after = read('[server]\nport = 9090\nmax_body_bytes = 2048\n[log]\nlevel = "debug"\n' + acme)
    plan = plan_reload(before, after)
    for keys, words in ((plan.changed, "SIGHUP applies"), (plan.needs_restart, "needs a restart")):
        assert keys
        for key in keys:
            [line] = re.findall(rf"(?m)^- `{key.split('.')[1]} = .*$", WRITTEN)
            assert words in line

"""The set-ups for containers and systemd, compared with the image, the settings and the commands they are for."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from service.config import loading
from service.config.settings import ServerSettings, Settings
from tests.command_fixtures import ROOT
from tests.container.containerfile import parse_command, parse_health_check, read_containerfile

SETUPS = ROOT / "docs/setups"
IMAGE = read_containerfile().stages[-1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
COMPOSE = yaml.safe_load((SETUPS / "compose.yaml").read_text(encoding="utf-8"))
SERVICE = COMPOSE["services"]["heap-cordial"]
SECRET_NAMES = {"api-key", "acme-heap-secret", "acme-cordial-api-key"}
GRACE_SECONDS = ServerSettings().shutdown_grace_seconds
UID, GID = IMAGE.arguments("USER")[0].split(":")

# What each section may have, from the manual pages podman-systemd.unit, systemd.unit and systemd.service.
QUADLET_KEYS = {
    "Unit": {"Description", "Wants", "After"},
    "Container": {
        "Image", "ContainerName", "PublishPort", "Volume", "ReadOnly", "DropCapability", "NoNewPrivileges", "Secret",
        "Environment", "HealthOnFailure", "PodmanArgs",
    },
    "Volume": {"VolumeName"},
    "Service": {"Restart", "RestartSec", "TimeoutStartSec", "TimeoutStopSec", "ExecReload"},
    "Install": {"WantedBy"},
}  # fmt: skip

Unit = dict[str, dict[str, list[str]]]


def read_unit(name: str) -> Unit:
    """Each section with its keys; a key may stand several times."""
    unit: Unit = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in (SETUPS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            unit[section][key].append(value)
    return unit


def environment_of(values: list[str], **specifiers: str) -> dict[str, str]:
    pairs = [pair.split("=", 1) for value in values for pair in value.split()]
    variables = dict(pairs)
    for name, value in variables.items():
        for specifier, meaning in specifiers.items():
            variables[name] = variables[name].replace(f"%{specifier}", meaning)
        assert "%" not in variables[name], value
    return variables


def settings_with(variables: dict[str, str]) -> Settings:
    """The settings of the file that ships with these variables over it, as the image has it."""
    return loading.load(ROOT / "config.toml", variables)


def secret_files(settings: Settings) -> set[str]:
    [account] = settings.accounts.values()
    references = [*settings.server.api_keys, *account.heap_secrets, account.cordial_api_key]
    return {str(reference.file) for reference in references}


# Docker compose


def test_compose_configures_an_account_from_its_secrets():
    settings = settings_with(SERVICE["environment"])
    assert secret_files(settings) == {f"/run/secrets/{name}" for name in SERVICE["secrets"]}
    assert set(SERVICE["secrets"]) == COMPOSE["secrets"].keys() == SECRET_NAMES
    kept = {(SETUPS / secret["file"]).resolve() for secret in COMPOSE["secrets"].values()}
    assert kept == {ROOT / "secrets" / name for name in SECRET_NAMES}


def test_compose_builds_this_image_and_keeps_its_volume():
    assert SERVICE["image"] == f"heap-cordial:{VERSION}"
    assert (SETUPS / SERVICE["build"]["context"] / SERVICE["build"]["dockerfile"]).resolve() == ROOT / "Containerfile"
    assert [volume.split(":")[1] for volume in SERVICE["volumes"]] == IMAGE.arguments("VOLUME")
    assert {volume.split(":")[0] for volume in SERVICE["volumes"]} <= COMPOSE["volumes"].keys()
    [port] = IMAGE.arguments("EXPOSE")
    assert SERVICE["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert COMPOSE["services"]["caddy"]["environment"]["HEAP_CORDIAL_UPSTREAM"] == f"heap-cordial:{port}"


def test_compose_gives_its_services_little_and_time_to_stop():
    for service in COMPOSE["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
    assert float(SERVICE["stop_grace_period"].removesuffix("s")) > GRACE_SECONDS
    # The image's own check is kept: only its rhythm stands here.
    assert "test" not in SERVICE["healthcheck"]
    assert parse_health_check(IMAGE.arguments("HEALTHCHECK")[0])[0] == "python"


def test_compose_runs_the_caddyfile_that_stands_beside_it():
    caddy = COMPOSE["services"]["caddy"]
    sources = [volume.split(":")[0] for volume in caddy["volumes"]]
    assert [source for source in sources if source.startswith(".")] == ["./Caddyfile"]
    named = {
        name for name in caddy["environment"] if f"{{${name}" in (SETUPS / "Caddyfile").read_text(encoding="utf-8")
    }
    assert named == caddy["environment"].keys()


def test_docker_itself_understands_the_file():
    if shutil.which("docker") is None or subprocess.run(["docker", "compose", "version"], check=False).returncode:  # noqa: S607
        pytest.skip("docker compose is not installed")
    command = ["docker", "compose", "--file", str(SETUPS / "compose.yaml"), "config", "--quiet"]
    checked = subprocess.run(command, env={"HEAP_CORDIAL_HOST": "a.example", "PATH": "/usr/bin"}, check=False)
    assert checked.returncode == 0


# Podman


@pytest.mark.parametrize("name", ["heap-cordial.container", "heap-cordial.volume"])
def test_every_key_of_the_quadlet_is_one_that_podman_knows(name):
    unit = read_unit(name)
    assert {section: keys.keys() - QUADLET_KEYS[section] for section, keys in unit.items() if section} == {
        section: set() for section in unit if section
    }


def test_the_page_asks_for_a_podman_that_knows_the_youngest_key():
    # From Podman's release notes; every other key is as old as quadlets, 4.4.
    since = {"HealthOnFailure": (4, 5), "PodmanArgs": (4, 5), "VolumeName": (4, 7)}
    used = {
        key
        for name in ("heap-cordial.container", "heap-cordial.volume")
        for section in ("Container", "Volume")
        for key in read_unit(name)[section]
    }
    [(major, minor)] = re.findall(r"Podman (\d+)\.(\d+) or newer", PAGE)
    assert (int(major), int(minor)) == max(since.get(key, (4, 4)) for key in used)


def test_the_quadlet_configures_an_account_from_its_secrets():
    container = read_unit("heap-cordial.container")["Container"]
    secrets = [dict(part.split("=") for part in value.split(",")[1:]) for value in container["Secret"]]
    settings = settings_with(environment_of(container["Environment"]))
    assert secret_files(settings) == {f"/run/secrets/{secret['target']}" for secret in secrets}
    assert {(secret["uid"], secret["gid"], secret["mode"]) for secret in secrets} == {(UID, GID, "0400")}


def test_the_quadlet_runs_this_image_on_its_volume():
    container = read_unit("heap-cordial.container")["Container"]
    assert container["Image"] == [f"localhost/heap-cordial:{VERSION}"]
    [(source, target)] = [value.split(":") for value in container["Volume"]]
    assert (SETUPS / source).exists()
    assert [target] == IMAGE.arguments("VOLUME")
    [port] = IMAGE.arguments("EXPOSE")
    assert container["PublishPort"] == [f"127.0.0.1:{port}:{port}"]
    assert (container["ReadOnly"], container["DropCapability"]) == (["true"], ["all"])
    options = dict(option.removeprefix("--").split("=") for option in container["PodmanArgs"][0].split())
    stop_seconds = int(read_unit("heap-cordial.container")["Service"]["TimeoutStopSec"][0])
    assert stop_seconds > int(options["stop-timeout"]) > GRACE_SECONDS


# systemd


def test_the_unit_runs_a_command_that_exists(tmp_path):
    service = read_unit("heap-cordial.service")["Service"]
    program, *arguments = service["ExecStart"][0].split()
    assert Path(program).name == parse_command(IMAGE.arguments("ENTRYPOINT")[0])[0]
    # The program reads its arguments before anything else: a file that is missing is what it then complains of.
    absent = [str(tmp_path / "absent.toml") if word.endswith(".toml") else word for word in arguments]
    ended = subprocess.run(
        [Path(sys.executable).parent / Path(program).name, *absent], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, "absent.toml" in ended.stderr, "usage:" in ended.stderr) == (2, True, False)


def test_the_unit_hands_over_every_secret_and_keeps_the_store_in_its_directory():
    service = read_unit("heap-cordial.service")["Service"]
    variables = environment_of(service["Environment"], d="/credentials")
    settings = settings_with(variables)
    handed = {value.split(":")[0] for value in service["LoadCredential"]}
    assert secret_files(settings) == {f"/credentials/{name}" for name in handed}
    assert handed == SECRET_NAMES
    # The store is named where root's commands read it too: in the configuration, which `init` writes.
    assert "HEAP_CORDIAL__STORE__PATH" not in variables
    [store] = re.findall(r"heap-cordial init .*--store (\S+)", PAGE)
    assert Path(store).parent == Path("/var/lib", *service["StateDirectory"])
    assert float(service["TimeoutStopSec"][0]) > GRACE_SECONDS
    image_variables = IMAGE.pairs("ENV")
    tuned = {name: value for name, value in variables.items() if name.startswith("MALLOC_")}
    assert tuned == {name: value for name, value in image_variables.items() if name.startswith("MALLOC_")}


def analyzed(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd says of the unit, with a program that exists on this machine."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "heap-cordial.service"
    text = (SETUPS / unit.name).read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/heap-cordial", str(ROOT)), encoding="utf-8")
    return subprocess.run([tool, *arguments, str(unit)], capture_output=True, text=True, check=False)


def test_systemd_finds_no_fault_in_the_unit(tmp_path):
    checked = analyzed(tmp_path, "verify")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_systemd_finds_the_unit_hardened(tmp_path):
    # Of 0 (nothing is exposed) to 10; in tenths, as the threshold counts.
    checked = analyzed(tmp_path, "security", "--offline=true", "--threshold=15")
    assert checked.returncode == 0, checked.stdout


# The page that guides through them

PAGE = (SETUPS / "README.md").read_text(encoding="utf-8")


def test_each_set_up_takes_at_most_ten_commands():
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", PAGE)
    assert len(blocks) == 6
    # What is written into a file is one command with the line that writes it.
    commands = [re.sub(r"(?ms)<<'HOOK'$.*?^HOOK$", "", block).strip().splitlines() for block in blocks]
    assert max(map(len, commands)) <= 10


def test_the_page_leads_to_every_file_and_to_nothing_else():
    links = {target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", PAGE)}
    assert all((SETUPS / link).exists() for link in links)
    assert {path.name for path in SETUPS.iterdir() if not path.name.startswith(".")} - links == {"README.md"}


def test_direct_tls_is_set_by_variables_that_the_health_check_knows():
    [block] = re.findall(r"(?ms)^```ini\n(.*?)^```$", PAGE)
    lines = [line.partition("=")[::2] for line in block.splitlines()]
    assert {key for key, _ in lines} <= QUADLET_KEYS["Container"]
    variables = environment_of([value for key, value in lines if key == "Environment"])
    service = SERVICE["environment"]
    server = settings_with(service | variables).server
    [mounted] = [value.split(":")[1] for key, value in lines if key == "Volume"]
    assert {Path(server.tls_certificate_file).parent, Path(server.tls_key_file).parent} == {Path(mounted)}
    check = parse_health_check(IMAGE.arguments("HEALTHCHECK")[0])[-1]
    assert {name for name in variables if name.removeprefix("HEAP_CORDIAL__SERVER__") in check} == {
        "HEAP_CORDIAL__SERVER__TLS_CERTIFICATE_FILE"
    }

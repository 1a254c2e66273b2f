"""Plans: what happens to a service in one simulation, drawn from a seed, as plain JSON that can be read, cut and run again."""

import random
from typing import Any

Event = dict[str, Any]
Plan = dict[str, Any]

LONGEST_ON_THE_WAY_SECONDS = 90
ACCOUNTS = ("acme", "globex")
_SEGMENTS = (1, 2, 3)
_STATUSES: tuple[tuple[int, dict[str, str]], ...] = (
    (429, {"Retry-After": "3"}),
    (500, {}),
    (503, {}),
    (503, {"Retry-After": "5"}),
    (502, {}),
    (401, {}),
)


def draw_plan(seed: int) -> Plan:
    """Return the plan of a seed."""
    chance = random.Random(seed)  # noqa: S311  what happens must be repeatable, not unguessable
    accounts = list(ACCOUNTS[: chance.choice((1, 1, 2))])
    imports = chance.random() < 0.25
    plan: Plan = {
        "seed": seed,
        "shuffles": chance.random() < 0.7,
        "accounts": {
            name: {
                "requests_per_second": chance.choice((3, 20, 100, 100, "auto")),
                "max_concurrency": chance.choice((1, 4, 16)),
                "request_timeout_seconds": chance.choice((2, 10)),
                "allow_drain": True,
                "on_segment_rename": chance.choice(("keep", "keep", "rename")),
                "hold_new_segments": chance.random() < 0.15,
                "imports": imports and chance.random() < 0.8,
                "max_backlog": chance.choice((0, 0, 0, 8)),
                # Who is read back is also set right, which would hide how he came to be wrong.
                **({} if chance.random() < 0.5 else {"proof_sample": 0, "proof_reads_per_hour": 0}),
            }
            for name in accounts
        },
        "latency_ms": chance.choice((0, 0, 5, 50)),
        "settle_interval_seconds": chance.choice((0.02, 0.1, 1.0)),
        "events": [],
    }
    # Apart from all else, so that a seed's plan stays what it was but for this.
    guard_chance = random.Random(f"guard {seed}")  # noqa: S311
    for account in plan["accounts"].values():
        if guard_chance.random() < 0.25:
            account["hold_removals"] = {
                "share": guard_chance.choice((0.0, 0.3, 0.6)),
                "least": guard_chance.choice((0, 2)),
            }
    users = [f"user{number}@example.com" for number in range(chance.choice((4, 10, 25)))]
    drawing = _Drawing(chance, accounts, users, imports=imports)
    at_ms = 0
    for _ in range(chance.randint(8, 28)):
        at_ms += chance.choice((0, 1, 20, 300, 2_000, 12_000))
        plan["events"].append({"at_ms": at_ms, **drawing.event()})
    return plan


class _Drawing:
    """Draws events; a page may belong to a sync that began long ago, and come again, late, under another name."""

    def __init__(self, chance: random.Random, accounts: list[str], users: list[str], *, imports: bool) -> None:
        self._chance = chance
        self._accounts = accounts
        self._users = users
        self._imports = imports
        self._tasks = 0
        self._kinds = {
            "page": 10,
            "flip": 2,
            "repeat": 2,
            "drain": 1,
            "fault": 4,
            "weather": 3,
            "outage": 1,
            "clock": 1,
            "crash": 2,
            "stop": 1,
            "reload": 1,
            "pause": 2,
            "rebuild": 1,
            "forget": 1,
            "verify": 0.5,
            "disk": 0.5,
            "foreign": 1,
            "rename_list": 0.5,
            "delete_list": 0.3,
            "approve": 0.7,
            "go": 0.5,
        }
        if imports:
            self._kinds["import_fault"] = 3

    def event(self) -> Event:
        [kind] = self._chance.choices(list(self._kinds), weights=list(self._kinds.values()))
        event: Event = getattr(self, f"_{kind}")()
        return {"kind": kind, **event}

    def _place(self) -> Event:
        return {"account": self._chance.choice(self._accounts), "segment": self._chance.choice(_SEGMENTS)}

    def _some_users(self, most: int) -> list[str]:
        return self._chance.sample(self._users, self._chance.randint(0, min(most, len(self._users))))

    def _page(self) -> Event:
        chance = self._chance
        if chance.random() < 0.6 or not self._tasks:
            self._tasks += 1
            task = self._tasks
        else:
            task = chance.randint(max(1, self._tasks - 3), self._tasks)
        add = self._some_users(len(self._users))
        return self._place() | {
            "task": task,
            "page": chance.randint(1, 3),
            "add": add,
            "remove": [user for user in self._some_users(4) if user not in add],
            "renamed": chance.random() < 0.1,
            "late_ms": chance.choice((0, 0, 0, 50, 3_000, 40_000)),
        }

    def _flip(self) -> Event:
        """A page, and soon after it another one that says the opposite of some."""
        chance = self._chance
        event = self._page()
        add = [user for user in event["add"] if chance.random() < 0.5]
        remove = [user for user in event["remove"] if chance.random() < 0.5]
        self._tasks += 1
        after_ms = chance.choice((1, 5, 20, 60, 300, 1_500))
        return event | {
            "then": {"task": self._tasks, "add": remove, "remove": add, "late_ms": event["late_ms"] + after_ms}
        }

    def _repeat(self) -> Event:
        return {"which": self._chance.randint(0, 30), "late_ms": self._chance.choice((0, 5, 2_000, 60_000))}

    def _drain(self) -> Event:
        return self._place()

    def _fault(self) -> Event:
        chance = self._chance
        kind = chance.choice(("answer", "answer", "html", "reset", "apply_then_reset", "hang"))
        status, headers = chance.choice(_STATUSES)
        return {
            "account": chance.choice(self._accounts),
            "fault": {
                "kind": kind,
                "times": chance.choice((1, 2, 7)),
                "status": 502 if kind == "html" else status,
                "headers": headers if kind == "answer" else {},
                "seconds": chance.choice((0, 0.05, 1, 30)) if kind in {"hang", "apply_then_reset"} else 0,
            },
        }

    def _import_fault(self) -> Event:
        chance = self._chance
        fault = chance.choice(
            (
                {"refused": True},
                {"throttled_seconds": 30},
                {"held_seconds": 90},
                {"ends": "failed", "after_share": chance.random()},
                {"reject_share": 0.4},
                {"lose_share": 0.4},
            )
        )
        return {"account": chance.choice(self._accounts), "fault": fault}

    def _weather(self) -> Event:
        chance = self._chance
        weather = chance.choice(
            (
                {"lost_request": 0.2},
                {"lost_answer": 0.2},
                {"cut_request": 0.3},
                {"cut_answer": 0.3},
                {"slow": 0.3, "slow_seconds": chance.choice((1, 20, LONGEST_ON_THE_WAY_SECONDS))},
                {"refused": 0.5, "cut_answer": 0.1},
                {"delay_seconds": [0.05, 0.6]},
                {"doubled": 0.5, "slow_seconds": chance.choice((0.001, 0.1, 20))},
                {"lost_request": 0.1, "lost_answer": 0.1, "cut_answer": 0.1, "slow": 0.1},
            )
        )
        to = chance.choice([*self._accounts, "service"])
        return {"to": to, "weather": weather, "seconds": chance.choice((1, 10, 60))}

    def _outage(self) -> Event:
        chance = self._chance
        return {
            "account": chance.choice(self._accounts),
            "how": chance.choice(("unreachable", "401", "403", "404", "record not found", "html", "500", "503")),
            "seconds": chance.choices((5, 60, 600, 86_400), weights=(3, 4, 4, 1))[0],
        }

    def _clock(self) -> Event:
        seconds = self._chance.choice((-3_600, -5, 5, 240, 3_600, 400 * 86_400, 400 * 86_400, -400 * 86_400))
        draw = self._chance.random()
        # After a start of the machine, a clock that is less than an hour ahead is believed (docs/guarantees.md).
        reboots = draw < 0.25 and not 0 <= seconds <= 3_600
        return {"seconds": seconds, "restart": draw < 0.5, "reboot": reboots}

    def _crash(self) -> Event:
        chance = self._chance
        return {"after_steps": int(chance.expovariate(1 / 150)), "down_seconds": chance.choice((0.01, 1, 30))}

    def _stop(self) -> Event:
        return {"down_seconds": self._chance.choice((0.01, 1, 30))}

    def _reload(self) -> Event:
        chance = self._chance
        change = chance.choice(
            (
                {"requests_per_second": chance.choice((2, 10, 50))},
                {"max_concurrency": chance.choice((1, 8))},
                {"request_timeout_seconds": chance.choice((3, 8))},
                {"dry_run": True},
            )
        )
        return {"account": chance.choice(self._accounts), "change": change}

    def _pause(self) -> Event:
        return {"account": self._chance.choice(self._accounts), "seconds": self._chance.choice((0.05, 2, 20))}

    def _rebuild(self) -> Event:
        return self._place() | {"include_removed": self._chance.random() < 0.5}

    def _verify(self) -> Event:
        return self._place()

    def _forget(self) -> Event:
        return {"user": self._chance.choice(self._users)}

    def _disk(self) -> Event:
        return {"factor": self._chance.choice((20, 200)), "seconds": self._chance.choice((1, 10))}

    def _foreign(self) -> Event:
        # Its segment's list is asked for soon.
        page = self._page() | {"renamed": self._chance.random() < 0.3}
        return page | {"enhanced": self._chance.random() < 0.5}

    def _rename_list(self) -> Event:
        return self._place()

    def _delete_list(self) -> Event:
        return self._place()

    def _approve(self) -> Event:
        return {}

    def _go(self) -> Event:
        return {"account": self._chance.choice(self._accounts), "seconds": self._chance.choice((0.01, 0.5, 20))}

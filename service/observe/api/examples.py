"""Examples for the OpenAPI document: one service, an account, a segment of three users of whom one was refused."""

from typing import Any

SERVICE: dict[str, Any] = {
    "version": "0.1.0",
    "started_at": "2026-03-02T08:00:00Z",
    "store": {"path": "/data/heap-cordial.db", "file": "2049:1311"},
    "key": {"name": "API key marketing", "role": "read"},
    "accounts": [{"name": "acme", "public_url": "https://sync.example.com"}],
}
ACCOUNT: dict[str, Any] = {
    "name": "acme",
    "state": "slowed",
    "reason": "Cordial's rate limit is reached",
    "hint": "",
    "since": "2026-03-02T09:14:05Z",
    "next_call_at": "2026-03-02T09:14:07Z",
    "calls_per_second": 24.7,
    "settled_per_second": 24.3,
    "failed_per_second": 0.0,
    "seconds_left": None,
    "found_rates": {"POST contacts": 24.9, "PUT contacts": 10.0},
    "imports_rest": {"until": "2026-03-02T10:02:11Z", "reason": "Cordial says the job failed"},
    "waits_for_trial": False,
    "lists": 1,
    "pending": 0,
    "sendable": 0,
    "waiting": 0,
    "failed": 1,
    "in_doubt": 0,
    "wanted": 3,
    "read_back": 2,
    "read_back_differ": 0,
    "differ_at_most": 0.3333333333333333,
    "proof": "2 of 3 members read back in the last day, 0 differ: with 95 % confidence at most 33.34 % do",
}
CONDITION: dict[str, Any] = {
    "id": "account_paused",
    "severity": "warning",
    "account": "acme",
    "subject": "",
    "detail": "",
    "people": 1200,
    "list_id": None,
    "since": "2026-03-02T09:14:05Z",
    "ended_at": None,
    "meaning": "A person paused the account. Its changes wait.",
    "what_to_do": "Resume the account when it may send again.",
    "command": "heap-cordial resume acme",
    "runbook": "docs/operations.md#account_paused",
}
TRIAL: dict[str, Any] = {
    "account": "acme",
    "version": "0.1.0",
    "trial": {
        "state": "done",
        "trying": None,
        "problem": "",
        "lists_left": ["heap-cordial-trial-20260302091405"],
        "contacts_left": ["a+heap-cordial-call-20260302091405@example.com"],
    },
    "results": [
        {
            "point": "file_updates",
            "outcome": "as_documented",
            "documented": "A file with updateOnly sets memberships, creates nobody and changes no subscription.",
            "detail": "statuses stay as they were (none and subscribed)",
            "what_to_do": "",
            "at": "2026-03-02T09:15:00Z",
        }
    ],
}
LIST: dict[str, Any] = {
    "id": 1,
    "account": "acme",
    "segment_id": "15225086",
    "segment_name": "Heap Test Segment",
    "list_name": "HeapTestSegment",
    "cordial_list_id": "8712",
    "state": "ready",
    "reason": "",
    "held_for": None,
    "awaits_approval": False,
    "standing": "incomplete",
    "wanted": 3,
    "on_list": 2,
    "pending": 0,
    "waiting": 0,
    "failed": 1,
    "unnamed": 0,
    "counted": 2,
    "count_differs_by": 0,
    "counted_at": "2026-03-02T09:14:06Z",
    "created_at": "2026-03-02T09:14:01Z",
    "read_back": 2,
    "read_back_differ": 0,
    "differs": False,
    "differ_at_most": 0.3333333333333333,
    "proof": "2 of 3 members read back in the last day, 0 differ: with 95 % confidence at most 33.34 % do",
    "import_state": None,
    "what_to_do": "See what Cordial answered, correct the cause, then retry.",
}
PREVIEW: dict[str, Any] = {
    "account": "acme",
    "segment_name": "Heap Test Segment",
    "list_name": "HeapTestSegment",
    "fate": "create",
    "reason": "",
    "calls": [
        {
            "method": "POST",
            "path": "/v2/accountlists",
            "body": {"name": "HeapTestSegment", "enhanced": True},
            "condition": "",
        },
        {
            "method": "POST",
            "path": "/v2/contacts",
            "body": {
                "channels": {"email": {"address": "jane@example.com"}},
                "HeapTestSegment": True,
                "suppressTriggers": True,
            },
            "condition": "",
        },
    ],
    "more_calls": False,
    "as_import": False,
    "dry_run": True,
    "additions": 1,
    "removals": 0,
    "unread_pages": False,
}
SYNC: dict[str, Any] = {
    "id": 42,
    "account": "acme",
    "list_id": 1,
    "segment_name": "Heap Test Segment",
    "list_name": "HeapTestSegment",
    "list_held": False,
    "task_id": "ce011f7a-0000-4000-8000-000000000000",
    "action": "segment.users.sync",
    "state": "failed",
    "pages_received": 1,
    "total_pages": 1,
    "added": 3,
    "removed": 0,
    "rejected": 1,
    "duplicates": 0,
    "unfolded_pieces": 0,
    "changes": 3,
    "pending": 0,
    "settled": 2,
    "failed": 1,
    "superseded": 0,
    "overtaken_users": 0,
    "removals": 0,
    "removals_of": None,
    "discarded_users": 0,
    "first_received_at": "2026-03-02T09:14:01Z",
    "last_received_at": "2026-03-02T09:14:01Z",
    "drained_at": "2026-03-02T09:14:05Z",
}
HELD_REMOVALS: dict[str, Any] = {
    "sync_id": 42,
    "state": "held",
    "removals": 1200,
    "removals_of": 2000,
    "additions": 3,
    "pages_missing": 0,
    "queued_syncs": 1,
    "first": ["email:jane@example.com", "email:john@example.com"],
}
IMPORT: dict[str, Any] = {
    "id": 7,
    "account": "acme",
    "lists": [{"id": 2, "list_name": "ActiveUsers"}],
    "state": "sending",
    "contacts": 250000,
    "jobs": 1,
    "settled": 0,
    "released": 0,
    "unnamed": 0,
    "reason": "",
    "started_at": "2026-03-02T09:14:01Z",
    "ended_at": None,
    "parts": [
        {
            "id": 9,
            "state": "running",
            "strategy": "updateOnly",
            "job_id": "65e2f0a1b2c3d4e5f6a7b8c9",
            "contacts": 250000,
            "tries": 0,
            "fetched_at": "2026-03-02T09:14:04Z",
            "doubt": "",
            "doubt_ends_at": None,
        }
    ],
}
UNUSABLE: dict[str, Any] = {
    "id": 7168,
    "delivery_id": 7,
    "sync_id": 42,
    "account": "acme",
    "list_id": 1,
    "segment_name": "Heap Test Segment",
    "task_id": "ce011f7a-0000-4000-8000-000000000000",
    "page_number": 1,
    "path": "$.data.add[2].id",
    "reason": "null",
    "value": "null",
    "received_at": "2026-03-02T09:14:01Z",
}
DELIVERY: dict[str, Any] = {
    "id": 77,
    "sync_id": 42,
    "account": "acme",
    "list_id": 1,
    "segment_name": "Heap Test Segment",
    "task_id": "ce011f7a-0000-4000-8000-000000000000",
    "page_number": 1,
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "added": 3,
    "removed": 0,
    "rejected": 1,
    "rejected_users": [{"path": "$.data.add[3].id", "reason": "placeholder", "value": "undefined"}],
    "received_at": "2026-03-02T09:14:01Z",
    "superseded_at": None,
}
FAILURE: dict[str, Any] = {
    "id": 17,
    "account": "acme",
    "list_id": 1,
    "list_name": "HeapTestSegment",
    "contact": "email:jane@example",
    "wanted": True,
    "dead": True,
    "reason": "refused",
    "message": "Invalid email address",
    "status": 422,
    "failures": 5,
    "attempts": 5,
    "first_failed_at": "2026-03-02T09:14:02Z",
    "last_failed_at": "2026-03-02T09:14:05Z",
    "next_attempt_at": None,
}
FAILURE_GROUP: dict[str, Any] = {
    "account": "acme",
    "list_id": 1,
    "list_name": "HeapTestSegment",
    "reason": "refused",
    "dead": True,
    "changes": 1,
    "message": "Invalid email address",
    "first_failed_at": "2026-03-02T09:14:02Z",
    "last_failed_at": "2026-03-02T09:14:05Z",
}
MEMBER: dict[str, Any] = {
    "user": "jane@example",
    "list_id": 1,
    "list_name": "HeapTestSegment",
    "contact": "email:jane@example",
    "state": "dead",
    "on_list": None,
    "heap": {
        "wanted": True,
        "said_at": "2026-03-02T09:14:01Z",
        "sync_id": 42,
        "task_id": "ce011f7a-0000-4000-8000-000000000000",
        "page_number": 1,
    },
    "failure": FAILURE,
    "journey": None,
    "next": {"what": "Nothing, until someone retries the failure.", "at": None},
    "explanation": "Heap wants the user on the list, but Cordial did not accept it after 5 calls, and the service does not retry it by itself: "
    "Invalid email address. Nothing, until someone retries the failure.",
}
AUDIT: dict[str, Any] = {
    "id": 3,
    "at": "2026-03-02T09:20:00Z",
    "actor": "API key of file /run/secrets/heap-cordial-api-key",
    "action": "failures.retry",
    "target": '{"reason":"refused"}',
    "changes": 1,
}
HISTORY: dict[str, Any] = {
    "samples": [
        {
            "at": "2026-03-02T09:14:05Z",
            "backlog": 12,
            "calls_per_second": 24.7,
            "settled_per_second": 24.7,
            "failed_per_second": 0.0,
        }
    ],
}
LIST_SUM: dict[str, Any] = {
    "wanted": 10,
    "on_list": 8,
    "to_add": 1,
    "failed": 1,
    "unusable": 1,
    "overtaken": 0,
    "to_remove": 0,
    "remove_failed": 0,
    "held": 0,
    "discarded": 0,
    "unread_pages": False,
    "missing_pages": [
        {
            "sync_id": 42,
            "task_id": "ce011f7a-0000-4000-8000-000000000000",
            "pages_received": 2,
            "total_pages": 3,
        }
    ],
}
OVERVIEW: dict[str, Any] = {
    "at": "2026-03-02T09:14:07Z",
    "headline": "1 person could not be added or removed",
    "is_well": False,
    "to_send": 12,
    "guarded": 0,
    "calls_per_second": 24.7,
    "settled_per_second": 24.3,
    "failed_per_second": 0.0,
    "seconds_left": None,
    "failed": 1,
    "lists": {
        "held": 0,
        "incomplete": 1,
        "differs": 0,
        "sync_held": 0,
        "to_approve": 0,
        "not_created": 0,
        "sending": 0,
        "receiving": 0,
        "not_counted": 0,
        "exact": 0,
    },
    "accounts": [ACCOUNT],
    "syncs": [SYNC],
    "imports": [],
}
EVENTS = (
    "id: 18c3f2a91b4d0000-7\nevent: delivery\n"
    'data: {"deliveries":[{"at":"2026-03-02T09:14:01Z","account":"acme","status":200,"outcome":"accepted","reason":null,'
    '"segment_name":"Heap Test Segment","task_id":"ce011f7a-0000-4000-8000-000000000000","page_number":1,'
    '"total_pages":1,"added":3,"removed":0,"rejected":1}],"left_out":0}\n\n'
    "id: 18c3f2a91b4d0000-8\nevent: progress\n"
    'data: {"at":"2026-03-02T09:14:02Z","backlog":3,"accounts":[…],"lists":[…],"syncs":[…],"imports":[…]}\n\n'
)

ERASURE = {"id": 1, "account": "acme", "user": "j***@e***.com", "kept_on_lists": False, "left": 1}
AUDIENCE: dict[str, Any] = {"people": [["email:jane@example.com"], ["email:joe@example.com"]]}
READ_MEMBERS: dict[str, Any] = {"members": [{"contact": "email:jane@example.com", "on_list": True}]}

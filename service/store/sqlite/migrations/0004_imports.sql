-- Changes that travel to Cordial as a file. An account has one import at a time.
-- segments: a JSON array, the list columns from left to right. gathered_to: the last contact of the ledger looked at.
-- contacts = rows gathered; settled and released say what became of them so far; reason: why some were released.
CREATE TABLE bulk_import (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES account (id),
    state TEXT NOT NULL CHECK (state IN ('gathering', 'sending', 'ended')),
    segments TEXT NOT NULL,
    gathered_to TEXT NOT NULL,
    contacts INTEGER NOT NULL DEFAULT 0,
    jobs INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,
    released INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    started_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER
) STRICT;

CREATE UNIQUE INDEX bulk_import_open ON bulk_import (account_id) WHERE state <> 'ended';

-- The contacts after after_contact up to last_contact travel as one job.
-- name_digest: SHA-256 of the secret in the file's URL; null once nobody may fetch it (any more).
CREATE TABLE import_part (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    import_id INTEGER NOT NULL REFERENCES bulk_import (id),
    state TEXT NOT NULL CHECK (state IN ('ready', 'posting', 'running', 'settling', 'releasing')),
    strategy TEXT NOT NULL CHECK (strategy IN ('updateOnly', 'insertOnly')),
    after_contact TEXT NOT NULL,
    last_contact TEXT NOT NULL,
    contacts INTEGER NOT NULL,
    joining INTEGER NOT NULL,
    contacts_bytes INTEGER NOT NULL,
    joining_bytes INTEGER NOT NULL,
    missing INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    job_id TEXT NOT NULL DEFAULT '',
    name_digest BLOB,
    fetched_at_ms INTEGER
) STRICT;

-- What an import says of its contacts. While a contact stands here no other call is made for it (R5), and the change
-- is settled only if it is still wanted as it was sent.
CREATE TABLE import_change (
    account_id INTEGER NOT NULL,
    contact TEXT NOT NULL,
    segment_id INTEGER NOT NULL,
    wanted INTEGER NOT NULL CHECK (wanted IN (0, 1)),
    PRIMARY KEY (account_id, contact, segment_id)
) STRICT, WITHOUT ROWID;

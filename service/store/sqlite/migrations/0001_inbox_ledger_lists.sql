-- Times are Unix milliseconds. Everything counted here is kept current by the transaction that changes it,
-- because counting a million rows in a request would take a second.

CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'sending' CHECK (state IN ('sending', 'slowed', 'paused')),
    state_reason TEXT NOT NULL DEFAULT '',
    state_since_ms INTEGER NOT NULL DEFAULT 0,
    next_call_at_ms INTEGER NOT NULL DEFAULT 0,
    paused_by_operator INTEGER NOT NULL DEFAULT 0 CHECK (paused_by_operator IN (0, 1))
) STRICT;

-- A Heap segment and the Cordial list it owns.
-- list_named_after: the segment's name when the list got its own.
-- members: wanted on the list. settled: of these, confirmed by Cordial. pending: changes that may be sent now.
-- waiting: changes to be sent again later. dead: changes given up until someone retries them.
-- drained_by: the sync of the last drain; older syncs have nothing to say about anyone any more.
CREATE TABLE segment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES account (id),
    heap_id TEXT NOT NULL,
    name TEXT NOT NULL,
    list_state TEXT NOT NULL DEFAULT 'unresolved' CHECK (list_state IN ('unresolved', 'creating', 'ready', 'held')),
    list_name TEXT NOT NULL DEFAULT '',
    list_id TEXT NOT NULL DEFAULT '',
    list_reason TEXT NOT NULL DEFAULT '',
    list_named_after TEXT NOT NULL DEFAULT '',
    list_count INTEGER,
    list_counted_at_ms INTEGER,
    members INTEGER NOT NULL DEFAULT 0 CHECK (members >= 0),
    settled INTEGER NOT NULL DEFAULT 0 CHECK (settled >= 0),
    pending INTEGER NOT NULL DEFAULT 0 CHECK (pending >= 0),
    waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    dead INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0),
    drained_by INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (account_id, heap_id)
) STRICT;

-- Two segments never share a list; Cordial may hold names to be equal that differ in letter case only.
CREATE UNIQUE INDEX segment_list_name ON segment (account_id, lower(list_name)) WHERE list_name <> '';

-- One sync task of one segment. The id is its precedence: the order in which the service first saw it (R4).
-- changes = pending + settled + dead + superseded, over the members this sync decided.
CREATE TABLE sync (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    segment_id INTEGER NOT NULL REFERENCES segment (id),
    task_id TEXT NOT NULL,
    action TEXT NOT NULL,
    total_pages INTEGER NOT NULL,
    pages_received INTEGER NOT NULL DEFAULT 0,
    added INTEGER NOT NULL DEFAULT 0,
    removed INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0,
    unfolded INTEGER NOT NULL DEFAULT 0 CHECK (unfolded >= 0),
    changes INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0 CHECK (pending >= 0),
    settled INTEGER NOT NULL DEFAULT 0 CHECK (settled >= 0),
    dead INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0),
    superseded INTEGER NOT NULL DEFAULT 0,
    first_received_at_ms INTEGER NOT NULL,
    last_received_at_ms INTEGER NOT NULL,
    drained_at_ms INTEGER,
    UNIQUE (segment_id, task_id)
) STRICT;

-- One page. (sync, page number, digest) identifies it (R3): Heap's own examples send two pages with one number.
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync_id INTEGER NOT NULL REFERENCES sync (id),
    page_number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    added INTEGER NOT NULL,
    removed INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    rejected_users TEXT NOT NULL DEFAULT '[]',
    received_at_ms INTEGER NOT NULL,
    UNIQUE (sync_id, page_number, digest)
) STRICT;

-- The inbox: what deliveries ask for, in order of acceptance, in pieces small enough for one short transaction each.
-- contacts: a JSON array of user ids; with identity before each they are contacts as the ledger has them.
-- wanted: 1 add, 0 remove; null: nothing to fold, the contacts are only to be sent (again). contacts null: every member
-- of the segment (a drain).
-- Once folded, a piece is the list of contacts to send, until all are settled. It replaces an index of the pending
-- changes, which would double the cost of folding: ids come in no order, so each row would dirty a page of its own.
CREATE TABLE piece (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    segment_id INTEGER NOT NULL REFERENCES segment (id),
    delivery_id INTEGER,
    identity TEXT NOT NULL,
    wanted INTEGER CHECK (wanted IN (0, 1)),
    users INTEGER NOT NULL,
    contacts TEXT
) STRICT;

CREATE INDEX piece_of_segment ON piece (segment_id, id);

-- Pieces up to piece_id are folded; of the next one, a drain, all contacts up to drained_to.
CREATE TABLE fold_position (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    piece_id INTEGER NOT NULL,
    drained_to TEXT NOT NULL
) STRICT;

INSERT INTO fold_position VALUES (1, 0, '');

-- The ledger. contact: key:value as in Cordial's paths. state: 0 settled, 1 pending, 2 waiting, 3 dead.
-- The key order puts all lists of one contact side by side: its pending changes travel in one call (R5).
CREATE TABLE member (
    account_id INTEGER NOT NULL,
    contact TEXT NOT NULL,
    segment_id INTEGER NOT NULL,
    wanted INTEGER NOT NULL CHECK (wanted IN (0, 1)),
    state INTEGER NOT NULL CHECK (state IN (0, 1, 2, 3)),
    sync_id INTEGER NOT NULL,
    delivery_id INTEGER NOT NULL,
    PRIMARY KEY (account_id, contact, segment_id)
) STRICT, WITHOUT ROWID;

-- Why a change did not go through. failures: calls that failed; attempts: of these, the change's own fault (R7).
CREATE TABLE failure (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL,
    contact TEXT NOT NULL,
    segment_id INTEGER NOT NULL,
    dead INTEGER NOT NULL CHECK (dead IN (0, 1)),
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    status INTEGER,
    next_attempt_at_ms INTEGER NOT NULL,
    first_failed_at_ms INTEGER NOT NULL,
    last_failed_at_ms INTEGER NOT NULL,
    UNIQUE (account_id, contact, segment_id)
) STRICT;

CREATE INDEX failure_due ON failure (next_attempt_at_ms) WHERE dead = 0;

-- What people did to the service: who, what, to what, and how much it changed.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    changes INTEGER NOT NULL
) STRICT;

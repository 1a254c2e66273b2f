-- The states of a member by name: what `member.state` counts in. docs/states.md draws what leads from one to the other.
-- A member's row holds the number, because a name would cost 7 bytes of the 90 that a member may take.
CREATE TABLE member_state (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    meaning TEXT NOT NULL
) STRICT;

INSERT INTO member_state (number, name, meaning) VALUES
    (0, 'settled', 'Cordial has confirmed what is wanted'),
    (1, 'pending', 'may be sent to Cordial now'),
    (2, 'waiting', 'is sent again once failure.next_attempt_at_ms has come'),
    (3, 'dead', 'is not sent again until a person retries it, or Heap says something newer');

-- Imports. A part in doubt: Cordial has its file, and whether and when it carries it out is not known (doubt says why),
-- so nothing else is sent for its contacts until that is known, or until doubt_ends_at_ms.
CREATE TABLE new_import_part (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    import_id INTEGER NOT NULL REFERENCES bulk_import (id),
    state TEXT NOT NULL CHECK (state IN ('ready', 'posting', 'running', 'in_doubt', 'settling', 'releasing')),
    strategy TEXT NOT NULL CHECK (strategy IN ('updateOnly', 'insertOnly')),
    after_contact TEXT NOT NULL,
    last_contact TEXT NOT NULL,
    contacts INTEGER NOT NULL,
    joining INTEGER NOT NULL,
    contacts_bytes INTEGER NOT NULL,
    joining_bytes INTEGER NOT NULL,
    missing INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    job_id TEXT NOT NULL DEFAULT '',
    name_digest BLOB,
    fetched_at_ms INTEGER,
    doubt TEXT NOT NULL DEFAULT '',
    doubt_ends_at_ms INTEGER
) STRICT;

INSERT INTO new_import_part (
    id, import_id, state, strategy, after_contact, last_contact, contacts, joining, contacts_bytes, joining_bytes, missing,
    tries, job_id, name_digest, fetched_at_ms
)
SELECT id, import_id, state, strategy, after_contact, last_contact, contacts, joining, contacts_bytes, joining_bytes,
    missing, tries, job_id, name_digest, fetched_at_ms
FROM import_part;

DROP TABLE import_part;
ALTER TABLE new_import_part RENAME TO import_part;

-- Conditions: what a person should know, while it lasts and afterwards, until retention forgets it.
CREATE TABLE condition (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    people INTEGER NOT NULL,
    list_id INTEGER,
    began_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX condition_lasting ON condition (kind, account, coalesce(list_id, subject)) WHERE ended_at_ms IS NULL;

-- How long the service has run, and the newest rows it had by then. What is old is told by this and not by the clock, which
-- may jump by years at a start. lived_ms: time that the service ran; at_ms: the clock at that moment. boot_id, boot_ago_ms:
-- which start of the machine was the last one, and how long it was ago, where the machine says so.
CREATE TABLE lived (
    lived_ms INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    boot_id TEXT,
    boot_ago_ms INTEGER,
    delivery_id INTEGER NOT NULL,
    sync_id INTEGER NOT NULL,
    import_id INTEGER NOT NULL,
    audit_id INTEGER NOT NULL,
    condition_id INTEGER NOT NULL
) STRICT;

-- What was kept so far is as old as the last delivery shows it to be.
INSERT INTO lived (lived_ms, at_ms, delivery_id, sync_id, import_id, audit_id, condition_id)
SELECT day.at_ms - (SELECT max(received_at_ms) FROM delivery), day.at_ms, day.delivery_id, day.sync_id,
    (SELECT coalesce(max(id), 0) FROM bulk_import WHERE ended_at_ms <= day.at_ms),
    (SELECT coalesce(max(id), 0) FROM audit WHERE audit.at_ms <= day.at_ms), 0
FROM (
    SELECT max(received_at_ms) AS at_ms, max(id) AS delivery_id, max(sync_id) AS sync_id
    FROM delivery GROUP BY received_at_ms / 86400000
) AS day;

-- signed_at_ms: by the sender's clock. What came before is taken to be signed as late as any tolerance allows.
ALTER TABLE delivery ADD COLUMN signed_at_ms INTEGER NOT NULL DEFAULT 0;
UPDATE delivery SET signed_at_ms = received_at_ms + 604800000;

-- The latest signature among the deliveries that retention has forgotten: whether one signed up to then is a repeat, nobody
-- knows any more.
CREATE TABLE forgotten (signed_to_ms INTEGER NOT NULL) STRICT;
INSERT INTO forgotten (signed_to_ms) VALUES (0);

-- What whoever calls for an account leaves to the next. call_wait: until when Cordial has told not to call a (method, endpoint),
-- and how long that was when it was written, for the clock may be another by then. called_at_ms: the last call before an
-- orderly end; 0 before the first call, NULL while there may be calls, and so after a crash.
ALTER TABLE account ADD COLUMN called_at_ms INTEGER DEFAULT 0;
CREATE TABLE call_wait (
    account_id INTEGER NOT NULL REFERENCES account (id),
    operation TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    wait_ms INTEGER NOT NULL,
    PRIMARY KEY (account_id, operation)
) STRICT, WITHOUT ROWID;
UPDATE account SET called_at_ms = NULL;

-- What a trial of an account showed, the last one of each point. It holds for the Cordial that it was made at: another
-- cordial_base_url, and nothing is known.
CREATE TABLE trial (
    account_id INTEGER NOT NULL REFERENCES account (id),
    point TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('as_documented', 'otherwise', 'not_tried')),
    detail TEXT NOT NULL,
    cordial_base_url TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (account_id, point)
) STRICT, WITHOUT ROWID;

-- What happened in each minute of the past week, for the picture on the dashboard.
CREATE TABLE minute (
    at_ms INTEGER PRIMARY KEY,
    backlog INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    failed INTEGER NOT NULL
) STRICT;

-- Lists. list_held_for: why a list is held. list_home: in which Cordial account it is (the API's URL, '#', a digest of the
-- API key); empty for lists of earlier versions. list_ids_before, list_asked_at_ms: what Cordial had right before it was
-- asked to create the list, and when that was; empty and 0 once it is known what came of it.
ALTER TABLE segment ADD COLUMN list_held_for TEXT CHECK (
    list_held_for IN (
        'awaiting_approval', 'not_ours', 'name_refused', 'creation_in_doubt', 'deleted', 'not_accepted', 'name_conflict',
        'other_cordial'
    )
);
ALTER TABLE segment ADD COLUMN list_home TEXT NOT NULL DEFAULT '';
ALTER TABLE segment ADD COLUMN list_ids_before TEXT NOT NULL DEFAULT '';
ALTER TABLE segment ADD COLUMN list_asked_at_ms INTEGER NOT NULL DEFAULT 0;

UPDATE segment SET list_held_for = CASE
    WHEN list_named_after = '' THEN 'awaiting_approval'
    WHEN list_id <> '' AND list_reason LIKE '%was deleted in Cordial%' THEN 'deleted'
    WHEN list_id <> '' THEN 'not_accepted'
    WHEN list_reason LIKE 'Cordial refuses the name%' THEN 'name_refused'
    ELSE 'not_ours'
END
WHERE list_state = 'held';
-- What Cordial had before the creation was not recorded then: a list that has the name now cannot be told from another.
UPDATE segment SET list_asked_at_ms = 1, list_ids_before = '[]' WHERE list_state = 'creating';
UPDATE segment SET list_count = NULL, list_counted_at_ms = NULL WHERE list_count < 0;

-- A list belongs to one segment by its id. Names are Cordial's to keep apart: people rename lists there, and swap them.
DROP INDEX segment_list_name;
UPDATE segment SET list_state = 'unresolved', list_id = '', list_name = ''
WHERE list_id <> '' AND EXISTS (
    SELECT 1 FROM segment AS first
    WHERE first.account_id = segment.account_id AND first.list_id = segment.list_id AND first.id < segment.id
);
CREATE UNIQUE INDEX segment_list_id ON segment (account_id, list_home, list_id) WHERE list_id <> '';

-- Contacts to be read back from Cordial, why, and from when on. A call for the contact may be on its way still where the
-- reason is lost_answer or crash: then it is in doubt until it was read.
CREATE TABLE read_back (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES account (id),
    contact TEXT NOT NULL,
    reason TEXT NOT NULL CHECK (reason IN ('lost_answer', 'crash', 'absent', 'named', 'sample')),
    due_at_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    UNIQUE (account_id, contact)
) STRICT;

CREATE INDEX read_back_due ON read_back (account_id, due_at_ms);
-- Comparisons may name a million, and who is in doubt must neither wait for them nor be counted among them.
CREATE INDEX read_back_in_doubt ON read_back (account_id, due_at_ms) WHERE reason IN ('lost_answer', 'crash');

-- Contacts that may be sent at this moment, as JSON arrays; noted before their calls are made, removed after the results
-- are kept. What a start finds here was cut by a crash.
CREATE TABLE claimed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES account (id),
    contacts TEXT NOT NULL
) STRICT;

-- Members that were read back in the last day, and whether Cordial had them otherwise than the ledger.
CREATE TABLE member_read (
    account_id INTEGER NOT NULL,
    contact TEXT NOT NULL,
    segment_id INTEGER NOT NULL REFERENCES segment (id),
    wanted INTEGER NOT NULL CHECK (wanted IN (0, 1)),
    differed INTEGER NOT NULL CHECK (differed IN (0, 1)),
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (account_id, contact, segment_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX member_read_at ON member_read (at_ms);
CREATE INDEX member_read_of_segment ON member_read (segment_id, wanted, differed, at_ms);

-- Old rows go only when new ones come.
CREATE VIEW day_read AS SELECT * FROM member_read WHERE at_ms > (unixepoch() - 86400) * 1000;

-- The contact that the walk through the ledger has come to.
ALTER TABLE account ADD COLUMN walked_to TEXT NOT NULL DEFAULT '';

-- Who is newer (R4): the moment a sync's first page was signed, or received if that is earlier; ties by id. What was taken in
-- the order of arrival keeps that order.
-- overtaken_users: users of its pages of whom a newer sync or a drain had already spoken.
ALTER TABLE sync ADD COLUMN precedence_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sync ADD COLUMN overtaken_users INTEGER NOT NULL DEFAULT 0;
UPDATE sync SET precedence_ms = arrival.precedence_ms
FROM (
    SELECT id, max(first_received_at_ms) OVER (PARTITION BY segment_id ORDER BY id) AS precedence_ms FROM sync
) AS arrival
WHERE arrival.id = sync.id;
CREATE INDEX sync_precedence ON sync (segment_id, precedence_ms);

-- superseded_at_ms: when it was seen that a newer sync or a drain had overtaken all of the page (R3).
ALTER TABLE delivery ADD COLUMN overtaken_users INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN superseded_at_ms INTEGER;
-- unusable: of those rejected, who was to be added.
ALTER TABLE delivery ADD COLUMN unusable INTEGER NOT NULL DEFAULT 0;
UPDATE delivery SET unusable = rejected - (
    SELECT count(*) FROM json_each(delivery.rejected_users) AS user WHERE user.value ->> 'path' GLOB '$.data.remove*'
)
WHERE rejected > 0;
CREATE INDEX delivery_unusable ON delivery (sync_id, unusable) WHERE unusable > 0;
-- Syncs of which pages have not arrived: few however long the history.
CREATE INDEX sync_incomplete ON sync (segment_id, id) WHERE pages_received < total_pages;

-- Who a contact is to Heap (R4). Most contacts have one user id, written as the contact itself is, and the member says all. Where
-- Heap also writes it otherwise (Jane@x.com), is_spelled is 1 and each of its user ids, the plain one too, has a row here: what
-- Heap wants of it, and the sync that said so. The member is wanted as long as one of them is.
ALTER TABLE member ADD COLUMN is_spelled INTEGER NOT NULL DEFAULT 0 CHECK (is_spelled IN (0, 1));
CREATE TABLE spelling (
    segment_id INTEGER NOT NULL REFERENCES segment (id),
    contact TEXT NOT NULL,
    user_id TEXT NOT NULL,
    wanted INTEGER NOT NULL CHECK (wanted IN (0, 1)),
    sync_id INTEGER NOT NULL,
    PRIMARY KEY (segment_id, contact, user_id)
) STRICT, WITHOUT ROWID;

-- spellings: a JSON array of [value, user id] where user ids are written otherwise than the contact; contacts holds each value once.
ALTER TABLE piece ADD COLUMN spellings TEXT;

-- Rows of an import's file that Cordial refused without naming them: of those contacts after after_contact up to last_contact
-- whom the import put on its lists, `refused` are not there. contacts: how many travelled in that range. known_failures:
-- contacts of the range that had failed before, and those found since. searched: the likely ones were called. tries: files
-- sent to narrow the range. called_to: all contacts up to this one were called. segments: the import's list columns, as in bulk_import.
CREATE TABLE unnamed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES account (id),
    import_id INTEGER NOT NULL,
    segments TEXT NOT NULL,
    after_contact TEXT NOT NULL,
    last_contact TEXT NOT NULL,
    contacts INTEGER NOT NULL,
    refused INTEGER NOT NULL CHECK (refused > 0),
    known_failures INTEGER NOT NULL,
    searched INTEGER NOT NULL DEFAULT 0 CHECK (searched IN (0, 1)),
    tries INTEGER NOT NULL DEFAULT 0,
    called_to TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX unnamed_account ON unnamed (account_id);

-- How many of the settled members of a segment are refused and not named yet: the sum over its ranges in `unnamed`.
ALTER TABLE segment ADD COLUMN unnamed INTEGER NOT NULL DEFAULT 0 CHECK (unnamed >= 0);

-- The last folded piece when gathering began: while the file is settled, calls send what is in later pieces.
ALTER TABLE bulk_import ADD COLUMN after_piece INTEGER NOT NULL DEFAULT 0;
UPDATE bulk_import SET after_piece = (SELECT piece_id FROM fold_position) WHERE state <> 'ended';

-- An import that is opened again looks for refused rows in half of a range: those up to gather_end.
ALTER TABLE bulk_import ADD COLUMN unnamed_id INTEGER;
ALTER TABLE bulk_import ADD COLUMN gather_end TEXT NOT NULL DEFAULT '';

-- Notices: what each target was told of conditions that last (list_id 0: about no list), and the messages that it is still to get.
CREATE TABLE notice_told (
    target TEXT NOT NULL,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    list_id INTEGER NOT NULL,
    began_at_ms INTEGER NOT NULL,
    PRIMARY KEY (target, kind, account, subject, list_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE notice (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    target TEXT NOT NULL,
    message BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try_at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX notice_of_target ON notice (target, id);

-- Guarded removals (R17). What the guard found of a sync. guard: null as long as it is not judged; passed: it may be folded,
-- up to judged_to; held: a person has to decide; approved, discarded: a person has decided, for pages that come later too.
-- guard_removals: how many of guard_members contacts it takes off the list, guard_passed of them by pages that were passed.
-- judged_to: the last guarded piece that was counted.
-- discarded_users: users of its pages that were discarded.
ALTER TABLE sync ADD COLUMN guard TEXT CHECK (guard IN ('passed', 'held', 'approved', 'discarded'));
ALTER TABLE sync ADD COLUMN guard_removals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sync ADD COLUMN guard_passed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sync ADD COLUMN guard_members INTEGER;
ALTER TABLE sync ADD COLUMN guard_at_ms INTEGER;
ALTER TABLE sync ADD COLUMN judged_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sync ADD COLUMN discarded_users INTEGER NOT NULL DEFAULT 0 CHECK (discarded_users >= 0);
CREATE INDEX sync_held ON sync (segment_id) WHERE guard = 'held';

-- Pieces of the inbox that are not folded before their sync is judged, in their order. They go back into the inbox with
-- is_judged, or are discarded.
ALTER TABLE piece ADD COLUMN is_judged INTEGER NOT NULL DEFAULT 0 CHECK (is_judged IN (0, 1));
CREATE TABLE guarded_piece (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync_id INTEGER NOT NULL REFERENCES sync (id),
    segment_id INTEGER NOT NULL REFERENCES segment (id),
    delivery_id INTEGER NOT NULL,
    identity TEXT NOT NULL,
    wanted INTEGER NOT NULL CHECK (wanted IN (0, 1)),
    users INTEGER NOT NULL,
    contacts TEXT,
    spellings TEXT
) STRICT;

CREATE INDEX guarded_piece_of_segment ON guarded_piece (segment_id, id);
CREATE INDEX guarded_piece_of_sync ON guarded_piece (sync_id, id, wanted, users);

-- Whom Cordial confirmed on the list. What a file brought is settled after its refused rows are known: until then they are
-- among what is owed.
ALTER TABLE segment ADD COLUMN confirmed INTEGER GENERATED ALWAYS AS (max(0, settled - unnamed)) VIRTUAL;
-- How many they were when Cordial counted the list.
ALTER TABLE segment ADD COLUMN list_count_of INTEGER;
UPDATE segment SET list_count_of = confirmed WHERE list_count IS NOT NULL;
-- By how many contacts Cordial's count of a list differs from what it confirmed; null where nobody can tell, because the list
-- was not counted since the last change, or changes are owed.
ALTER TABLE segment ADD COLUMN count_differs_by INTEGER GENERATED ALWAYS AS (
    CASE WHEN pending + waiting = 0 AND list_count_of = confirmed THEN list_count - list_count_of END
) VIRTUAL;

-- Orders in which people look: syncs of which changes failed, and failures that wait for a person before those tried again.
CREATE INDEX sync_failed ON sync (id) WHERE dead > 0;
-- Of an expression, so that no other question for dead letters is answered by it.
CREATE INDEX failure_trouble ON failure (-dead, id DESC);
-- How many people failed, each once however many lists; and when the next change of a list is tried again.
CREATE INDEX failure_people ON failure (account_id, contact) WHERE dead = 1;
CREATE INDEX failure_next ON failure (segment_id, next_attempt_at_ms) WHERE dead = 0;

-- Moments that rules compare, too, as people read them: by the machine's clock, which may be set while the service runs.
ALTER TABLE sync ADD COLUMN drained_told_ms INTEGER;
UPDATE sync SET drained_told_ms = drained_at_ms;
ALTER TABLE segment ADD COLUMN list_counted_told_ms INTEGER;
UPDATE segment SET list_counted_told_ms = list_counted_at_ms;

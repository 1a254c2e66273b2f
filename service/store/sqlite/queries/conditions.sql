-- name: begin
INSERT INTO condition (kind, account, subject, detail, people, list_id, began_at_ms)
VALUES (:id, :account, :subject, :detail, :people, :list_id, :began_at_ms)
ON CONFLICT DO NOTHING;

-- name: end
UPDATE condition SET ended_at_ms = :ended_at_ms
WHERE kind = :id AND account = :account AND coalesce(list_id, subject) = coalesce(:list_id, :subject)
    AND ended_at_ms IS NULL;

-- name: change
UPDATE condition SET subject = :subject, detail = :detail, people = :people
WHERE kind = :id AND account = :account AND coalesce(list_id, subject) = coalesce(:list_id, :subject)
    AND ended_at_ms IS NULL;

-- name: lasting
SELECT kind AS id, account, subject, detail, people, list_id, began_at_ms, ended_at_ms
FROM condition WHERE ended_at_ms IS NULL;

-- name: history
SELECT kind AS id, account, subject, detail, people, list_id, began_at_ms, ended_at_ms
FROM condition
WHERE ended_at_ms IS NOT NULL
    AND (:kind IS NULL OR kind = :kind)
    AND (:account IS NULL OR account = :account)
    AND (:subject IS NULL OR subject = :subject)
    AND (:list_id IS NULL OR list_id = :list_id)
ORDER BY condition.id DESC LIMIT :limit;

-- name: shared_names
-- The names that several segments of an account have.
SELECT account.name AS account, segment.name AS segment
FROM segment JOIN account ON account.id = segment.account_id
GROUP BY account.id, segment.name HAVING count(*) > 1;

-- name: not_counted
-- A count follows each sync; one that is so old and was not followed by any is missing.
SELECT segment.id AS list_id, account.name AS account, segment.name AS segment, segment.list_name
FROM (
    SELECT segment_id, max(id), drained_at_ms FROM (SELECT * FROM sync ORDER BY id DESC LIMIT :syncs) GROUP BY segment_id
) AS latest
JOIN segment ON segment.id = latest.segment_id
JOIN account ON account.id = segment.account_id
WHERE segment.list_state = 'ready' AND segment.pending + segment.waiting = 0
    AND latest.drained_at_ms < :before_ms AND coalesce(segment.list_counted_at_ms, 0) < latest.drained_at_ms
    AND account.name IN (SELECT value FROM json_each(:accounts))
LIMIT :limit;

-- name: pages
SELECT DISTINCT page_number FROM delivery WHERE sync_id = :sync_id;

-- name: rhythm
-- The last syncs of each segment: when each began, and for how long the service has run since the latest.
SELECT segment.id AS list_id, account.name AS account, segment.name AS segment, segment.list_name,
    recent.first_received_at_ms,
    (SELECT max(lived_ms) FROM lived)
        - coalesce((SELECT min(lived_ms) FROM lived WHERE lived.sync_id >= recent.id), (SELECT max(lived_ms) FROM lived))
        AS lived_since_ms
FROM (
    SELECT id, segment_id, first_received_at_ms,
        row_number() OVER (PARTITION BY segment_id ORDER BY id DESC) AS place
    FROM (SELECT id, segment_id, first_received_at_ms FROM sync ORDER BY id DESC LIMIT :syncs)
) AS recent
JOIN segment ON segment.id = recent.segment_id
JOIN account ON account.id = segment.account_id
WHERE recent.place <= :most
    AND account.name IN (SELECT value FROM json_each(:accounts))
ORDER BY recent.segment_id, recent.id DESC;

-- name: unusable
-- As many as the list's sum names; by the index of such pages, which is little however long the history.
SELECT segment.id AS list_id, account.name AS account, segment.name AS segment, segment.list_name, sum(each_sync.users) AS users
FROM (SELECT sync_id, sum(unusable) AS users FROM delivery WHERE unusable > 0 GROUP BY sync_id) AS each_sync
JOIN sync ON sync.id = each_sync.sync_id
JOIN segment ON segment.id = sync.segment_id AND sync.id > segment.drained_by
JOIN account ON account.id = segment.account_id
WHERE account.name IN (SELECT value FROM json_each(:accounts))
GROUP BY segment.id
LIMIT :limit;

-- name: oldest
-- What a held list, or a held sync, owes is told by that.
SELECT account.name AS account, min(sync.first_received_at_ms) AS since_ms
FROM sync JOIN segment ON segment.id = sync.segment_id JOIN account ON account.id = segment.account_id
WHERE sync.drained_at_ms IS NULL AND segment.list_state <> 'held'
    AND NOT EXISTS (SELECT 1 FROM guarded_piece WHERE guarded_piece.sync_id = sync.id)
    AND account.name IN (SELECT value FROM json_each(:accounts))
GROUP BY account.id HAVING min(sync.first_received_at_ms) < :before_ms;

-- name: imports_in_doubt
SELECT account.name AS account, sum(import_part.contacts) AS contacts, max(import_part.doubt) AS doubt
FROM import_part
JOIN bulk_import ON bulk_import.id = import_part.import_id
JOIN account ON account.id = bulk_import.account_id
WHERE import_part.state = 'in_doubt'
    AND account.name IN (SELECT value FROM json_each(:accounts))
GROUP BY account.id;

-- name: contacts_in_doubt
SELECT account.name AS account, count(*) AS contacts
FROM read_back JOIN account ON account.id = read_back.account_id
WHERE read_back.reason IN ('lost_answer', 'crash')
    AND account.name IN (SELECT value FROM json_each(:accounts))
GROUP BY account.id;

-- name: members_differed
SELECT segment.id AS list_id, account.name AS account, segment.name AS segment, segment.list_name, count(*) AS contacts
FROM day_read
JOIN segment ON segment.id = day_read.segment_id
JOIN account ON account.id = segment.account_id
WHERE day_read.differed = 1
    AND account.name IN (SELECT value FROM json_each(:accounts))
GROUP BY segment.id
LIMIT :limit;

-- name: removals_held
SELECT segment.id AS list_id, account.name AS account, segment.name AS segment, segment.list_name, sync.id AS sync_id,
    sync.guard_removals AS removals, sync.guard_members AS members
FROM sync JOIN segment ON segment.id = sync.segment_id JOIN account ON account.id = segment.account_id
WHERE sync.guard = 'held'
    AND account.name IN (SELECT value FROM json_each(:accounts))
LIMIT :limit;

-- name: unfolded
SELECT segment.id AS list_id, account.name AS account, segment.name AS segment, segment.list_name
FROM sync JOIN segment ON segment.id = sync.segment_id JOIN account ON account.id = segment.account_id
WHERE sync.drained_at_ms IS NULL AND sync.unfolded > 0 AND sync.last_received_at_ms < :before_ms
    AND NOT EXISTS (SELECT 1 FROM guarded_piece WHERE guarded_piece.sync_id = sync.id)
    AND account.name IN (SELECT value FROM json_each(:accounts))
GROUP BY segment.id
LIMIT :limit;

-- name: not_configured
SELECT account.name AS account, sum(segment.pending + segment.waiting) AS owed
FROM segment JOIN account ON account.id = segment.account_id
WHERE account.name NOT IN (SELECT value FROM json_each(:accounts))
GROUP BY account.id HAVING sum(segment.pending + segment.waiting) > 0
LIMIT :limit;

-- name: pages_missing
SELECT coalesce(sum(changes), 0) AS pages
FROM (SELECT * FROM audit ORDER BY id DESC LIMIT :rows) AS latest
WHERE latest.action = 'store.pages_missing' AND latest.at_ms > :after_ms;

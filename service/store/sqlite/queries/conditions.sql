-- name: begin
INSERT INTO condition (kind, account, subject, detail, began_at_ms)
VALUES (:id, :account, :subject, :detail, :began_at_ms)
ON CONFLICT DO NOTHING;

-- name: end
UPDATE condition SET ended_at_ms = :ended_at_ms
WHERE kind = :id AND account = :account AND subject = :subject AND ended_at_ms IS NULL;

-- name: lasting
SELECT kind AS id, account, subject, detail, began_at_ms, ended_at_ms FROM condition WHERE ended_at_ms IS NULL;

-- name: history
SELECT kind AS id, account, subject, detail, began_at_ms, ended_at_ms
FROM condition WHERE ended_at_ms IS NOT NULL ORDER BY id DESC LIMIT :limit;

-- name: lists
SELECT account.name AS account, segment.name AS segment, segment.list_name, segment.list_state, segment.list_reason,
    segment.list_held_for IS 'awaiting_approval' AS awaits_approval,
    segment.pending, segment.waiting, segment.dead, segment.settled, segment.list_count
FROM segment JOIN account ON account.id = segment.account_id
WHERE segment.list_state <> 'ready' OR segment.dead > 0 OR segment.list_count <> segment.settled
LIMIT :limit;

-- name: incomplete
-- By the index of what is incomplete, which is little however long the history. A newer sync makes good what is missing.
SELECT account.name AS account, segment.name AS segment, sync.pages_received, sync.total_pages
FROM sync
JOIN segment ON segment.id = sync.segment_id
JOIN account ON account.id = segment.account_id
WHERE sync.pages_received < sync.total_pages AND sync.last_received_at_ms < :before_ms
    AND NOT EXISTS (SELECT 1 FROM sync AS newer WHERE newer.segment_id = sync.segment_id AND newer.id > sync.id)
LIMIT :limit;

-- name: rhythm
-- The last syncs of each segment: when each began.
SELECT account.name AS account, segment.name AS segment, recent.first_received_at_ms
FROM (
    SELECT segment_id, first_received_at_ms,
        row_number() OVER (PARTITION BY segment_id ORDER BY id DESC) AS place
    FROM (SELECT id, segment_id, first_received_at_ms FROM sync ORDER BY id DESC LIMIT :syncs)
) AS recent
JOIN segment ON segment.id = recent.segment_id
JOIN account ON account.id = segment.account_id
WHERE recent.place <= 4
ORDER BY recent.segment_id, recent.first_received_at_ms DESC;

-- name: unusable
SELECT account.name AS account, segment.name AS segment, latest.rejected
FROM (SELECT segment_id, max(id), rejected FROM (SELECT * FROM sync ORDER BY id DESC LIMIT :syncs) GROUP BY segment_id) AS latest
JOIN segment ON segment.id = latest.segment_id
JOIN account ON account.id = segment.account_id
WHERE latest.rejected > 0;

-- name: oldest
SELECT account.name AS account, min(sync.first_received_at_ms) AS since_ms
FROM sync JOIN segment ON segment.id = sync.segment_id JOIN account ON account.id = segment.account_id
WHERE sync.drained_at_ms IS NULL
GROUP BY account.id HAVING min(sync.first_received_at_ms) < :before_ms;

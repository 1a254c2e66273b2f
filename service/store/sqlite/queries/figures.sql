-- name: oldest_open
-- By the index of what is open, which is little however long the history.
SELECT segment.account_id, min(sync.first_received_at_ms)
FROM sync
JOIN segment ON segment.id = sync.segment_id
WHERE sync.drained_at_ms IS NULL
GROUP BY segment.account_id;

-- name: lists
SELECT account_id, list_state, count(*), sum(dead) FROM segment GROUP BY account_id, list_state;

-- name: accounts
SELECT id, name FROM account;

-- name: in_doubt
SELECT account_id, count(*) FROM read_back WHERE reason IN ('lost_answer', 'crash') GROUP BY account_id;

-- name: read_back
SELECT account_id, count(*), sum(differed) FROM day_read GROUP BY account_id;

-- name: travelling
SELECT account_id, contacts - settled - released FROM bulk_import WHERE state <> 'ended';

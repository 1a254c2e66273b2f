-- name: due_failures
SELECT account_id, segment_id, contact FROM failure
WHERE dead = 0 AND next_attempt_at_ms <= :now_ms
ORDER BY next_attempt_at_ms
LIMIT :limit;

-- name: next_due
SELECT min(next_attempt_at_ms) FROM failure WHERE dead = 0 AND next_attempt_at_ms < :never_ms;

-- name: put_off
UPDATE failure SET next_attempt_at_ms = :at_ms
WHERE account_id = :account_id AND segment_id = :segment_id AND contact = :contact AND dead = 0;

-- name: hasten_blameless
UPDATE failure SET next_attempt_at_ms = :now_ms
WHERE account_id = :account_id AND dead = 0 AND attempts = 0 AND next_attempt_at_ms < :never_ms
    -- The second look at who is said to be absent must come some time after the first.
    AND reason <> :absent;

-- name: remove_pieces
DELETE FROM piece WHERE id IN (SELECT value FROM json_each(:pieces));

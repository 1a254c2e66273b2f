-- name: count_settling
SELECT sync_id, count(*) FROM member
WHERE account_id = :account_id AND contact IN (SELECT value FROM json_each(:contacts))
    AND segment_id = :segment_id AND wanted = :wanted AND state = 1
GROUP BY sync_id;

-- name: settle
UPDATE member SET state = 0
WHERE account_id = :account_id AND contact IN (SELECT value FROM json_each(:contacts))
    AND segment_id = :segment_id AND wanted = :wanted AND state = 1;

-- name: set_aside
UPDATE member SET state = :state
WHERE account_id = :account_id AND contact = :contact AND segment_id = :segment_id AND wanted = :wanted AND state = 1
RETURNING sync_id;

-- name: record_failure
INSERT INTO failure (
    account_id, contact, segment_id, dead, failures, attempts, reason, message, status,
    next_attempt_at_ms, first_failed_at_ms, last_failed_at_ms
)
VALUES (
    :account_id, :contact, :segment_id, :dead, 1, :attempts, :reason, :message, :status,
    :next_attempt_at_ms, :now_ms, :now_ms
)
ON CONFLICT (account_id, contact, segment_id) DO UPDATE SET
    dead = excluded.dead,
    failures = failures + 1,
    attempts = excluded.attempts,
    reason = excluded.reason,
    message = excluded.message,
    status = excluded.status,
    next_attempt_at_ms = excluded.next_attempt_at_ms,
    last_failed_at_ms = excluded.last_failed_at_ms;

-- name: forget_failure
DELETE FROM failure
WHERE account_id = :account_id AND contact = :contact AND segment_id = :segment_id
    AND EXISTS (
        SELECT 1 FROM member
        WHERE member.account_id = failure.account_id AND member.contact = failure.contact
            AND member.segment_id = failure.segment_id AND member.wanted = :wanted AND member.state = 1
    );

-- name: due_failures
SELECT account_id, contact, segment_id FROM failure
WHERE dead = 0 AND next_attempt_at_ms <= :now_ms
ORDER BY next_attempt_at_ms
LIMIT :limit;

-- name: next_due
SELECT min(next_attempt_at_ms) FROM failure WHERE dead = 0 AND next_attempt_at_ms < :never_ms;

-- name: release
UPDATE member SET state = 1
WHERE account_id = :account_id AND contact = :contact AND segment_id = :segment_id AND state = 2
RETURNING sync_id;

-- name: mark_released
UPDATE failure SET next_attempt_at_ms = :never_ms
WHERE account_id = :account_id AND contact = :contact AND segment_id = :segment_id;

-- name: hasten_blameless
UPDATE failure SET next_attempt_at_ms = :now_ms
WHERE account_id = :account_id AND dead = 0 AND attempts = 0 AND next_attempt_at_ms < :never_ms;

-- name: remove_pieces
DELETE FROM piece WHERE id IN (SELECT value FROM json_each(:pieces));

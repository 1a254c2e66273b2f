-- name: failures_to_retry
SELECT failure.id, failure.account_id, failure.segment_id, failure.contact, account.name,
    segment.list_state = 'held' AS is_held
FROM failure
JOIN account ON account.id = failure.account_id
JOIN segment ON segment.id = failure.segment_id
WHERE failure.id > :after
    AND (failure.dead = 1 OR failure.next_attempt_at_ms < :never_ms)
    AND (:ids IS NULL OR failure.id IN (SELECT value FROM json_each(:ids)))
    AND (:account IS NULL OR account.name = :account)
    AND (:segment_id IS NULL OR failure.segment_id = :segment_id)
    AND (:reason IS NULL OR failure.reason = :reason)
    AND (:dead IS NULL OR failure.dead = :dead)
    AND (
        :wanted IS NULL
        OR EXISTS (
            SELECT 1 FROM member
            WHERE member.account_id = failure.account_id AND member.contact = failure.contact
                AND member.segment_id = failure.segment_id AND member.wanted = :wanted
        )
    )
ORDER BY failure.id
LIMIT :limit;

-- name: members_to_rebuild
SELECT contact FROM member
WHERE account_id = :account_id AND contact > :after AND segment_id = :segment_id
    AND (wanted = 1 OR :include_removed) AND state <> (SELECT number FROM member_state WHERE name = 'pending')
ORDER BY contact
LIMIT :limit;

-- name: misdirected
-- Whom calls for this segment may have put on another segment's list, because that list had the name by then. The results
-- of some calls are known, others are still on their way. Before :since_ms, the name was still right.
SELECT contact FROM member
WHERE account_id = :account_id AND contact > :after AND segment_id = :segment_id AND wanted = 1
    AND (
        state = (SELECT number FROM member_state WHERE name = 'settled')
        OR contact IN (
            SELECT entry.value FROM claimed CROSS JOIN json_each(claimed.contacts) AS entry
            WHERE claimed.account_id = :account_id
        )
    )
    AND sync_id IN (
        SELECT id FROM sync
        WHERE segment_id = :segment_id AND (drained_at_ms IS NULL OR drained_at_ms >= :since_ms)
    )
ORDER BY contact
LIMIT :limit;

-- name: segment_account
SELECT account.id, account.name FROM segment JOIN account ON account.id = segment.account_id WHERE segment.id = :segment_id;

-- name: pause
UPDATE account SET paused_by_operator = :paused WHERE name = :account AND paused_by_operator <> :paused;

-- name: paused_accounts
SELECT name FROM account WHERE paused_by_operator = 1;

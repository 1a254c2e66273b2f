-- Every statement that changes a member's state. The states are those of the table `member_state`; the machine is drawn
-- in docs/states.md.

-- name: staged_groups
SELECT (SELECT name FROM member_state WHERE number = old_state), old_wanted, old_sync_id, count(*)
FROM staged GROUP BY old_state, old_wanted, old_sync_id;

-- name: write_known
-- OR FAIL, here and below: whatever fails undoes its transaction, or its savepoint, so SQLite need not keep each page as it was
-- before the statement. It would keep them in memory, a whole ledger's for a large fold.
UPDATE OR FAIL member SET
    wanted = :wanted,
    state = (SELECT number FROM member_state WHERE name = 'pending'),
    sync_id = :sync_id,
    delivery_id = (SELECT delivery_id FROM staged WHERE staged.contact = member.contact)
WHERE account_id = :account_id AND contact IN (SELECT contact FROM staged WHERE old_state IS NOT NULL)
    AND segment_id = :segment_id;

-- name: write_new
INSERT OR FAIL INTO member (account_id, contact, segment_id, wanted, state, sync_id, delivery_id)
SELECT :account_id, contact, :segment_id, :wanted, (SELECT number FROM member_state WHERE name = 'pending'), :sync_id,
    delivery_id
FROM staged WHERE old_state IS NULL;

-- name: mark_told
-- Members that have several user ids (see `spelling.sql`).
UPDATE member SET is_spelled = 1
WHERE account_id = :account_id AND contact IN (SELECT contact FROM told) AND segment_id = :segment_id;

-- name: queue_staged
INSERT INTO piece (segment_id, delivery_id, identity, wanted, users, contacts)
SELECT :segment_id, NULL, '', NULL, 0, json_group_array(contact) FROM staged;

-- name: any_failure
SELECT 1 FROM failure LIMIT 1;

-- name: forget_staged_failures
DELETE FROM failure
WHERE account_id = :account_id AND segment_id = :segment_id AND contact IN (SELECT contact FROM staged);

-- name: count_to_settle
SELECT sync_id, count(*) FROM member
WHERE account_id = :account_id AND contact IN (SELECT value FROM json_each(:contacts))
    AND segment_id = :segment_id AND wanted = :wanted
    AND state = (SELECT number FROM member_state WHERE name = 'pending')
GROUP BY sync_id;

-- name: settle
UPDATE OR FAIL member SET state = (SELECT number FROM member_state WHERE name = 'settled')
WHERE account_id = :account_id AND contact IN (SELECT value FROM json_each(:contacts))
    AND segment_id = :segment_id AND wanted = :wanted
    AND state = (SELECT number FROM member_state WHERE name = 'pending');

-- name: forget_failures_to_settle
DELETE FROM failure
WHERE account_id = :account_id AND contact IN (SELECT value FROM json_each(:contacts)) AND segment_id = :segment_id
    AND EXISTS (
        SELECT 1 FROM member
        WHERE member.account_id = failure.account_id AND member.contact = failure.contact
            AND member.segment_id = failure.segment_id AND member.wanted = :wanted
            AND member.state = (SELECT number FROM member_state WHERE name = 'pending')
    );

-- name: set_aside
UPDATE member SET state = (SELECT number FROM member_state WHERE name = :state)
WHERE account_id = :account_id AND contact = :contact AND segment_id = :segment_id AND wanted = :wanted
    AND state = (SELECT number FROM member_state WHERE name = 'pending')
RETURNING sync_id;

-- name: record_failure
INSERT INTO failure (
    account_id, contact, segment_id, dead, failures, attempts, reason, message, status,
    next_attempt_at_ms, first_failed_at_ms, last_failed_at_ms
)
VALUES (
    :account_id, :contact, :segment_id, :dead, 1, :attempts, :reason, :message, :status,
    :next_attempt_at_ms, :told_ms, :told_ms
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

-- name: groups
SELECT member_state.name, member.wanted, member.sync_id, count(*)
FROM member CROSS JOIN member_state ON member_state.number = member.state
WHERE member.account_id = :account_id AND member.contact IN (SELECT value FROM json_each(:contacts))
    AND member.segment_id = :segment_id AND member_state.name IN (SELECT value FROM json_each(:states))
GROUP BY member.state, member.wanted, member.sync_id;

-- name: queue
-- Contacts to send that no unsent piece mentions; before they are pending.
INSERT INTO piece (segment_id, delivery_id, identity, wanted, users, contacts)
SELECT :segment_id, NULL, '', NULL, 0, json_group_array(contact) FROM member
WHERE account_id = :account_id AND contact IN (SELECT value FROM json_each(:contacts)) AND segment_id = :segment_id
    AND state IN (SELECT number FROM member_state WHERE name IN (SELECT value FROM json_each(:states)));

-- name: make_pending
UPDATE member SET wanted = coalesce(:wanted, wanted), state = (SELECT number FROM member_state WHERE name = 'pending')
WHERE account_id = :account_id AND contact IN (SELECT value FROM json_each(:contacts)) AND segment_id = :segment_id
    AND state IN (SELECT number FROM member_state WHERE name IN (SELECT value FROM json_each(:states)));

-- name: add_removals
-- In the name of no sync, so whatever Heap says of these contacts counts, whenever it was signed.
INSERT INTO member (account_id, contact, segment_id, wanted, state, sync_id, delivery_id)
SELECT :account_id, value, :segment_id, 0, (SELECT number FROM member_state WHERE name = 'pending'), 0, 0
FROM json_each(:contacts) WHERE true
ON CONFLICT DO NOTHING
RETURNING contact;

-- name: plan_no_call
UPDATE failure SET next_attempt_at_ms = :never_ms
WHERE account_id = :account_id AND segment_id = :segment_id AND contact IN (SELECT value FROM json_each(:contacts));

-- name: give_new_attempts
UPDATE failure SET dead = 0, attempts = 0, next_attempt_at_ms = :never_ms
WHERE account_id = :account_id AND segment_id = :segment_id AND contact IN (SELECT value FROM json_each(:contacts));

-- name: forget_failures
DELETE FROM failure
WHERE account_id = :account_id AND segment_id = :segment_id AND contact IN (SELECT value FROM json_each(:contacts));

-- name: standing
SELECT member_state.name, member.wanted, member.sync_id
FROM member CROSS JOIN member_state ON member_state.number = member.state
WHERE member.account_id = :account_id AND member.contact = :contact AND member.segment_id = :segment_id;

-- name: forget
DELETE FROM member WHERE account_id = :account_id AND contact = :contact AND segment_id = :segment_id;

-- name: remove_void_pieces
-- Where nothing is pending, no folded piece has anything left to send: calls made for other lists of its contacts have
-- settled the rest.
DELETE FROM piece
WHERE segment_id = :segment_id AND id <= (SELECT piece_id FROM fold_position)
    AND (SELECT pending FROM segment WHERE id = :segment_id) = 0;

-- name: count_segment
UPDATE segment SET
    members = members + :members,
    settled = settled + :settled,
    pending = pending + :pending,
    waiting = waiting + :waiting,
    dead = dead + :dead
WHERE id = :segment_id;

-- name: count_sync
UPDATE sync SET
    unfolded = unfolded + :unfolded,
    changes = changes + :changes,
    pending = pending + :pending,
    settled = settled + :settled,
    dead = dead + :dead,
    superseded = superseded + :superseded,
    overtaken_users = overtaken_users + :overtaken_users,
    drained_at_ms = CASE WHEN unfolded + :unfolded + pending + :pending = 0 THEN coalesce(drained_at_ms, :now_ms) END,
    drained_told_ms = CASE WHEN unfolded + :unfolded + pending + :pending = 0 THEN coalesce(drained_told_ms, :told_ms) END
WHERE id = :sync_id;

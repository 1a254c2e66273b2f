-- Reading contacts back from Cordial: which, when, and what came of it.

-- name: ask
-- A later call that may be on its way puts the reading off; otherwise the sooner one holds. Doubt goes before all else.
INSERT INTO read_back (account_id, contact, reason, due_at_ms)
SELECT :account_id, value, :reason, :due_at_ms FROM json_each(:contacts) WHERE true
ON CONFLICT (account_id, contact) DO UPDATE SET
    due_at_ms = CASE
        WHEN excluded.reason IN ('lost_answer', 'crash') THEN max(due_at_ms, excluded.due_at_ms)
        WHEN reason IN ('lost_answer', 'crash') THEN due_at_ms
        ELSE min(due_at_ms, excluded.due_at_ms)
    END,
    tries = 0,
    reason = CASE WHEN reason IN ('lost_answer', 'crash') THEN reason ELSE excluded.reason END;

-- name: due
SELECT contact, reason, due_at_ms, tries FROM read_back
WHERE account_id = :account_id AND due_at_ms <= :now_ms
ORDER BY due_at_ms
LIMIT :limit;

-- name: due_doubts
SELECT contact, reason, due_at_ms, tries FROM read_back
WHERE account_id = :account_id AND due_at_ms <= :now_ms AND reason IN ('lost_answer', 'crash')
ORDER BY due_at_ms
LIMIT :limit;

-- name: due_at
SELECT due_at_ms FROM read_back WHERE account_id = :account_id AND contact = :contact;

-- name: put_off
UPDATE read_back SET due_at_ms = max(due_at_ms, :due_at_ms), tries = :tries
WHERE account_id = :account_id AND contact = :contact;

-- name: read_again
INSERT INTO read_back (account_id, contact, reason, due_at_ms, tries)
VALUES (:account_id, :contact, :reason, :due_at_ms, :tries)
ON CONFLICT (account_id, contact) DO UPDATE SET due_at_ms = max(due_at_ms, excluded.due_at_ms), tries = excluded.tries;

-- name: done
-- Unless a later call put it off meanwhile.
DELETE FROM read_back WHERE account_id = :account_id AND contact = :contact AND due_at_ms <= :due_at_ms;

-- name: memberships
SELECT member.segment_id, member.wanted, member_state.name, member.sync_id, member.delivery_id
FROM member JOIN member_state ON member_state.number = member.state
WHERE member.account_id = :account_id AND member.contact = :contact
ORDER BY member.segment_id;

-- name: travels
SELECT EXISTS (SELECT 1 FROM import_change WHERE account_id = :account_id AND contact = :contact);

-- name: next_contact
SELECT contact FROM member WHERE account_id = :account_id AND contact > :after ORDER BY contact LIMIT 1;

-- name: walked_to
SELECT walked_to FROM account WHERE id = :account_id;

-- name: set_walked_to
UPDATE account SET walked_to = :contact WHERE id = :account_id;

-- name: note_read
INSERT INTO member_read (account_id, contact, segment_id, wanted, differed, at_ms)
VALUES (:account_id, :contact, :segment_id, :wanted, :differed, :told_ms)
-- Who was mended and is right now has differed all the same.
ON CONFLICT DO UPDATE SET
    wanted = excluded.wanted, differed = max(differed, excluded.differed), at_ms = excluded.at_ms;

-- name: forget_reads
DELETE FROM member_read WHERE at_ms < :before_ms;

-- name: in_doubt
SELECT account.name, count(*) FROM read_back JOIN account ON account.id = read_back.account_id
WHERE reason IN ('lost_answer', 'crash')
GROUP BY account.name;

-- name: note_claimed
INSERT INTO claimed (account_id, contacts) VALUES (:account_id, :contacts) RETURNING id;

-- name: end_claims
DELETE FROM claimed WHERE id IN (SELECT value FROM json_each(:ids));

-- name: left_claims
SELECT entry.value FROM claimed CROSS JOIN json_each(claimed.contacts) AS entry WHERE claimed.account_id = :account_id;

-- name: forget_claims
DELETE FROM claimed WHERE account_id = :account_id;

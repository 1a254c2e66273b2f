-- name: keys
-- The Cordial keys that an account's contacts are, or were, named by: one step from key to key, not a look at each member.
WITH RECURSIVE
    of_account (id) AS (SELECT id FROM account WHERE name = :account),
    found (key) AS (
        SELECT (SELECT substr(contact, 1, instr(contact, ':') - 1) FROM member
            WHERE account_id = of_account.id ORDER BY contact LIMIT 1)
        FROM of_account
        UNION ALL
        SELECT (SELECT substr(contact, 1, instr(contact, ':') - 1) FROM member
            WHERE account_id = of_account.id AND contact > found.key || ';' ORDER BY contact LIMIT 1)
        FROM found, of_account WHERE found.key IS NOT NULL
    )
SELECT key FROM found WHERE key IS NOT NULL
UNION
SELECT piece.identity FROM piece JOIN segment ON segment.id = piece.segment_id
WHERE segment.account_id = (SELECT id FROM of_account) AND piece.identity <> ''
UNION
SELECT guarded_piece.identity FROM guarded_piece JOIN segment ON segment.id = guarded_piece.segment_id
WHERE segment.account_id = (SELECT id FROM of_account) AND guarded_piece.identity <> '';

-- name: request
INSERT INTO erasure (account_id, contact, keep_on_lists, actor, requested_at_ms)
SELECT account.id, :contact, :keep_on_lists, :actor, :now_ms FROM account WHERE account.name = :account
ON CONFLICT DO UPDATE SET keep_on_lists = max(keep_on_lists, excluded.keep_on_lists)
RETURNING id, account_id;

-- name: open
SELECT erasure.id, erasure.account_id, account.name, contact, keep_on_lists, erasure.actor,
    (SELECT count(*) FROM member
        WHERE member.account_id = erasure.account_id AND member.contact = erasure.contact
            AND (member.wanted = 1 OR member.state <> (SELECT number FROM member_state WHERE name = 'settled'))),
    (SELECT count(*) FROM member JOIN segment ON segment.id = member.segment_id
        WHERE member.account_id = erasure.account_id AND member.contact = erasure.contact
            AND (member.wanted = 1 OR segment.list_id = '')),
    (SELECT coalesce(max(id), 0) FROM piece),
    (SELECT coalesce(max(id), 0) FROM guarded_piece)
FROM erasure JOIN account ON account.id = erasure.account_id
ORDER BY erasure.id;

-- name: memberships
SELECT member.segment_id, member.wanted, member_state.name, segment.list_id <> ''
FROM member
JOIN member_state ON member_state.number = member.state
JOIN segment ON segment.id = member.segment_id
WHERE member.account_id = :account_id AND member.contact = :contact;

-- name: is_in_use
-- By an import under way or the search for whom Cordial refused in one, or as the place that a drain or an import has come to.
SELECT EXISTS (SELECT 1 FROM import_change WHERE account_id = :account_id AND contact = :contact)
    OR EXISTS (SELECT 1 FROM import_part WHERE :contact IN (after_contact, last_contact))
    OR EXISTS (SELECT 1 FROM bulk_import WHERE state <> 'ended' AND :contact IN (gathered_to, gather_end))
    OR EXISTS (
        SELECT 1 FROM unnamed
        WHERE account_id = :account_id AND :contact IN (after_contact, last_contact, called_to)
    )
    OR EXISTS (SELECT 1 FROM fold_position WHERE drained_to = :contact);

-- name: is_in_doubt
-- A call for it may be on its way, which would put it back on a list.
SELECT EXISTS (
    SELECT 1 FROM read_back
    WHERE account_id = :account_id AND contact = :contact AND reason IN ('lost_answer', 'crash')
);

-- name: pieces
-- The next pieces of the account: whether they are in the ledger, or only to be sent; and whether they name the contact.
SELECT piece.id, piece.users, piece.id <= fold_position.piece_id OR piece.wanted IS NULL,
    EXISTS (
        SELECT 1 FROM json_each(piece.contacts) AS entry
        WHERE iif(piece.identity = '', '', piece.identity || ':') || entry.value = :contact
    )
FROM fold_position
CROSS JOIN piece
JOIN segment ON segment.id = piece.segment_id AND segment.account_id = :account_id
WHERE piece.id > :after
ORDER BY piece.id
LIMIT :limit;

-- name: blank_in_piece
-- The place stays: whoever is working through the piece counts places.
UPDATE piece SET spellings = NULL, contacts = (
    SELECT json_group_array(
        iif(iif(piece.identity = '', '', piece.identity || ':') || entry.value = :contact, '', entry.value)
    )
    FROM json_each(piece.contacts) AS entry
)
WHERE id = :id;

-- name: take_out_of_piece
-- Several of its users may be the contact, written differently. Returns how many are left.
UPDATE piece SET
    users = CASE
        WHEN spellings IS NULL THEN users - 1
        ELSE (
            SELECT count(*) FROM json_each(piece.spellings) AS pair
            WHERE piece.identity || ':' || (pair.value ->> 0) <> :contact
        )
    END,
    contacts = (
        SELECT json_group_array(entry.value) FROM json_each(piece.contacts) AS entry
        WHERE piece.identity || ':' || entry.value <> :contact
    ),
    spellings = CASE WHEN spellings IS NOT NULL THEN (
        SELECT json_group_array(json(pair.value)) FROM json_each(piece.spellings) AS pair
        WHERE piece.identity || ':' || (pair.value ->> 0) <> :contact
    ) END
WHERE id = :id
RETURNING users;

-- name: take_out_of_guarded
UPDATE guarded_piece SET
    users = CASE
        WHEN spellings IS NULL THEN users - 1
        ELSE (
            SELECT count(*) FROM json_each(guarded_piece.spellings) AS pair
            WHERE guarded_piece.identity || ':' || (pair.value ->> 0) <> :contact
        )
    END,
    contacts = (
        SELECT json_group_array(entry.value) FROM json_each(guarded_piece.contacts) AS entry
        WHERE guarded_piece.identity || ':' || entry.value <> :contact
    ),
    spellings = CASE WHEN spellings IS NOT NULL THEN (
        SELECT json_group_array(json(pair.value)) FROM json_each(guarded_piece.spellings) AS pair
        WHERE guarded_piece.identity || ':' || (pair.value ->> 0) <> :contact
    ) END
WHERE id = :id
RETURNING users;

-- name: count_held_anew
-- The list of a held sync has a member fewer, so its removals are counted again.
UPDATE sync SET judged_to = 0, guard_members = guard_members - 1 WHERE segment_id = :segment_id AND guard = 'held';

-- name: guarded
-- The next pieces of the account that are set aside, and whether they name the contact.
SELECT guarded_piece.id, guarded_piece.users, 0,
    EXISTS (
        SELECT 1 FROM json_each(guarded_piece.contacts) AS entry
        WHERE guarded_piece.identity || ':' || entry.value = :contact
    )
FROM guarded_piece
JOIN segment ON segment.id = guarded_piece.segment_id AND segment.account_id = :account_id
WHERE guarded_piece.id > :after
ORDER BY guarded_piece.id
LIMIT :limit;

-- name: has_moved
-- Whether anything was set aside since the last look, or given back to the inbox: it may name the contact.
SELECT EXISTS (
    SELECT 1 FROM guarded_piece JOIN segment ON segment.id = guarded_piece.segment_id
    WHERE guarded_piece.id > :last_guarded AND segment.account_id = :account_id
) OR EXISTS (
    SELECT 1 FROM piece JOIN segment ON segment.id = piece.segment_id
    WHERE piece.id > :last_piece AND piece.is_judged AND segment.account_id = :account_id
);

-- name: deliveries
SELECT delivery.id, rejected_users FROM delivery
JOIN sync ON sync.id = delivery.sync_id
JOIN segment ON segment.id = sync.segment_id
WHERE delivery.id > :after AND rejected_users <> '[]' AND segment.account_id = :account_id
ORDER BY delivery.id
LIMIT :limit;

-- name: set_rejected_users
UPDATE delivery SET rejected_users = :rejected_users WHERE id = :id;

-- name: last_failure
SELECT max(id) FROM (SELECT id FROM failure WHERE id > :after ORDER BY id LIMIT :limit);

-- name: blank_failures
UPDATE failure SET message = '(erased)'
WHERE id > :after AND id <= :last AND account_id = :account_id
    AND (instr(lower(message), lower(:user)) OR instr(lower(message), lower(:encoded)));

-- name: blank_account
UPDATE account SET state_reason = '(erased)'
WHERE id = :account_id AND (instr(lower(state_reason), lower(:user)) OR instr(lower(state_reason), lower(:encoded)));

-- name: blank_lists
UPDATE segment SET list_reason = '(erased)'
WHERE account_id = :account_id
    AND (instr(lower(list_reason), lower(:user)) OR instr(lower(list_reason), lower(:encoded)));

-- name: forget_read_back
DELETE FROM read_back WHERE account_id = :account_id AND contact = :contact;

-- name: blank_claimed
UPDATE claimed SET contacts = (
    SELECT json_group_array(entry.value) FROM json_each(claimed.contacts) AS entry WHERE entry.value <> :contact
)
WHERE account_id = :account_id
    AND EXISTS (SELECT 1 FROM json_each(claimed.contacts) AS entry WHERE entry.value = :contact);

-- name: forget_member_read
DELETE FROM member_read WHERE account_id = :account_id AND contact = :contact;

-- name: blank_walk
UPDATE account SET walked_to = '' WHERE id = :account_id AND walked_to = :contact;

-- name: blank_import_position
UPDATE bulk_import SET gathered_to = '' WHERE account_id = :account_id AND state = 'ended' AND gathered_to = :contact;

-- name: blank_imports
UPDATE bulk_import SET reason = '(erased)'
WHERE account_id = :account_id AND (instr(lower(reason), lower(:user)) OR instr(lower(reason), lower(:encoded)));

-- name: blank_audit
UPDATE audit SET target = '(erased)' WHERE instr(lower(target), lower(:user));

-- name: finish
DELETE FROM erasure WHERE id = :id;

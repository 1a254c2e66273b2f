-- Ranges of contacts of which some were refused in a file, and nobody knows which.

-- name: take_to_settling
UPDATE import_part SET state = 'settling', name_digest = NULL WHERE id = :part_id AND state = :seen;

-- name: take_to_releasing
UPDATE import_part SET state = 'releasing', name_digest = NULL WHERE id = :part_id AND state = :seen;

-- name: add
INSERT INTO unnamed (
    account_id, import_id, segments, after_contact, last_contact, contacts, refused, known_failures, searched
)
VALUES (
    :account_id, :import_id, :segments, :after, :last, :contacts, :refused,
    (
        SELECT count(DISTINCT contact) FROM failure
        WHERE account_id = :account_id AND contact > :after AND contact <= :last
            AND segment_id IN (SELECT value FROM json_each(:segments))
    ),
    :searched
);

-- name: segments_of_import
SELECT segments FROM bulk_import WHERE id = :import_id;

-- name: count_segments
UPDATE segment SET unnamed = (
    SELECT coalesce(sum(refused), 0) FROM unnamed
    WHERE unnamed.account_id = segment.account_id
        AND segment.id IN (SELECT value FROM json_each(unnamed.segments))
)
WHERE account_id = :account_id AND (
    unnamed > 0
    OR id IN (
        SELECT entry.value FROM unnamed AS range, json_each(range.segments) AS entry
        WHERE range.account_id = :account_id
    )
);

-- name: groups
SELECT id, import_id, segments, after_contact, last_contact, contacts, refused, searched, tries, called_to,
    (
        SELECT count(DISTINCT contact) FROM failure
        WHERE failure.account_id = unnamed.account_id
            AND contact > unnamed.after_contact AND contact <= unnamed.last_contact
            AND segment_id IN (SELECT value FROM json_each(unnamed.segments))
    ) - known_failures AS named
FROM unnamed WHERE account_id = :account_id ORDER BY id;

-- name: note_named
UPDATE unnamed SET refused = refused - :named, known_failures = known_failures + :named
WHERE id = :id AND refused > :named;

-- name: leave_named
-- Who is refused in a file is on no list: calls go on with them, as with all others that a file did not bring.
UPDATE bulk_import SET settled = settled - :named, released = released + :named
WHERE id = :import_id AND settled >= :named;

-- name: drop
DELETE FROM unnamed WHERE id = :id;

-- name: drop_import
DELETE FROM unnamed WHERE account_id = :account_id AND segments = :segments;

-- name: note_searched
UPDATE unnamed SET searched = 1 WHERE id = :id;

-- name: note_called
UPDATE unnamed SET called_to = :called_to WHERE id = :id;

-- name: members
-- Whom the file may not have put on its lists: wanted there and taken for settled. Who has failed is named.
SELECT DISTINCT contact FROM member
WHERE account_id = :account_id AND contact > :after AND contact <= :last AND wanted = 1
    AND state = (SELECT number FROM member_state WHERE name = 'settled')
    AND segment_id IN (SELECT value FROM json_each(:segments))
ORDER BY contact
LIMIT :limit;

-- name: middle
SELECT contact FROM member
WHERE account_id = :account_id AND contact > :after AND contact <= :last AND wanted = 1
    AND state = (SELECT number FROM member_state WHERE name = 'settled')
    AND segment_id = :segment_id
ORDER BY contact
LIMIT 1 OFFSET :skipped;

-- name: wanted_of
-- The members among some contacts that are in question for an import of these lists, being called or not.
SELECT member.contact, member.segment_id FROM member
WHERE member.account_id = :account_id AND member.contact IN (SELECT value FROM json_each(:contacts)) AND member.wanted = 1
    AND member.state IN (SELECT number FROM member_state WHERE name IN ('settled', 'pending'))
    AND EXISTS (
        SELECT 1 FROM unnamed
        WHERE unnamed.account_id = member.account_id AND unnamed.import_id = :import_id
            AND member.contact > unnamed.after_contact AND member.contact <= unnamed.last_contact
            AND member.segment_id IN (SELECT value FROM json_each(unnamed.segments))
    );

-- name: account_of
SELECT account.id, account.name FROM unnamed JOIN account ON account.id = unnamed.account_id
WHERE unnamed.import_id = :import_id LIMIT 1;

-- name: open_again
UPDATE bulk_import SET state = 'gathering', gathered_to = :after, gather_end = :middle, unnamed_id = :id
WHERE id = :import_id AND state = 'ended'
    AND NOT EXISTS (SELECT 1 FROM bulk_import AS other WHERE other.account_id = :account_id AND other.state <> 'ended');

-- name: count_try
UPDATE unnamed SET tries = tries + 1 WHERE id = :id;

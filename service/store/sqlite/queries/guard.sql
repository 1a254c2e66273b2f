-- Syncs that are judged before they are folded (R17). All about one segment happens in the order of `guarded_piece`.

-- name: set_aside
INSERT INTO guarded_piece (sync_id, segment_id, delivery_id, identity, wanted, users, contacts, spellings)
SELECT :sync_id, segment_id, delivery_id, identity, wanted, users, contacts, spellings FROM piece WHERE id = :id;

-- name: remove_piece
DELETE FROM piece WHERE id = :id;

-- name: heads
-- The first guarded piece of each segment, what is known of its sync, and what of that sync is guarded. Nothing of a segment
-- is judged before all that was judged earlier is in the ledger.
SELECT head.id AS piece_id, head.segment_id, head.sync_id, account.id AS account_id, account.name AS account,
    sync.action = 'segment.users.drain' AS is_drain,
    sync.guard, sync.judged_to, sync.guard_passed, sync.guard_members, segment.members,
    sync.pages_received < sync.total_pages AS is_incomplete, sync.last_received_at_ms, sync.unfolded,
    count(*) AS pieces, max(own.id) AS last_id,
    coalesce(sum(own.users) FILTER (WHERE own.wanted = 0 AND own.id > iif(sync.guard = 'passed', sync.judged_to, 0)), 0)
        AS users_to_remove,
    EXISTS (
        SELECT 1 FROM piece, fold_position
        WHERE piece.segment_id = head.segment_id AND piece.id > fold_position.piece_id AND piece.is_judged
    ) AS is_folding
FROM (SELECT segment_id, min(id) AS first_id FROM guarded_piece GROUP BY segment_id) AS first
JOIN guarded_piece AS head ON head.id = first.first_id
JOIN sync ON sync.id = head.sync_id
JOIN segment ON segment.id = head.segment_id
JOIN account ON account.id = segment.account_id
JOIN guarded_piece AS own ON own.sync_id = sync.id
GROUP BY head.id
ORDER BY head.id;

-- name: end_of_step
SELECT contact FROM member WHERE account_id = :account_id AND contact > :after_contact
ORDER BY contact LIMIT 1 OFFSET :members;

-- name: count_removals
-- The members of a range that these pieces of a sync take off the list, as folding them would (R4): within one sync the later word of
-- a user id counts, no word counts against a newer sync's, and a contact stays as long as one of its user ids is wanted.
WITH
    newer AS MATERIALIZED (
        SELECT other.id FROM sync AS own
        JOIN sync AS other ON other.segment_id = own.segment_id AND other.precedence_ms >= own.precedence_ms
            AND (other.precedence_ms > own.precedence_ms OR other.id > own.id)
        WHERE own.id = :sync_id
    ),
    named AS (
        SELECT guarded_piece.id, wanted, identity || ':' || entry.value AS contact, entry.value AS user_id
        FROM guarded_piece CROSS JOIN json_each(contacts) AS entry
        WHERE sync_id = :sync_id AND guarded_piece.id > :after AND guarded_piece.id <= :last AND spellings IS NULL
        UNION ALL
        SELECT guarded_piece.id, wanted, identity || ':' || (pair.value ->> 0), pair.value ->> 1
        FROM guarded_piece CROSS JOIN json_each(spellings) AS pair
        WHERE sync_id = :sync_id AND guarded_piece.id > :after AND guarded_piece.id <= :last AND spellings IS NOT NULL
    ),
    -- Of members that are on the list alone: the last word on each user id, and whether it is one that keeps them there.
    said AS (
        SELECT named.contact, named.user_id, max(named.id), named.wanted, member.is_spelled,
            iif(
                member.is_spelled,
                coalesce(spelling.wanted, 0),
                named.user_id = substr(named.contact, instr(named.contact, ':') + 1)
            ) AS keeps
        FROM named
        CROSS JOIN member ON member.account_id = :account_id AND member.contact = named.contact
            AND member.segment_id = :segment_id AND member.wanted = 1
        LEFT JOIN spelling ON member.is_spelled AND spelling.segment_id = :segment_id
            AND spelling.contact = named.contact AND spelling.user_id = named.user_id
        WHERE named.contact > :after_contact AND (:end IS NULL OR named.contact <= :end)
            AND iif(member.is_spelled, coalesce(spelling.sync_id, 0), member.sync_id) NOT IN (SELECT id FROM newer)
        GROUP BY named.contact, named.user_id
    )
SELECT count(*) FROM (
    SELECT contact FROM said GROUP BY contact
    HAVING max(wanted) = 0 AND sum(keeps) = iif(
        max(is_spelled),
        (SELECT count(*) FROM spelling
            WHERE spelling.segment_id = :segment_id AND spelling.contact = said.contact AND spelling.wanted),
        1
    )
);

-- name: judge
UPDATE sync SET
    guard_at_ms = CASE WHEN guard IS :guard THEN guard_at_ms ELSE :now_ms END,
    guard = :guard, guard_removals = :removals, guard_passed = :passed, guard_members = :members, judged_to = :last
WHERE id = :sync_id AND guard IS :before;

-- name: next_guarded
SELECT id, users FROM guarded_piece
WHERE sync_id = :sync_id AND id <= :last ORDER BY id LIMIT :limit;

-- name: give_back
INSERT INTO piece (segment_id, delivery_id, identity, wanted, users, contacts, spellings, is_judged)
SELECT segment_id, delivery_id, identity, wanted, users, contacts, spellings, 1 FROM guarded_piece
WHERE sync_id = :sync_id AND id <= :end ORDER BY id;

-- name: remove_guarded
DELETE FROM guarded_piece WHERE sync_id = :sync_id AND id <= :end;

-- name: count_discarded
UPDATE sync SET discarded_users = discarded_users + :users WHERE id = :sync_id;

-- name: decide
UPDATE sync SET guard = :guard, guard_at_ms = :now_ms WHERE id = :sync_id AND guard = 'held'
RETURNING guard_removals;

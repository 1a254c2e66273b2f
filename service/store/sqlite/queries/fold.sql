-- name: create_staged
CREATE TEMP TABLE IF NOT EXISTS staged (
    contact TEXT NOT NULL PRIMARY KEY,
    delivery_id INTEGER NOT NULL,
    old_wanted INTEGER,
    old_state INTEGER,
    old_sync_id INTEGER
) STRICT, WITHOUT ROWID;

-- name: fold_position
SELECT piece_id, drained_to FROM fold_position;

-- name: set_fold_position
UPDATE fold_position SET piece_id = :piece_id, drained_to = :drained_to;

-- name: first_piece
SELECT id, segment_id FROM piece WHERE id > :after ORDER BY id LIMIT 1;

-- name: has_others_behind
SELECT EXISTS (SELECT 1 FROM piece WHERE id > :after AND segment_id <> :segment_id);

-- name: move_to_the_end
-- In their order, before whatever comes next: all that orders a segment's pieces is which came first.
UPDATE piece SET id = id + (SELECT max(id) FROM piece) - :after WHERE segment_id = :segment_id AND id > :after;

-- name: next_pieces
SELECT piece.id, piece.segment_id, piece.delivery_id, piece.identity, piece.wanted, piece.users, piece.contacts,
    piece.spellings,
    delivery.sync_id, segment.account_id, segment.drained_by, piece.is_judged,
    EXISTS (SELECT 1 FROM guarded_piece WHERE guarded_piece.segment_id = piece.segment_id) AS is_behind
FROM piece
JOIN segment ON segment.id = piece.segment_id
LEFT JOIN delivery ON delivery.id = piece.delivery_id
WHERE piece.id > :after
ORDER BY piece.id;

-- name: clear_staged
DELETE FROM staged;

-- name: stage_contacts
-- The rule of ordering (R4), stated here alone: a change replaces what a member wants unless the member already
-- carries a newer sync's; within one sync the later received wins. The same sync saying the same again is no change.
INSERT OR IGNORE INTO staged (contact, delivery_id, old_wanted, old_state, old_sync_id)
SELECT :identity || ':' || piece.value, :delivery_id, member.wanted, member.state, member.sync_id
FROM json_each(:contacts) AS piece
LEFT JOIN member ON member.account_id = :account_id
    AND member.contact = :identity || ':' || piece.value
    AND member.segment_id = :segment_id
WHERE member.contact IS NULL
    OR NOT member.is_spelled
        AND iif(member.sync_id = :sync_id, member.wanted <> :wanted, member.sync_id NOT IN (SELECT id FROM newer));

-- name: note_overtaken
UPDATE delivery SET
    overtaken_users = overtaken_users + :users,
    superseded_at_ms = CASE
        WHEN overtaken_users + :users = added + removed THEN coalesce(superseded_at_ms, :told_ms)
        ELSE superseded_at_ms
    END
WHERE id = :delivery_id;

-- name: end_of_step
-- The last contact that one step of a drain looks at; none if it is the last step. Counted in members of the whole
-- account, because those of other segments lie between and cost as much to pass over.
SELECT contact FROM member
WHERE account_id = :account_id AND contact > :drained_to
ORDER BY contact
LIMIT 1 OFFSET :limit - 1;

-- name: members_to_drain
SELECT contact FROM member
WHERE account_id = :account_id AND contact > :drained_to AND (:end_of_step IS NULL OR contact <= :end_of_step)
    AND segment_id = :segment_id AND wanted = 1;

-- name: set_drained_by
-- An older drain may come late, or again with another body.
UPDATE segment SET drained_by = :sync_id WHERE id = :segment_id AND drained_by NOT IN (SELECT id FROM newer);

-- name: stage_members
-- CROSS JOIN keeps the order: the other way about, each step would read the account's whole ledger.
INSERT OR IGNORE INTO staged (contact, delivery_id, old_wanted, old_state, old_sync_id)
SELECT member.contact, :delivery_id, member.wanted, member.state, member.sync_id
FROM json_each(:contacts) AS piece
CROSS JOIN member ON member.account_id = :account_id AND member.contact = piece.value AND member.segment_id = :segment_id
WHERE NOT member.is_spelled AND member.sync_id NOT IN (SELECT id FROM newer);

-- name: remove_piece
DELETE FROM piece WHERE id = :id;

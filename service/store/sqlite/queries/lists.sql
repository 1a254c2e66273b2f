-- name: add_account
INSERT INTO account (name) VALUES (:name) ON CONFLICT DO NOTHING;

-- name: accounts
-- An operator's pause is written at once, the state that follows from it a moment later.
SELECT id, name, CASE WHEN paused_by_operator THEN 'paused' ELSE state END,
    CASE WHEN paused_by_operator THEN 'paused by an operator' ELSE state_reason END, state_since_ms, next_call_at_ms,
    (SELECT count(*) FROM read_back WHERE account_id = account.id AND reason IN ('lost_answer', 'crash')) AS in_doubt
FROM account ORDER BY name;

-- name: called_at
SELECT called_at_ms, state, state_reason FROM account WHERE id = :account_id;

-- name: set_called_at
UPDATE account SET called_at_ms = :called_at_ms WHERE id = :account_id;

-- name: call_waits
SELECT operation, until_ms, wait_ms FROM call_wait WHERE account_id = :account_id;

-- name: forget_call_waits
DELETE FROM call_wait WHERE account_id = :account_id;

-- name: set_call_wait
INSERT INTO call_wait (account_id, operation, until_ms, wait_ms) VALUES (:account_id, :operation, :until_ms, :wait_ms);

-- name: set_account_state
UPDATE account SET
    state_since_ms = CASE WHEN state = :state AND state_reason = :reason THEN state_since_ms ELSE :told_ms END,
    state = :state,
    state_reason = :reason,
    next_call_at_ms = :next_call_at_ms
WHERE name = :account;

-- name: segments
SELECT segment.id, account.name, segment.heap_id, segment.name, list_state, list_name, list_id, list_reason,
    list_named_after, members, settled, pending, waiting, dead, created_at_ms, list_held_for, list_home, list_ids_before,
    list_asked_at_ms, list_count, confirmed
FROM segment JOIN account ON account.id = segment.account_id
ORDER BY account.name, segment.id;

-- name: list_name_taken
SELECT heap_id FROM segment
WHERE account_id = (SELECT account_id FROM segment WHERE id = :segment_id)
    AND lower(list_name) = lower(:list_name) AND list_name <> '' AND id <> :segment_id;

-- name: set_list
UPDATE segment SET
    list_state = :state, list_held_for = :held_for, list_name = :list_name, list_id = :list_id, list_home = :home,
    list_reason = :reason, list_named_after = :named_after, list_ids_before = :ids_before,
    list_asked_at_ms = :asked_at_ms
WHERE id = :segment_id;

-- name: list_owner
-- The account of another segment that has the list; ids of two Cordial accounts may be equal, names beside them hardly.
SELECT account.name FROM segment JOIN account ON account.id = segment.account_id
WHERE segment.id <> :segment_id AND segment.list_id = :list_id AND lower(segment.list_name) = lower(:list_name)
    AND list_id <> ''
LIMIT 1;

-- name: set_list_count
UPDATE segment SET
    list_count = :count, list_count_of = :confirmed, list_counted_at_ms = :now_ms, list_counted_told_ms = :told_ms
WHERE id = :segment_id;

-- name: owed_by_segment
SELECT segment.id, account.name, segment.pending, segment.waiting, coalesce(unfolded.users, 0),
    (SELECT coalesce(sum(users), 0) FROM guarded_piece WHERE guarded_piece.segment_id = segment.id)
FROM segment
JOIN account ON account.id = segment.account_id
LEFT JOIN (
    SELECT piece.segment_id, sum(piece.users) AS users
    FROM piece, fold_position
    WHERE piece.id > fold_position.piece_id
    GROUP BY piece.segment_id
) AS unfolded ON unfolded.segment_id = segment.id;

-- name: unfolded_users
SELECT coalesce(sum(piece.users), 0) FROM piece, fold_position WHERE piece.id > fold_position.piece_id;

-- name: last_received
SELECT account.name, max(sync.last_received_at_ms)
FROM sync JOIN segment ON segment.id = sync.segment_id JOIN account ON account.id = segment.account_id
GROUP BY account.id;

-- name: last_delivery
SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'delivery';

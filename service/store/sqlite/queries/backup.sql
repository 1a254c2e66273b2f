-- name: contents
SELECT
    (SELECT coalesce(sum(members), 0) FROM segment),
    (SELECT coalesce(sum(pending + waiting), 0) FROM segment)
        + (SELECT coalesce(sum(piece.users), 0) FROM piece, fold_position WHERE piece.id > fold_position.piece_id),
    (SELECT max(received_at_ms) FROM delivery);

-- name: guards
-- Whether the file's schema knows guarded removals.
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'guarded_piece');

-- name: guarded_users
SELECT coalesce(sum(users), 0) FROM guarded_piece;

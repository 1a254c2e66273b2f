-- name: contents
SELECT
    (SELECT coalesce(sum(members), 0) FROM segment),
    (SELECT coalesce(sum(pending + waiting), 0) FROM segment)
        + (SELECT coalesce(sum(piece.users), 0) FROM piece, fold_position WHERE piece.id > fold_position.piece_id)
        + (SELECT coalesce(sum(users), 0) FROM guarded_piece),
    (SELECT max(received_at_ms) FROM delivery);

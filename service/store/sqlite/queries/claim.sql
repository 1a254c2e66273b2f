-- name: passed_over
-- The first of the pieces that need not be looked at, and the last: what they name travels with an import that is being
-- settled. In doubt or opened again it takes longer, and then they are.
SELECT min(piece.id), bulk_import.after_piece FROM bulk_import
CROSS JOIN piece ON piece.segment_id = :segment_id AND piece.id >= :piece_id AND piece.id <= bulk_import.after_piece
WHERE bulk_import.account_id = :account_id AND bulk_import.state = 'sending' AND bulk_import.unnamed_id IS NULL
    AND :segment_id IN (SELECT value FROM json_each(bulk_import.segments))
    AND EXISTS (SELECT 1 FROM import_part WHERE import_id = bulk_import.id AND state <> 'in_doubt')
HAVING min(piece.id) IS NOT NULL;

-- name: next_piece
SELECT piece.id, piece.identity, json_array_length(piece.contacts) FROM piece, fold_position
WHERE piece.segment_id = :segment_id AND piece.id >= :piece_id AND piece.id <= fold_position.piece_id
ORDER BY piece.id
LIMIT 1;

-- name: claim
-- All pending changes of those contacts, of a stretch of a piece, that have one in the piece's segment, and whether the
-- contact travels with an import. As one JSON array, because each row that a statement returns hands the interpreter from
-- thread to thread.
SELECT json_group_array(
    json_array(
        member.contact, member.segment_id, member.wanted, coalesce(failure.attempts, 0), coalesce(failure.failures, 0),
        coalesce(failure.reason = :absent, 0),
        EXISTS (SELECT 1 FROM import_change AS sent WHERE sent.account_id = :account_id AND sent.contact = due.contact)
    )
)
FROM piece
CROSS JOIN json_each(piece.contacts) AS entry
CROSS JOIN member AS due ON due.account_id = :account_id AND due.contact = :prefix || entry.value
    AND due.segment_id = piece.segment_id AND due.state = (SELECT number FROM member_state WHERE name = 'pending')
CROSS JOIN member ON member.account_id = :account_id AND member.contact = due.contact
    AND member.state = (SELECT number FROM member_state WHERE name = 'pending')
LEFT JOIN failure ON failure.account_id = member.account_id
    AND failure.contact = member.contact AND failure.segment_id = member.segment_id
WHERE piece.id = :piece_id AND entry.key >= :start AND entry.key < :stop;

-- name: find
-- What is known of a delivery: its segment, its sync and how many pages of that have come, the delivery itself, whether its
-- page has come in any form, whether a newer sync has come, and whether it is signed no later than what was forgotten. A sync not seen yet is the newest of
-- those signed at one moment.
SELECT segment.id, segment.name, sync.id, coalesce(sync.pages_received, 0), delivery.id,
    EXISTS (SELECT 1 FROM delivery AS any_form WHERE any_form.sync_id = sync.id AND any_form.page_number = :page_number),
    EXISTS (
        SELECT 1 FROM sync AS other
        WHERE other.segment_id = segment.id AND other.precedence_ms >= coalesce(sync.precedence_ms, :precedence_ms)
            AND (other.precedence_ms > coalesce(sync.precedence_ms, :precedence_ms) OR other.id > sync.id)
    ),
    :signed_at_ms <= (SELECT signed_to_ms FROM forgotten)
FROM segment
LEFT JOIN sync ON sync.segment_id = segment.id AND sync.task_id = :task_id
LEFT JOIN delivery ON delivery.sync_id = sync.id AND delivery.page_number = :page_number AND delivery.digest = :digest
WHERE segment.account_id = :account_id AND segment.heap_id = :heap_id;

-- name: add_segment
INSERT INTO segment (account_id, heap_id, name, created_at_ms) VALUES (:account_id, :heap_id, :name, :now_ms);

-- name: rename_segment
UPDATE segment SET name = :name WHERE id = :segment_id;

-- name: add_sync
INSERT INTO sync (
    segment_id, task_id, action, total_pages, precedence_ms, first_received_at_ms, last_received_at_ms
)
VALUES (:segment_id, :task_id, :action, :total_pages, :precedence_ms, :now_ms, :now_ms);

-- name: count_duplicate
UPDATE sync SET duplicates = duplicates + 1 WHERE id = :sync_id;

-- name: add_delivery
INSERT INTO delivery (
    sync_id, page_number, digest, added, removed, rejected, unusable, rejected_users, received_at_ms,
    signed_at_ms, superseded_at_ms
)
VALUES (
    :sync_id, :page_number, :digest, :added, :removed, :rejected, :unusable, :rejected_users, :now_ms,
    :signed_at_ms, CASE WHEN :superseded THEN :now_ms END
);

-- name: add_piece
INSERT INTO piece (segment_id, delivery_id, identity, wanted, users, contacts, spellings) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: count_delivery
UPDATE sync SET
    total_pages = max(total_pages, :total_pages),
    pages_received = pages_received + :new_page,
    added = added + :added,
    removed = removed + :removed,
    rejected = rejected + :rejected,
    unfolded = unfolded + :pieces,
    last_received_at_ms = :now_ms,
    drained_at_ms = CASE WHEN unfolded + :pieces + pending = 0 THEN :steady_ms END,
    drained_told_ms = CASE WHEN unfolded + :pieces + pending = 0 THEN :now_ms END
WHERE id = :sync_id;

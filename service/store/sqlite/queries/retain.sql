-- name: forget_deliveries
-- Ids grow with time, so the oldest are the first; nothing that is still being worked on is forgotten.
DELETE FROM delivery WHERE id IN (
    SELECT oldest.id
    FROM (SELECT id, sync_id, received_at_ms FROM delivery ORDER BY id LIMIT :limit) AS oldest
    JOIN sync ON sync.id = oldest.sync_id
    WHERE oldest.received_at_ms < :before_ms AND sync.unfolded = 0 AND sync.pending = 0
);

-- name: forget_syncs
DELETE FROM sync WHERE id IN (
    SELECT oldest.id
    FROM (SELECT id, last_received_at_ms, unfolded, pending, dead FROM sync ORDER BY id LIMIT :limit) AS oldest
    WHERE oldest.last_received_at_ms < :before_ms AND oldest.unfolded = 0 AND oldest.pending = 0 AND oldest.dead = 0
        AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.sync_id = oldest.id)
);

-- name: forget_imports
-- One that is over has no parts any more.
DELETE FROM bulk_import WHERE id IN (
    SELECT id FROM (SELECT id, state, ended_at_ms FROM bulk_import ORDER BY id LIMIT :limit)
    WHERE state = 'ended' AND ended_at_ms < :before_ms
);

-- name: forget_audit
DELETE FROM audit WHERE id IN (
    SELECT id FROM (SELECT id, at_ms FROM audit ORDER BY id LIMIT :limit) WHERE at_ms < :before_ms
);

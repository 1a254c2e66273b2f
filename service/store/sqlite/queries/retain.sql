-- name: last_lived
SELECT lived_ms, at_ms FROM lived ORDER BY lived_ms DESC LIMIT 1;

-- name: note_lived
INSERT INTO lived (lived_ms, at_ms, boot_id, boot_ago_ms, delivery_id, sync_id, import_id, audit_id, condition_id)
SELECT :lived_ms, :now_ms, :boot_id, :boot_ago_ms,
    (SELECT coalesce(max(id), 0) FROM delivery), (SELECT coalesce(max(id), 0) FROM sync),
    (SELECT coalesce(max(id), 0) FROM bulk_import), (SELECT coalesce(max(id), 0) FROM audit),
    (SELECT coalesce(max(id), 0) FROM condition)
ON CONFLICT DO UPDATE SET
    at_ms = excluded.at_ms, boot_id = excluded.boot_id, boot_ago_ms = excluded.boot_ago_ms,
    delivery_id = excluded.delivery_id, sync_id = excluded.sync_id, import_id = excluded.import_id,
    audit_id = excluded.audit_id, condition_id = excluded.condition_id;

-- name: thin_lived
-- One row an hour is enough, and none is needed before the last one that is old.
DELETE FROM lived
WHERE (lived_ms > :lived_ms - 3600000 AND lived_ms < :lived_ms
        AND lived_ms > (SELECT min(lived_ms) FROM lived WHERE lived_ms > :lived_ms - 3600000))
    OR lived_ms < (SELECT max(lived_ms) FROM lived WHERE lived_ms <= :old_ms);

-- name: old
SELECT delivery_id, sync_id, import_id, audit_id, condition_id FROM lived
WHERE lived_ms <= :old_ms ORDER BY lived_ms DESC LIMIT 1;

-- name: next_deliveries
SELECT max(id) FROM (SELECT id FROM delivery WHERE id > :after AND id <= :last ORDER BY id LIMIT :limit);

-- name: blank_rejected_users
-- People's data does not stay longer because something else of the page is still owed.
UPDATE delivery SET rejected_users = '[]' WHERE id > :after AND id <= :end AND rejected_users <> '[]';

-- name: forget_deliveries
-- Nothing that is still being worked on; nor what is signed in the future, or all that Heap signs until then would have to be
-- refused as forgotten (R4).
DELETE FROM delivery
WHERE id > :after AND id <= :end AND signed_at_ms <= :now_ms
    AND (SELECT unfolded = 0 AND pending = 0 FROM sync WHERE sync.id = delivery.sync_id)
RETURNING signed_at_ms;

-- name: note_forgotten
UPDATE forgotten SET signed_to_ms = max(signed_to_ms, :signed_at_ms);

-- name: next_syncs
SELECT max(id) FROM (SELECT id FROM sync WHERE id > :after AND id <= :last ORDER BY id LIMIT :limit);

-- name: forget_syncs
DELETE FROM sync
WHERE id > :after AND id <= :end AND unfolded = 0 AND pending = 0 AND dead = 0
    AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.sync_id = sync.id);

-- name: next_imports
SELECT max(id) FROM (SELECT id FROM bulk_import WHERE id > :after AND id <= :last ORDER BY id LIMIT :limit);

-- name: forget_imports
-- One that is over has no parts any more.
DELETE FROM bulk_import WHERE id > :after AND id <= :end AND state = 'ended';

-- name: next_audit
SELECT max(id) FROM (SELECT id FROM audit WHERE id > :after AND id <= :last ORDER BY id LIMIT :limit);

-- name: forget_audit
DELETE FROM audit WHERE id > :after AND id <= :end;

-- name: next_conditions
SELECT max(id) FROM (SELECT id FROM condition WHERE id > :after AND id <= :last ORDER BY id LIMIT :limit);

-- name: forget_conditions
DELETE FROM condition WHERE id > :after AND id <= :end AND ended_at_ms IS NOT NULL;

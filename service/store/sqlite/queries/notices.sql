-- name: told
SELECT kind, account, subject, nullif(list_id, 0) AS list_id, began_at_ms FROM notice_told WHERE target = :target;

-- name: note_told
INSERT INTO notice_told (target, kind, account, subject, list_id, began_at_ms)
VALUES (:target, :kind, :account, :subject, :list_id, :began_at_ms)
ON CONFLICT DO UPDATE SET began_at_ms = excluded.began_at_ms;

-- name: forget_told
DELETE FROM notice_told
WHERE target = :target AND kind = :kind AND account = :account AND subject = :subject AND list_id = :list_id;

-- name: put
INSERT INTO notice (target, message, created_at_ms, next_try_at_ms) VALUES (:target, :message, :now_ms, :now_ms);

-- name: count
SELECT count(*) FROM notice WHERE target = :target;

-- name: first
SELECT id, message, created_at_ms, tries, next_try_at_ms FROM notice WHERE target = :target ORDER BY id LIMIT 1;

-- name: remove
DELETE FROM notice WHERE id = :id;

-- name: put_off
UPDATE notice SET tries = tries + 1, next_try_at_ms = :next_try_at_ms WHERE id = :id;

-- name: forget_targets
DELETE FROM notice WHERE target NOT IN (SELECT value FROM json_each(:targets));

-- name: forget_told_targets
DELETE FROM notice_told WHERE target NOT IN (SELECT value FROM json_each(:targets));

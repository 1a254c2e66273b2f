-- The audit.

-- name: write
INSERT INTO audit (at_ms, actor, action, target, changes) VALUES (:at_ms, :actor, :action, :target, :changes) RETURNING id;

-- name: add_changes
UPDATE audit SET changes = changes + :changes WHERE id = :id;

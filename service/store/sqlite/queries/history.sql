-- Minutes of the past week.

-- name: add
INSERT OR REPLACE INTO minute (at_ms, backlog, calls, settled, failed)
VALUES (:at_ms, :backlog, :calls, :settled, :failed);

-- name: forget
DELETE FROM minute WHERE at_ms < :since_ms;

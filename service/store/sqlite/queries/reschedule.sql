-- Moments that are waited for, moved at a start by as much as the clock jumped.

-- name: last_noted
SELECT at_ms, boot_id, boot_ago_ms FROM lived ORDER BY lived_ms DESC LIMIT 1;

-- name: note_moved
-- In the same transaction, or a start that is cut here would move all once more.
UPDATE lived SET at_ms = at_ms + :shift_ms WHERE lived_ms = (SELECT max(lived_ms) FROM lived);

-- name: move_failures
UPDATE failure SET next_attempt_at_ms = next_attempt_at_ms + :shift_ms
WHERE dead = 0 AND next_attempt_at_ms > :now_ms AND next_attempt_at_ms < :never_ms;

-- name: move_read_backs
UPDATE read_back SET due_at_ms = due_at_ms + :shift_ms;

-- name: move_imports
UPDATE import_part SET fetched_at_ms = fetched_at_ms + :shift_ms, doubt_ends_at_ms = doubt_ends_at_ms + :shift_ms;

-- name: move_call_waits
UPDATE call_wait SET until_ms = until_ms + :shift_ms;

-- name: move_last_calls
-- 0 stands for no call at all.
UPDATE account SET called_at_ms = called_at_ms + :shift_ms WHERE called_at_ms > 0;

-- name: move_creations
-- 1 stands for a creation of which is not known when it was.
UPDATE segment SET list_asked_at_ms = list_asked_at_ms + :shift_ms WHERE list_asked_at_ms > 1;

-- name: move_notices
UPDATE notice SET created_at_ms = created_at_ms + :shift_ms, next_try_at_ms = next_try_at_ms + :shift_ms;

-- name: move_conditions
UPDATE condition SET began_at_ms = began_at_ms + :shift_ms WHERE ended_at_ms IS NULL AND began_at_ms > :now_ms;

-- name: move_member_reads
UPDATE member_read SET at_ms = at_ms + :shift_ms WHERE at_ms > :now_ms;

-- name: forget_minutes
DELETE FROM minute WHERE at_ms > :now_ms;

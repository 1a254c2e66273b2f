-- Which syncs are newer than another (R4). `newer` holds the answer for one sync at a time.

-- name: create_newer
CREATE TEMP TABLE IF NOT EXISTS newer (id INTEGER PRIMARY KEY) STRICT;

-- name: clear_newer
DELETE FROM newer;

-- name: find_newer
-- The syncs of the segment that are newer than this one (R4). Those already forgotten are older than whatever can still
-- come: see docs/decisions.md.
INSERT INTO newer (id)
SELECT other.id FROM sync AS own
JOIN sync AS other ON other.segment_id = own.segment_id AND other.precedence_ms >= own.precedence_ms
    AND (other.precedence_ms > own.precedence_ms OR other.id > own.id)
WHERE own.id = :sync_id
RETURNING id;

-- name: newer_drain
-- One that waits to be judged, or was discarded, may never come into effect (R17).
SELECT 1 FROM newer CROSS JOIN sync ON sync.id = newer.id
WHERE sync.action = 'segment.users.drain' AND sync.guard IS NOT 'discarded'
    AND NOT EXISTS (SELECT 1 FROM guarded_piece WHERE sync_id = sync.id)
LIMIT 1;

-- name: count_overtaken
-- CROSS JOIN keeps the order: the other way about, each piece would read the account's whole ledger.
SELECT count(*) FROM json_each(:contacts) AS piece
CROSS JOIN member ON member.account_id = :account_id
    AND member.contact = :identity || ':' || piece.value
    AND member.segment_id = :segment_id
WHERE iif(
    member.is_spelled,
    (SELECT sync_id FROM spelling
        WHERE segment_id = :segment_id AND contact = member.contact AND user_id = piece.value),
    member.sync_id
) IN (SELECT id FROM newer);

-- name: count_overtaken_spellings
SELECT count(*) FROM json_each(:spellings) AS pair
CROSS JOIN spelling ON spelling.segment_id = :segment_id
    AND spelling.contact = :identity || ':' || (pair.value ->> 0)
    AND spelling.user_id = pair.value ->> 1
WHERE spelling.sync_id IN (SELECT id FROM newer);

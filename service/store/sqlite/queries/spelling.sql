-- Members that have several user ids (R4). `told` holds what a fold says of user ids, where no newer sync has spoken.

-- name: create_told
CREATE TEMP TABLE IF NOT EXISTS told (
    contact TEXT NOT NULL,
    user_id TEXT NOT NULL,
    delivery_id INTEGER NOT NULL,
    PRIMARY KEY (contact, user_id)
) STRICT, WITHOUT ROWID;

-- name: clear_told
DELETE FROM told;

-- name: any_spelling
SELECT 1 FROM spelling WHERE segment_id = :segment_id LIMIT 1;

-- name: keep_plain
-- What was said of the plain user id so far stands in the member alone.
INSERT OR IGNORE INTO spelling (segment_id, contact, user_id, wanted, sync_id)
SELECT :segment_id, member.contact, piece.value, member.wanted, member.sync_id
FROM json_each(:contacts) AS piece
CROSS JOIN member ON member.account_id = :account_id
    AND member.contact = :identity || ':' || piece.value
    AND member.segment_id = :segment_id
WHERE NOT member.is_spelled;

-- name: tell_spellings
INSERT OR IGNORE INTO told (contact, user_id, delivery_id)
SELECT :identity || ':' || (pair.value ->> 0), pair.value ->> 1, :delivery_id
FROM json_each(:spellings) AS pair
LEFT JOIN spelling ON spelling.segment_id = :segment_id
    AND spelling.contact = :identity || ':' || (pair.value ->> 0)
    AND spelling.user_id = pair.value ->> 1
WHERE spelling.contact IS NULL
    OR iif(spelling.sync_id = :sync_id, spelling.wanted <> :wanted, spelling.sync_id NOT IN (SELECT id FROM newer));

-- name: tell_plain
-- Those of plainly written user ids whose contacts have others besides.
INSERT OR IGNORE INTO told (contact, user_id, delivery_id)
SELECT member.contact, piece.value, :delivery_id
FROM json_each(:contacts) AS piece
CROSS JOIN member ON member.account_id = :account_id
    AND member.contact = :identity || ':' || piece.value
    AND member.segment_id = :segment_id
LEFT JOIN spelling ON spelling.segment_id = :segment_id
    AND spelling.contact = member.contact
    AND spelling.user_id = piece.value
WHERE member.is_spelled AND (
    spelling.contact IS NULL
    OR iif(spelling.sync_id = :sync_id, spelling.wanted <> :wanted, spelling.sync_id NOT IN (SELECT id FROM newer))
);

-- name: tell_drained
INSERT OR IGNORE INTO told (contact, user_id, delivery_id)
SELECT spelling.contact, spelling.user_id, :delivery_id
FROM json_each(:contacts) AS piece
CROSS JOIN spelling ON spelling.segment_id = :segment_id AND spelling.contact = piece.value
WHERE spelling.wanted AND spelling.sync_id NOT IN (SELECT id FROM newer);

-- name: write_told
INSERT INTO spelling (segment_id, contact, user_id, wanted, sync_id)
SELECT :segment_id, contact, user_id, :wanted, :sync_id FROM told WHERE true
ON CONFLICT DO UPDATE SET wanted = excluded.wanted, sync_id = excluded.sync_id;

-- name: stage_told
-- Whoever is added is wanted; whoever is removed is not wanted any more once none of the contact's user ids is.
INSERT OR IGNORE INTO staged (contact, delivery_id, old_wanted, old_state, old_sync_id)
SELECT told.contact, max(told.delivery_id), member.wanted, member.state, member.sync_id
FROM told
LEFT JOIN member ON member.account_id = :account_id
    AND member.contact = told.contact
    AND member.segment_id = :segment_id
WHERE (member.contact IS NULL OR member.sync_id <> :sync_id OR member.wanted <> :wanted)
    AND (:wanted OR NOT EXISTS (
        SELECT 1 FROM spelling
        WHERE spelling.segment_id = :segment_id AND spelling.contact = told.contact AND spelling.wanted
    ))
GROUP BY told.contact;

-- name: take_off
UPDATE spelling SET wanted = 0 WHERE segment_id = :segment_id AND contact = :contact;

-- name: forget
DELETE FROM spelling WHERE segment_id = :segment_id AND contact = :contact;

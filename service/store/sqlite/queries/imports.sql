-- The steps of imports. Each may be repeated: what a step has done already it does not do again.

-- name: open_import
SELECT id, state, segments, gathered_to, contacts, released, unnamed_id
FROM bulk_import WHERE account_id = :account_id AND state <> 'ended';

-- name: gathering
SELECT id, segments, gathered_to, gather_end FROM bulk_import WHERE account_id = :account_id AND state = 'gathering';

-- name: begin
INSERT INTO bulk_import (account_id, state, segments, gathered_to, started_at_ms, after_piece)
SELECT :account_id, 'gathering', :segments, :gathered_to, :told_ms, (SELECT piece_id FROM fold_position)
WHERE NOT EXISTS (SELECT 1 FROM bulk_import WHERE account_id = :account_id AND state <> 'ended');

-- name: outcome
SELECT contacts, settled, released, reason FROM bulk_import WHERE id = :import_id;

-- name: end_of_step
SELECT contact FROM member
WHERE account_id = :account_id AND contact > :after AND contact < :before
ORDER BY contact
LIMIT 1 OFFSET :limit - 1;

-- name: gather
-- Of addresses only those that are beyond doubt, because a row that Cordial rejects is not named; and nobody whose call
-- is on its way or has failed before, or who is being erased.
INSERT INTO import_change (account_id, contact, segment_id, wanted)
SELECT account_id, contact, segment_id, wanted FROM member
WHERE account_id = :account_id AND contact > :after AND contact < :before AND contact <= :end
    AND state = (SELECT number FROM member_state WHERE name = :state) AND wanted >= :wanted_from
    AND segment_id IN (SELECT value FROM json_each(:segments))
    AND contact GLOB 'email:[a-zA-Z0-9]*@[a-zA-Z0-9]*.[a-zA-Z]*'
    AND contact NOT GLOB 'email:*[^a-zA-Z0-9.@_+-]*' AND contact NOT GLOB '*@*@*' AND contact NOT GLOB '*..*'
    AND contact NOT GLOB '*[.@-]' AND contact NOT GLOB '*[.@][.@]*' AND contact NOT GLOB '*@*_*'
    AND contact NOT IN (SELECT value FROM json_each(:claimed))
    AND NOT EXISTS (
        SELECT 1 FROM erasure WHERE erasure.account_id = member.account_id AND erasure.contact = member.contact
    )
    AND NOT EXISTS (
        SELECT 1 FROM failure
        WHERE failure.account_id = member.account_id AND failure.contact = member.contact
            AND failure.segment_id = member.segment_id
    );

-- name: set_gathered
UPDATE bulk_import SET
    gathered_to = :gathered_to, contacts = contacts + CASE WHEN unnamed_id IS NULL THEN :contacts ELSE 0 END
WHERE id = :id;

-- name: count_gathered
SELECT count(DISTINCT contact) FROM import_change
WHERE account_id = :account_id AND contact > :after AND contact <= :end;

-- name: start_sending
UPDATE bulk_import SET state = 'sending' WHERE id = :id;

-- name: measure
-- contacts, joining, and the characters of both; 6 are the key before each.
SELECT count(*), coalesce(sum(joining), 0), coalesce(sum(length(contact) - 6), 0),
    coalesce(sum((length(contact) - 6) * joining), 0), max(contact)
FROM (
    SELECT contact, max(wanted) AS joining FROM import_change
    WHERE account_id = :account_id AND contact > :after AND contact <= :last
    GROUP BY contact
    LIMIT :limit
);

-- name: add_part
INSERT INTO import_part (
    import_id, state, strategy, after_contact, last_contact, contacts, joining, contacts_bytes, joining_bytes
)
VALUES (
    :import_id, 'ready', 'updateOnly', :after, :last, :contacts, :joining, :contacts_bytes, :joining_bytes
);

-- name: parts
SELECT id, import_id, state, strategy, after_contact, last_contact, contacts, joining, missing, refused, tries, job_id,
    fetched_at_ms, name_digest, doubt, doubt_ends_at_ms
FROM import_part WHERE import_id = :import_id ORDER BY id;

-- name: part_stands
-- What a step does to a part rests on the state in which the part was seen; a person may have ended a doubt meanwhile.
SELECT 1 FROM import_part WHERE id = :id AND state = :seen;

-- name: set_posting
UPDATE import_part SET state = 'posting', job_id = '', name_digest = :name_digest, fetched_at_ms = NULL
WHERE id = :id AND state = 'ready';

-- name: set_running
UPDATE import_part SET state = 'running', job_id = :job_id, doubt = '', doubt_ends_at_ms = NULL
WHERE id = :id AND name_digest = :name_digest AND job_id = '' AND state IN ('posting', 'in_doubt');

-- name: count_job
UPDATE bulk_import SET jobs = jobs + 1 WHERE id = :import_id;

-- name: take_name_back
-- Only as long as nobody has fetched the file: then nobody ever will, and Cordial cannot carry it out.
UPDATE import_part SET state = 'ready', job_id = '', name_digest = NULL
WHERE id = :id AND state IN ('ready', 'posting', 'running') AND fetched_at_ms IS NULL;

-- name: set_in_doubt
UPDATE import_part SET state = 'in_doubt', doubt = :doubt, doubt_ends_at_ms = coalesce(fetched_at_ms, :now_ms) + :limit_ms
WHERE id = :id AND state IN ('posting', 'running');

-- name: end_doubt
UPDATE import_part SET state = 'releasing', name_digest = NULL
WHERE import_id = :import_id AND state = 'in_doubt'
RETURNING contacts;

-- name: repeat_part
UPDATE import_part SET
    state = 'ready', strategy = :strategy, missing = :missing, refused = :refused, tries = :tries, job_id = '',
    name_digest = NULL, fetched_at_ms = NULL, doubt = '', doubt_ends_at_ms = NULL
WHERE id = :id AND state = :seen;

-- name: end_part
UPDATE import_part SET state = :state, name_digest = NULL WHERE id = :id AND state = :seen;

-- name: remove_part
DELETE FROM import_part WHERE id = :id;

-- name: note_reason
UPDATE bulk_import SET reason = :reason WHERE id = :import_id;

-- name: names_erased
SELECT EXISTS (
    SELECT 1 FROM erasure CROSS JOIN import_change
        ON import_change.account_id = erasure.account_id AND import_change.contact = erasure.contact
    WHERE erasure.account_id = :account_id AND erasure.contact > :after AND erasure.contact <= :last
);

-- name: end_of_changes
-- The last contact of a step. What is counted by segment is sorted in memory, so it is counted in steps: an import may carry millions.
SELECT contact FROM import_change
WHERE account_id = :account_id AND contact > :after
ORDER BY contact
LIMIT 1 OFFSET :limit - 1;

-- name: held_back
-- The pending changes of contacts for which nothing is sent at the moment, by segment; one step of them.
SELECT member.segment_id, count(*)
FROM (
    SELECT DISTINCT contact FROM import_change WHERE account_id = :account_id AND contact > :after AND contact <= :end
) AS sent
CROSS JOIN member ON member.account_id = :account_id AND member.contact = sent.contact
    AND member.state = (SELECT number FROM member_state WHERE name = 'pending')
GROUP BY member.segment_id;

-- name: many_late
-- Whether so many pieces have come since the import began that what is in them is not counted.
SELECT count(*) > :max_pieces FROM (
    SELECT 1 FROM bulk_import
    CROSS JOIN json_each(bulk_import.segments) AS segment
    CROSS JOIN piece ON piece.segment_id = segment.value AND piece.id > bulk_import.after_piece
    WHERE bulk_import.id = :import_id
    LIMIT :max_pieces + 1
);

-- name: late
-- The pending changes that have come since and do not travel, by segment.
SELECT due.segment_id, count(DISTINCT due.contact) FROM bulk_import
CROSS JOIN fold_position
CROSS JOIN json_each(bulk_import.segments) AS segment
CROSS JOIN piece ON piece.segment_id = segment.value
    AND piece.id > bulk_import.after_piece AND piece.id <= fold_position.piece_id
CROSS JOIN json_each(piece.contacts) AS entry
CROSS JOIN member AS due ON due.account_id = bulk_import.account_id
    AND due.contact = iif(piece.identity = '', entry.value, piece.identity || ':' || entry.value)
    AND due.segment_id = piece.segment_id AND due.state = (SELECT number FROM member_state WHERE name = 'pending')
WHERE bulk_import.id = :import_id
    AND NOT EXISTS (
        SELECT 1 FROM import_change AS sent WHERE sent.account_id = due.account_id AND sent.contact = due.contact
    )
GROUP BY due.segment_id;

-- name: file
SELECT part.id, import_id, part.state, strategy, after_contact, last_contact, part.contacts, joining, missing, refused,
    tries, job_id, fetched_at_ms, name_digest, doubt, doubt_ends_at_ms, contacts_bytes, joining_bytes, bulk_import.segments,
    account.name
FROM import_part AS part
JOIN bulk_import ON bulk_import.id = part.import_id
JOIN account ON account.id = bulk_import.account_id
WHERE name_digest = :name_digest AND part.state IN ('posting', 'running', 'in_doubt');

-- name: note_fetched
UPDATE import_part SET fetched_at_ms = coalesce(fetched_at_ms, :now_ms)
WHERE id = :id AND name_digest = :name_digest AND state IN ('posting', 'running', 'in_doubt');

-- name: lines
-- Rows as they stand in the file, and the last one's contact. A list that the import does not change for a contact gets
-- what is settled there already, which changes nothing; the null marker where the ledger knows nothing.
SELECT max(contact), group_concat(substr(contact, 7) || :status || cells, char(10)) || char(10)
FROM (
    SELECT gathered.contact, (
        SELECT group_concat(:delimiter || coalesce(change.wanted, member.wanted, :null_marker), '')
        FROM json_each(:segments) AS entry
        LEFT JOIN import_change AS change
            ON change.account_id = :account_id AND change.contact = gathered.contact
            AND change.segment_id = entry.value
        LEFT JOIN member
            ON change.wanted IS NULL AND member.account_id = :account_id AND member.contact = gathered.contact
            AND member.segment_id = entry.value
            AND member.state = (SELECT number FROM member_state WHERE name = 'settled')
    ) AS cells
    FROM (
        SELECT DISTINCT contact FROM import_change
        WHERE account_id = :account_id AND contact > :after AND contact <= :last AND (wanted = 1 OR NOT :joining_only)
        ORDER BY contact
        LIMIT :limit
    ) AS gathered
);

-- name: next_changes
SELECT contact, segment_id, wanted FROM import_change
WHERE account_id = :account_id AND contact > :after AND contact <= :last
ORDER BY contact
LIMIT :limit;

-- name: remove_changes
DELETE FROM import_change WHERE account_id = :account_id AND contact > :after AND contact <= :last;

-- name: count_settled
-- Who is looked for in a file was counted when the import settled.
UPDATE bulk_import SET settled = settled + :settled, released = released + :released
WHERE id = :import_id AND unnamed_id IS NULL;

-- name: end_import
-- Nobody's address stays with what is over.
UPDATE bulk_import SET
    state = 'ended', ended_at_ms = CASE WHEN unnamed_id IS NULL THEN :told_ms ELSE ended_at_ms END,
    unnamed_id = NULL, gathered_to = '', gather_end = ''
WHERE id = :id;

-- name: travelling
-- The changes of an import by segment, and how many of them join; one step of them.
SELECT segment_id, count(*), sum(wanted) FROM import_change
WHERE account_id = :account_id AND contact > :after AND contact <= :end
GROUP BY segment_id;

-- name: expected
-- What a list holds at least once all of an import took effect: who was confirmed there, and who joins. Of whatever else
-- is not settled all can be there, or none.
SELECT id, list_id, settled - unnamed + :joining, settled + :joining + max(0, pending - :changes) + waiting + dead,
    :joining, :changes - :joining
FROM segment WHERE id = :segment_id;

-- name: remove_some
DELETE FROM import_change
WHERE (account_id, contact, segment_id) IN (
    SELECT account_id, contact, segment_id FROM import_change
    WHERE account_id = :account_id AND contact > :after AND contact <= :last AND (wanted = 0 OR NOT :removals_only)
    LIMIT :limit
);

-- What people look at of imports. Nothing below counts contacts.

-- name: shown_imports
SELECT bulk_import.id, account.name AS account, bulk_import.state, bulk_import.contacts, bulk_import.jobs,
    bulk_import.settled, bulk_import.released, bulk_import.reason,
    (SELECT coalesce(sum(refused), 0) FROM unnamed WHERE unnamed.import_id = bulk_import.id) AS unnamed,
    bulk_import.started_at_ms AS started_at, bulk_import.ended_at_ms AS ended_at,
    (
        SELECT json_group_array(json_object('id', segment.id, 'segment_name', segment.name, 'list_name', segment.list_name))
        FROM json_each(bulk_import.segments) AS entry JOIN segment ON segment.id = entry.value
    ) AS lists
FROM bulk_import JOIN account ON account.id = bulk_import.account_id
WHERE (:account IS NULL OR account.name = :account)
    AND (:list_id IS NULL OR :list_id IN (SELECT value FROM json_each(bulk_import.segments)))
    AND (:state IS NULL OR bulk_import.state = :state)

-- name: imports
-- with: shown_imports
    AND bulk_import.id BETWEEN :first AND :last
ORDER BY bulk_import.id DESC
LIMIT :limit;

-- name: sorted_imports
-- with: shown_imports
ORDER BY
    :sign * CASE :sort
        WHEN 'trouble' THEN
            CASE
                WHEN EXISTS (
                    SELECT 1 FROM import_part WHERE import_id = bulk_import.id AND import_part.state = 'in_doubt'
                ) THEN 0
                WHEN bulk_import.state <> 'ended' THEN 1
                ELSE 2
            END
        WHEN 'rows' THEN -bulk_import.contacts
        WHEN 'done' THEN -bulk_import.settled
        WHEN 'single_calls' THEN -bulk_import.released
    END,
    -:sign * bulk_import.id
LIMIT :limit OFFSET :offset;

-- name: part_views
SELECT id, state, strategy, job_id, contacts, tries, fetched_at_ms + :stepped_ms AS fetched_at, doubt,
    doubt_ends_at_ms + :stepped_ms AS doubt_ends_at
FROM import_part WHERE import_id = :import_id ORDER BY id;

-- name: journey
-- Of the contact's changes in the import the one of the list in question comes first. A part that is in the middle of
-- being settled no longer has its first contacts here.
SELECT bulk_import.id AS import_id, coalesce(part.job_id, '') AS job_id, part.state IS 'in_doubt' AS is_in_doubt,
    bulk_import.started_at_ms AS started_at,
    coalesce(change.segment_id = member.segment_id AND change.wanted = member.wanted, 0) AS carries_change
FROM segment
JOIN bulk_import ON bulk_import.account_id = segment.account_id AND bulk_import.state <> 'ended'
JOIN import_change AS change ON change.account_id = segment.account_id AND change.contact = :contact
LEFT JOIN member ON member.account_id = segment.account_id AND member.contact = :contact
    AND member.segment_id = segment.id
LEFT JOIN import_part AS part ON part.import_id = bulk_import.id AND part.after_contact < :contact
    AND part.last_contact >= :contact
WHERE segment.id = :list_id
ORDER BY change.segment_id = segment.id DESC
LIMIT 1;

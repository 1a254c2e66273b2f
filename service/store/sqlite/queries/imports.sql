-- name: open_import
SELECT id, segments, gathered_to, contacts, released FROM bulk_import WHERE account_id = :account_id AND state <> 'ended';

-- name: cut_short
SELECT id FROM bulk_import WHERE account_id = :account_id AND state = 'gathering';

-- name: begin
INSERT INTO bulk_import (account_id, state, segments, gathered_to, started_at_ms)
VALUES (:account_id, 'gathering', :segments, :gathered_to, :now_ms);

-- name: end_of_step
SELECT contact FROM member
WHERE account_id = :account_id AND contact > :after AND contact < :before
ORDER BY contact
LIMIT 1 OFFSET :limit - 1;

-- name: gather
-- Of addresses only those that are beyond doubt, because a row that Cordial rejects is not named; and nobody whose call
-- is on its way or has failed before.
INSERT INTO import_change (account_id, contact, segment_id, wanted)
SELECT account_id, contact, segment_id, wanted FROM member
WHERE account_id = :account_id AND contact > :after AND contact < :before AND contact <= :end
    AND state = (SELECT number FROM member_state WHERE name = 'pending')
    AND segment_id IN (SELECT value FROM json_each(:segments))
    AND contact GLOB 'email:[a-zA-Z0-9]*@[a-zA-Z0-9]*.[a-zA-Z]*'
    AND contact NOT GLOB 'email:*[^a-zA-Z0-9.@_+-]*' AND contact NOT GLOB '*@*@*' AND contact NOT GLOB '*..*'
    AND contact NOT GLOB '*[.@-]' AND contact NOT GLOB '*[.@][.@]*' AND contact NOT GLOB '*@*_*'
    AND contact NOT IN (SELECT value FROM json_each(:held))
    AND NOT EXISTS (
        SELECT 1 FROM failure
        WHERE failure.account_id = member.account_id AND failure.contact = member.contact
            AND failure.segment_id = member.segment_id
    );

-- name: set_gathered
UPDATE bulk_import SET gathered_to = :gathered_to, contacts = contacts + :contacts WHERE id = :id;

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
SELECT id, import_id, state, strategy, after_contact, last_contact, contacts, joining, missing, tries, job_id,
    fetched_at_ms
FROM import_part WHERE import_id = :import_id ORDER BY id;

-- name: set_posting
UPDATE import_part SET state = 'posting', job_id = '', name_digest = :name_digest, fetched_at_ms = NULL
WHERE id = :id AND state IN ('ready', 'posting');

-- name: set_running
UPDATE import_part SET state = 'running', job_id = :job_id WHERE id = :id AND state = 'posting';

-- name: count_job
UPDATE bulk_import SET jobs = jobs + 1 WHERE id = :import_id;

-- name: void_name
UPDATE import_part SET name_digest = NULL WHERE id = :id;

-- name: repeat_part
UPDATE import_part SET
    state = 'ready', strategy = :strategy, missing = :missing, tries = tries + :failed, job_id = '',
    name_digest = NULL, fetched_at_ms = NULL
WHERE id = :id;

-- name: end_part
UPDATE import_part SET state = :state, name_digest = NULL WHERE id = :id;

-- name: remove_part
DELETE FROM import_part WHERE id = :id;

-- name: note_reason
UPDATE bulk_import SET reason = :reason WHERE id = :import_id;

-- name: file
SELECT part.id, import_id, part.state, strategy, after_contact, last_contact, part.contacts, joining, missing, tries,
    job_id, fetched_at_ms, contacts_bytes, joining_bytes, bulk_import.segments, account.name
FROM import_part AS part
JOIN bulk_import ON bulk_import.id = part.import_id
JOIN account ON account.id = bulk_import.account_id
WHERE name_digest = :name_digest AND part.state IN ('posting', 'running');

-- name: note_fetched
UPDATE import_part SET fetched_at_ms = coalesce(fetched_at_ms, :now_ms)
WHERE id = :id AND name_digest = :name_digest;

-- name: lines
-- Rows as they stand in the file, and the last one's contact. A list that the import does not change for a contact gets
-- what is settled there already, which changes nothing; the null marker where the ledger knows nothing.
SELECT max(contact), group_concat(substr(contact, 7) || :status || cells, char(10)) || char(10)
FROM (
    SELECT gathered.contact, (
        SELECT group_concat(',' || coalesce(change.wanted, member.wanted, :null_marker), '')
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
UPDATE bulk_import SET settled = settled + :settled, released = released + :released WHERE id = :import_id;

-- name: end_import
UPDATE bulk_import SET state = 'ended', ended_at_ms = :now_ms WHERE id = :id;

-- name: expected
-- What a list holds at least once all of an import took effect: who was confirmed there, and who joins. Of whatever else
-- is not settled all can be there, or none.
SELECT segment.id, segment.list_id, segment.settled + sum(change.wanted),
    segment.settled + sum(change.wanted) + max(0, segment.pending - count(*)) + segment.waiting + segment.dead,
    count(*) - sum(change.wanted)
FROM segment
JOIN import_change AS change ON change.account_id = segment.account_id AND change.segment_id = segment.id
WHERE segment.account_id = :account_id
GROUP BY segment.id;

-- name: remove_some
DELETE FROM import_change
WHERE (account_id, contact, segment_id) IN (
    SELECT account_id, contact, segment_id FROM import_change
    WHERE account_id = :account_id AND contact > :after AND contact <= :last AND (wanted = 0 OR NOT :leaving_only)
    LIMIT :limit
);

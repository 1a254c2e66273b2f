-- What people look at of imports. Nothing here counts contacts.

-- name: imports
SELECT bulk_import.id, account.name AS account, bulk_import.state, bulk_import.contacts, bulk_import.jobs,
    bulk_import.settled, bulk_import.released, bulk_import.reason,
    bulk_import.started_at_ms AS started_at, bulk_import.ended_at_ms AS ended_at,
    (
        SELECT json_group_array(json_object('id', segment.id, 'list_name', segment.list_name))
        FROM json_each(bulk_import.segments) AS entry JOIN segment ON segment.id = entry.value
    ) AS lists
FROM bulk_import JOIN account ON account.id = bulk_import.account_id
WHERE bulk_import.id BETWEEN :first AND :last
    AND (:account IS NULL OR account.name = :account)
    AND (:list_id IS NULL OR :list_id IN (SELECT value FROM json_each(bulk_import.segments)))
    AND (:state IS NULL OR bulk_import.state = :state)
ORDER BY bulk_import.id DESC
LIMIT :limit;

-- name: parts
SELECT id, state, strategy, job_id, contacts, tries, fetched_at_ms AS fetched_at
FROM import_part WHERE import_id = :import_id ORDER BY id;

-- name: journey
-- Of the contact's changes in the import the one of the list in question comes first. A part that is in the middle of
-- being settled no longer has its first contacts here.
SELECT bulk_import.id AS import_id, coalesce(part.job_id, '') AS job_id, bulk_import.started_at_ms AS started_at,
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

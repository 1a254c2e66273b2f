-- name: recent_syncs
SELECT sync.id, account.name, segment.name, segment.list_name, sync.task_id, sync.action,
    sync.pages_received, sync.total_pages, sync.added, sync.removed, sync.rejected, sync.duplicates,
    sync.unfolded, sync.changes, sync.pending, sync.settled, sync.dead, sync.superseded,
    sync.first_received_at_ms, sync.last_received_at_ms, sync.drained_at_ms
FROM sync
JOIN segment ON segment.id = sync.segment_id
JOIN account ON account.id = segment.account_id
ORDER BY sync.id DESC
LIMIT :limit;

-- name: failure_groups
SELECT account.name, segment.list_name, failure.reason, failure.dead, count(*), max(failure.message),
    min(failure.first_failed_at_ms)
FROM failure
JOIN account ON account.id = failure.account_id
JOIN segment ON segment.id = failure.segment_id
GROUP BY account.name, segment.id, failure.reason, failure.dead
ORDER BY count(*) DESC
LIMIT :limit;

-- name: open_imports
-- Parts are sent in order, so the first one's job is the one that runs.
SELECT account.name, bulk_import.state, bulk_import.contacts, bulk_import.settled, bulk_import.released,
    (
        SELECT group_concat(segment.list_name, ', ')
        FROM json_each(bulk_import.segments) AS entry JOIN segment ON segment.id = entry.value
    ),
    coalesce((SELECT job_id FROM import_part WHERE import_id = bulk_import.id ORDER BY id LIMIT 1), ''),
    bulk_import.started_at_ms
FROM bulk_import JOIN account ON account.id = bulk_import.account_id
WHERE bulk_import.state <> 'ended'
ORDER BY account.name;

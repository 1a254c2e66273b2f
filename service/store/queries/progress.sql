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

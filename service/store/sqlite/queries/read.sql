-- What people look at. Every list is read by its key, newest or first first, so that a page costs the same wherever it
-- stands. Nothing here counts members.

-- name: is_searched
-- Whether a sync may have brought a row that Cordial refused in a file without naming it: whether it was settled after the
-- file's import began. Few lists have such rows.
segment.unnamed > 0 AND sync.settled > 0 AND sync.drained_told_ms >= (
    SELECT min(bulk_import.started_at_ms)
    FROM unnamed JOIN bulk_import ON bulk_import.id = unnamed.import_id
    WHERE unnamed.account_id = segment.account_id
        AND segment.id IN (SELECT value FROM json_each(unnamed.segments))
);

-- name: shown_syncs
-- A sync with its state, for the statements that begin with it.
WITH shown AS (
    SELECT sync.id, account.name AS account, segment.id AS list_id, segment.name AS segment_name, segment.list_name,
        segment.list_state = 'held' AS list_held, segment.list_held_for IS 'awaiting_approval' AS awaits_approval,
        sync.task_id, sync.action,
        CASE
            WHEN sync.guard = 'held' THEN 'held'
            WHEN sync.guard = 'discarded' AND sync.pending = 0 THEN 'discarded'
            WHEN sync.pages_received < sync.total_pages THEN 'receiving'
            -- What is first of its segment waits for no other sync, but is judged next (`heads`).
            WHEN sync.unfolded > 0 AND EXISTS (SELECT 1 FROM guarded_piece WHERE sync_id = sync.id) AND sync.id <> (
                SELECT sync_id FROM guarded_piece WHERE segment_id = sync.segment_id ORDER BY id LIMIT 1
            ) THEN 'queued'
            WHEN sync.unfolded = 0 AND sync.pending > 0 AND segment.pending = 0 THEN 'waiting'
            WHEN sync.unfolded + sync.pending > 0 THEN 'sending'
            WHEN
-- with: is_searched
            THEN 'searching'
            WHEN sync.dead > 0 THEN 'failed'
            ELSE 'done'
        END AS state,
        sync.pages_received, sync.total_pages,
        sync.pages_received < sync.total_pages AND sync.last_received_at_ms < :overdue_before_ms AS pages_overdue,
        sync.added, sync.removed, sync.rejected, sync.duplicates,
        sync.unfolded AS unfolded_pieces, sync.changes, sync.pending, sync.settled, sync.dead AS failed,
        sync.superseded, sync.overtaken_users,
        sync.guard_removals AS removals, sync.guard_members AS removals_of, sync.discarded_users,
        (SELECT coalesce(sum(users), 0) FROM guarded_piece WHERE sync_id = sync.id) AS set_aside,
        CASE WHEN sync.pending > 0 AND segment.pending = 0 THEN (
            SELECT min(next_attempt_at_ms) + :stepped_ms FROM failure
            WHERE segment_id = segment.id AND dead = 0 AND next_attempt_at_ms < :never_ms
        ) END AS next_attempt_at,
        sync.first_received_at_ms AS first_received_at, sync.last_received_at_ms AS last_received_at,
        sync.drained_told_ms AS drained_at
    FROM sync
    JOIN segment ON segment.id = sync.segment_id
    JOIN account ON account.id = segment.account_id
)

-- name: syncs
-- with: shown_syncs
SELECT * FROM shown
WHERE id BETWEEN :first AND :last
    AND (:account IS NULL OR account = :account)
    AND (:list_id IS NULL OR list_id = :list_id)
    AND (:state IS NULL OR state = :state)
ORDER BY id DESC
LIMIT :limit;

-- name: ranked_syncs
-- Those that come before the others in an order, by indexes of what is few however long the history: whose pages or changes
-- are not all here and settled, or of which some failed. An older sync that misses pages is found by its list.
, ranked AS (
    SELECT id FROM sync WHERE drained_at_ms IS NULL AND (:sort = 'trouble' OR :sort = 'to_send' AND pending > 0)
    UNION
    SELECT id FROM sync
    WHERE :sort = 'trouble' AND pages_received < total_pages AND guard IS NOT 'discarded'
        AND NOT EXISTS (SELECT 1 FROM sync AS newer WHERE newer.segment_id = sync.segment_id AND newer.id > sync.id)
    UNION
    SELECT id FROM sync WHERE :sort IN ('trouble', 'failed') AND dead > 0
    UNION
    SELECT sync.id FROM segment CROSS JOIN sync ON sync.segment_id = segment.id
    WHERE :sort = 'trouble'
        AND
-- with: is_searched
)

-- name: first_syncs
-- with: shown_syncs
-- with: ranked_syncs
SELECT shown.* FROM ranked CROSS JOIN shown ON shown.id = ranked.id
WHERE (:account IS NULL OR account = :account)
    AND (:list_id IS NULL OR list_id = :list_id)
    AND (:state IS NULL OR state = :state)
ORDER BY
    CASE :sort
        WHEN 'trouble' THEN
            CASE state
                WHEN 'held' THEN 0
                WHEN 'failed' THEN 1
                WHEN 'searching' THEN 2
                WHEN 'receiving' THEN 3
                WHEN 'queued' THEN 4
                ELSE 5
            END
        WHEN 'to_send' THEN -pending
        WHEN 'failed' THEN -failed
    END,
    shown.id DESC
LIMIT :limit OFFSET :offset;

-- name: count_first_syncs
-- with: shown_syncs
-- with: ranked_syncs
SELECT count(*) FROM ranked CROSS JOIN shown ON shown.id = ranked.id
WHERE (:account IS NULL OR account = :account)
    AND (:list_id IS NULL OR list_id = :list_id)
    AND (:state IS NULL OR state = :state);

-- name: other_syncs
-- with: shown_syncs
-- with: ranked_syncs
SELECT * FROM shown
WHERE id NOT IN (SELECT id FROM ranked)
    AND (:account IS NULL OR account = :account)
    AND (:list_id IS NULL OR list_id = :list_id)
    AND (:state IS NULL OR state = :state)
ORDER BY id DESC
LIMIT :limit OFFSET :offset;

-- name: sync_states
-- How many are in a state that is not the end, or have failures. Those that are done are many, and nobody counts them.
-- with: shown_syncs
, open AS (
    SELECT id FROM sync WHERE drained_at_ms IS NULL
    UNION
    SELECT id FROM sync WHERE pages_received < total_pages
    UNION
    SELECT id FROM sync WHERE dead > 0
    UNION
    SELECT sync.id FROM segment CROSS JOIN sync ON sync.segment_id = segment.id
    WHERE
-- with: is_searched
)
SELECT state, count(*) FROM open CROSS JOIN shown ON shown.id = open.id
WHERE state NOT IN ('done', 'discarded')
    AND (:account IS NULL OR account = :account)
    AND (:list_id IS NULL OR list_id = :list_id)
GROUP BY state;

-- name: held_removals
SELECT
    (SELECT coalesce(sum(users), 0) FROM guarded_piece WHERE sync_id = :sync_id AND wanted = 1) AS additions,
    sync.total_pages - min(sync.total_pages, sync.pages_received) AS pages_missing,
    (SELECT count(DISTINCT other.sync_id) FROM guarded_piece AS other
        WHERE other.segment_id = sync.segment_id AND other.sync_id <> sync.id) AS queued_syncs
FROM sync WHERE sync.id = :sync_id;

-- name: first_removals
-- Some of the members that a guarded sync takes off. A drain names nobody.
SELECT member.contact FROM guarded_piece
CROSS JOIN segment ON segment.id = guarded_piece.segment_id
CROSS JOIN json_each(guarded_piece.contacts) AS entry
CROSS JOIN member ON member.account_id = segment.account_id
    AND member.contact = guarded_piece.identity || ':' || entry.value
    AND member.segment_id = segment.id AND member.wanted = 1
WHERE guarded_piece.sync_id = :sync_id AND guarded_piece.wanted = 0
ORDER BY guarded_piece.id
LIMIT :limit;

-- name: first_members
SELECT contact FROM (
    SELECT contact, segment_id, wanted FROM member
    WHERE account_id = (SELECT account_id FROM segment WHERE id = :list_id)
    ORDER BY contact LIMIT :rows
)
WHERE segment_id = :list_id AND wanted = 1
LIMIT :limit;

-- name: is_missed
-- Whether users of a sync are missing with its pages. A sync has who entered and who left since the last one, so a newer one
-- makes good what is missing only where it may have the same users again: where all of it is here, in as many pages.
sync.pages_received < sync.total_pages AND sync.guard IS NOT 'discarded' AND sync.id > segment.drained_by
    AND sync.id > coalesce(
        (
            SELECT newer.id FROM sync AS newer
            WHERE newer.segment_id = sync.segment_id AND newer.total_pages >= sync.total_pages
                AND newer.pages_received >= newer.total_pages AND newer.guard IS NOT 'discarded'
            ORDER BY newer.precedence_ms DESC LIMIT 1
        ),
        0
    );

-- name: remove_failed
-- Who could not be removed is counted by Cordial as well, and is no stranger.
CASE WHEN segment.count_differs_by > 0 AND segment.dead > 0 THEN (
    SELECT count(*) FROM failure
    JOIN member ON member.account_id = failure.account_id AND member.contact = failure.contact
        AND member.segment_id = failure.segment_id AND member.wanted = 0
    WHERE failure.segment_id = segment.id AND failure.dead = 1
) ELSE 0 END;

-- name: unexplained
-- By how many contacts Cordial's count differs, without those of whom it is known that they could not be removed.
max(
    segment.count_differs_by -
-- with: remove_failed
    , min(segment.count_differs_by, 0)
);

-- name: shown
-- A list with its standing, for the statements that begin with it.
WITH shown AS (
    SELECT segment.id, account.name AS account, segment.heap_id AS segment_id, segment.name AS segment_name,
        segment.list_name, segment.list_id AS cordial_list_id, segment.list_state AS state, segment.list_reason AS reason,
        segment.list_held_for AS held_for, segment.list_held_for IS 'awaiting_approval' AS awaits_approval,
        CASE
            WHEN segment.list_held_for = 'awaiting_approval' THEN 'to_approve'
            WHEN segment.list_state = 'held' THEN 'held'
            -- Before what says of others why they are not on the list: nobody is named by it.
            WHEN
-- with: unexplained
                <> 0 THEN 'differs'
            WHEN EXISTS (SELECT 1 FROM sync WHERE sync.segment_id = segment.id AND sync.guard = 'held') THEN 'sync_held'
            WHEN segment.dead + segment.unnamed > 0 THEN 'incomplete'
            WHEN segment.list_state <> 'ready' AND segment.pending + segment.waiting > 0 THEN 'not_created'
            WHEN segment.pending > 0 THEN 'sending'
            WHEN segment.waiting > 0 THEN 'tried_again_later'
            WHEN EXISTS (
                SELECT 1 FROM sync WHERE sync.segment_id = segment.id
                    AND
-- with: is_missed
            ) THEN 'receiving'
            -- What is set aside until an earlier sync is complete was accepted, and is not on the list.
            WHEN EXISTS (SELECT 1 FROM guarded_piece WHERE guarded_piece.segment_id = segment.id) THEN 'receiving'
            -- Accepted, and not taken into account yet: the newest page may change the list.
            WHEN EXISTS (
                SELECT 1 FROM piece, fold_position
                WHERE piece.segment_id = segment.id AND piece.id > fold_position.piece_id
            ) THEN 'sending'
            WHEN segment.count_differs_by IS NULL THEN 'not_counted'
            ELSE 'exact'
        END AS standing,
        segment.members AS wanted, segment.confirmed AS on_list,
        segment.pending, segment.waiting, segment.dead AS failed, segment.settled - segment.confirmed AS unnamed,
        segment.list_count AS counted, segment.count_differs_by, segment.list_counted_told_ms AS counted_at, segment.created_at_ms AS created_at
    FROM segment JOIN account ON account.id = segment.account_id
)

-- name: lists
-- with: shown
SELECT shown.*,
    standing = 'receiving' AND EXISTS (
        SELECT 1 FROM segment JOIN sync ON sync.segment_id = segment.id
        WHERE segment.id = shown.id AND sync.last_received_at_ms < :overdue_before_ms
            AND
-- with: is_missed
    ) AS pages_overdue,
    (SELECT count(*) FROM day_read WHERE segment_id = shown.id AND wanted = 1) AS read_back,
    (SELECT count(*) FROM day_read WHERE segment_id = shown.id AND wanted = 1 AND differed = 1) AS read_back_differ
FROM shown
WHERE id BETWEEN :first AND :last
    AND
    (:account IS NULL OR account = :account)
    AND (:state IS NULL OR state = :state)
    AND (:standing IS NULL OR standing = :standing)
    AND (
        :search IS NULL
        OR instr(lower(segment_name), lower(:search)) > 0
        OR instr(lower(list_name), lower(:search)) > 0
        OR segment_id = :search
    )
ORDER BY
    CASE WHEN :sort = 'trouble' THEN
        :sign * CASE standing
            WHEN 'held' THEN 0
            WHEN 'differs' THEN 1
            WHEN 'incomplete' THEN 2
            WHEN 'sync_held' THEN 3
            WHEN 'to_approve' THEN 4
            WHEN 'not_created' THEN 5
            WHEN 'sending' THEN 6
            WHEN 'tried_again_later' THEN 7
            WHEN 'receiving' THEN 8
            WHEN 'not_counted' THEN 9
            ELSE 10
        END
    END,
    :sign * CASE :sort
        WHEN 'wanted' THEN -wanted
        WHEN 'on_list' THEN -on_list
        WHEN 'to_send' THEN -(pending + waiting)
        WHEN 'failed' THEN -failed
        WHEN 'counted' THEN -coalesce(counted, -1)
        WHEN 'updated' THEN
            -coalesce(
                (
                    SELECT last_received_at_ms FROM sync WHERE segment_id = shown.id
                    ORDER BY precedence_ms DESC LIMIT 1
                ),
                0
            )
    END,
    CASE WHEN :sort IN ('trouble', 'name') AND :sign > 0 THEN lower(segment_name) END,
    CASE WHEN :sort IN ('trouble', 'name') AND :sign < 0 THEN lower(segment_name) END DESC,
    :sign * id
LIMIT :limit OFFSET :offset;

-- name: standings
-- with: shown
SELECT standing, count(*) FROM shown
WHERE
    (:account IS NULL OR account = :account)
    AND (:state IS NULL OR state = :state)
    AND (
        :search IS NULL
        OR instr(lower(segment_name), lower(:search)) > 0
        OR instr(lower(list_name), lower(:search)) > 0
        OR segment_id = :search
    )
GROUP BY standing;

-- name: troubled_lists
SELECT segment.id, account.name AS account, segment.name AS segment, segment.list_name, segment.list_state,
    segment.list_reason, segment.list_held_for IS 'awaiting_approval' AS awaits_approval,
    segment.pending + segment.waiting AS owed, segment.dead, segment.confirmed,
    segment.unnamed, segment.list_count,
-- with: remove_failed
    AS remove_failed,
-- with: unexplained
    AS unexplained
FROM segment JOIN account ON account.id = segment.account_id
WHERE (
        segment.list_state <> 'ready' OR segment.dead > 0 OR segment.unnamed > 0
        OR segment.count_differs_by <> 0
    )
    AND account.name IN (SELECT value FROM json_each(:accounts))
LIMIT :limit;

-- name: list_sum
-- A user id that cannot be used is named as long as the segment was not drained since; who leaves the segment is not named.
SELECT segment.members AS wanted, segment.confirmed AS on_list, segment.settled - segment.confirmed AS unnamed,
    segment.members - segment.settled - failed.additions AS to_add,
    failed.later_additions AS add_later,
    failed.additions AS failed,
    (
        SELECT count(*) - count(DISTINCT contact) FROM spelling WHERE segment_id = segment.id AND wanted = 1
    ) AS same_person,
    (
        SELECT coalesce(sum(delivery.unusable), 0) FROM delivery
        WHERE delivery.unusable > 0
            AND delivery.sync_id IN (SELECT id FROM sync WHERE segment_id = segment.id AND id > segment.drained_by)
    ) AS unusable,
    (SELECT coalesce(sum(superseded + overtaken_users), 0) FROM sync WHERE segment_id = segment.id) AS overtaken,
    segment.pending + segment.waiting - (segment.members - segment.settled - failed.additions) AS to_remove,
    segment.dead - failed.additions AS remove_failed,
    (SELECT coalesce(sum(users), 0) FROM guarded_piece WHERE segment_id = segment.id AND wanted = 1) AS additions_set_aside,
    (SELECT coalesce(sum(users), 0) FROM guarded_piece WHERE segment_id = segment.id AND wanted = 0) AS removals_set_aside,
    EXISTS (SELECT 1 FROM sync WHERE segment_id = segment.id AND guard = 'held') AS is_held,
    (SELECT coalesce(sum(discarded_users), 0) FROM sync WHERE segment_id = segment.id) AS discarded,
    EXISTS (
        SELECT 1 FROM piece, fold_position WHERE piece.segment_id = segment.id AND piece.id > fold_position.piece_id
    ) AS unread_pages
FROM segment
JOIN (
    SELECT count(*) FILTER (WHERE failure.dead = 1) AS additions,
        count(*) FILTER (
            WHERE member.state = (SELECT number FROM member_state WHERE name = 'waiting')
        ) AS later_additions
    FROM failure
    JOIN member ON member.account_id = failure.account_id AND member.contact = failure.contact
        AND member.segment_id = failure.segment_id AND member.wanted = 1
    WHERE failure.segment_id = :list_id
) AS failed
WHERE segment.id = :list_id;

-- name: missing_pages
SELECT sync.id AS sync_id, sync.task_id, sync.pages_received, sync.total_pages
FROM sync JOIN segment ON segment.id = sync.segment_id
WHERE segment.id = :list_id
    AND
-- with: is_missed
ORDER BY sync.id DESC LIMIT 20;

-- name: overdue_pages
-- Of each list the oldest sync of which pages have been missing for long, by the index of what is incomplete, which is little
-- however long the history.
SELECT missed.id, segment.id AS list_id, account.name AS account, segment.name AS segment, segment.list_name,
    missed.total_pages
FROM segment
JOIN account ON account.id = segment.account_id
JOIN sync AS missed ON missed.id = (
    SELECT sync.id FROM sync
    WHERE sync.segment_id = segment.id
        AND sync.last_received_at_ms < :before_ms AND sync.last_received_at_ms > :after_ms
        AND
-- with: is_missed
    ORDER BY sync.id LIMIT 1
)
WHERE account.name IN (SELECT value FROM json_each(:accounts))
LIMIT :limit;

-- name: minutes
SELECT max(at_ms) AS at, max(backlog) AS backlog, sum(calls) AS calls, sum(settled) AS settled, sum(failed) AS failed,
    count(*) AS minutes
FROM minute
WHERE at_ms >= :since_ms
GROUP BY at_ms / :step_ms
ORDER BY at_ms / :step_ms;

-- name: shown_failures
SELECT failure.id, account.name AS account, failure.segment_id AS list_id, segment.name AS segment_name,
    segment.list_name, failure.contact,
    member.wanted, failure.dead, failure.reason, failure.message, failure.status, failure.failures, failure.attempts,
    failure.first_failed_at_ms AS first_failed_at, failure.last_failed_at_ms AS last_failed_at,
    CASE WHEN failure.next_attempt_at_ms < :never_ms THEN failure.next_attempt_at_ms + :stepped_ms END AS next_attempt_at
FROM failure
JOIN account ON account.id = failure.account_id
JOIN segment ON segment.id = failure.segment_id
JOIN member ON member.account_id = failure.account_id AND member.contact = failure.contact
    AND member.segment_id = failure.segment_id
WHERE (:account IS NULL OR account.name = :account)
    AND (:list_id IS NULL OR failure.segment_id = :list_id)
    AND (:reason IS NULL OR failure.reason = :reason)
    AND (:dead IS NULL OR failure.dead = :dead)
    AND (:wanted IS NULL OR member.wanted = :wanted)
    AND (:search IS NULL OR instr(lower(failure.contact), lower(:search)) > 0)

-- name: failures
-- with: shown_failures
    AND failure.id BETWEEN :first AND :last
ORDER BY failure.id DESC
LIMIT :limit;

-- name: failures_by_latest
-- with: shown_failures
ORDER BY failure.id DESC
LIMIT :limit OFFSET :offset;

-- name: failures_by_trouble
-- with: shown_failures
ORDER BY -failure.dead, failure.id DESC
LIMIT :limit OFFSET :offset;

-- name: failures_by_name
-- with: shown_failures
ORDER BY failure.account_id, failure.contact, failure.segment_id
LIMIT :limit OFFSET :offset;

-- name: failures_after
-- By what a failure is of, which stays the same when the change is made again and fails again, as its id does not.
-- with: shown_failures
    AND (failure.account_id, failure.contact, failure.segment_id) > (
        coalesce((SELECT id FROM account WHERE name = :after_account), 0), :after_contact, :after_list_id
    )
ORDER BY failure.account_id, failure.contact, failure.segment_id
LIMIT :limit;

-- name: chosen_failures
-- Counted in the index alone.
WITH chosen AS (
    SELECT id, segment_id, reason, dead FROM failure
    WHERE segment_id IN (
        SELECT segment.id FROM segment JOIN account ON account.id = segment.account_id
        WHERE (:account IS NULL OR account.name = :account) AND (:list_id IS NULL OR segment.id = :list_id)
    )
    AND (:dead IS NULL OR dead = :dead)
)

-- name: chosen_wanted_failures
WITH chosen AS (
    SELECT failure.id, failure.segment_id, failure.reason, failure.dead FROM failure
    JOIN member ON member.account_id = failure.account_id AND member.contact = failure.contact
        AND member.segment_id = failure.segment_id AND member.wanted = :wanted
    WHERE failure.segment_id IN (
        SELECT segment.id FROM segment JOIN account ON account.id = segment.account_id
        WHERE (:account IS NULL OR account.name = :account) AND (:list_id IS NULL OR segment.id = :list_id)
    )
    AND (:dead IS NULL OR failure.dead = :dead)
)

-- name: groups_of_chosen
-- All but the numbers is read of two rows of each group. Ids grow with the time of the first failure.
, grouped AS (
    SELECT segment_id, reason, dead, count(*) AS changes, min(id) AS oldest_id, max(id) AS newest_id
    FROM chosen
    GROUP BY segment_id, reason, dead
    ORDER BY changes DESC, segment_id, reason, dead
    LIMIT :limit
)
SELECT account.name AS account, segment.id AS list_id, segment.name AS segment_name, segment.list_name,
    grouped.reason, grouped.dead, grouped.changes,
    newest.message, oldest.first_failed_at_ms AS first_failed_at, newest.last_failed_at_ms AS last_failed_at
FROM grouped
JOIN failure AS oldest ON oldest.id = grouped.oldest_id
JOIN failure AS newest ON newest.id = grouped.newest_id
JOIN segment ON segment.id = grouped.segment_id
JOIN account ON account.id = segment.account_id
ORDER BY grouped.changes DESC, segment.id, grouped.reason, grouped.dead

-- name: failure_groups
-- with: chosen_failures
-- with: groups_of_chosen

-- name: wanted_failure_groups
-- with: chosen_wanted_failures
-- with: groups_of_chosen

-- name: failure_reasons
-- with: chosen_failures
SELECT reason, count(*) FROM chosen GROUP BY reason ORDER BY count(*) DESC, reason;

-- name: wanted_failure_reasons
-- with: chosen_wanted_failures
SELECT reason, count(*) FROM chosen GROUP BY reason ORDER BY count(*) DESC, reason;

-- name: accounts
-- What sending does is written down a moment later than an operator's pause or resume: until then the latter says it.
SELECT account.name, account.paused_by_operator,
    CASE
        WHEN account.paused_by_operator THEN 'paused'
        WHEN account.state_reason = :paused_by_operator THEN 'sending'
        ELSE account.state
    END AS state,
    CASE
        WHEN account.paused_by_operator THEN :paused_by_operator
        WHEN account.state_reason = :paused_by_operator THEN ''
        ELSE account.state_reason
    END AS state_reason,
    nullif(account.state_since_ms, 0) AS state_since,
    count(segment.id) AS lists, coalesce(sum(segment.pending), 0) AS pending,
    coalesce(sum(segment.waiting), 0) AS waiting, coalesce(sum(segment.dead), 0) AS failed,
    coalesce(sum(segment.pending) FILTER (WHERE segment.list_state = 'ready'), 0) AS sendable,
    (
        SELECT count(*) FROM (SELECT DISTINCT contact FROM failure WHERE account_id = account.id AND dead = 1)
    ) AS failed_people,
    (
        SELECT coalesce(sum(users), 0) FROM guarded_piece
        WHERE segment_id IN (SELECT id FROM segment AS own WHERE own.account_id = account.id)
    ) AS set_aside,
    (
        SELECT coalesce(sum(users), 0) FROM guarded_piece
        WHERE segment_id IN (
            SELECT held.segment_id FROM sync AS held JOIN segment AS own ON own.id = held.segment_id
            WHERE held.guard = 'held' AND own.account_id = account.id
        )
    ) AS held,
    (
        SELECT count(*) FROM read_back WHERE account_id = account.id AND reason IN ('lost_answer', 'crash')
    ) AS in_doubt,
    coalesce(sum(segment.members), 0) AS wanted,
    coalesce(sum((SELECT count(*) FROM day_read WHERE segment_id = segment.id AND wanted = 1)), 0) AS read_back,
    coalesce(
        sum((SELECT count(*) FROM day_read WHERE segment_id = segment.id AND wanted = 1 AND differed = 1)), 0
    ) AS read_back_differ
FROM account LEFT JOIN segment ON segment.account_id = account.id
GROUP BY account.id
ORDER BY account.name;

-- name: deliveries
SELECT delivery.id, delivery.sync_id, account.name AS account, segment.id AS list_id, segment.name AS segment_name,
    sync.task_id, delivery.page_number, lower(hex(delivery.digest)) AS digest,
    delivery.added, delivery.removed, delivery.rejected, delivery.rejected_users,
    delivery.received_at_ms AS received_at, delivery.superseded_at_ms AS superseded_at
FROM delivery
JOIN sync ON sync.id = delivery.sync_id
JOIN segment ON segment.id = sync.segment_id
JOIN account ON account.id = segment.account_id
WHERE delivery.id BETWEEN :first AND :last
    AND (:sync_id IS NULL OR delivery.sync_id = :sync_id)
    AND (:account IS NULL OR account.name = :account)
    AND (:list_id IS NULL OR segment.id = :list_id)
ORDER BY delivery.id DESC
LIMIT :limit;

-- name: deliveries_of_sync
SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM delivery WHERE sync_id = :sync_id;

-- name: unusable
SELECT delivery.id * 1024 + rejected.key AS id, delivery.id AS delivery_id, delivery.sync_id, account.name AS account,
    segment.id AS list_id, segment.name AS segment_name, sync.task_id, delivery.page_number,
    rejected.value ->> 'path' AS path, rejected.value ->> 'reason' AS reason, rejected.value ->> 'value' AS value,
    delivery.received_at_ms AS received_at
FROM delivery
JOIN sync ON sync.id = delivery.sync_id
JOIN segment ON segment.id = sync.segment_id
JOIN account ON account.id = segment.account_id
JOIN json_each(delivery.rejected_users) AS rejected
WHERE delivery.id BETWEEN :first / 1024 AND :last / 1024
    AND delivery.rejected_users <> '[]'
    AND delivery.id * 1024 + rejected.key BETWEEN :first AND :last
    AND (:account IS NULL OR account.name = :account)
    AND (:list_id IS NULL OR segment.id = :list_id)
    AND (:sync_id IS NULL OR delivery.sync_id = :sync_id)
    AND (
        :wanted IS NULL
        OR :wanted = (rejected.value ->> 'path' NOT GLOB '$.data.remove*' AND delivery.sync_id > segment.drained_by)
    )
    AND (:search IS NULL OR instr(lower(rejected.value ->> 'value'), lower(:search)) > 0)
ORDER BY delivery.id DESC, rejected.key DESC
LIMIT :limit;

-- name: members_end
-- The ledger has the contacts of all lists of an account in one order: a slice ends after so many rows of any list.
SELECT contact FROM member
WHERE account_id = (SELECT account_id FROM segment WHERE id = :list_id) AND contact > :after
ORDER BY contact LIMIT 1 OFFSET :rows;

-- name: members
SELECT member.contact, member.wanted, (SELECT name FROM member_state WHERE number = member.state) AS state,
    member.sync_id, failure.reason, failure.message
FROM member
LEFT JOIN failure ON failure.account_id = member.account_id AND failure.contact = member.contact
    AND failure.segment_id = member.segment_id
WHERE member.account_id = (SELECT account_id FROM segment WHERE id = :list_id)
    AND member.contact > :after AND (:end IS NULL OR member.contact <= :end)
    AND member.segment_id = :list_id
    AND (:state IS NULL OR member.state = (SELECT number FROM member_state WHERE name = :state))
    AND (:wanted IS NULL OR member.wanted = :wanted)
ORDER BY member.contact;

-- name: member
SELECT member.contact, member.wanted, (SELECT name FROM member_state WHERE number = member.state) AS state,
    member.sync_id, sync.task_id, delivery.page_number,
    delivery.received_at_ms AS said_at, failure.id AS failure_id,
    member.wanted = 1 AND EXISTS (
        SELECT 1 FROM unnamed
        WHERE unnamed.account_id = member.account_id
            AND member.contact > unnamed.after_contact AND member.contact <= unnamed.last_contact
            AND member.segment_id IN (SELECT value FROM json_each(unnamed.segments))
    ) AS may_be_refused
FROM member
LEFT JOIN sync ON sync.id = member.sync_id
LEFT JOIN delivery ON delivery.id = member.delivery_id
LEFT JOIN failure ON failure.account_id = member.account_id AND failure.contact = member.contact
    AND failure.segment_id = member.segment_id
WHERE member.account_id = (SELECT account_id FROM segment WHERE id = :list_id)
    AND member.contact = :contact AND member.segment_id = :list_id;

-- name: owed
-- From the counters: only dead letters are looked at one by one.
WITH owed AS (
    SELECT segment.pending + segment.waiting AS changes, segment.members - segment.settled - (
        SELECT count(*) FROM failure
        JOIN member ON member.account_id = failure.account_id AND member.contact = failure.contact
            AND member.segment_id = failure.segment_id AND member.wanted = 1
        WHERE failure.segment_id = segment.id AND failure.dead = 1
    ) AS additions
    FROM segment WHERE segment.id = :list_id
)
SELECT additions, changes - additions AS removals FROM owed;

-- name: audit
SELECT id, at_ms AS at, actor, action, target,
    coalesce(
        (
            SELECT name FROM segment WHERE segment.id = CASE
                WHEN action GLOB 'list.*' THEN CAST(target AS INTEGER)
                WHEN action GLOB 'sync.*' THEN (SELECT segment_id FROM sync WHERE sync.id = CAST(target AS INTEGER))
                WHEN action = 'failures.retry' AND json_valid(target) THEN target ->> 'segment_id'
            END
        ),
        ''
    ) AS segment_name,
    changes
FROM audit
WHERE id BETWEEN :first AND :last
    AND (:actor IS NULL OR actor = :actor)
    AND (
        :list_id IS NULL
        OR action GLOB 'list.*' AND target = CAST(:list_id AS TEXT)
        OR action GLOB 'sync.*' AND target IN (SELECT CAST(id AS TEXT) FROM sync WHERE segment_id = :list_id)
        OR action = 'failures.retry' AND CASE WHEN json_valid(target) THEN target ->> 'segment_id' = :list_id END
    )
ORDER BY id DESC
LIMIT :limit;

-- name: data_version
PRAGMA data_version;

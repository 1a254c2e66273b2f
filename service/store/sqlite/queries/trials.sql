-- What trials of accounts showed.

-- name: read
SELECT point, outcome, detail, at_ms AS at FROM trial
WHERE account_id = :account_id AND cordial_base_url = :cordial_base_url;

-- name: record
INSERT INTO trial (account_id, point, outcome, detail, cordial_base_url, at_ms)
VALUES (:account_id, :point, :outcome, :detail, :cordial_base_url, :at_ms)
ON CONFLICT (account_id, point) DO UPDATE SET
    outcome = excluded.outcome,
    detail = excluded.detail,
    cordial_base_url = excluded.cordial_base_url,
    at_ms = excluded.at_ms
-- What could not be tried this time is still known from the time before.
WHERE excluded.outcome <> 'not_tried' OR trial.outcome = 'not_tried'
    OR trial.cordial_base_url <> excluded.cordial_base_url;

-- name: members_among
SELECT count(DISTINCT contact) FROM member
WHERE account_id = :account_id AND contact IN (SELECT value FROM json_each(:contacts));

-- name: still_settled
-- Which of these contacts but one are settled in one way, and travel in no import where that matters.
SELECT member.contact
FROM json_each(:contacts) AS asked
CROSS JOIN member ON member.account_id = :account_id AND member.contact = asked.value
    AND member.segment_id = :segment_id
WHERE member.contact <> :apart AND member.wanted = :wanted
    AND member.state = (SELECT number FROM member_state WHERE name = 'settled')
    AND (:or_in_import OR NOT EXISTS (
        SELECT 1 FROM import_change AS sent WHERE sent.account_id = :account_id AND sent.contact = member.contact
    ))
LIMIT :limit;

-- name: look
-- The next members of the account: the last contact among them, how many there are, and who is settled in one way.
SELECT
    max(contact),
    count(*),
    json_group_array(contact) FILTER (
        WHERE segment_id = :segment_id AND wanted = :wanted
            AND state = (SELECT number FROM member_state WHERE name = 'settled')
    )
FROM (
    SELECT contact, segment_id, wanted, state FROM member
    WHERE account_id = :account_id AND contact >= :after
    ORDER BY contact, segment_id LIMIT :limit
);

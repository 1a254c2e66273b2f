-- A record of who is on a list, in a database of its own, and the store attached to it.

-- name: attach
ATTACH DATABASE ? AS ledger;

-- name: make
-- person: several contacts may be one person, by each key that the account uses.
CREATE TABLE seen (contact TEXT PRIMARY KEY, person INTEGER NOT NULL) WITHOUT ROWID;

-- name: account
SELECT account_id FROM ledger.segment WHERE id = :segment_id;

-- name: add
INSERT INTO seen (contact, person) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: totals
SELECT (SELECT count(DISTINCT person) FROM seen),
    count(*) FILTER (WHERE member_state.name = 'settled' AND wanted = 1),
    count(*) FILTER (WHERE member_state.name = 'settled' AND wanted = 0),
    count(*) FILTER (WHERE member_state.name <> 'settled')
FROM ledger.member JOIN ledger.member_state ON member_state.number = member.state
WHERE account_id = :account_id AND segment_id = :segment_id;

-- name: missing
SELECT contact FROM ledger.member
WHERE account_id = :account_id AND segment_id = :segment_id AND wanted = 1
    AND state = (SELECT number FROM ledger.member_state WHERE name = 'settled')
    AND contact NOT IN (SELECT contact FROM seen)
ORDER BY contact;

-- name: wrongly_on
SELECT contact FROM ledger.member
WHERE account_id = :account_id AND segment_id = :segment_id AND wanted = 0
    AND state = (SELECT number FROM ledger.member_state WHERE name = 'settled')
    AND contact IN (SELECT contact FROM seen)
    -- By another key the same person may be wanted.
    AND NOT EXISTS (
        SELECT 1 FROM seen AS this JOIN seen AS other ON other.person = this.person
        JOIN ledger.member AS wanted ON wanted.account_id = :account_id AND wanted.contact = other.contact
            AND wanted.segment_id = :segment_id AND wanted.wanted = 1
        WHERE this.contact = member.contact AND other.contact <> this.contact
    )
ORDER BY contact;

-- name: strangers
SELECT min(contact) FROM seen
GROUP BY person
HAVING sum(
    EXISTS (
        SELECT 1 FROM ledger.member
        WHERE account_id = :account_id AND member.contact = seen.contact AND segment_id = :segment_id
    )
) = 0
ORDER BY 1;

-- name: settled
SELECT contact, wanted FROM ledger.member
WHERE account_id = :account_id AND contact > :after AND segment_id = :segment_id
    AND state = (SELECT number FROM ledger.member_state WHERE name = 'settled')
ORDER BY contact
LIMIT :limit;

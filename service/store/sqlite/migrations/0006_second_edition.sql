-- The states of a member by name: what `member.state` counts in. docs/states.md draws what leads from one to the other.
-- A member's row holds the number, because a name would cost 7 bytes of the 90 that a member may take.
CREATE TABLE member_state (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    meaning TEXT NOT NULL
) STRICT;

INSERT INTO member_state (number, name, meaning) VALUES
    (0, 'settled', 'Cordial has confirmed what is wanted'),
    (1, 'pending', 'may be sent to Cordial now'),
    (2, 'waiting', 'is sent again once failure.next_attempt_at_ms has come'),
    (3, 'dead', 'is not sent again until a person retries it, or Heap says something newer');

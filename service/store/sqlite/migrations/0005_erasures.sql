-- People whose data is to be erased: the row goes with the last trace of the contact, and names it until then, because
-- Cordial has to be told whom to take off. keep_on_lists: Cordial is told nothing.
CREATE TABLE erasure (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES account (id),
    contact TEXT NOT NULL,
    keep_on_lists INTEGER NOT NULL CHECK (keep_on_lists IN (0, 1)),
    actor TEXT NOT NULL,
    requested_at_ms INTEGER NOT NULL,
    UNIQUE (account_id, contact)
) STRICT;

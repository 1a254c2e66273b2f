-- Counting the failures of each reason must not read every one of them: after a day of refusals there may be a million.
CREATE INDEX failure_group ON failure (segment_id, reason, dead);

-- Syncs that are not settled: asked for every few seconds, few among the many of the history.
CREATE INDEX sync_open ON sync (segment_id, first_received_at_ms) WHERE drained_at_ms IS NULL;

-- The tables of the endpoint for a fleet. `psql -f schema.sql` creates them; it changes nothing that exists.

-- One row per token. During a rotation a site has two. `digest` is the SHA-256 of the token.
CREATE TABLE IF NOT EXISTS token (
    digest bytea PRIMARY KEY,
    site   text NOT NULL
);

-- Every message, once. Retries have the same id and the same bytes, so also the same time, and the key finds them in the
-- partition of their day. With the site in the key, no site can block the id of another one, and the table can be
-- distributed by site.
CREATE TABLE IF NOT EXISTS message (
    id       text        NOT NULL,
    time     timestamptz NOT NULL,
    site     text        NOT NULL,
    node     text        NOT NULL,  -- the node; '' for totals per type, '*' for a snapshot
    arrived  timestamptz NOT NULL DEFAULT now(),
    body     jsonb       NOT NULL,
    PRIMARY KEY (site, id, time)
) PARTITION BY RANGE (time);

CREATE TABLE IF NOT EXISTS message_other PARTITION OF message DEFAULT;  -- clocks that are wrong
CREATE INDEX IF NOT EXISTS message_of_site ON message (site, node, time);

-- The newest message of each node. Messages of the backlog are older and do not replace it.
CREATE TABLE IF NOT EXISTS latest (
    site text        NOT NULL,
    node text        NOT NULL,
    time timestamptz NOT NULL,
    body jsonb       NOT NULL,
    PRIMARY KEY (site, node)
) WITH (fillfactor = 50);  -- room on the page for the next version of a row, so that no index entry is written

-- Partitions from `back` days ago to `ahead` days from now, by the day in UTC. Run it daily, before the last one is used.
-- Messages that are in message_other, because a clock was wrong, move to the partition of their day.
CREATE OR REPLACE PROCEDURE make_partitions(back int DEFAULT 8, ahead int DEFAULT 7) LANGUAGE plpgsql AS $$
DECLARE
    day   date;
    name  text;
    first timestamptz;
    last  timestamptz;
BEGIN
    FOR day IN SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-back, ahead) AS n LOOP
        name := 'message_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        first := day::timestamp AT TIME ZONE 'UTC';
        last := (day + 1)::timestamp AT TIME ZONE 'UTC';
        EXECUTE format('CREATE TABLE %I (LIKE message INCLUDING ALL)', name);
        EXECUTE format(
            'WITH moved AS (DELETE FROM message_other WHERE time >= %L AND time < %L RETURNING *) '
            'INSERT INTO %I SELECT * FROM moved', first, last, name);
        EXECUTE format('ALTER TABLE message ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, last);
        COMMIT;  -- keeps the locks short
    END LOOP;
END $$;

-- Remove days that are older than `days`. This is fast, because it deletes no rows. Keep ids for at least the
-- `outbox.max_age_s` of the agents (7 days), or a very late retry is stored again.
CREATE OR REPLACE PROCEDURE drop_partitions(days int) LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT inhrelid::regclass::text FROM pg_inherits
        WHERE inhparent = 'message'::regclass AND inhrelid::regclass::text ~ '^message_[0-9]{8}$'
          AND to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date - days
    LOOP
        EXECUTE format('DROP TABLE %I', name);
    END LOOP;
END $$;

CALL make_partitions();

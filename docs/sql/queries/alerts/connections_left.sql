-- Count the connections that the server allows to the project, and those that are left.
SELECT maximum, maximum - (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend')
FROM (SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int)
    AS server (maximum);

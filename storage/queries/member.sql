-- hold_member: hold the member id of a group until this session ends; false where another session holds it
SELECT pg_try_advisory_lock(hashtextextended($1 || '/' || $2, 0));

-- member_holder: who holds it; where it came from is hidden from who may not see others' sessions
SELECT format('process %s of the database server', a.pid)
       || CASE WHEN a.backend_start IS NULL THEN ''
               ELSE format(', connected from %s since %s', coalesce(host(a.client_addr), 'a local socket'),
                           date_trunc('second', a.backend_start)) END
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended($1 || '/' || $2, 0);

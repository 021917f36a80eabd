-- hold_member: hold the member id of a group until this session ends; false where another session holds it
SELECT pg_try_advisory_lock(hashtextextended($1 || '/' || $2, 0));

-- member_holder: who holds it
SELECT format('process %s of the database server, connected from %s since %s',
              a.pid, coalesce(host(a.client_addr), 'a local socket'), date_trunc('second', a.backend_start))
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended($1 || '/' || $2, 0);

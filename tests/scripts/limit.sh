#!/bin/bash
. /scripts/helpers
# A user's shell, for limits that root does not have.
as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups "$@"; }
chmod 777 .
#= too many open files
ulimit -n 8
exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null; echo $?
exec 8</dev/null; echo $?
#= a pipe needs descriptors
ulimit -n 4
dash -c 'echo x | cat' 2>&1 | sed 's/.*: //' | head -n 1
#= too many processes
as_user dash -c 'ulimit -p 3; sleep 60 & sleep 60 & sleep 60 & echo no' 2>errors; echo $?
sed 's/.*: //' errors
pgrep -x -c sleep; pkill -x sleep; await eval '! pgrep -x sleep >/dev/null'
#= the number of processes does not bind root
(ulimit -u 1; dash -c 'dash -c "exit 4"; echo $?')
#= the number of processes counts those of the same user
setpriv --reuid 1000 --clear-groups sleep 60 & pid=$!
await runs $pid sleep
as_user dash -c 'ulimit -p 2; (exit 3); echo $?' 2>&1 | sed 's/.*: //'
as_user dash -c 'ulimit -p 3; (exit 3); echo $?' 2>&1 | sed 's/.*: //'
setpriv --reuid 1001 --clear-groups dash -c 'ulimit -p 2; (exit 3); echo $?'
kill $pid; wait $pid 2>/dev/null
#= a file that grows too large ends the writer with XFSZ
ulimit -f 4; ulimit -c 0
dd if=/dev/zero of=big bs=1024 count=10 2>/dev/null; echo $?
/bin/stat -c %s big
#= with XFSZ ignored it is an error
ulimit -f 4
(trap '' XFSZ; dd if=/dev/zero of=big bs=1024 count=10 2>&1 | sed -n 's/.*: File/File/p')
/bin/stat -c %s big
#= an address space that is too small
(ulimit -v 20000; bash -c 'x=$(head -c 30000000 /dev/zero | tr "\0" x); echo ${#x}' 2>/dev/null; echo $?)
#= exec within too small an address space
(ulimit -v 100; exec /bin/true) 2>/dev/null; echo $?
#= CPU time that is used up ends with XCPU or KILL
ulimit -c 0
(ulimit -St 1; exec bash -c 'while :; do :; done') 2>/dev/null; echo $?
(ulimit -t 1; exec bash -c 'trap "" XCPU; while :; do :; done') 2>/dev/null; echo $?
#= XCPU may be trapped
(ulimit -St 1; bash -c 'trap "echo xcpu; exit 8" XCPU; while :; do :; done'); echo $?
#= a soft limit can be raised to the hard one and no further
ulimit -Sn 100; ulimit -Hn 200
ulimit -Sn 200; echo $?
ulimit -Sn 201 2>/dev/null; echo $?
ulimit -n
#= a user cannot raise a hard limit
as_user bash -c 'ulimit -Hn 100; ulimit -Hn 101 2>/dev/null; echo $?; ulimit -Hn'
ulimit -Hn 100; ulimit -Hn 101; echo $?
#= all limits of a shell
ulimit -c 0; ulimit -d 1000000; ulimit -f 2000; ulimit -l 64; ulimit -n 50; ulimit -s 8192; ulimit -t 100; ulimit -u 900; ulimit -v 2000000; ulimit -x 12; ulimit -q 1000; ulimit -i 55; ulimit -e 3; ulimit -r 4
ulimit -a | grep -v 'pipe size'
#= a stack that is too small ends recursion
ulimit -c 0; ulimit -s 256
bash -c 'f() { f; }; f' 2>/dev/null; echo $?
#= core dumps are off with a limit of nought
ulimit -c 0
dash -c 'kill -ABRT $$' 2>/dev/null; echo $?
ls
#= prlimit changes another process
sleep 60 & pid=$!
await runs $pid sleep
prlimit -p $pid --nofile=33:44
grep 'open files' /proc/$pid/limits | sed 's/  */ /g'
as_user prlimit -p $pid --nofile=20:20 2>&1 | sed 's/[0-9][0-9]*/N/'
kill $pid; wait $pid 2>/dev/null
#= niceness within its limit
as_user bash -c 'ulimit -e' ; (ulimit -e 25; as_user nice -n -4 nice; as_user nice -n -9 nice 2>&1)
#= pending signals are limited
sleep 60 & pid=$!
await runs $pid sleep
kill -STOP $pid
prlimit -p $pid --sigpending=2:2
field $pid SigQ
kill -40 $pid
kill -KILL $pid; wait $pid 2>/dev/null; echo $?

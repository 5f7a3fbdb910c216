#!/bin/bash
. /scripts/helpers
#= kill -0 says whether a process is there
sleep 60 & pid=$!
kill -0 $pid; echo $?
kill $pid; wait $pid 2>/dev/null
kill -0 $pid 2>/dev/null; echo $?
#= a zombie can be signalled and stays what it is
zombie 9
kill -0 $zombie; echo $?
kill -KILL $zombie; echo $?
state $zombie
bury
gone $zombie; echo $?
#= kill of nobody
kill 999999 2>/dev/null; echo $?
kill -TERM -- -999999 2>/dev/null; echo $?
#= kill with a bad signal
kill -99 $$ 2>/dev/null; echo $?
kill -NONE $$ 2>/dev/null; echo $?
/bin/kill -0 $$; echo $?
#= kill of a group
set -m
(sleep 60 & sleep 61 & wait) & pid=$!
await eval '[ "$(pgrep -x -c sleep)" = 2 ]'
kill -TERM -- -$pid
wait $pid 2>/dev/null; echo $?
await eval '! pgrep -x sleep >/dev/null'; echo $?
#= kill by job
sleep 60 &
kill %1; wait %1 2>/dev/null; echo $?
kill %7 2>/dev/null; echo $?
#= kill 0 reaches the caller's whole group
set -m
bash -c 'trap "echo parent; exit 3" USR1; sleep 60 & sleep 61 & . /scripts/helpers; await runs $! sleep; await runs $(pgrep -o -x sleep) sleep; kill -USR1 0; wait; exit 4' 2>/dev/null & pid=$!
wait $pid 2>/dev/null; echo $?
await eval '! pgrep -x sleep >/dev/null'; echo $?
#= several at once
sleep 60 & a=$!
sleep 60 & b=$!
kill $a $b 999999 2>/dev/null; echo $?
wait $a 2>/dev/null; echo $?
wait $b 2>/dev/null; echo $?
#= kill -l knows names and numbers
kill -l 9 15 137 TERM
kill -l | head -n 3
/bin/kill -l 9
#= another user's process cannot be signalled
sleep 60 & pid=$!
setpriv --reuid 1000 --clear-groups kill -TERM $pid 2>&1 | sed 's/[0-9][0-9]*/PID/'
setpriv --reuid 1000 --clear-groups dash -c "kill -0 $pid" 2>/dev/null; echo $?
state $pid
kill $pid; wait $pid 2>/dev/null
#= SIGCONT may be sent to another user's process of the same session
setpriv --reuid 1000 --clear-groups sleep 60 & pid=$!
await runs $pid sleep
setpriv --reuid 1001 --clear-groups dash -c "kill -CONT $pid"; echo $?
setpriv --reuid 1001 --clear-groups dash -c "kill -TERM $pid" 2>/dev/null; echo $?
setpriv --reuid 1000 --clear-groups dash -c "kill -TERM $pid"; echo $?
wait $pid 2>/dev/null; echo $?
#= kill by a user who may signal some of a group
set -m
sleep 60 & pid=$!
await runs $pid sleep
setpriv --reuid 1000 --clear-groups dash -c "kill -TERM -$pid" 2>/dev/null; echo $?
kill -KILL -- -$pid; echo $?
wait $pid 2>/dev/null; echo $?
#= init cannot be killed
kill -KILL 1; echo $?
kill -0 1; echo $?
is 1 S && echo there
#= a signal to one that waits in open of a fifo ends it
mkfifo f
cat f & pid=$!
await runs $pid cat
kill $pid; wait $pid 2>/dev/null; echo $?
#= a signal to one that waits for a lock ends it
flock lock sleep 60 & holder=$!
await eval '! flock -n lock true'
flock lock true & pid=$!
await runs $pid flock
kill $pid; wait $pid 2>/dev/null; echo $?
pkill -x sleep
wait $holder 2>/dev/null; echo $?
#= KILL ends one that ignores everything else
dash -c 'trap "" HUP INT QUIT TERM; echo >ready; while :; do sleep 0.05; done' & pid=$!
await test -s ready
kill -HUP $pid; kill -INT $pid; kill -QUIT $pid; kill -TERM $pid
kill -0 $pid; echo $?
kill -KILL $pid; wait $pid 2>/dev/null; echo $?
#= a background program ignores INT and QUIT without job control
sleep 60 & pid=$!
await runs $pid sleep
field $pid SigIgn
kill -INT $pid; kill -QUIT $pid
is $pid S && echo alive
kill -TERM $pid; wait $pid 2>/dev/null; echo $?
#= with job control it does not
set -m
sleep 60 & pid=$!
await runs $pid sleep
field $pid SigIgn
kill -INT $pid; wait $pid 2>/dev/null; echo $?
#= pkill by name, by parent and by full line
sleep 61 & a=$!
sleep 62 & b=$!
await runs $a sleep; await runs $b sleep
pkill -f '^sleep 61$'; echo $?
wait $a 2>/dev/null; echo $?
pkill -P $$ -x sleep; echo $?
wait $b 2>/dev/null; echo $?
pkill -x sleep; echo $?
#= killall says whether there was anybody
sleep 60 & pid=$!
await runs $pid sleep
killall sleep; echo $?
wait $pid 2>/dev/null; echo $?
killall sleep 2>&1; echo $?
#= signals with a value are queued and standard ones are not
dash -c 'trap "echo usr1" USR1; kill -STOP $$; echo on' & pid=$!
await is $pid T
kill -USR1 $pid; kill -USR1 $pid; kill -USR1 $pid
kill -CONT $pid
wait $pid; echo $?
#= queued real-time signals arrive as often as sent
bash -c 'trap "n=\$((n + 1))" RTMIN+3; n=0; kill -STOP $$; :; echo $n' & pid=$!
await is $pid T
for i in 1 2 3 4; do kill -RTMIN+3 $pid; done
field $pid SigQ | sed 's:/.*::'
kill -CONT $pid
wait $pid; echo $?

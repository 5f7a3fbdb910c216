#!/bin/dash
. /scripts/helpers
#= statuses
for n in 0 1 127 255 256; do (exit $n); echo $?; done
dash -c 'kill -KILL $$'; echo $?
#= background, wait and kill
sleep 60 & pid=$!
kill $pid; wait $pid; echo $?
(exit 4) & wait $!; echo $?
wait; echo $?
#= traps
trap 'echo usr1' USR1; trap 'echo bye' EXIT
kill -USR1 $$
#= INT in the foreground
dash -c 'kill -INT $$'; echo $?
#= pipelines
yes | head -n 2; echo $?
(exit 3) | (exit 4); echo $?
#= the job table without job control
sleep 60 & pid=$!
await runs $pid sleep
who $(stat $pid 3) self=$pid shell=$$
jobs
kill -STOP $pid; await is $pid T; jobs
kill -KILL $pid; wait $pid; echo $?
#= fg without job control
dash -c 'kill -STOP $$; exit 6' & pid=$!
await is $pid T
jobs >/dev/null
fg %1; echo $?
kill -KILL $pid; wait $pid; echo $?
#= subshells and command substitution
x=$(echo a; exit 3); echo "$? $x"
(cd /; umask 0); umask
#= a here-document that is larger than a pipe
x=$(seq 1 30000)
cat <<X | wc -c
$x
X
#= exec
(exec dash -c 'exit 8'); echo $?
(exec ./nonesuch) 2>/dev/null; echo $?
(exec /tmp) 2>/dev/null; echo $?
#= ulimit
(ulimit -n 20; dash -c 'ulimit -n')
(ulimit -f 1; ulimit -c 0; dd if=/dev/zero of=big bs=512 count=4 2>/dev/null; echo $?)
#= set -e
dash -ec 'false; echo no'; echo $?
#= no fork beyond the limit
setpriv --reuid 1000 --clear-groups dash -c 'ulimit -p 1; (exit 1); echo no' 2>&1 | sed 's/.*: //'
#= a hundred programs in a loop
i=0; while [ $i -lt 100 ]; do /bin/true || echo bad; i=$((i + 1)); done; echo $i
#= times
i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done
times >t; head -n 1 t | grep -c -v '0m0.000000s 0m0.000000s'

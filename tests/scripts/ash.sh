#!/bin/busybox sh
. /scripts/helpers
#= statuses
for n in 0 1 127 255 256; do (exit $n); echo $?; done
sh -c 'kill -KILL $$'; echo $?
#= background, wait and kill
sleep 60 & pid=$!
kill $pid; wait $pid; echo $?
(exit 4) & wait $!; echo $?
#= wait -n
(exit 6) & wait -n; echo $?
#= traps
trap 'echo usr1' USR1; trap 'echo bye' EXIT
kill -USR1 $$
(trap 'echo sub' EXIT)
#= pipelines
yes | head -n 2; echo $?
set -o pipefail; (exit 3) | true; echo $?
#= the job table without job control
sleep 60 & pid=$!
await runs $pid sleep
who $(stat $pid 3) self=$pid shell=$$
jobs
kill %1; wait $pid; echo $?
#= command substitution and here-documents
x=$(cat <<X
doc $(echo in)
X
); echo "$x"
#= exec
(exec sh -c 'exit 8'); echo $?
(exec ./nonesuch) 2>/dev/null; echo $?
#= ulimit
(ulimit -n 20; sh -c 'ulimit -n')
(ulimit -f 1; ulimit -c 0; dd if=/dev/zero of=big bs=1024 count=4 2>/dev/null; echo $?)
#= read with a time limit
mkfifo f; exec 4<>f
read -t 1 x <&4; echo $?
#= a loop of programs
i=0; while [ $i -lt 30 ]; do busybox true || echo bad; i=$((i + 1)); done; echo $i
#= busybox tools see processes
sleep 60 & pid=$!
await runs $pid sleep
busybox kill -0 $pid; echo $?
busybox kill -STOP $pid; await is $pid T
busybox ps -o stat,args | grep '[s]leep 60' | sed 's/  */ /g'
busybox killall sleep; busybox kill -CONT $pid; wait $pid; echo $?
#= busybox's timeout, setsid, start-stop-daemon
busybox timeout 1 sleep 60; echo $?
busybox setsid sh -c 'exit 3'; echo $?
busybox start-stop-daemon -S -b -m -p pidfile -x /bin/sleep -- 60; echo $?
await test -s pidfile; await runs $(cat pidfile) sleep
field $(cat pidfile) PPid
busybox start-stop-daemon -K -p pidfile >/dev/null; echo $?
await gone $(cat pidfile); echo $?

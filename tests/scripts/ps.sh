#!/bin/bash
. /scripts/helpers
#= ps shows the processes of a session
sleep 60 & a=$!
cat /dev/zero >/dev/null & b=$!
await runs $a sleep
ps -o comm= -s $$ | sort
kill $a $b; wait 2>/dev/null
#= ps shows state, parent and niceness
nice -n 5 sleep 60 & pid=$!
await runs $pid sleep
ps -o state=,ni=,comm=,args= -p $pid | sed 's/  */ /g'
who $(ps -o ppid= -p $pid) shell=$$
kill -STOP $pid; await is $pid T
ps -o stat= -p $pid
kill -KILL $pid; wait $pid 2>/dev/null
#= ps shows a zombie as defunct
zombie 0
ps -o stat=,args= -p $zombie
bury
#= ps flags: session leader, high and low priority, several threads
ps -o stat= -p $$ | cut -c 1-2
nice -n 5 sleep 60 & a=$!
nice -n -5 sleep 60 & b=$!
await runs $a sleep; await runs $b sleep
ps -o stat= -p $a; ps -o stat= -p $b
kill $a $b; wait 2>/dev/null
#= ps selects by parent, by name and by user
sleep 60 & a=$!
setpriv --reuid 1000 --clear-groups sleep 61 & b=$!
await runs $a sleep; await runs $b sleep
ps --ppid $$ -o args= | grep sleep
ps -C sleep -o args=
ps -u 1000 -o args=,uid=
kill $a $b; wait 2>/dev/null
#= ps of nobody
ps -p 999999 -o comm=; echo $?
#= ps tells the policy and the real-time priority
chrt -f 10 sleep 60 & pid=$!
await runs $pid sleep
ps -o cls=,rtprio=,comm= -p $pid | sed 's/  */ /g'
kill $pid; wait $pid 2>/dev/null
#= ps shows the terminal as none
ps -o tty= -p $$
#= the elapsed time and the CPU time are sane
ps -o etimes=,cputimes= -p $$ | { read -r e c; [ $e -ge 0 ] && [ $e -lt 60 ] && [ $c -le $((e + 1)) ] && echo sane; }
#= pgrep by name, full line, parent, group, session, user
sleep 61 & a=$!
setpriv --reuid 1000 --clear-groups sleep 62 & b=$!
await runs $a sleep; await runs $b sleep
for pid in $(pgrep -x sleep); do who $pid a=$a b=$b; done
who $(pgrep -f '^sleep 62') a=$a b=$b
for pid in $(pgrep -P $$ -x sleep); do who $pid a=$a b=$b; done
for pid in $(pgrep -s $$ -x sleep); do who $pid a=$a b=$b; done
who $(pgrep -u 1000) a=$a b=$b
who $(pgrep -n -x sleep) a=$a b=$b
who $(pgrep -o -x sleep) a=$a b=$b
pgrep -x nonesuch; echo $?
pgrep -l -x sleep | sed 's/^[0-9]* //'
kill $a $b; wait 2>/dev/null
#= pgrep by run state
sleep 60 & a=$!
sleep 60 & b=$!
await runs $a sleep
kill -STOP $b; await is $b T
who $(pgrep -r T -x sleep) a=$a b=$b
who $(pgrep -r S -x sleep) a=$a b=$b
kill -KILL $a $b; wait 2>/dev/null
#= pidof
sleep 60 & pid=$!
await runs $pid sleep
who $(pidof sleep) it=$pid
kill $pid; wait $pid 2>/dev/null
pidof nonesuch; echo $?
#= pstree
cat >inner <<'X'
sleep 60 &
sleep 60 &
wait
X
dash ./inner & pid=$!
await eval '[ "$(pgrep -x -c sleep)" = 2 ]'
pstree -A $pid
pstree -A -a $pid
kill $pid $(pgrep -x sleep); wait 2>/dev/null
await eval '! pgrep -x sleep >/dev/null'
#= top in batch mode finds a process
sleep 60 & pid=$!
await runs $pid sleep
top -b -n 1 -p $pid | tail -n 1 | awk '{print $2, $8, $12}'
top -b -n 1 | grep -c -E '^(top|Tasks|%Cpu|MiB)'
kill $pid; wait $pid 2>/dev/null
#= pwdx
sleep 60 & pid=$!
await runs $pid sleep
pwdx $pid | sed "s/^$pid/PID/; s:$PWD:DIR:"
kill $pid; wait $pid 2>/dev/null
#= fuser finds who has a file
: >file
sleep 60 <file & pid=$!
await runs $pid sleep
who $(fuser file 2>/dev/null) it=$pid
kill $pid; wait $pid 2>/dev/null
fuser file; echo $?
#= fuser -k kills who has a file
: >file
sleep 60 <file & pid=$!
await runs $pid sleep
fuser -k file >/dev/null 2>&1; echo $?
wait $pid 2>/dev/null; echo $?
#= pidwait waits for somebody else's child
dash -c 'sleep 0.4 & :'
timeout 20 pidwait -x sleep; echo $?
#= free, uptime and vmstat read the machine
free | sed -n 's/:.*//p'
uptime | grep -c 'load average'
vmstat 2>&1 | wc -l
#= prtstat and peekfd's neighbour read stat
sleep 60 & pid=$!
await runs $pid sleep
prtstat $pid | grep -c -E 'Process:|State: S|CPU#|TTY'
kill $pid; wait $pid 2>/dev/null
#= skill and snice find by command
sleep 60 & pid=$!
await runs $pid sleep
snice +3 -c sleep >/dev/null; stat $pid 17
skill -TERM -c sleep
wait $pid 2>/dev/null; echo $?
#= w and who have nobody
w -h; echo $?
#= busybox ps and top agree that it is there
sleep 60 & pid=$!
await runs $pid sleep
busybox ps | grep -c 'sleep 60$'
busybox pgrep -x sleep >/dev/null; echo $?
busybox pstree $pid
busybox pidof sleep >/dev/null; echo $?
kill $pid; wait $pid 2>/dev/null

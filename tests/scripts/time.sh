#!/bin/bash
. /scripts/helpers
# now: hundredths of a second since boot.
now() { read -r up_ _ </proc/uptime; echo "${up_/./}"; }
#= sleep takes as long as it says
a=$(now); sleep 0.5; b=$(now)
[ $((b - a)) -ge 49 ] && echo long enough
#= a sleep that is interrupted by a trap ends the wait, not the sleep
trap 'echo trapped' USR1
sleep 0.6 & pid=$!
(await runs $pid sleep; kill -USR1 $$) &
wait $pid; echo $?
wait $pid; echo $?
wait
#= a stopped and continued sleep sleeps on to its end
a=$(now)
sleep 0.8 & pid=$!
await runs $pid sleep
kill -STOP $pid; await is $pid T; kill -CONT $pid
wait $pid; echo $?
[ $(($(now) - a)) -ge 79 ] && echo long enough
#= times tells of work done by the shell and by children
for ((i = 0; i < 60000; i++)); do :; done
dash -c 'i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done'
times >t; grep -c -v '^0m0.000s' t
#= children's times are added when they are waited for
before=$(($(stat $$ 14)))
dash -c 'i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done'
[ $(stat $$ 14) -gt $before ] && echo added
#= time tells real, user and system
TIMEFORMAT='%R %U %S'
{ time sleep 0.3; } 2>&1 | { read -r r u s; [ ${r/./} -ge 290 ] && [ ${u/./} -lt ${r/./} ] && echo sane; }
#= SECONDS and date agree
a=$(date +%s%N); sleep 0.3; b=$(date +%s%N)
[ $((b - a)) -ge 300000000 ] && echo long enough
#= time never goes back
last=0; bad=0
for n in {1..200}; do t=${EPOCHREALTIME/./}; ((t < last)) && bad=1; last=$t; done; echo $bad
#= sleeping costs no CPU time
sleep 60 & pid=$!
await runs $pid sleep
a=$(stat $pid 12); sleep 0.2; [ $(stat $pid 12) = $a ] && echo none
kill $pid; wait $pid 2>/dev/null
#= many sleepers end in order of their times
mkfifo f; exec 4<>f
for n in 5 1 3; do (sleep 0.$n; echo $n >&4) & done
for n in 1 2 3; do read -r x <&4; echo $x; done
wait
#= timeout of nought means never
timeout 0 sleep 0.2; echo $?
#= a process that works is preempted by one that wakes
bash -c 'while :; do :; done' & pid=$!
bash -c 'while :; do :; done' & other=$!
for n in 1 2 3; do sleep 0.1; echo $n; done
kill -KILL $pid $other; wait 2>/dev/null
#= work at a lower priority gets done too
nice -n 19 dash -c 'i=0; while [ $i -lt 500 ]; do i=$((i + 1)); done; echo done' & pid=$!
bash -c 'while :; do :; done' & other=$!
wait $pid; echo $?
kill -KILL $other; wait 2>/dev/null

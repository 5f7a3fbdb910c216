#!/bin/bash
. /scripts/helpers
#= wait for a process gives its status
(exit 17) & wait $!; echo $?
true & wait $!; echo $?
#= wait for several gives the last one's status
(exit 1) & a=$!
(exit 2) & b=$!
wait $a $b; echo $?
wait $b $a; echo $?
#= wait without children gives 0
wait; echo $?
#= wait for what is no child gives 127
wait 1 2>/dev/null; echo $?
wait 999999 2>/dev/null; echo $?
#= wait without arguments waits for all and gives 0
for n in 1 2 3; do (exit $n) & done
wait; echo $?
#= wait for a killed child gives 128 and the signal
for name in TERM KILL HUP USR1; do
    sleep 60 & pid=$!
    kill -$name $pid
    wait $pid 2>/dev/null; echo "$name $?"
done
#= wait -n gives whoever ends first
sleep 60 & long=$!
(exit 21) &
wait -n; echo $?
kill $long; wait $long 2>/dev/null; echo $?
#= wait -n without children gives 127
wait -n; echo $?
#= wait -n takes one after the other
for n in 1 2 3 4; do (exit $n) & done
for n in 1 2 3 4; do wait -n; echo $?; done >got
sort got
wait -n; echo $?
#= wait -n -p tells which
(exit 5) & pid=$!
wait -n -p which; echo "$? $(who $which child=$pid)"
#= wait for a child that ended long ago gives its status
(exit 33) & pid=$!
await gone $pid
wait $pid; echo $?
#= a status is remembered after the child was reaped
(exit 3) & a=$!
(exit 4) & b=$!
wait $b; echo $?
wait $a; echo $?
#= a trapped signal ends wait with 128 and its number
trap 'echo got USR1' USR1
sleep 60 & pid=$!
(await is $$ S; kill -USR1 $$) &
wait $pid; echo $?
kill $pid; wait $pid 2>/dev/null; echo $?
wait
#= an ignored signal does not end wait
trap '' USR1
(kill -USR1 $$; exit 6) & wait $!; echo $?
#= a stopped child is waited for until it ends
sleep 60 & pid=$!
kill -STOP $pid
await is $pid T
(await is $$ S; kill -CONT $pid; kill -TERM $pid) &
wait $pid 2>/dev/null; echo $?
wait
#= a stopped child that is killed is reported as killed
sleep 60 & pid=$!
kill -STOP $pid
await is $pid T
kill -KILL $pid
wait $pid 2>/dev/null; echo $?
#= a stopped child that gets TERM ends only when it goes on
sleep 60 & pid=$!
kill -STOP $pid
await is $pid T
kill -TERM $pid
sleep 0.2
state $pid
kill -CONT $pid
wait $pid 2>/dev/null; echo $?
#= a subshell cannot wait for its parent's children
sleep 60 & pid=$!
(wait $pid 2>/dev/null; echo $?)
kill $pid; wait $pid 2>/dev/null; echo $?
#= wait with a job number
(exit 8) & wait %1; echo $?
wait %2 2>/dev/null; echo $?
#= children of children are not waited for
dash -c 'sleep 60 & echo $! >pid; exit 5' & wait $!; echo $?
pid=$(cat pid)
wait $pid 2>/dev/null; echo $?
kill $pid
await gone $pid
#= a handler that runs during wait may start and reap children itself
trap 'true; dash -c "exit 3"; echo inner $?' USR1
mkfifo go
(await is $$ S; kill -USR1 $$; read -r x <go; exit 11) & pid=$!
wait $pid; echo $?
echo >go
wait $pid; echo $?
#= fifty children are waited for in any order
pids=()
for n in {1..50}; do (exit $n) & pids+=($!); done
sum=0
for ((i = 49; i >= 0; i--)); do wait ${pids[i]}; sum=$((sum + $?)); done
echo $sum
#= SIGCHLD ignored from birth does not keep a shell from its children's statuses
(trap '' CHLD; exec bash -c '(exit 4) & wait $!; echo $?; dash -c "exit 5"; echo $?')
#= wait in the shells that are not bash
for shell in dash "busybox sh"; do
    $shell -c '(exit 3) & (exit 4) & wait $!; echo $?; wait; echo $?; wait 999999; echo $?' 2>/dev/null
done
#= a trapped signal ends wait in the shells that are not bash
for shell in dash "busybox sh"; do
    $shell -c '. /scripts/helpers; trap "echo got it" USR1; sleep 60 & p=$!
        (await is $$ S; kill -USR1 $$) & wait $p; echo $?; kill $p; wait $p; echo $?; wait' 2>/dev/null
done

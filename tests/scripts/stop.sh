#!/bin/bash
. /scripts/helpers
#= STOP stops and CONT continues
sleep 60 & pid=$!
await runs $pid sleep
kill -STOP $pid; await is $pid T; field $pid State
kill -CONT $pid; await is $pid S; field $pid State
kill $pid; wait $pid 2>/dev/null; echo $?
#= a running process stops and goes on
bash -c 'while :; do :; done' & pid=$!
await is $pid R
kill -STOP $pid; await is $pid T; state $pid
kill -CONT $pid; await is $pid R; state $pid
kill -KILL $pid; wait $pid 2>/dev/null; echo $?
#= TSTP, TTIN and TTOU are ignored in an orphaned group
for name in TSTP TTIN TTOU; do
    dash -c "kill -$name \$\$; echo went on $name"
done
#= they stop a group that is not orphaned
set -m
try() {
    sleep 60 & pid=$!
    await runs $pid sleep
    kill -$1 $pid; await is $pid T; state $pid
    kill -KILL $pid; await gone $pid; wait $pid 2>/dev/null; echo $?
}
try TSTP; try TTIN; try TTOU
#= STOP stops in an orphaned group too
setsid sleep 60 & pid=$!
await runs $pid sleep
kill -STOP $pid; await is $pid T; state $pid
kill -KILL $pid; wait $pid 2>/dev/null; echo $?
#= a stopped process does no work
dash -c 'while :; do echo x >>out; sleep 0.02; done' & pid=$!
await test -s out
kill -STOP $pid; await is $pid T
sleep 0.1
a=$(wc -c <out); sleep 0.3; b=$(wc -c <out)
[ $a = $b ] && echo quiet
kill -CONT $pid
grew() { [ $(wc -c <out) -gt $b ]; }
await grew; echo $?
kill -KILL $pid; wait $pid 2>/dev/null
#= wait of a job-control shell tells a stopped child by status
set -m
sleep 60 & pid=$!
await runs $pid sleep
kill -STOP $pid; await is $pid T
wait $pid; echo $?
kill -KILL $pid; await gone $pid; wait $pid 2>/dev/null; echo $?
#= jobs shows stopped and running
set -m
sleep 60 &
await runs $! sleep
kill -STOP $!; await is $! T
jobs
kill -CONT $!; await is $! S
jobs
kill -KILL $!; await gone $!; wait 2>/dev/null
jobs
#= each stop signal has its own word
set -m
try() {
    sleep 60 & pid=$!
    await runs $pid sleep
    kill -$1 $pid; await is $pid T
    jobs
    kill -KILL $pid; await gone $pid; wait $pid 2>/dev/null
}
try STOP; try TSTP; try TTIN; try TTOU
#= bg lets a stopped job go on
set -m
sleep 60 & pid=$!
await runs $pid sleep
kill -STOP $pid; await is $pid T
jobs >/dev/null
bg %1
await is $pid S; state $pid
kill $pid; wait $pid 2>/dev/null; echo $?
#= fg lets a stopped job go on and waits for it
set -m
dash -c 'kill -STOP $$; exit 23' & pid=$!
await is $pid T
jobs >/dev/null
fg %1; echo $?
#= fg of nothing
set -m
fg 2>&1 | sed 's/.*: fg/fg/'
bg %1 2>&1 | sed 's/.*: bg/bg/'
#= a child that stops itself in the foreground of a job-control shell is handed back
set -m
dash -c 'kill -STOP $$; exit 5'
echo $?
jobs
kill -CONT %1; wait %1; echo $?
#= a whole group stops and goes on
set -m
(sleep 60 & sleep 61 & wait) & pid=$!
await eval '[ "$(pgrep -x -c sleep)" = 2 ]'
kill -STOP -- -$pid
for p in $pid $(pgrep -x sleep); do await is $p T; state $p; done
kill -CONT -- -$pid
for p in $(pgrep -x sleep); do await is $p S; state $p; done
kill -KILL -- -$pid; wait $pid 2>/dev/null; echo $?
await eval '! pgrep -x sleep >/dev/null'
#= a stopped group that becomes orphaned gets HUP and CONT
cat >member <<'X'
trap 'echo hup' HUP
trap 'echo cont; exit 0' CONT
echo $$ >member.pid
kill -STOP $$
while :; do sleep 0.05; done
X
bash -c 'set -m; dash ./member >out 2>&1 & . /scripts/helpers; await test -s member.pid; await is $(cat member.pid) T; kill -KILL $$'
pid=$(cat member.pid)
await gone $pid
sort out
#= a stopped group without handlers ends by that HUP
bash -c 'set -m; sleep 60 & echo $! >pid; . /scripts/helpers; await runs $! sleep; kill -STOP $!; await is $! T; kill -KILL $$'
await gone $(cat pid); echo $?
#= CONT to one that is not stopped does nothing
sleep 60 & pid=$!
await runs $pid sleep
kill -CONT $pid; kill -CONT $pid; state $pid
kill $pid; wait $pid 2>/dev/null; echo $?
#= a trap of CONT runs when the process goes on
bash -c 'trap "echo continued" CONT; kill -STOP $$; echo end' & pid=$!
await is $pid T
kill -CONT $pid
wait $pid; echo $?
#= a handler for TSTP runs instead of stopping
set -m
bash -c 'trap "echo not stopping" TSTP; kill -TSTP $$; exit 4' & wait $!; echo $?
#= time spent stopped does not count for a sleep that is over
sleep 0.2 & pid=$!
kill -STOP $pid; await is $pid T
sleep 0.5
state $pid
kill -CONT $pid
wait $pid; echo $?
#= timeout ends a stopped program too
timeout -s KILL 0.3 dash -c 'kill -STOP $$; echo no'; echo $?
#= a stopped process can be traced by nobody and still be waited for after its death by KILL
for n in 1 2 3; do sleep 60 & p[n]=$!; done
for n in 1 2 3; do kill -STOP ${p[n]}; done
for n in 1 2 3; do await is ${p[n]} T; done
kill -KILL ${p[@]}
for n in 1 2 3; do wait ${p[n]} 2>/dev/null; echo $?; done
#= a hundred stops and continues end in the last state
sleep 60 & pid=$!
await runs $pid sleep
for n in {1..100}; do kill -STOP $pid; kill -CONT $pid; done
await is $pid S; state $pid
for n in {1..100}; do kill -CONT $pid; kill -STOP $pid; done
await is $pid T; state $pid
kill -KILL $pid; wait $pid 2>/dev/null; echo $?
#= STOP and CONT in one breath leave a vfork child's parent alive
for n in {1..20}; do dash -c ':' & kill -STOP $!; kill -CONT $!; wait $!; done; echo $?

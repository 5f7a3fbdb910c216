#!/bin/bash
. /scripts/helpers
#= an orphan gets init as its parent
dash -c 'sleep 60 & echo $! >pid'
pid=$(cat pid)
field $pid PPid
kill $pid; await gone $pid; echo $?
#= an orphan that ends is reaped by init
dash -c '(sleep 0.3; exit 5) & echo $! >pid'
pid=$(cat pid)
await gone $pid; echo $?
#= a zombie is handed on and reaped when its parent ends
zombie 3
state $zombie
bury
gone $zombie; echo $?
#= a zombie stays as long as its parent does not wait
zombie 0
who $(stat $zombie 2) keeper=$keeper_
sleep 0.3
state $zombie
who $(cat /proc/$keeper_/task/$keeper_/children) zombie=$zombie
bury
#= an orphan keeps its group and session
dash -c 'sleep 60 & echo $! >pid'
pid=$(cat pid)
who $(stat $pid 3) case=$$
who $(stat $pid 4) case=$$
kill $pid; await gone $pid
#= a chain of orphans
dash -c 'dash -c "dash -c \"sleep 60 & echo \\\$! >pid\""'
pid=$(cat pid)
field $pid PPid
kill $pid; await gone $pid; echo $?
#= a subreaper gets orphans
cat >inner <<'X'
. /scripts/helpers
dash -c 'sleep 60 & echo $! >pid'
who $(field $(cat pid) PPid) reaper=$PPID init=1
kill $(cat pid)
await gone $(cat pid); echo $?
X
tini -s -- bash ./inner; echo $?
#= the nearest subreaper gets them
cat >inner <<'X'
. /scripts/helpers
dash -c 'sleep 60 & echo $! >pid'
who $(field $(cat pid) PPid) near=$PPID far=$FAR init=1
kill $(cat pid); await gone $(cat pid)
X
tini -s -- dash -c 'FAR=$PPID; export FAR; tini -s -- bash ./inner; echo $?'; echo $?
#= being a subreaper is not inherited
cat >inner <<'X'
. /scripts/helpers
tini -s -- dash -c '. /scripts/helpers; (sleep 60 & echo $! >pid); who $(field $(cat pid) PPid) reaper=$PPID init=1; kill $(cat pid)'
X
bash ./inner
await eval '! pgrep -x sleep >/dev/null'; echo $?
#= tini gives its child's status and passes signals on
tini -s -- dash -c 'exit 9'; echo $?
tini -s -- dash -c 'kill -TERM $$'; echo $?
tini -s -- bash -c 'trap "echo passed on; exit 4" USR1; echo >ready; while :; do sleep 0.05; done' & pid=$!
await test -f ready
kill -USR1 $pid; wait $pid; echo $?
#= a signal at the parent's death
dash -c 'setpriv --pdeathsig TERM sleep 60 & echo $! >pid; . /scripts/helpers; await runs $! sleep'
await gone $(cat pid); echo $?
#= a death signal that is trapped
cat >inner <<'X'
trap 'echo parent died >got; exit' USR1
echo >ready
while :; do sleep 0.05; done
X
dash -c 'setpriv --pdeathsig USR1 dash ./inner & . /scripts/helpers; await test -f ready'
await test -s got; cat got
#= killing a parent does not kill its children
dash -c 'sleep 60 & echo $! >pid; wait' & pid=$!
await test -s pid
kill -KILL $pid; wait $pid 2>/dev/null; echo $?
await runs $(cat pid) sleep; field $(cat pid) PPid
kill $(cat pid); await gone $(cat pid)
#= a hundred orphans are all reaped
dash -c 'i=0; while [ $i -lt 100 ]; do (exit 1) & echo $! >>pids; i=$((i + 1)); done; exec true'
nobody() { for p in $(cat pids); do is $p gone || return 1; done; }
await nobody; echo $?
wc -l <pids
#= two hundred children at once
i=0
while [ $i -lt 200 ]; do sleep 0.5 & i=$((i + 1)); done
wait; echo $?
pgrep -x -c sleep
#= two hundred children that are all killed
i=0
while [ $i -lt 200 ]; do sleep 60 & i=$((i + 1)); done
n=0
pids=$(jobs -p)
kill -KILL $pids
for pid in $pids; do wait $pid; [ $? = 137 ] && n=$((n + 1)); done 2>/dev/null
echo $n
#= a tree of processes comes down
cat >tree <<'X'
#!/bin/dash
[ $1 = 0 ] && exit 1
./tree $(($1 - 1)) & a=$!
./tree $(($1 - 1)) & b=$!
wait $a; x=$?
wait $b; exit $((x + $?))
X
chmod 755 tree
./tree 6; echo $?
#= a killed session leader leaves its session alive
setsid dash -c 'sleep 60 & echo $! >pid; wait' & pid=$!
await test -s pid
kill -KILL $pid; wait $pid 2>/dev/null
child=$(cat pid)
await runs $child sleep; [ $(stat $child 4) != $child ] && echo alive
kill $child; await gone $child

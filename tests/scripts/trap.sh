#!/bin/bash
. /scripts/helpers
#= EXIT runs at the end and once
trap 'echo bye' EXIT
echo hello
#= EXIT runs after a signal that ends the shell is trapped
bash -c 'trap "echo bye" EXIT; trap "exit 3" TERM; kill -TERM $$; echo no'; echo $?
#= EXIT runs when INT ends bash, not when KILL does
bash -c 'trap "echo bye" EXIT; kill -INT $$'; echo $?
bash -c 'trap "echo bye" EXIT; kill -KILL $$' 2>/dev/null; echo $?
#= a trap runs and the shell goes on
for name in HUP INT QUIT USR1 USR2 ALRM TERM CHLD CONT TSTP TTIN TTOU URG XCPU WINCH IO PWR; do
    trap "echo trapped $name" $name
    kill -$name $$
    trap - $name
done
#= KILL and STOP cannot be trapped
trap 'echo no' KILL 2>/dev/null; echo $?
dash -c 'trap "echo no" KILL; kill -KILL $$' 2>/dev/null; echo $?
#= an ignored signal does nothing
trap '' HUP INT QUIT USR1 USR2 ALRM TERM
for name in HUP INT QUIT USR1 USR2 ALRM TERM; do kill -$name $$; done
echo alive
#= ignored signals stay ignored in children and over exec
trap '' USR1 TERM
dash -c 'kill -USR1 $$; kill -TERM $$; echo alive'
(exec dash -c 'kill -USR1 $$; echo alive')
field self SigIgn
#= trapped signals are back to their default in children
trap 'echo mine' USR1
dash -c 'kill -USR1 $$; echo no' 2>/dev/null; echo $?
#= a subshell drops its parent's traps
trap 'echo mine' USR1
(kill -USR1 $BASHPID; echo no); echo $?
#= a subshell keeps ignored signals
trap '' USR1
(kill -USR1 $BASHPID; echo alive); echo $?
#= a subshell has an EXIT trap of its own
trap 'echo outer' EXIT
(trap 'echo inner' EXIT; exit 3); echo $?
#= exec drops the EXIT trap
bash -c 'trap "echo no" EXIT; exec true'; echo $?
#= a signal that was ignored at the start cannot be trapped by a shell
(trap '' USR1; exec bash -c 'trap "echo no" USR1; kill -USR1 $$; echo alive; trap')
(trap '' USR1; exec dash -c 'trap "echo no" USR1; kill -USR1 $$; echo alive')
#= ERR runs at each failure
trap 'echo failed $?' ERR
false
(exit 4)
true | (exit 5)
if false; then :; fi
#= CHLD runs once for each child that ended
n=0
trap 'n=$((n + 1))' CHLD
for i in 1 2 3; do dash -c 'exit 0' & wait $!; wait; done
echo $n
#= a trap within a trap
trap 'echo outer in; kill -USR2 $$; echo outer out' USR1
trap 'echo inner' USR2
kill -USR1 $$
echo end
#= the same signal within its own trap waits for the next turn
n=0
trap 'n=$((n + 1)); [ $n -gt 3 ] || kill -USR1 $$; echo $n' USR1
kill -USR1 $$
: ; : ; :
echo "end $n"
#= a trap is run after the foreground command, not before
trap 'echo trap' USR1
dash -c "kill -USR1 $$; echo child done"
echo after
#= trap prints what is set
trap 'echo x' USR1
trap '' USR2
trap 'echo bye' EXIT
trap
trap - EXIT
#= trap - brings the default back
trap '' TERM
trap - TERM
bash -c 'trap "" TERM; trap - TERM; kill -TERM $$; echo no'; echo $?
#= a signal between two commands is delivered before the second
trap 'x=set' USR1
x=unset
kill -USR1 $BASHPID
echo $x
#= INT while a program runs is seen by both
cat >inner <<'X'
trap 'echo inner got INT; exit 5' INT
echo ready >ready
while :; do sleep 0.05; done
X
set -m
bash -c 'trap "echo outer got INT" INT; bash ./inner; echo "inner gave $?"' & pid=$!
await test -s ready
kill -INT -$pid
wait $pid; echo $?
#= DEBUG and RETURN traps
f() { trap 'echo return' RETURN; :; }
f
trap 'echo debug' DEBUG
:
trap - DEBUG
#= a caught signal with restart does not disturb a read from a pipe
trap 'echo trapped' USR1
{ await is $$ S; kill -USR1 $$; sleep 0.2; echo line; } | { read -r x; echo "read $x"; }
#= read ends when a trap exits
bash -c 'trap "echo out; exit 6" USR1; echo $$ >pid; mkfifo f; exec 3<>f; read -r x <&3; echo no' & shell=$!
await test -p f
await is $shell S
sleep 0.2
kill -USR1 $shell
wait $shell; echo $?
#= traps in dash and ash
for shell in dash "busybox sh"; do
    $shell -c 'trap "echo usr1" USR1; trap "echo bye" EXIT; kill -USR1 $$; (kill -USR1 $$; :); echo go; exit 3'
    echo $?
done
#= EXIT traps of dash do not run in its subshells
dash -c 'trap "echo bye" EXIT; (echo sub); echo main'
#= masks in /proc: trapped signals are caught, ignored ones ignored
trap 'echo x' USR1 HUP
trap '' USR2 PIPE
caught=$((0x$(field $$ SigCgt)))
ignored=$((0x$(field $$ SigIgn)))
for n in 1 10 12 13; do echo "$n $((caught >> (n - 1) & 1)) $((ignored >> (n - 1) & 1))"; done
#= a program starts with nothing caught and nothing blocked
trap 'echo x' USR1 HUP TERM INT
grep -E 'SigBlk|SigIgn|SigCgt|SigPnd|ShdPnd' /proc/self/status
#= a blocked or stopped process shows what is pending
sleep 60 & pid=$!
await runs $pid sleep
kill -STOP $pid
await is $pid T
kill -USR1 $pid; kill -TERM $pid; kill -36 $pid
grep -E 'SigPnd|ShdPnd' /proc/$pid/status
kill -KILL $pid
wait $pid 2>/dev/null; echo $?
#= SIGCONT takes pending stops away, and stops take pending SIGCONT away
sleep 60 & pid=$!
await runs $pid sleep
kill -STOP $pid; await is $pid T
kill -TSTP $pid; kill -CONT $pid
await is $pid S; state $pid
kill $pid; wait $pid 2>/dev/null; echo $?

#!/bin/bash
. /scripts/helpers
#= a status is the low eight bits of what exit was given
for n in 0 1 2 126 127 128 255 256 257 511 -1; do
    (exit $n)
    echo "$n gives $?"
done
#= a program that a signal ends has 128 and the signal's number
ulimit -c 0
for name in HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT XCPU XFSZ VTALRM PROF IO PWR SYS; do
    { dash -c "kill -$name \$\$; echo survived"; } 2>/dev/null
    echo "$name $?"
done
#= signals that are ignored by default leave a program alone
for name in CHLD CONT URG WINCH; do
    dash -c "kill -$name \$\$; echo survived $name; exit 7"
    echo $?
done
#= what each signal does by default in a group without a job-control parent
ulimit -c 0
for n in {1..18} {20..64}; do
    { dash -c "kill -$n \$\$; exit 99"; } 2>/dev/null
    echo "$n $?"
done
#= the status of a pipeline is that of its last command
false | true; echo $?
true | false; echo $?
(exit 3) | (exit 4) | (exit 5); echo $?
#= pipefail takes the last failure
set -o pipefail
(exit 3) | (exit 4) | true; echo $?
true | true; echo $?
#= PIPESTATUS has the status of each part
(exit 1) | (exit 0) | (exit 42) | { kill -KILL $BASHPID; } 2>/dev/null
echo "${PIPESTATUS[@]}"
#= a signal in a pipeline shows in PIPESTATUS
dash -c 'kill -TERM $$' | dash -c 'kill -USR1 $$' | cat
echo "${PIPESTATUS[@]}"
#= ! turns a status round
! true; echo $?
! false; echo $?
! (exit 77); echo $?
#= && and || go by status
true && echo and
false && echo no
false || echo or
(exit 9) || echo "$?"
dash -c 'kill -KILL $$' 2>/dev/null || echo "$?"
#= a subshell's exit leaves the shell alone
(exit 5; echo not here)
echo "$?"
#= exit without a number gives the last status
bash -c '(exit 12); exit'; echo $?
bash -c 'false; exit'; echo $?
#= the EXIT trap sees the status and can change it
bash -c 'trap "echo saw \$?" EXIT; exit 4'; echo $?
bash -c 'trap "exit 9" EXIT; exit 4'; echo $?
#= set -e ends the shell at a failure
bash -ec 'true; (exit 6); echo no'; echo $?
bash -ec 'if false; then :; fi; false || true; echo yes'; echo $?
#= an assignment has the status of its command substitution
x=$(exit 8); echo $?
x=$(echo a; exit 3)b; echo "$? $x"
#= return gives eight bits
f() { return $1; }
for n in 0 5 255 256 300; do f $n; echo $?; done
#= a program not found gives 127, one that cannot be executed 126
nonesuch 2>/dev/null; echo $?
./nonesuch 2>/dev/null; echo $?
echo data >plain; ./plain 2>/dev/null; echo $?
/tmp 2>/dev/null; echo $?
#= a shell's own status is that of its last command
for shell in bash dash "busybox sh"; do
    $shell -c 'false'; echo $?
    $shell -c 'sleep 0'; echo $?
    $shell -c 'exit 200'; echo $?
done
#= real-time signals end a program with 128 and their number
for n in 34 35 49 50 63 64; do
    { dash -c "kill -$n \$\$"; } 2>/dev/null
    echo $?
done
#= a loop has the status of its last command
for i in 1 2 3; do (exit $i); done; echo $?
while false; do :; done; echo $?
#= a shell that is told its child's signal gives it on by exit
dash -c 'dash -c "kill -TERM \$\$"; exit $?' 2>/dev/null; echo $?
#= the reason of a death is printed for each signal
ulimit -c 0
for name in HUP INT ILL TRAP BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM SYS; do
    bash -c "dash -c 'kill -$name \$\$'; :" 2>&1 | sed 's/.*line [0-9]*: *[0-9]* //'
done

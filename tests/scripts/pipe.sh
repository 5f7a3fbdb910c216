#!/bin/bash
. /scripts/helpers
#= a writer without readers is ended by SIGPIPE
yes | head -n 1
echo "${PIPESTATUS[@]}"
#= a writer that ignores SIGPIPE gets EPIPE
(trap '' PIPE; dash -c 'while echo x; do :; done' 2>/dev/null; echo "writer $?" >&2) | true
#= a reader reads to the end after the writer died
{ echo one; echo two; kill -KILL $BASHPID; } 2>/dev/null | cat
echo "${PIPESTATUS[@]}"
#= the end comes when the last writer closes
{ (sleep 0.2; echo late) & echo early; } | cat
#= a pipeline of fifty stages
line='cat'
for n in {2..50}; do line+=' | cat'; done
eval "echo through | $line"'; echo ${#PIPESTATUS[@]} ${PIPESTATUS[@]}'
#= a long pipeline dies from its end
set -o pipefail
yes | cat | cat | cat | cat | head -n 1
echo "${PIPESTATUS[@]}"
#= a megabyte goes through a pipe whole
head -c 1048576 /dev/zero | tr '\0' 'x' | md5sum
#= a pipe holds 64 KiB
mkfifo f
exec 3<>f
dd if=/dev/zero bs=4096 count=16 of=/dev/fd/3 2>/dev/null; echo $?
timeout 0.3 dd if=/dev/zero bs=1 count=1 of=/dev/fd/3 2>/dev/null; echo $?
#= the parts of a pipeline run at the same time
mkfifo a
{ echo first >a; echo second; } | { read -r x <a; read -r y; echo "$x $y"; }
#= a reader gets what was written before it came
mkfifo f
exec 3<>f
echo early >f
read -r x <f; echo "$x"
#= lines of many writers stay whole
for n in {1..8}; do (for i in {1..50}; do echo "writer $n line $i"; done) & done | sort | uniq | wc -l
#= the last stage runs in the shell itself with lastpipe
shopt -s lastpipe
echo value | read -r x
echo "$x"
#= the stages of a pipeline are children of the shell and form one group under job control
set -m
sleep 60 | sleep 61 | sleep 62 &
pids=($(jobs -p) $(pgrep -x sleep))
for pid in "${pids[@]:1}"; do
    await runs $pid sleep
    who $(stat $pid 2) shell=$$
    [ "$(stat $pid 3)" = ${pids[0]} ] && echo same group
done
kill %1; wait 2>/dev/null
#= without job control they stay in the shell's group
sleep 60 | sleep 61 &
for pid in $(pgrep -x sleep); do who $(stat $pid 3) shell=$$; done
kill $(pgrep -x sleep); wait 2>/dev/null; echo $?
#= killing the middle of a pipeline ends the writer and lets the reader finish
mkfifo go
{ echo a; read -r x <go; echo b; echo c; } | sleep 60 | cat &
await pgrep -x sleep >/dev/null
kill $(pgrep -x sleep)
echo >go
wait $! 2>/dev/null; echo $?
#= process substitution reads
diff <(printf '1\n2\n') <(printf '1\n3\n'); echo $?
#= process substitution writes
echo data | tee >(cat >out) >/dev/null
await test -s out
cat out
#= the process of a process substitution can be waited for
cat <(exit 3) ; wait $!; echo $?
#= many process substitutions
cat <(echo 1) <(echo 2) <(echo 3) <(echo 4) <(echo 5)
#= standard error through the same pipe
dash -c 'echo out; echo err >&2' |& sort
#= writing to a closed descriptor is an error
dash -c 'echo x >&-' 2>/dev/null; echo $?
cat <&- 2>&1; echo $?
#= /dev/full
dash -c 'echo x >/dev/full' 2>/dev/null; echo $?
#= read takes one line and leaves the rest
printf 'a\nb\nc\n' | { read -r x; echo "$x"; cat; }
#= a pipe in /proc is the same at both ends
sleep 60 | sleep 61 &
set -- $(pgrep -x sleep)
[ "$(readlink /proc/$1/fd/1)" = "$(readlink /proc/$2/fd/0)" ] && echo same
case $(readlink /proc/$1/fd/1) in pipe:*) echo pipe ;; esac
kill $1 $2; wait 2>/dev/null

#!/bin/bash
. /scripts/helpers
#= command substitution takes the newlines off the end
x=$(printf 'a\n\nb\n\n\n'); echo "[$x]"
#= its status is the command's
x=$(dash -c 'kill -TERM $$'); echo $?
echo "$(exit 3)"; echo $?
#= it waits for the pipe, not for the process
x=$(sleep 60 >/dev/null 2>&1 & echo $!)
runs $x sleep || await runs $x sleep; echo running
kill $x; await gone $x
#= it goes on while a background process holds the pipe
x=$(sleep 0.3 & echo now); echo $x
#= nested ones
echo $(echo $(echo $(echo $(echo deep))))
#= a large output
x=$(seq 1 20000); echo ${#x}
#= a subshell does not change its parent
x=1; (x=2; cd /; umask 0; echo $x); echo $x; [ "$PWD" = / ] || echo elsewhere; umask
#= $$ stays, BASHPID changes
(echo $(who $$ shell=$$) $(who $BASHPID shell=$$))
#= nested subshells to a depth of forty
depth() { if [ $1 = 0 ]; then echo bottom; else (depth $(($1 - 1)); exit $?); fi; }
depth 40; echo $?
#= functions recurse a thousand deep
f() { [ $1 = 0 ] && return 7; f $(($1 - 1)); }
f 1000; echo $?
#= a shell starts itself to a depth of twenty
cat >self <<'X'
#!/bin/dash
[ $1 = 0 ] && exit 42
./self $(($1 - 1))
X
chmod 755 self
./self 20; echo $?
#= here-documents and here-strings
cat <<X
one $((1 + 1))
X
cat <<'X'
$HOME
X
cat <<<three
#= a here-document larger than a pipe
n=$(seq 1 30000)
cat <<X | md5sum
$n
X
#= a here-document is read by a background process
cat <<X &
from here
X
wait $!; echo $?
#= arithmetic and strings in subshells give no statuses of their own
(( 0 )); echo $?
(( 5 )); echo $?
[[ a = b ]]; echo $?
#= exec in a subshell replaces only that
(exec dash -c 'exit 9'); echo $?
#= a coprocess answers
coproc { while read -r x; do echo "got $x"; done; }
echo one >&${COPROC[1]}
read -r x <&${COPROC[0]}; echo "$x"
exec {COPROC[1]}>&-
wait $COPROC_PID; echo $?
#= a coprocess that is killed
coproc cat
pid=$COPROC_PID
kill $pid
wait $pid 2>/dev/null; echo $?
#= eval and source share the shell
echo 'y=2; return 5' >file
. ./file; echo "$? $y"
eval 'z=3'; echo $z
#= source of a pipe
. <(echo 'echo sourced')
#= xargs runs as many as it is told and gives 123 for a failure
seq 1 9 | xargs -n 3 echo
seq 1 3 | xargs -n 1 dash -c 'exit 1'; echo $?
seq 1 3 | xargs -n 1 dash -c 'kill -TERM $$' 2>/dev/null; echo $?
seq 1 3 | xargs -n 1 dash -c 'exit 255' 2>/dev/null; echo $?
#= xargs in parallel runs everything
seq 1 20 | xargs -P 5 -n 1 echo | sort -n | tail -n 1
#= select loops of three shells over the same script agree
cat >script <<'X'
i=0
while [ $i -lt 5 ]; do
    i=$((i + 1))
    (exit $i) || echo "$i gave $?"
done
x=$(echo hi; exit 3); echo "$x $?"
X
for shell in bash dash "busybox sh"; do $shell ./script; done

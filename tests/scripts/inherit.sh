#!/bin/bash
. /scripts/helpers
#= umask goes to children and over exec
umask 077; : >a; mkdir d; dash -c ': >b; umask'
umask 0; : >c
/bin/stat -c '%a %n' a b c d
#= the working directory goes to children
mkdir d; cd d; dash -c 'pwd' | sed 's:.*/::'; (cd ..; dash -c 'pwd' | sed 's:.*/::')
#= a removed working directory
mkdir d; cd d; rmdir ../d
/bin/pwd 2>&1; echo $?
: >x; echo $?
cd ..; echo $?
#= descriptors go to children
echo data >file
exec 7<file
dash -c 'read -r x <&7; echo $x'
#= the position of a descriptor is shared
seq 1 5 >file
exec 7<file
dash -c 'read -r x <&7; echo $x'
read -r x <&7; echo $x
(read -r x <&7; echo $x)
read -r x <&7; echo $x
#= appending writers do not overwrite each other
for n in 1 2 3 4; do (for i in {1..50}; do echo line; done >>file) & done; wait
wc -l <file
#= a descriptor that was closed in the child is open in the parent
exec 7>file
(exec 7>&-)
echo still >&7; cat file
#= duplicated descriptors share, opened ones do not
exec 5>file 6>&5
echo one >&5; echo two >&6
cat file
exec 7>file
echo X >&7; od -c file | head -n 2
#= a descriptor that the shell chose is passed on
: >file
exec {fd}<file
[ -e /proc/$$/fd/$fd ] && echo open
/bin/test -e /proc/self/fd/$fd && echo passed on
#= the script a shell reads is closed on exec
ls -l /proc/self/fd | grep -c /tmp/case
#= an exported variable goes on, another does not
A=1; export B=2
dash -c 'echo "${A-none} ${B-none}"'
C=3 dash -c 'echo $C'; echo "${C-none}"
unset B; dash -c 'echo "${B-none}"'
#= a changed limit goes to children only
(ulimit -n 99; dash -c 'ulimit -n'); [ $(ulimit -n) != 99 ] && echo unchanged
#= niceness set in a child stays there
nice -n 9 nice; nice
#= ids go over fork and exec
setpriv --reuid 1000 --regid 1001 --groups 5 dash -c 'dash -c "id -u; id -g; id -G"'
#= a fifo joins two processes
mkfifo f
(echo through >f) & cat f; wait $!; echo $?
#= opening a fifo waits for the other end
mkfifo f
(read -r x <f; echo "$x" >got) & pid=$!
sleep 0.1
test -e got; echo $?
echo now >f; wait $pid; cat got
#= a fifo without readers
mkfifo f
timeout 0.3 dash -c 'echo x >f'; echo $?
dd if=/dev/zero of=f oflag=nonblock count=1 2>&1 | sed 's/.*: //'
#= a fifo may have many writers and one reader
mkfifo f
for n in 1 2 3 4 5; do echo $n >f & done
sort f | head -n 1
pkill -f nothing-of-the-kind; wait 2>/dev/null
#= read -t gives up
mkfifo f; exec 4<>f
read -t 0.2 x <&4; [ $? -gt 128 ] && echo timed out
echo there >&4
read -t 5 x <&4; echo "$? $x"
read -t 0 x <&4; echo $?
#= read ends without a newline
printf 'no newline' | { read -r x; echo "$? $x"; }
#= a lock is held by the description, and ends with it
exec 8>lock
flock 8; echo $?
flock -n lock true; echo $?
exec 8>&-
flock -n lock true; echo $?
#= a lock is inherited
exec 8>lock; flock 8
sleep 60 8>&8 & pid=$!
exec 8>&-
await runs $pid sleep
flock -n lock true; echo $?
kill -KILL $pid; wait $pid 2>/dev/null
flock -n lock true; echo $?
#= shared locks go together, exclusive ones do not
exec 8<>lock 9<>lock
flock -s 8; flock -s -n 9; echo $?
flock -x -n 9; echo $?
flock -u 8; flock -x -n 9; echo $?
#= waiters get a lock one after the other
for n in 1 2 3 4 5; do flock lock dash -c 'x=$(cat n 2>/dev/null || echo 0); echo $((x + 1)) >n' & done; wait
cat n
#= flock with a time limit
flock lock sleep 60 & pid=$!
await eval '! flock -n lock true'
flock -w 0.2 lock true; echo $?
flock -E 55 -n lock true; echo $?
pkill -x sleep; wait $pid 2>/dev/null
#= many open files
ulimit -n 1024
for n in {10..250}; do eval "exec $n</dev/null"; done
ls /proc/$$/fd | wc -l
dash -c 'ls /proc/$$/fd | wc -l'
#= truncation and append by redirections
echo one >file; echo two >>file; cat file; : >file; wc -c <file
set -C; echo x >file 2>/dev/null; echo $?; echo y >|file; cat file
#= /dev/stdin and friends are the process's own
echo in | cat /dev/stdin
echo out >/dev/stdout | cat
{ echo err >/dev/stderr; } 2>&1 | cat
#= a directory cannot be written or read
echo x >. 2>/dev/null; echo $?
cat . 2>&1; echo $?

#!/bin/bash
. /scripts/helpers
#= cmdline and environ are what exec was given
env -i A=1 B='two words' sleep 60 & pid=$!
await runs $pid sleep
text /proc/$pid/cmdline
text /proc/$pid/environ
kill $pid; wait $pid 2>/dev/null
#= comm is the file's name, cut to fifteen letters
cp /bin/sleep a-name-that-is-rather-long
./a-name-that-is-rather-long 60 & pid=$!
await runs $pid a-name-that-is-
cat /proc/$pid/comm
field $pid Name
kill $pid; wait $pid 2>/dev/null
#= comm can be written by the process's own threads
bash -c 'echo renamed >/proc/self/comm; cat /proc/$$/comm; echo new >/proc/$$/comm; cat /proc/$$/comm'
#= a name with parentheses and spaces
cp /bin/sleep 'a (b) c'
'./a (b) c' 60 & pid=$!
await runs $pid 'a (b) c'
sed 's/^[0-9]*//; s/) .*/)/' /proc/$pid/stat
kill $pid; wait $pid 2>/dev/null
#= exe, cwd and root
mkdir d
(cd d && exec sleep 60) & pid=$!
await runs $pid sleep
readlink /proc/$pid/exe
readlink /proc/$pid/cwd | sed "s:$PWD:DIR:"
readlink /proc/$pid/root
kill $pid; wait $pid 2>/dev/null
#= the directory of a process may be removed
mkdir d
(cd d && exec sleep 60) & pid=$!
await runs $pid sleep
rmdir d
readlink /proc/$pid/cwd | sed "s:$PWD:DIR:"
kill $pid; wait $pid 2>/dev/null
#= fd lists what is open
sleep 60 3</dev/null 4>out 5<. & pid=$!
await runs $pid sleep
ls /proc/$pid/fd
for n in 0 3 4 5; do readlink /proc/$pid/fd/$n | sed "s:$PWD:DIR:"; done
kill $pid; wait $pid 2>/dev/null
#= fdinfo has position and flags
echo 0123456789 >file
exec 4<file 5>>file 6<>file
read -r -N 4 x <&4
grep -E '^(pos|flags)' /proc/$$/fdinfo/4 /proc/$$/fdinfo/5 /proc/$$/fdinfo/6 | sed "s/$$/PID/"
#= a removed file's descriptor says so
exec 4>file; rm file
readlink /proc/self/fd/4 | sed "s:$PWD:DIR:"
#= the states: running, sleeping, stopped, zombie
bash -c 'while :; do :; done' & r=$!
sleep 60 & s=$!
sleep 60 & t=$!
zombie 0
kill -STOP $t
await is $r R; await runs $s sleep; await is $t T
for pid in $r $s $t $zombie; do field $pid State; state $pid; done
kill -KILL $r $s $t; wait $r $s $t 2>/dev/null
bury
#= a zombie's files in /proc
zombie 0
pid=$zombie
field $pid State; field $pid Threads
cat /proc/$pid/cmdline | wc -c
cat /proc/$pid/comm
readlink /proc/$pid/exe; echo $?
readlink /proc/$pid/cwd; echo $?
ls /proc/$pid/fd; echo $?
cat /proc/$pid/maps | wc -l
cat /proc/$pid/environ 2>&1 | wc -c
ls /proc/$pid/task | sed "s/$pid/PID/"
stat $pid 21
bury
#= PPid, Tgid, Pid and NSpid
sleep 60 & pid=$!
await runs $pid sleep
for name in PPid Tgid Pid TracerPid; do echo $name $(who $(field $pid $name) shell=$$ self=$pid none=0); done
field $pid Threads
kill $pid; wait $pid 2>/dev/null
#= ids in status
setpriv --reuid 1000 --regid 1001 --groups 7,5,9 grep -E '^(Uid|Gid|Groups)' /proc/self/status
#= umask in status
umask 027; field self Umask
umask 0; field self Umask
#= the masks of a fresh program
grep -E '^(Sig|Shd)(Pnd|Blk|Ign|Cgt)' /proc/self/status
#= capabilities of root and of others
grep -E '^Cap(Inh|Amb)' /proc/self/status
setpriv --reuid 1000 --clear-groups grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status
#= the fields of stat agree with status
sleep 60 & pid=$!
await runs $pid sleep
[ $(stat $pid 2) = $(field $pid PPid) ] && echo parent
[ $(stat $pid 1) = S ] && echo state
[ $(stat $pid 18) = $(field $pid Threads) ] && echo threads
[ $(stat $pid 21) -gt 1000 ] && echo size
wc -w </proc/$pid/stat
kill $pid; wait $pid 2>/dev/null
#= statm and the sizes in status agree
sleep 60 & pid=$!
await runs $pid sleep
set -- $(cat /proc/$pid/statm)
page=$(getconf PAGESIZE 2>/dev/null || echo 4096)
[ $(($1 * page / 1024)) = $(field $pid VmSize | sed 's/ .*//') ] && echo same
[ $# = 7 ] && [ $2 -gt 0 ] && [ $2 -le $1 ] && echo sane
kill $pid; wait $pid 2>/dev/null
#= limits are listed
ulimit -n 77; ulimit -c 0; ulimit -u 500; ulimit -s 4096; ulimit -f 10000
grep -E 'open files|core file|processes|stack|file size' /proc/self/limits | sed 's/  */ /g'
#= the names and units of all limits
sed 's/\(.\{26\}\).\{42\}/\1/; s/  */ /g' /proc/self/limits
#= task has one entry for each thread
ls /proc/$$/task | sed "s/$$/PID/"
cat /proc/$$/task/$$/comm
[ "$(cat /proc/$$/task/$$/stat | cut -d' ' -f4)" = "$(stat $$ 2)" ] && echo same
#= children lists them in order
sleep 60 & a=$!
sleep 60 & b=$!
for pid in $(cat /proc/$$/task/$$/children); do who $pid a=$a b=$b; done
kill $a $b; wait 2>/dev/null
#= self and thread-self
[ $(readlink /proc/self) != $$ ] && echo another
(cd /proc/self && [ "$(readlink /proc/self)" != x ] && echo ok)
readlink /proc/thread-self | sed 's/[0-9][0-9]*/N/g'
#= a process that does not exist
ls /proc/999999 2>&1; echo $?
cat /proc/999999/stat 2>&1; echo $?
#= an open file of /proc outlives its process
sleep 60 & pid=$!
exec 4</proc/$pid/stat 5</proc/$pid/cmdline
cd /proc/$pid
kill $pid; wait $pid 2>/dev/null
cat <&4 2>&1; echo $?
cat <&5 2>&1; echo $?
ls 2>&1; echo $?
cat stat 2>&1; echo $?
#= who may look at another user's process
sleep 60 & pid=$!
await runs $pid sleep
for name in stat status cmdline comm limits environ maps exe cwd fd io; do
    setpriv --reuid 1000 --clear-groups dash -c "if [ -d /proc/$pid/$name ]; then ls /proc/$pid/$name/; elif [ -h /proc/$pid/$name ]; then readlink /proc/$pid/$name; else cat /proc/$pid/$name; fi" >/dev/null 2>&1
    echo "$name $?"
done
kill $pid; wait $pid 2>/dev/null
#= the owner and mode of a process's files
setpriv --reuid 1000 --regid 1001 --clear-groups sleep 60 & pid=$!
await runs $pid sleep
ls -ldn /proc/$pid | cut -c 1-10
ls -ln /proc/$pid | awk '$NF ~ /^(stat|status|cmdline|comm|environ|maps|limits|fd|task|oom_score_adj|autogroup)$/ {print $1, $3, $4, $NF}' | grep -v autogroup
kill $pid; wait $pid 2>/dev/null
#= oom_score_adj is inherited
echo 300 >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj
dash -c 'cat /proc/self/oom_score_adj'
bash -c 'echo 500 >/proc/$$/oom_score_adj; cat /proc/self/oom_score_adj'
bash -c 'echo 2000 >/proc/$$/oom_score_adj' 2>&1 | sed 's/.*: //'
#= maps has the program, its libraries and the stack
bash -c 'grep -o "/usr/bin/bash\|\[stack\]\|\[vdso\]\|\[heap\]\|libc.so.6" /proc/$$/maps | sort -u'
#= times in stat grow with work
before=$(stat $$ 12)
for ((i = 0; i < 60000; i++)); do :; done
[ $(($(stat $$ 12))) -gt $before ] && echo grew
#= the start of a later process is not before that of an earlier one
sleep 60 & a=$!
sleep 0.1
sleep 60 & b=$!
[ $(stat $b 20) -ge 0 ] && [ "$(stat $b 20)" ] && echo ok
[ "$(cut -d' ' -f22 /proc/$b/stat)" -gt "$(cut -d' ' -f22 /proc/$a/stat)" ] && echo later
kill $a $b; wait 2>/dev/null
#= the exit signal is SIGCHLD
sleep 60 & pid=$!
stat $pid 36
kill $pid; wait $pid 2>/dev/null
#= context switches are counted
sleep 60 & pid=$!
await runs $pid sleep
[ $(field $pid voluntary_ctxt_switches) -gt 0 ] && echo some
kill $pid; wait $pid 2>/dev/null
#= wchan, syscall and stack of a sleeping process can be read
sleep 60 & pid=$!
await runs $pid sleep
ls /proc/$pid | grep -E '^(stat|statm|status|cmdline|comm|environ|exe|cwd|root|fd|fdinfo|limits|maps|smaps|smaps_rollup|mem|mounts|mountinfo|task|oom_score|oom_score_adj|oom_adj|io|ns|personality|wchan|syscall|stack|sched|schedstat|loginuid|sessionid|auxv|cgroup|coredump_filter|timerslack_ns|pagemap|clear_refs|net|attr)$' | tr '\n' ' '
kill $pid; wait $pid 2>/dev/null
#= auxv has the page size and the ids
od -A n -t u8 -w16 -v /proc/self/auxv | awk '$1 == 6 || $1 == 11 || $1 == 13 || $1 == 17 || $1 == 23 {print $1, $2}'
#= io counts what was read and written
dash -c 'cat /proc/$$/io' | cut -d: -f1
#= personality and coredump_filter
cat /proc/self/personality /proc/self/coredump_filter 2>&1
setarch -R cat /proc/self/personality
#= the arguments may be overwritten by none but the process
bash -c 'echo x >/proc/$$/cmdline' 2>&1 | sed 's/.*: //'
#= loadavg counts what is there
set -- $(cat /proc/loadavg)
echo $#
case $4 in */*) echo split ;; esac
[ ${4#*/} -ge 3 ] && echo several
#= stat counts forks
a=$(awk '$1 == "processes" {print $2}' /proc/stat)
(:); (:); (:)
b=$(awk '$1 == "processes" {print $2}' /proc/stat)
[ $((b - a)) -ge 4 ] && [ $((b - a)) -lt 20 ] && echo counted

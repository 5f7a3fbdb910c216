#!/bin/bash
# What procps and psmisc show of a tree of processes that is the same on every machine: numbers of processes become the
# names of their programs, several spaces one, and what depends on the time or the machine's memory is left out.
. /scripts/helpers
# The tree: sessions, groups, threads, priorities, users, a stopped one and a zombie.
tree() {
    for name in leader member idle fixed nice user stopped; do cp /bin/sleep $name; done
    setsid -f dash -c './member 60 & ./member 60 & echo $$ >leader.pid; exec ./leader 60'
    await test -s leader.pid; leader=$(cat leader.pid)
    await runs "$leader" leader
    chrt -i 0 ./idle 60 & idle=$!
    chrt -f 7 ./fixed 60 & fixed=$!
    nice -n 5 ./nice 60 & nice=$!
    setpriv --reuid 1000 --regid 1000 --clear-groups ./user 60 & user=$!
    ./stopped 60 & stopped=$!
    for pair in idle=$idle fixed=$fixed nice=$nice user=$user stopped=$stopped; do await runs ${pair#*=} ${pair%%=*}; done
    await eval '[ $(pgrep -c -x member) = 2 ]'
    for pid in $(pgrep -x member); do await runs $pid member; done
    kill -STOP $stopped; await is $stopped T
    zombie 3
    all="$leader $(echo $(pgrep -x member)) $idle $fixed $nice $user $stopped $zombie $keeper_"
}
fell() {
    bury
    kill -KILL $all 2>/dev/null; wait 2>/dev/null
    for pid in $all; do await gone $pid; done
}
# Names in place of the numbers of the tree's processes.
named() {
    sed -E "s/\b$$\b/SHELL/g; s/\b$leader\b/LEADER/g; s/\b$idle\b/IDLE/g; s/\b$fixed\b/FIXED/g; s/\b$nice\b/NICE/g; s/\b$user\b/USER/g
        s/\b$stopped\b/STOPPED/g; s/\b$zombie\b/ZOMBIE/g; s/\b$keeper_\b/KEEPER/g; s/ +/ /g; s/^ //; s/ $//"
}
# show FORMAT: ps of the tree, in the order in which it was made.
show() { ps -o "$1" -p "${all// /,}" --no-headers | named; }
#= states, sessions and groups
tree
show stat,comm
show state=,s=,comm=
show pid,ppid,pgid,sess,tpgid,tty,comm | sed -E 's/\b[0-9]+\b/N/g'
fell
#= priorities and policies
tree
show cls,pol=,rtprio,ni,pri,comm
show opri=,intpri=,priority=,comm
fell
#= threads and processors
tree
show nlwp,thcount,comm
show psr,comm | awk '$1 >= 0 && $1 < 64 {print "valid", $2}'
show lwp=,tid=,pid= | awk '$1 == $2 && $2 == $3 {print "same"}'
fell
#= users and groups
tree
show euser,ruser,suser,fuser,egroup,rgroup,uid,gid,supgrp,comm
fell
#= signals
tree
show pending,blocked,ignored,caught,comm
fell
#= the command, its arguments, and the end of a zombie
tree
show args; show comm,ucmd,fname; show cmd
fell
#= sizes are those of real memory
tree
show vsz,rss,sz,comm | awk '{print (($1 > 0) == ($2 > 0)), ($1 >= $2), ($1 == $3 * 4), $4}'
show size,comm | awk '{print ($1 > 0), $2}'
fell
#= times
tree
show time,comm; show cputime,etimes,comm | awk '$2 >= 0 && $2 < 60 {print $1, "recent", $3}'
show etime,comm | awk '$1 ~ /^00:[0-5][0-9]$/ {print "recent", $2}'
[ "$(ps -o lstart= -p $leader | cut -c 1-16)" = "$(date '+%a %b %e %H:%M')" ] && echo now
show start,bsdtime,comm | awk '{print $2, $3}'
fell
#= flags tell what was forked and not executed
bash -c ':; while :; do sleep 0.05; done' & a=$!
(while :; do sleep 0.05; done) & b=$!
await is $a S; await is $b S
for pid in $a $b; do echo $(($(ps -o f= -p $pid) & 1)); done
kill $a $b; wait 2>/dev/null
#= faults of pages are counted
bash -c 'x=$(seq 20000); . /scripts/helpers; [ $(ps -o min_flt= -p $$) -gt 100 ] && echo many; [ $(ps -o maj_flt= -p $$) -ge 0 ] && echo some'
#= ps -ef, ps aux and ps -eLf show the tree
tree
ps -ef | awk '{$5 = $7 = ""; $2 = $2 " "; print}' | grep -E '\./(leader|member|idle|fixed|nice|user|stopped) 60|defunct' | named | sed -E 's/ [0-9]+ / N /g; s/ [0-9]+ / N /g'
ps aux | grep -E '\./(leader|member|idle|fixed|nice|user|stopped) 60$|defunct' | awk '{print $1, $8, $11, $12, $13}'
ps -eLf | grep -E '\./(leader|member|idle|fixed|nice|user|stopped) 60$' | awk '{print $1, $6, $NF, ($2 == $4)}'
for list in -ef aux -eLf -ely; do ps $list | head -1 | tr -s ' '; done
ps axjf | grep -A 2 -F './leader 60' | grep -o ' [\\_| ]*\./.*'
fell
#= the tree of pstree
tree
pstree -a -t $$ | grep -v -E 'pstree|grep'
pstree -p $leader | tr -s ' ' | sed -E 's/\([0-9]+\)/(N)/g'
pstree -a -g -S $leader | sed -E 's/,[0-9]+/,N/g'
pstree -u $$ | grep -o 'user(.*)'
pstree -s $idle | grep -c -- '---idle'
fell
#= threads in ps and pstree
tree
timeout 60 tail -f /dev/null & pid=$!
await runs $pid timeout
pstree -t -a $pid
ps -T -p $pid -o comm=,nlwp=
kill $pid; wait $pid 2>/dev/null
fell
#= two rounds of top
tree
TERM=dumb top -b -n 2 -d 0.3 -w 120 >out; echo $?
grep -c '^top - ' out
grep '^Tasks:' out | tr -s ' ' | sed -E 's/[0-9]+ (total|running|sleeping)/N \1/g' | sort -u
grep '^%Cpu(s):' out | tr -s ' ' | sed -E 's/[0-9.]+ /N /g' | sort -u
grep -E '^MiB (Mem|Swap) *:' out | tr -s ' ' | sed -E 's/[0-9.]+ /N /g' | sort -u
grep -m 1 PID out | tr -s ' '
grep -E ' (leader|member|idle|fixed|nice|user|stopped)$| defunct' out | sed 's/  */ /g; s/^ //' | awk '{print $2, $3, $4, $8, $12}' | sort
fell
#= top shows threads and orders by what was asked for
tree
TERM=dumb top -H -b -n 1 | grep -c -E ' (leader|member)$'
TERM=dumb top -b -n 1 -p $leader,$fixed -o PR | tail -n 2 | awk '{print $3, $12}'
TERM=dumb top -b -n 1 -u 1000 | tail -n 1 | awk '{print $3, $8, $12}'
fell
#= a busy process is seen to be busy
bash -c 'while :; do :; done' & pid=$!
await is $pid R
TERM=dumb top -b -n 2 -d 2 -p $pid | tail -n 1 | awk '{print $8, ($9 > 20 && $9 <= 110)}'
ps -o stat=,comm= -p $pid
kill $pid; wait $pid 2>/dev/null
#= free, uptime, vmstat, w and tload read the machine
free | awk 'NR == 2 {print ($2 > 0), ($2 >= $3 + $4), ($7 <= $2)}'
uptime -s | grep -c -E '^[0-9]{4}-'
vmstat | tail -n 1 | awk '{print NF, ($4 > 0), ($13 + $14 + $15 + $16 + $17 > 90)}'
vmstat -s | grep -c -E 'total memory|free memory|forks'

#!/bin/bash
. /scripts/helpers
#= each job of a job-control shell leads a group of its own
set -m
sleep 60 & pid=$!
await runs $pid sleep
[ $(stat $pid 3) = $pid ] && echo leader
who $(stat $pid 4) session=$$
kill $pid; wait $pid 2>/dev/null
#= without job control a background process stays in the shell's group
sleep 60 & pid=$!
await runs $pid sleep
who $(stat $pid 3) shell=$$
kill $pid; wait $pid 2>/dev/null
#= jobs numbers and marks jobs
set -m
sleep 60 & sleep 61 & sleep 62 &
jobs
kill %2; wait %2 2>/dev/null
jobs
kill %1 %3; wait 2>/dev/null
#= jobs tells how a job ended
set -m
dash -c 'exit 3' & wait $! ; true
sleep 60 & kill -HUP $!; await is $! gone
jobs
#= disown takes a job from the table
set -m
sleep 60 & pid=$!
disown %1
jobs
kill -0 $pid; echo $?
kill $pid; await gone $pid
#= a shell that ends leaves its background processes running
dash -c 'sleep 60 & echo $! >pid'
pid=$(cat pid)
await runs $pid sleep; echo running
kill $pid; await gone $pid
#= huponexit does nothing to a shell that is not a login shell
bash -c 'shopt -s huponexit; sleep 60 & echo $! >pid'
await runs $(cat pid) sleep; echo running
kill $(cat pid); await gone $(cat pid)
#= %% %+ %- and %name
set -m
sleep 60 & a=$!
cat /dev/zero >/dev/null & b=$!
jobs %sleep
jobs %%
jobs %-
kill %cat; wait $b 2>/dev/null; echo $?
kill %sleep; wait $a 2>/dev/null; echo $?
#= a pipeline is one job
set -m
sleep 60 | sleep 60 | sleep 60 &
jobs | sed 's/  */ /g'
jobs -p | wc -l
kill %1; wait 2>/dev/null
#= setsid makes a session and a group
setsid dash -c '. /scripts/helpers; [ $(stat $$ 3) = $$ ] && [ $(stat $$ 4) = $$ ] && echo leader; stat $$ 5'
#= setsid of a group leader forks
set -m
setsid -w dash -c 'exit 6' & wait $!; echo $?
#= a process without a terminal cannot open /dev/tty
dash -c ': </dev/tty' 2>&1 | sed 's/.*: //'
#= nohup ignores HUP
nohup dash -c 'kill -HUP $$; echo alive' 2>/dev/null
nohup sleep 60 >/dev/null 2>&1 & pid=$!
await runs $pid sleep
field $pid SigIgn
kill -HUP $pid; is $pid S && echo alive
kill $pid; wait $pid 2>/dev/null; echo $?
#= nohup gives 127 and 126 as a shell does
nohup ./nonesuch 2>/dev/null; echo $?
nohup /tmp 2>/dev/null; echo $?
#= timeout gives 124, or the status of what ended in time
timeout 0.2 sleep 60; echo $?
timeout 20 dash -c 'exit 3'; echo $?
timeout -s KILL 0.2 sleep 60 2>/dev/null; echo $?
timeout --preserve-status 0.2 sleep 60; echo $?
timeout 20 ./nonesuch 2>/dev/null; echo $?
#= timeout kills one that ignores TERM
timeout -k 0.2 0.2 dash -c 'trap "" TERM; while :; do sleep 0.05; done'; echo $?
#= timeout ends the whole group
timeout 0.3 dash -c 'sleep 60 & sleep 60' ; echo $?
await eval '! pgrep -x sleep >/dev/null'; echo $?
#= timeout in the foreground ends only its child
timeout --foreground 0.3 dash -c 'sleep 60 & echo $! >pid; wait'; echo $?
runs $(cat pid) sleep && echo running
kill $(cat pid); await gone $(cat pid)
#= nice adds to the niceness and children inherit it
nice; nice -n 5 nice; nice -n 5 nice -n 3 nice; nice -n 100 nice
nice -n 7 dash -c 'nice; . /scripts/helpers; stat $$ 17'
#= an ordinary user may not lower niceness
setpriv --reuid 1000 --clear-groups nice -n -5 nice 2>&1
setpriv --reuid 1000 --clear-groups nice -n 3 nice
#= renice changes a running process, its group, its user's
set -m
sleep 60 & pid=$!
await runs $pid sleep
renice -n 4 -p $pid | sed 's/^[0-9]*/PID/'; stat $pid 17
renice -n 6 -g $pid | sed 's/^[0-9]*/PID/'; stat $pid 17
setpriv --reuid 1000 --clear-groups renice -n 1 -p $pid 2>&1 | sed 's/[0-9][0-9]* (/PID (/'
stat $pid 17
kill $pid; wait $pid 2>/dev/null
renice -n 1 -p 999999 2>&1
#= chrt shows and sets the policy
chrt -p $$ | sed "s/$$/PID/"
chrt -f 10 dash -c 'chrt -p $$ | sed "s/$$/PID/"'
chrt -r 20 dash -c 'chrt -p $$ | sed "s/$$/PID/"'
chrt -b 0 dash -c 'chrt -p $$ | sed "s/$$/PID/"'
chrt -i 0 dash -c 'chrt -p $$ | sed "s/$$/PID/"'
chrt -m
chrt -f 200 true 2>&1; echo $?
#= the priorities in /proc follow
chrt -f 10 dash -c '. /scripts/helpers; stat $$ 16; stat $$ 38; stat $$ 39'
chrt -r 99 dash -c '. /scripts/helpers; stat $$ 16; stat $$ 38; stat $$ 39'
nice -n 5 dash -c '. /scripts/helpers; stat $$ 16; stat $$ 38; stat $$ 39'
#= an ordinary user may not have a real-time policy
setpriv --reuid 1000 --clear-groups chrt -f 10 true 2>&1 | sed 's/[0-9]* *pid [0-9]*/PID/; s/pid [0-9]*/PID/'
#= policy and niceness are inherited, unless reset on fork
chrt -f 10 dash -c '(chrt -p $(exec dash -c "echo \$PPID") >/dev/null; chrt -p $$ | sed "s/$$/PID/")'
chrt -R -f 10 dash -c 'dash -c "chrt -p \$\$ | sed s/\$\$/PID/; :"'
#= taskset shows and sets the CPUs
taskset -p 1 $$ >/dev/null; taskset -p $$ | sed "s/$$/PID/"
taskset 1 dash -c 'taskset -cp $$ | sed "s/$$/PID/"; . /scripts/helpers; field $$ Cpus_allowed_list'
taskset -c 63 true 2>&1 | sed 's/pid [0-9]*/PID/'; echo ${PIPESTATUS[0]}
#= env sets, clears and runs
env -i A=1 B=2 /usr/bin/env
env -i /usr/bin/env; echo $?
env -u HOME dash -c 'echo ${HOME-none}'
env nonesuch 2>/dev/null; echo $?
env -C / pwd
env --ignore-signal=USR1 dash -c 'kill -USR1 $$; echo alive'
env --default-signal=PIPE true; echo $?
#= env -S splits
env -S 'A=1 dash -c "echo split into words"' 2>&1
#= prlimit and ulimit agree
prlimit --nofile=50:60 bash -c 'ulimit -n; ulimit -Hn'
ulimit -n 40; prlimit --nofile --raw --noheadings -o SOFT
#= setpriv gives ids away for good
setpriv --reuid 1000 --regid 1000 --clear-groups id
setpriv --reuid 1000 --clear-groups setpriv --reuid 0 true 2>&1
setpriv --reuid 1000 --clear-groups grep -E 'Uid|CapEff|CapPrm' /proc/self/status
#= no new privileges are shown and inherited
setpriv --no-new-privs dash -c 'grep NoNewPrivs /proc/self/status'
grep NoNewPrivs /proc/self/status

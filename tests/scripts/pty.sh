#!/bin/bash
# Each case is run on a terminal of its own: script(1) makes it and passes on what it shows.
. /scripts/helpers
# What bash says when a job ends comes whenever it looks.
shown() { tr -d '\r' | grep -v -E '^$|(Killed|Terminated|KILL|Done)  '; }
on_terminal() { SHELL=/bin/bash TERM=dumb script -q -e -c "$1" /dev/null </dev/null | shown; echo "status ${PIPESTATUS[0]}"; }
#= a program on a terminal
on_terminal 'tty | sed s/[0-9]/N/; test -t 0 && test -t 1 && echo terminal'
#= its session, group and foreground group are its own
on_terminal '. /scripts/helpers; who $(stat $$ 4) self=$$; who $(stat $$ 3) self=$$; who $(stat $$ 6) self=$$; [ $(stat $$ 5) != 0 ] && echo controlled'
#= the status comes through
on_terminal 'exit 7'
on_terminal 'kill -TERM $$'
#= /dev/tty is the terminal
on_terminal 'echo through >/dev/tty'
#= a background job that reads is stopped by TTIN
on_terminal '. /scripts/helpers; set -m; cat & await is $! T; jobs; kill -KILL $!; await gone $!; wait $! 2>/dev/null; echo $?'
#= a background job that writes is not stopped
on_terminal 'set -m; echo written & wait $!; echo $?'
#= unless the terminal says tostop
on_terminal '. /scripts/helpers; set -m; stty tostop; echo written & await is $! T; jobs; kill -KILL $!; await gone $!; wait $! 2>/dev/null; echo $?'
#= changing the terminal from the background stops
on_terminal '. /scripts/helpers; set -m; stty -echo & await is $! T; jobs; kill -KILL $!; await gone $!; wait $! 2>/dev/null; echo $?'
#= the interrupt character reaches the foreground group only
cat >inner <<'X'
. /scripts/helpers
set -m
trap 'echo shell got INT' INT
sleep 60 & bg=$!
dash -c 'trap "echo foreground got INT; exit 9" INT; echo >ready; while :; do sleep 0.05; done'
echo $?
is $bg S && echo background runs
kill $bg; await gone $bg
X
{ await test -f ready; printf '\003'; sleep 1; } | SHELL=/bin/bash script -q -e -c 'bash ./inner' /dev/null | shown
#= the suspend character stops the foreground job
cat >inner <<'X'
. /scripts/helpers
set -m
dash -c 'echo >ready; kill -0 $$; while :; do sleep 0.05; done'
echo $?
jobs
kill -KILL %1
X
{ await test -f ready; sleep 0.2; printf '\032'; sleep 1.5; } | SHELL=/bin/bash script -q -e -c 'bash ./inner' /dev/null | shown | sed 's/^^Z//'
#= the end of input ends a reader
printf 'line\n\004' | SHELL=/bin/bash script -q -e -c 'stty -echo; echo >ready; cat; echo end' /dev/null | tr -d '\r' | grep -c end
#= fg brings a stopped job back with its terminal
on_terminal '. /scripts/helpers; set -m; dash -c "kill -STOP \$\$; . /scripts/helpers; [ \$(stat \$\$ 6) = \$\$ ] && echo in front; exit 4"; echo $?; fg; echo $?'
#= a session leader that ends sends HUP to the foreground group
cat >inner <<'X'
exec 2>/dev/null
trap 'echo hup >got; exit' HUP
echo >ready
while :; do sleep 0.05; done
X
on_terminal 'bash -c "exec bash ./inner" & while ! test -f ready; do sleep 0.05; done; exit 3'
await test -s got; cat got
#= the size of the window is told
on_terminal 'stty rows 33 cols 99; stty size'
#= job control of dash and ash on a terminal
cat >inner <<'X'
. /scripts/helpers
set -m
sleep 60 & pid=$!
await runs $pid sleep
who $(stat $pid 3) self=$pid shell=$$
kill -STOP $pid; await is $pid T; jobs | grep -o Stopped
kill -CONT $pid; await is $pid S; echo went on
kill -KILL $pid
X
on_terminal 'dash ./inner'
on_terminal 'busybox sh ./inner'

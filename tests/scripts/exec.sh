#!/bin/bash
. /scripts/helpers
#= exec keeps the process and replaces the program
dash -c 'echo $$ >pid; exec dash -c "[ \$\$ = \$(cat pid) ] && echo same"'
#= exec gives 127 for a missing file and 126 for one that is not executable
(exec ./nonesuch) 2>/dev/null; echo $?
echo data >plain
(exec ./plain) 2>/dev/null; echo $?
(exec /tmp) 2>/dev/null; echo $?
#= what a failed exec says
./nonesuch 2>&1 | sed 's/.*: //'
echo data >plain; ./plain 2>&1 | sed 's/.*: //'
/tmp 2>&1 | sed 's/.*: //'
plain/x 2>&1 | sed 's/.*: //'
./plain/x 2>&1 | sed 's/.*: //'
#= exec with redirections only changes the shell
exec 5>out
echo hidden >&5
exec 5>&-
cat out
#= a script without a first line is run by the shell itself
echo 'echo "run by a shell"' >script; chmod 755 script
./script; echo $?
env ./script 2>&1; echo $?
#= an empty program
: >empty; chmod 755 empty
./empty; echo $?
env ./empty; echo $?
#= the first line names the interpreter and one argument
cat >show <<'X'
#!/bin/dash
for x; do echo "[$x]"; done
X
chmod 755 show
printf '#!%s\n' "$PWD/show" >a; printf '#! %s  one  two  \n' "$PWD/show" >b; printf '#!\t%s\tone\ttwo\t\n' "$PWD/show" >c
chmod 755 a b c
./a x y; ./b x; ./c
#= a script's name is passed on as it was given
printf '#!/bin/echo\n' >a; chmod 755 a
./a; $PWD/a | sed "s:$PWD:DIR:"; PATH=$PWD:$PATH; a | sed "s:$PWD:DIR:"
#= an interpreter that is missing
printf '#!/nonesuch\n' >a; chmod 755 a
./a 2>/dev/null; echo $?
env ./a 2>&1; echo $?
#= an interpreter that is not executable
echo 'echo x' >plain
printf '#!%s/plain\n' "$PWD" >a; chmod 755 a
./a 2>/dev/null; echo $?
env ./a 2>&1; echo $?
#= an empty interpreter line
printf '#!\n' >a; printf '#!   \n' >b; chmod 755 a b
env ./a 2>&1; echo $?
env ./b 2>&1; echo $?
#= interpreters may be scripts, up to a depth
printf '#!/bin/echo end\n' >s0; chmod 755 s0
for n in {1..7}; do printf '#!%s/s%d\n' "$PWD" $((n - 1)) >s$n; chmod 755 s$n; done
for n in {0..7}; do env ./s$n 2>&1 | sed "s:$PWD:DIR:g"; done
#= a script that is its own interpreter
printf '#!%s/a\n' "$PWD" >a; chmod 755 a
env ./a 2>&1; echo $?
#= a long first line
name=$(printf 'x%.0s' {1..100})
mkdir -p $name/$name; cp /bin/dash $name/$name/interp
printf '#!%s/%s/%s/interp\necho ran $#\n' "$PWD" $name $name >a
printf '#!/bin/echo %s\n' "$(printf 'y%.0s' {1..300})" >b
chmod 755 a b
env ./a 1 2 2>&1; echo $?
env ./b 2>&1 | wc -c
#= a file that is no program
printf '\177ELF' >a; head -c 200 /dev/zero >>a; chmod 755 a
env ./a 2>&1; echo $?
head -c 64 /bin/dash >b; chmod 755 b
env ./b 2>&1; echo $?
#= a program for another machine
head -c 4096 /bin/dash >a; printf '\377\377' | dd of=a bs=1 seek=18 conv=notrunc 2>/dev/null; chmod 755 a
env ./a 2>&1; echo $?
#= arguments that are too long
x=$(head -c 131072 /dev/zero | tr '\0' x)
/bin/true "$x" 2>&1 | sed 's/.*: //'
/bin/true "${x:1}" 2>&1; echo $?
#= arguments that are too long together
x=$(head -c 100000 /dev/zero | tr '\0' x)
ulimit -s 8192
/bin/true "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x"; echo $?
/bin/true "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" "$x" 2>&1 | sed 's/.*: //'
#= many short arguments
/bin/echo {1..20000} | wc -w
#= an argument may be empty
dash -c 'echo $#; for x; do echo "[$x]"; done' zero '' a ''
#= the zeroth argument is what exec -a says
(exec -a other dash -c 'echo $0') ; bash -c 'exec -a named sleep 60' & pid=$!
await runs $pid sleep
text /proc/$pid/cmdline
kill $pid; wait $pid 2>/dev/null
#= a file being executed cannot be written
cp /bin/sleep mine
./mine 60 & pid=$!
await runs $pid mine
dash -c 'echo x >>mine' 2>&1 | sed 's/.*: //'
kill $pid; wait $pid 2>/dev/null
echo >>mine; echo $?
#= a file open for writing cannot be executed
cp /bin/true mine
exec 4>>mine
env ./mine 2>&1; echo $?
exec 4>&-
env ./mine; echo $?
#= a program that was removed runs on
cp /bin/sleep mine
./mine 60 & pid=$!
await runs $pid mine
rm mine
readlink /proc/$pid/exe | sed "s:$PWD:DIR:"
kill $pid; wait $pid 2>/dev/null; echo $?
#= exec needs permission to execute and to search
cp /bin/true t; chmod 644 t; mkdir d; cp /bin/true d/t; chmod 700 d
chmod 755 .
env ./t 2>&1; echo $?
setpriv --reuid 1000 --clear-groups env d/t 2>&1; echo $?
#= set-user-id takes effect, but not on scripts
cp /usr/bin/id myid; chmod 4755 myid; chmod 755 .
setpriv --reuid 1000 --clear-groups ./myid -u
setpriv --reuid 1000 --clear-groups --no-new-privs ./myid -u
printf '#!/bin/dash\nid -u\n' >script; chmod 4755 script
setpriv --reuid 1000 --clear-groups ./script
#= a symbolic link is followed, and a loop is not
ln -s /bin/true t; ./t; echo $?
ln -s loop loop; env ./loop 2>&1; echo $?
#= exec of a fifo or a device
mkfifo f; chmod 755 f
env ./f 2>&1; echo $?
env /dev/null 2>&1; echo $?
#= a command hash is not fooled by a removed file
mkdir a b; printf '#!/bin/dash\necho a\n' >a/cmd; printf '#!/bin/dash\necho b\n' >b/cmd; chmod 755 a/cmd b/cmd
PATH=$PWD/a:$PWD/b:$PATH
cmd; rm a/cmd; hash -r; cmd
#= vfork and exec of many programs in a row
for n in {1..50}; do /bin/true || echo bad; done; echo $?
#= exec through /proc/self/exe
cp /bin/dash d
./d -c '/proc/self/exe --version >/dev/null 2>&1; echo $?; readlink /proc/$$/exe' | sed "s:$PWD:DIR:"
#= exec of a descriptor
exec 9</bin/echo
/proc/self/fd/9 through a descriptor
#= a program sees its environment in order
env -i B=2 A=1 C=3 dash -c 'tr "\0" "\n" </proc/self/environ'

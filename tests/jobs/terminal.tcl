# For the cases: programs on terminals of their own, which are typed to as a person would, and whose screens are printed.
#
# What a terminal shows is printed line by line behind the name of the shell. Numbers of processes in what shells say of
# their jobs become PID, several spaces one, and empty lines are left out. So it does not matter at which of two prompts a
# shell tells of a job, if one of them is for an empty line.

log_user 0
set timeout 90
match_max 100000
set env(PS1) "ready> "
set env(TERM) dumb
set stty_init "sane rows 24 columns 80"
# The programs by the names of their terminals, and what is put before what they show.
set label ""

# on_shells BODY: does it with each shell on a terminal; what the shell prints when it ends, and its status, come last.
proc on_shells {body} {
    foreach shell {bash dash} {
        uplevel [list on $shell $body]
    }
}

# on SHELL BODY: the same with one of them.
proc on {shell body} {
    global label
    set label $shell
    uplevel start [dict get {bash {bash --norc --noprofile --noediting -i} dash {dash -i} readline {bash --norc --noprofile -i}} $shell]
    uplevel prompted
    uplevel $body
    if {[uplevel {info exists spawn_id}]} {
        uplevel {line exit -end}
        uplevel ended
    }
}

# start COMMAND...: a new terminal with that program, which is then the one that is typed to; $shell is its process.
proc start {args} {
    uplevel [list spawn -noecho {*}$args]
    uplevel {set shell [exp_pid]}
}

# show TEXT: prints what was on the screen.
proc show {text} {
    global label
    regsub -all {\r} $text "" text
    foreach line [split [string trimright $text "\n"] "\n"] {
        regsub -all {ready> } $line "" line
        regsub {^\[(\d+)\] \d+$} $line {[\1] PID} line
        regsub {^(\[\d+\] ?[-+ ]) *\d+ } $line {\1 PID } line
        regsub -all { +} $line " " line
        # The echo of a shell's last line may be lost with the terminal.
        if {[string trim $line] ni {"" exit}} { puts "$label| [string trimright $line]" }
    }
    flush stdout
}

# complain WHAT: ends the case, because that did not come.
proc complain {what} {
    upvar expect_out out
    puts "waited in vain for $what"
    if {[info exists out(buffer)]} { show $out(buffer) }
    exit 1
}

# prompted: waits for the shell's prompt and shows what came before.
proc prompted {} {
    upvar spawn_id spawn_id
    expect {
        -re {^(.*)ready> $} { show $expect_out(1,string) }
        timeout { expect *; complain "the prompt" }
        eof { show $expect_out(buffer); complain "the prompt, but the terminal closed" }
    }
}

# line TEXT [-end]: types a line; waits for the prompt, unless it is the last one.
proc line {text {option ""}} {
    upvar spawn_id spawn_id
    send -- "$text\r"
    if {$option eq ""} { uplevel prompted }
}

# typed TEXT: types it and waits for nothing.
proc typed {text} {
    upvar spawn_id spawn_id
    send -- $text
}

# key NAME: types a control character and waits for the prompt.
proc key {name} {
    upvar spawn_id spawn_id
    typed [control $name]
    uplevel prompted
}

proc control {name} { format %c [expr {[scan $name ^%c] & 31}] }

# shown PATTERN: waits until the terminal shows what fits that regular expression; shows all up to its end.
proc shown {pattern} {
    upvar spawn_id spawn_id
    expect {
        -re "^.*?$pattern" { show $expect_out(0,string) }
        timeout { expect *; complain $pattern }
        eof { show $expect_out(buffer); complain "$pattern, but the terminal closed" }
    }
}

# ended: waits for the end of the terminal's program, shows what came before, and its status.
proc ended {} {
    global label
    upvar spawn_id spawn_id
    expect {
        eof { show $expect_out(buffer) }
        timeout { expect *; complain "the end" }
    }
    lassign [wait] process terminal error status killed signal
    puts "$label| status $status $signal"
    unset spawn_id
}

# stat PID N: a field of /proc/PID/stat after the name, as in helpers; nothing if there is no such process.
proc stat {pid n} {
    if {[catch {open /proc/$pid/stat} file]} { return "" }
    set failed [catch {read $file} text]
    close $file
    if {$failed} { return "" }
    lindex [split [string range $text [string last ) $text]+2 end]] $n-1
}

# await CONDITION: waits until that expression is true.
proc await {condition} {
    global timeout
    set end [expr {[clock seconds] + $timeout}]
    while {[clock seconds] <= $end} {
        if {[uplevel [list expr $condition]]} return
        after 20
    }
    complain $condition
}

proc comm {pid} {
    if {[catch {open /proc/$pid/comm} file]} { return "" }
    set failed [catch {gets $file} name]
    close $file
    expr {$failed ? "" : $name}
}

# Those that were there before are none of a case's.
set before [glob -nocomplain -directory /proc -tails {[0-9]*}]
proc processes {} {
    global before
    lmap pid [glob -nocomplain -directory /proc -tails {[0-9]*}] { if {$pid in $before} continue; set pid }
}

# all NAME [STATE]: the processes of the current terminal that run a program of that name, or those in a state.
proc all {name {state ?}} {
    upvar shell shell
    set found {}
    foreach pid [processes] {
        if {[comm $pid] eq $name && [stat $pid 4] eq $shell && [string match $state [stat $pid 1]]} { lappend found $pid }
    }
    return $found
}

# in_front NAME: waits until a program of that name leads the foreground group and sleeps.
proc in_front {name} {
    upvar shell shell
    await {[comm [stat $shell 6]] eq $name && [stat [stat $shell 6] 1] eq "S"}
}

# running NAME: the processes that run a program of that name, of whichever terminal.
proc running {name} {
    set found {}
    foreach pid [processes] {
        if {[comm $pid] eq $name && [stat $pid 1] ne "Z"} { lappend found $pid }
    }
    return $found
}

# are STATE NAME [COUNT]: waits until so many programs of that name are in that state (S, T, Z).
proc are {state name {count 1}} {
    upvar shell shell
    await {[llength [all $name $state]] == $count}
}

# none NAME: waits until no program of that name is left, except for those that nobody has waited for yet.
proc none {name} {
    upvar shell shell
    await {[llength [all $name]] == [llength [all $name Z]]}
}

# killed NAME...: kills stopped jobs and has the shell notice. Not by its own kill: what that says of a stopped job depends
# on how soon the job is gone.
proc killed {args} {
    upvar shell shell spawn_id spawn_id
    foreach name $args { exec kill -KILL {*}[all $name] }
    foreach name $args { none $name }
    line ""
}

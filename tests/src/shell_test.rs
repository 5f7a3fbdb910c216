//! What a person does at the shell of `just qemu-x86`: line editing, pipelines, job control, and leaving it.

use anyhow::{Result, ensure};

use crate::arch::Arch;
use crate::terminal::Session;

const PROMPT: &str = "/ # ";
const BACKSPACE: &str = "\x7f";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_U: &str = "\x15";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";
/// What leaves QEMU.
const CTRL_A_X: &str = "\x01x";

type Check = (&'static str, fn(&mut Session) -> Result<()>);

/// In one session, each beginning and ending at the prompt.
const CHECKS: &[Check] = &[
    ("the_shell_echoes_what_is_typed", echo),
    ("backspace_and_ctrl_u_edit_the_shells_line", editing_in_the_shell),
    ("backspace_and_ctrl_u_edit_the_terminals_line", editing_in_the_terminal),
    ("ctrl_d_ends_the_input_of_cat", end_of_input),
    ("pipelines_run", pipelines),
    ("a_background_job_is_listed_and_killed", background),
    ("a_background_reader_stops_and_fg_ctrl_z_bg_move_it", job_control),
    ("ctrl_c_interrupts_sleep", interrupt),
    ("ctrl_backslash_quits_sleep", quit),
    ("ctrl_c_at_the_prompt_drops_the_line", interrupt_at_prompt),
    ("a_command_s_status_is_in_the_shell", status),
    ("ctrl_c_ends_a_whole_pipeline", interrupt_pipeline),
];

/// Runs all checks on one architecture; gives how many passed and failed.
pub fn run(arch: Arch) -> Result<(u32, u32)> {
    let mut count = (0, 0);
    let mut note = |name: &str, outcome: Result<()>| match outcome {
        Ok(()) => {
            println!("test shell: {name} ... ok");
            count.0 += 1;
        }
        Err(error) => {
            println!("test shell: {name} ... FAILED: {error:#}");
            count.1 += 1;
        }
    };
    let mut session = start(arch)?;
    let before = session.settings()?;
    let began = begin(&mut session);
    let works = began.is_ok();
    note("how_to_leave_is_said_first_and_a_prompt_appears", began);
    if works {
        for (name, check) in CHECKS {
            let outcome = check(&mut session);
            let failed = outcome.is_err();
            note(name, outcome);
            if failed {
                // Whatever state it is in now is not what the next check begins with.
                session = start(arch)?;
                begin(&mut session)?;
            }
        }
        note("ctrl_a_x_leaves_and_the_terminal_is_restored", leave(session, CTRL_A_X, 0, &before));
        for (name, keys, status) in [
            ("ctrl_d_at_the_prompt_leaves", CTRL_D, 0),
            ("exit_leaves_with_its_status", "exit 3\r", 3),
            ("power_off_by_command_leaves", "poweroff -f\r", 0),
        ] {
            let mut session = start(arch)?;
            note(name, begin(&mut session).and_then(|()| leave(session, keys, status, &before)));
        }
    }
    Ok(count)
}

fn start(arch: Arch) -> Result<Session> {
    Session::start(&std::env::current_exe()?, &["qemu", arch.name()])
}

fn begin(session: &mut Session) -> Result<()> {
    let before = session.expect("Leave with Ctrl-A X")?;
    ensure!(before.is_empty(), "before it came {before:?}");
    session.expect(PROMPT)?;
    Ok(())
}

fn leave(mut session: Session, keys: &str, expected: i32, before: &str) -> Result<()> {
    ensure!(session.settings()? != before, "the terminal was not raw while the guest had it");
    session.press(keys)?;
    let (status, after) = session.status()?;
    ensure!(status == expected, "the exit status is {status}, not {expected}");
    ensure!(after == before, "the terminal's settings were {before}\nand are {after}");
    Ok(())
}

/// Types a line, waits for output that is not its echo, and for the next prompt; gives what came before the output.
fn command(session: &mut Session, line: &str, output: &str) -> Result<String> {
    session.press(&format!("{line}\r"))?;
    let before = session.expect(output)?;
    session.expect(PROMPT)?;
    Ok(before)
}

fn echo(session: &mut Session) -> Result<()> {
    session.press("echo one")?;
    session.expect("echo one")?;
    session.press("two\r")?;
    session.expect("\nonetwo\n")?;
    session.expect(PROMPT)?;
    Ok(())
}

fn editing_in_the_shell(session: &mut Session) -> Result<()> {
    command(session, &format!("echo thx{BACKSPACE}ree"), "\nthree\n")?;
    command(session, &format!("no such command{CTRL_U}echo fo''ur"), "\nfour\n")?;
    Ok(())
}

/// cat leaves editing to the terminal's line discipline, which the shell's own does not use.
fn editing_in_the_terminal(session: &mut Session) -> Result<()> {
    // The terminal has the line from when the shell starts something.
    session.press("(echo be''gun; cat) | while read -r line; do echo \"=$line\"; done\r")?;
    session.expect("=begun\n")?;
    session.press(&format!("fivx{BACKSPACE}e\r"))?;
    session.expect("fivx\x08 \x08e\n")?;
    session.expect("=five\n")?;
    session.press(&format!("drop{CTRL_U}keep\r"))?;
    session.expect("=keep\n")?;
    session.press(CTRL_D)?;
    session.expect(PROMPT)?;
    Ok(())
}

fn end_of_input(session: &mut Session) -> Result<()> {
    session.press("echo be''gun; cat; echo sta''tus $?\r")?;
    session.expect("begun\n")?;
    session.press("part")?;
    session.expect("part")?;
    // The first hands over what there is, the second is the end.
    session.press(&format!("{CTRL_D}{CTRL_D}"))?;
    session.expect("partstatus 0\n")?;
    session.expect(PROMPT)?;
    Ok(())
}

fn pipelines(session: &mut Session) -> Result<()> {
    command(session, "echo c b a | tr ' ' '\\n' | sort | tr '\\n' -; echo end", "\na-b-c-end\n")?;
    command(session, "seq 100000 | tail -n 1 | cut -c 1-3", "\n100\n")?;
    command(session, "yes | head -n 3 | wc -l", "3\n")?;
    Ok(())
}

fn background(session: &mut Session) -> Result<()> {
    command(session, "sleep 100 &", "")?;
    command(session, "jobs", "Running")?;
    command(session, "kill %1; wait; jobs; echo do''ne", "Terminated")?;
    command(session, "jobs; echo no''ne", "\nnone\n")?;
    Ok(())
}

fn job_control(session: &mut Session) -> Result<()> {
    command(session, "cat &", "")?;
    command(session, "sleep 1; jobs", "Stopped (tty input)")?;
    session.press("fg\r")?;
    session.expect("\ncat\n")?;
    session.press("six\r")?;
    // Once by the terminal and once by cat, which therefore is in the foreground.
    session.expect("six\nsix\n")?;
    session.press(CTRL_Z)?;
    session.expect("Stopped")?;
    session.expect(PROMPT)?;
    command(session, "bg", "cat")?;
    command(session, "sleep 1; jobs", "Stopped (tty input)")?;
    command(session, "kill %1; kill -CONT %1; sleep 1; jobs", "Terminated")?;
    session.press("sh -c 'echo seven; exec sleep 100'\r")?;
    session.expect("\nseven\n")?;
    session.press(CTRL_Z)?;
    session.expect("Stopped")?;
    session.expect(PROMPT)?;
    command(session, "bg; jobs", "Running")?;
    command(session, "kill %%; wait; echo do''ne", "done\n")?;
    Ok(())
}

/// Starts a sleep, presses a key once it has begun, and looks at the status. A subshell has the signals of a command when it
/// speaks; `sh -c` would ignore SIGQUIT until its exec.
fn end_sleep(session: &mut Session, key: &str, status: &str) -> Result<()> {
    session.press("(echo be''gun; exec sleep 100)\r")?;
    session.expect("begun\n")?;
    session.press(key)?;
    session.expect(PROMPT)?;
    command(session, "echo sta''tus $?", status)?;
    Ok(())
}

fn interrupt(session: &mut Session) -> Result<()> {
    end_sleep(session, CTRL_C, "status 130\n")
}

fn quit(session: &mut Session) -> Result<()> {
    end_sleep(session, CTRL_BACKSLASH, "status 131\n")
}

fn interrupt_at_prompt(session: &mut Session) -> Result<()> {
    session.press("reboot")?;
    session.expect("reboot")?;
    session.press(CTRL_C)?;
    session.expect(PROMPT)?;
    command(session, "echo ei''ght", "\neight\n")?;
    Ok(())
}

fn status(session: &mut Session) -> Result<()> {
    command(session, "sh -c 'exit 3'; echo sta''tus $?", "status 3\n")?;
    command(session, "sh -c 'kill -SEGV $$'; echo sta''tus $?", "status 139\n")?;
    Ok(())
}

fn interrupt_pipeline(session: &mut Session) -> Result<()> {
    session.press("echo be''gun; yes | (cat >/dev/null; echo sur''vived)\r")?;
    session.expect("begun\n")?;
    session.press(CTRL_C)?;
    session.expect(PROMPT)?;
    command(session, "ps | grep -c '[y]es'", "0\n")?;
    Ok(())
}

//! A terminal on a host, whoever sits at it, and what they see.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::{Background, Host};

/// Runs a command on a terminal of its own: what it shows goes into one file, and keys come through another.
const PYTHON: &str = r#"
import fcntl, os, select, signal, struct, sys, termios
rows, columns, files = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
near, far = os.openpty()
fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
os.mkfifo(files + ".keys")
keys = os.open(files + ".keys", os.O_RDWR)
shown = open(files + ".shown", "wb", buffering=0)
child = os.fork()
if child == 0:
    os.close(near)
    # A leader of a session, with its process group in front.
    os.login_tty(far)
    # A shell in the background may have left it ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[4], sys.argv[4:])
os.close(far)
while True:
    ready, _, _ = select.select([near, keys], [], [])
    if near in ready:
        try:
            shown.write(os.read(near, 65536))
        except OSError:
            # Nobody has it open any more.
            break
    if keys in ready:
        os.write(near, os.read(keys, 1024))
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(code if code >= 0 else 128 - code)
"#;

/// What ends one drawing of a board: everything below it is cleared.
const DRAWN: &[u8] = b"\x1b[J";
/// Lines that have left the top.
const KEPT: usize = 1000;

/// What Ctrl-C types.
pub const CTRL_C: &str = "\x03";

/// A command on a terminal.
pub struct Terminal<'host> {
    host: &'host Host,
    command: Background<'host>,
    files: String,
    columns: u16,
    rows: u16,
}

impl<'host> Terminal<'host> {
    /// Starts the command on a terminal of that size, with colours.
    pub fn run(host: &'host Host, (columns, rows): (u16, u16), argv: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let files = format!("/run/host-test/terminal-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (high, wide) = (rows.to_string(), columns.to_string());
        let python = ["env", "TERM=xterm-256color", "python3", "-c", PYTHON, &high, &wide, &files];
        let command = host.spawn(&[&python, argv].concat());
        Self { host, command, files, columns, rows }
    }

    /// Presses these keys.
    pub fn press(&self, keys: &str) {
        let file = format!("{}.keys", self.files);
        self.host.run(&["sh", "-c", r#"printf %s "$0" >"$1""#, keys, &file]).ok();
    }

    /// All that was sent to it so far.
    pub fn shown(&self) -> Vec<u8> {
        let file = format!("{}.shown", &self.files[1..]);
        std::fs::read(self.host.root_path().join(file)).unwrap_or_default()
    }

    fn blank(&self) -> vt100::Parser {
        let size = |size| NonZeroU16::new(size).expect("a terminal has a size");
        vt100::Parser::new(size(self.rows), size(self.columns), KEPT)
    }

    /// What is seen on it now.
    pub fn screen(&self) -> vt100::Screen {
        let mut terminal = self.blank();
        terminal.process(&self.shown());
        terminal.screen().clone()
    }

    /// What was seen after each drawing.
    pub fn frames(&self) -> Vec<vt100::Screen> {
        let (mut terminal, shown) = (self.blank(), self.shown());
        let (mut frames, mut done) = (Vec::new(), 0);
        for end in (0..shown.len()).filter(|end| shown[..*end].ends_with(DRAWN)) {
            terminal.process(&shown[done..end]);
            done = end;
            frames.push(terminal.screen().clone());
        }
        frames
    }

    /// All lines that were ever left behind, those that have gone over the top first.
    pub fn paper(&self) -> Vec<String> {
        let mut screen = self.screen();
        let mut lines = Vec::new();
        for above in (1..=screen.scrollback_len()).rev() {
            screen.set_scrollback(above);
            lines.extend(screen.rows(0, self.columns).next());
        }
        screen.set_scrollback(0);
        lines.extend(screen.rows(0, self.columns));
        lines
    }

    /// Waits until all these words are seen at once.
    #[track_caller]
    pub fn wait_for(&self, words: &[&str], timeout: Duration) -> vt100::Screen {
        let mut screen = self.screen();
        self.host.wait_until(&format!("{words:?} on the terminal"), timeout, || {
            screen = self.screen();
            let seen = screen.contents();
            words.iter().all(|word| seen.contains(word))
        });
        screen
    }

    /// Takes the terminal away: the kernel hangs up whoever is in front of it.
    pub fn vanish(&mut self) {
        self.command.signal("KILL");
    }

    /// Tells whether the command still runs.
    pub fn is_running(&mut self) -> bool {
        self.command.is_running()
    }

    /// Waits for the end of the command: its exit code, and what is seen then.
    #[track_caller]
    pub fn wait(&mut self, timeout: Duration) -> (i32, vt100::Screen) {
        let done = self.command.wait(timeout);
        assert_eq!(done.stderr, "", "the terminal itself is in order");
        (done.code, self.screen())
    }
}

//! Minutes of chaos, and what is left of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::SOON;
use crate::deeds::{Chaos, Deed};
use crate::estate::Estate;
use crate::support::{Unit, require_host};
use crate::traces::{Holds, files, names, processes};

const APPS: usize = 20;
/// From one deed to the next, at most.
const PAUSE: usize = 600;
/// So much may the mirror of so small a repository hold, in bytes.
const MIRROR: u64 = 16 << 20;

/// A number from the environment.
fn told(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn minutes() -> u64 {
    let long = std::env::var("TRUEUP_TESTS_LONG").is_ok_and(|value| value == "1");
    told("TRUEUP_SOAK_MINUTES").unwrap_or(if long { 20 } else { 2 })
}

/// Runs to the end of the test's own output, so that a failure can be done again.
struct Story {
    began: Instant,
    done: BTreeMap<Deed, u32>,
    text: String,
}

impl Story {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{:7.2} {line}", self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let start = self.text.len().saturating_sub(8_000);
            eprintln!("the last deeds:\n{}", self.text.get(start..).unwrap_or(&self.text));
        }
    }
}

#[test]
fn everything_at_once_leaves_nothing_behind() {
    let host = require_host!("soak", [Unit::Supervisor]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let (seed, minutes) = (told("TRUEUP_SOAK_SEED").unwrap_or(now), minutes());
    eprintln!("TRUEUP_SOAK_SEED={seed} TRUEUP_SOAK_MINUTES={minutes}");
    let mut estate = Estate::new(&host, APPS, "3s");
    let temporary = names(&estate.path("tmp"));
    let mut story = Story { began: Instant::now(), done: BTreeMap::new(), text: String::new() };
    estate.start();
    at_peace(&mut estate, &mut story);

    let mut chaos = Chaos::new(seed, &estate);
    // The agent comes and goes; then one of them lives through the rest, and is measured from when it has seen a bit.
    let third = Duration::from_secs(minutes * 60) / 3;
    rage(&mut chaos, &mut estate, &mut story, third, true);
    estate.start();
    rage(&mut chaos, &mut estate, &mut story, third, false);
    chaos.make_peace(&mut estate);
    at_peace(&mut estate, &mut story);
    let before = rested(&estate, None);
    story.line(&format!("{before:?}"));
    rage(&mut chaos, &mut estate, &mut story, third, false);
    // As many workers as before: they are held by a descriptor each.
    chaos.make_peace(&mut estate);
    at_peace(&mut estate, &mut story);
    let after = rested(&estate, Some(&before));
    story.line(&format!("{after:?}"));

    let diff = host.run(&["trueup", "diff", "/srv/origin/hosts/web01"]);
    assert_eq!(diff.code, 0, "{diff}");
    let workers: u32 = estate.wishes.iter().map(|wish| wish.count).sum();
    // What it has in hand is no leftover.
    estate.end("TERM");
    nothing_is_left(&estate, &temporary);
    assert_eq!(estate.differs(), Vec::<String>::new(), "the workers outlive the agent");
    let done: u32 = story.done.values().sum();
    eprintln!(
        "{done} deeds within {minutes} minutes, {:.0} s in all: {:?}\n{workers} workers\nbefore {before:?}\nafter  {after:?}",
        story.began.elapsed().as_secs_f64(),
        story.done
    );
}

/// Deeds for so long.
fn rage(chaos: &mut Chaos, estate: &mut Estate<'_>, story: &mut Story, time: Duration, agent_may_end: bool) {
    let began = Instant::now();
    while began.elapsed() < time {
        let deed = chaos.draw(agent_may_end);
        story.line(&format!("{deed:?}"));
        *story.done.entry(deed).or_default() += 1;
        chaos.commit(deed, estate);
        // Nothing is waited for in here: it is how often things happen.
        std::thread::sleep(Duration::from_millis(chaos.chance.below(PAUSE) as u64));
    }
}

/// Waits until all is as it is wished. What the chaos made fail is tried again, as a person would.
fn at_peace(estate: &mut Estate<'_>, story: &mut Story) {
    let (began, mut retried) = (Instant::now(), BTreeMap::new());
    loop {
        let differs = estate.differs();
        if differs.is_empty() && estate.host.run(&["trueup", "diff", "/srv/origin/hosts/web01"]).success() {
            break;
        }
        let agent = estate.agent.as_mut().expect("it was started");
        assert!(agent.is_running(), "the agent has ended:\n{}", estate.said());
        for app in estate.kept_out() {
            if retried.get(&app).is_none_or(|at: &Instant| at.elapsed() > Duration::from_secs(20)) {
                estate.host.run(&["trueup", "retry", &app]);
                retried.insert(app, Instant::now());
            }
        }
        assert!(began.elapsed() < SOON, "waited in vain for {differs:#?}\n{}", estate.said());
        std::thread::sleep(Duration::from_millis(200));
    }
    estate.all_are_answered();
    story.line(&format!("peace after {:.1} s, {retried:?} tried again", began.elapsed().as_secs_f64()));
}

/// What the agent holds once it has come to rest: no more than before.
fn rested(estate: &Estate<'_>, before: Option<&Holds>) -> Holds {
    let pid = estate.agent.as_ref().expect("it was started").pid();
    let workers: u32 = estate.wishes.iter().map(|wish| wish.count).sum();
    // One hold on each worker, and another one on each that is a child of this very agent.
    let pidfds = 2 * workers as usize;
    let (began, mut last) = (Instant::now(), None);
    loop {
        let now = Holds::of(estate.host, pid);
        let why = match before {
            None if now.pidfds > pidfds => Some(format!("more than {pidfds} pidfds")),
            None => (last != Some((now.descriptors, now.watches))).then(|| "it is still at work".to_owned()),
            Some(before) => {
                now.beyond(&Holds { pidfds, descriptors: before.descriptors - before.pidfds + pidfds, ..*before })
            }
        };
        let Some(why) = why else { return now };
        assert!(began.elapsed() < SOON, "{why}, with {workers} workers\nbefore {before:?}\nnow {now:?}");
        last = Some((now.descriptors, now.watches));
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Processes, files and memory of whatever went on.
fn nothing_is_left(estate: &Estate<'_>, temporary: &[String]) {
    let host = estate.host;
    // What has just ended is one for a moment, until its parent has its turn.
    let no_zombies = || processes(host).values().all(|process| process.state != 'Z');
    host.wait_until("no zombies", Duration::from_secs(30), no_zombies);
    // A question that was in hand may outlive who asked it by a moment.
    let names_of_ours = ["trueup", "git", "worker", "check"];
    let none_of_ours = || !processes(host).values().any(|process| names_of_ours.contains(&process.name.as_str()));
    host.wait_until("none of ours", Duration::from_secs(30), none_of_ours);

    assert_eq!(names(&estate.path("tmp")), temporary, "temporary files");
    for wish in &estate.wishes {
        let root = wish.root();
        assert_eq!(names(&estate.path(&root)), [".trueup", "current", "releases", "shared"], "{root}");
        let odd = |name: &String| [".new", ".tmp", "~"].iter().any(|end| name.ends_with(end));
        for directory in [".trueup", ".trueup/releases", "releases"] {
            let names = names(&estate.path(&format!("{root}/{directory}")));
            assert!(!names.iter().any(odd), "{root}/{directory}: {names:?}");
        }
    }
    let kept = files(host, "/var/lib/trueup");
    let bytes: u64 = kept.iter().map(|(_, bytes)| bytes).sum();
    assert!(bytes < MIRROR, "{bytes} bytes are kept of the repository: {kept:?}");
    let locks: Vec<_> = kept.iter().filter(|(path, _)| path.to_string_lossy().ends_with(".git.lock")).collect();
    assert!(locks.is_empty(), "{locks:?}");
    let releases: Vec<(String, usize)> = estate
        .wishes
        .iter()
        .map(|wish| (wish.name(), names(&estate.path(&format!("{}/releases", wish.root()))).len()))
        .collect();
    eprintln!("{bytes} bytes of the repository in {} files; releases: {releases:?}", kept.len());
}

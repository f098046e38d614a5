//! What is done to an estate: each deed is one that people, programs or machines do.

use std::fs;
use std::os::unix::fs::symlink;

use crate::estate::{Estate, NUMPROCS, Wish};
use crate::net::{Chance, connect, move_into, talk, wrong};
use crate::traces::{names, processes};

/// One sort of deed. What exactly is done, and to whom, is drawn anew each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// `current` is moved by hand, in one step or in two, or to nowhere.
    SwapLink,
    /// A worker is killed, or asked to end.
    KillWorker,
    /// A worker is stopped through its manager.
    StopWorker,
    /// A release directory that nobody uses is deleted.
    DeleteRelease,
    /// A configuration file is edited, in place or by a rename.
    EditFile,
    /// A worker is started by hand from some release.
    StartStray,
    /// New releases and counts.
    CommitGood,
    /// Manifests that do not load.
    CommitGarbage,
    /// A release that fails.
    CommitBadRelease,
    /// An App is taken from the repository.
    CommitWithout,
    /// The last commit is taken back.
    TakeBack,
    /// The branch is rewritten, until the next commit.
    Rewrite,
    /// Wrong webhooks, and some right ones.
    Flood,
    /// SIGHUP.
    Hangup,
    /// A person asks for a pass.
    Request,
    /// The agent is killed.
    KillAgent,
    /// The agent is asked to end.
    EndAgent,
    /// The agent is started, where it is not there.
    StartAgent,
}

/// How often each is done, against the others; the last three only where the agent may end.
const WEIGHTS: [(Deed, usize); 18] = [
    (Deed::SwapLink, 10),
    (Deed::KillWorker, 14),
    (Deed::StopWorker, 4),
    (Deed::DeleteRelease, 8),
    (Deed::EditFile, 8),
    (Deed::StartStray, 5),
    (Deed::CommitGood, 12),
    (Deed::CommitGarbage, 4),
    (Deed::CommitBadRelease, 7),
    (Deed::CommitWithout, 4),
    (Deed::TakeBack, 5),
    (Deed::Rewrite, 2),
    (Deed::Flood, 5),
    (Deed::Hangup, 4),
    (Deed::Request, 6),
    (Deed::KillAgent, 5),
    (Deed::EndAgent, 3),
    (Deed::StartAgent, 16),
];
/// So many of them may end the agent, or start it.
const OF_THE_AGENT: usize = 3;
/// So many webhooks come at a time.
const FLOOD: u64 = 60;

/// The chaos: where it stands.
pub struct Chaos {
    pub chance: Chance,
    /// What was wished before the last commit.
    before: Vec<Wish>,
    /// The branch leads to another commit for the moment.
    rewritten: bool,
}

impl Chaos {
    pub fn new(seed: u64, estate: &Estate<'_>) -> Self {
        Self { chance: Chance(seed), before: estate.wishes.clone(), rewritten: false }
    }

    /// The next deed.
    pub fn draw(&mut self, agent_may_end: bool) -> Deed {
        let weights = &WEIGHTS[..WEIGHTS.len() - if agent_may_end { 0 } else { OF_THE_AGENT }];
        let mut left = self.chance.below(weights.iter().map(|(_, weight)| weight).sum());
        for (deed, weight) in weights {
            if left < *weight {
                return *deed;
            }
            left -= weight;
        }
        unreachable!("one of them is drawn")
    }

    /// Does it. What it would be done to may not be there: then nothing is done.
    pub fn commit(&mut self, deed: Deed, estate: &mut Estate<'_>) {
        let number = self.chance.below(estate.wishes.len());
        let root = estate.wishes[number].root();
        match deed {
            Deed::SwapLink => self.swap_link(estate, &root),
            Deed::KillWorker => self.kill_worker(estate),
            Deed::StopWorker => self.stop_worker(estate),
            Deed::DeleteRelease => self.delete_release(estate, &estate.wishes[number].clone()),
            Deed::EditFile => self.edit_file(estate, &root),
            Deed::StartStray => self.start_stray(estate, &root),
            Deed::CommitGood => {
                self.change_some(estate);
                self.publish(estate, "good");
            }
            Deed::CommitGarbage => {
                let garbage = ["spec: {rot: /srv/x}\n", "apiVersion: trueup/v1\nkind: App\n", "a: [\n"];
                let garbage = garbage[self.chance.below(garbage.len())];
                fs::write(estate.path("srv/origin/hosts/web01/garbage.yaml"), garbage).expect("it is there");
                self.publish_what_is_there(estate, "garbage");
            }
            Deed::CommitBadRelease => {
                self.before.clone_from(&estate.wishes);
                let release = format!("r{}", estate.count());
                let wish = &mut estate.wishes[number];
                wish.release = release;
                wish.build = ["sick", "crashing", "unbuilt"][self.chance.below(3)];
                self.publish(estate, "bad");
            }
            Deed::CommitWithout => {
                self.before.clone_from(&estate.wishes);
                estate.wishes[number].present = false;
                self.publish(estate, "without");
            }
            Deed::TakeBack => {
                std::mem::swap(&mut self.before, &mut estate.wishes);
                self.publish(estate, "taken back");
            }
            Deed::Rewrite => self.rewrite(estate),
            Deed::Flood => self.flood(estate),
            Deed::Hangup => {
                estate.until_it_answers();
                if let Some(agent) = &mut estate.agent {
                    agent.signal("HUP");
                }
            }
            Deed::Request => {
                let waits = self.chance.percent(50);
                estate.request(&estate.wishes[number].name(), waits);
            }
            Deed::KillAgent => estate.end("KILL"),
            Deed::EndAgent => estate.end("TERM"),
            Deed::StartAgent => estate.start(),
        }
    }

    /// Everything that people have done wrong is put right by people: what they committed, and nothing else.
    pub fn make_peace(&mut self, estate: &mut Estate<'_>) {
        for number in 0..estate.wishes.len() {
            let release = format!("r{}", estate.count());
            let wish = &mut estate.wishes[number];
            wish.present = true;
            if wish.build != "good" {
                (wish.release, wish.build) = (release, "good");
            }
        }
        let _ = fs::remove_file(estate.path("srv/origin/hosts/web01/garbage.yaml"));
        self.restore(estate);
        estate.commit("peace");
        estate.start();
    }

    fn change_some(&mut self, estate: &mut Estate<'_>) {
        self.before.clone_from(&estate.wishes);
        let _ = fs::remove_file(estate.path("srv/origin/hosts/web01/garbage.yaml"));
        for _ in 0..=self.chance.below(4) {
            let number = self.chance.below(estate.wishes.len());
            let release = format!("r{}", estate.count());
            let wish = &mut estate.wishes[number];
            wish.present = true;
            if self.chance.percent(70) {
                (wish.release, wish.build) = (release, "good");
            }
            if self.chance.percent(50) {
                wish.count = 1 + u32::try_from(self.chance.below(NUMPROCS as usize)).expect("it is small");
            }
        }
    }

    fn publish(&mut self, estate: &mut Estate<'_>, message: &str) {
        self.restore(estate);
        estate.commit(message);
        self.perhaps_tell(estate);
    }

    fn publish_what_is_there(&mut self, estate: &mut Estate<'_>, message: &str) {
        self.restore(estate);
        estate.commit_what_is_there(message);
        self.perhaps_tell(estate);
    }

    fn perhaps_tell(&mut self, estate: &mut Estate<'_>) {
        if self.chance.percent(60) {
            estate.tell();
        }
    }

    /// Leads the branch to a commit that does not follow the one in force.
    fn rewrite(&mut self, estate: &mut Estate<'_>) {
        if self.rewritten || estate.in_force().as_ref() != Some(&estate.head) {
            return;
        }
        let script = "cd /srv/origin; git tag --force right HEAD; git reset --quiet --soft HEAD~1
                      git commit --quiet --allow-empty --message rewritten";
        self.rewritten = estate.host.sh(script).success();
        self.perhaps_tell(estate);
    }

    fn restore(&mut self, estate: &mut Estate<'_>) {
        if std::mem::take(&mut self.rewritten) {
            estate.host.sh("cd /srv/origin; git reset --quiet --soft right").ok();
        }
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.chance.below(of.len())).cloned()
    }

    fn swap_link(&mut self, estate: &Estate<'_>, root: &str) {
        let (current, by_hand) = (estate.path(&format!("{root}/current")), estate.path(&format!("{root}/by-hand")));
        let releases = names(&estate.path(&format!("{root}/releases")));
        let nowhere = self.chance.percent(10);
        let Some(to) = (if nowhere { Some("nowhere".to_owned()) } else { self.some(&releases) }) else { return };
        let to = format!("releases/{to}");
        // Somebody else may have moved it meanwhile: then it stays as it is.
        if self.chance.percent(50) {
            let _ = symlink(to, &by_hand).and_then(|()| fs::rename(&by_hand, &current));
        } else {
            let _ = fs::remove_file(&current);
            let _ = symlink(to, &current);
        }
    }

    /// The inner pids of the workers, without those in between that only start one.
    fn workers(estate: &Estate<'_>) -> Vec<u32> {
        let ours = |cwd: &String| cwd.starts_with("/srv/app") && cwd.contains("/releases/");
        let all = processes(estate.host).into_iter();
        all.filter(|(_, process)| process.name == "sleep" && process.cwd.as_ref().is_some_and(ours))
            .map(|(pid, _)| pid)
            .collect()
    }

    fn kill_worker(&mut self, estate: &Estate<'_>) {
        let signal = if self.chance.percent(70) { "-KILL" } else { "-TERM" };
        let Some(pid) = self.some(&Self::workers(estate)) else { return };
        estate.host.run(&["kill", signal, &pid.to_string()]);
    }

    fn stop_worker(&mut self, estate: &Estate<'_>) {
        let supervised: Vec<Wish> = estate.wishes.iter().filter(|wish| wish.is_supervised()).cloned().collect();
        let Some(wish) = self.some(&supervised) else { return };
        let (name, member) = (wish.name(), self.chance.below(NUMPROCS as usize));
        estate.host.run(&["supervisorctl", "stop", &format!("{name}:{name}_{member:02}")]);
    }

    fn delete_release(&mut self, estate: &Estate<'_>, wish: &Wish) {
        let root = wish.root();
        let link = fs::read_link(estate.path(&format!("{root}/current"))).unwrap_or_default();
        let used: Vec<String> = processes(estate.host).into_values().filter_map(|process| process.cwd).collect();
        let is_free = |release: &String| {
            let path = format!("{root}/releases/{release}");
            *release != wish.release && !link.ends_with(release) && !used.contains(&path)
        };
        let free: Vec<String> = names(&estate.path(&format!("{root}/releases"))).into_iter().filter(is_free).collect();
        if let Some(release) = self.some(&free) {
            let _ = fs::remove_dir_all(estate.path(&format!("{root}/releases/{release}")));
        }
    }

    fn edit_file(&mut self, estate: &mut Estate<'_>, root: &str) {
        let (path, fresh) = (estate.path(&format!("{root}/shared/.env")), estate.path(&format!("{root}/shared/.env~")));
        let text = format!("{}\n", estate.count());
        let written = if self.chance.percent(50) {
            fs::write(path, text)
        } else {
            fs::write(&fresh, text).and_then(|()| fs::rename(fresh, path))
        };
        written.expect("`shared/` is there");
    }

    fn start_stray(&mut self, estate: &Estate<'_>, root: &str) {
        let Some(release) = self.some(&names(&estate.path(&format!("{root}/releases")))) else { return };
        // It may be gone by now.
        let script = r#"cd "$0" && exec setsid --fork sleep 1000000 </dev/null >/dev/null 2>&1"#;
        estate.host.run(&["sh", "-c", script, &format!("{root}/releases/{release}")]);
    }

    fn flood(&mut self, estate: &mut Estate<'_>) {
        let (init, mut chance) = (estate.host.init_pid(), Chance(self.chance.next()));
        let wet = std::thread::spawn(move || {
            move_into(init);
            for number in 0..FLOOD {
                // Nobody may be there.
                let Ok(stream) = connect() else { return };
                let answer = talk(stream, &wrong(number, &mut chance));
                assert!(!answer.starts_with("HTTP/1.1 2"), "{number}: {answer}");
            }
        });
        wet.join().expect("nothing of it is believed");
        let answer = estate.tell();
        let taken = ["HTTP/1.1 202 ", "HTTP/1.1 503 "].iter().any(|start| answer.starts_with(start));
        assert!(taken || answer.is_empty(), "{answer}");
    }
}

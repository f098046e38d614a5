//! What is wrong on several hosts for one cause, so that it is told once. Pure.

use super::board::is_bad;
use super::problem::Complaint;
use super::style::{DIM, paint};
use super::words::{count, safe};
use crate::fleet::report::{HostReport, Trouble};
use crate::model::fleet::{FleetHost, HostName};

/// Where ssh connects to if nothing else is said.
const PORT: u16 = 22;
/// Most hosts that are named one by one.
const NAMED: usize = 12;
/// What stands for what is a host's own.
const OWN: &str = "\u{0}";

/// A trouble and whose it is.
#[derive(Debug, PartialEq)]
pub struct Shared<'a> {
    /// The first host that has it, by whose words it is told.
    pub host: &'a HostReport,
    /// What is wrong there.
    pub trouble: &'a Trouble,
    /// On which hosts it is the same.
    pub others: Vec<&'a HostName>,
}

/// What went wrong on these hosts, as errors and warnings: what is the same on several of them once.
#[must_use]
pub fn troubles(reports: &[&HostReport], fleet: &[FleetHost]) -> String {
    let untold = reports.iter().filter(|host| host.untold > 0).map(|host| {
        Complaint::new(format!("{}: and {} more", host.name, count(host.untold, "problem")))
            .help("`trueup status` there tells all")
            .render_as_warning()
    });
    shared(reports, fleet).iter().map(told).chain(untold).collect()
}

fn told(shared: &Shared<'_>) -> String {
    let Shared { host, trouble, others } = shared;
    let complaint = Complaint {
        message: format!("{}: {}", host.name, trouble.message),
        causes: trouble.causes.clone(),
        help: trouble.help.clone(),
    };
    let text = if is_bad(host.verdict) { complaint.render() } else { complaint.render_as_warning() };
    if others.is_empty() {
        return text;
    }
    let named: Vec<String> = others.iter().take(NAMED).map(|name| safe(name.as_str())).collect();
    let more = others.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{text}   {}: on {}{more}\n", paint(DIM, "also"), named.join(", "))
}

/// The troubles of these hosts, each with all that have it, in the order of the first of these. What differs only in
/// what a host is called, as `fleet` knows it, is the same.
#[must_use]
pub fn shared<'a>(reports: &[&'a HostReport], fleet: &[FleetHost]) -> Vec<Shared<'a>> {
    let mut all: Vec<(String, Shared<'a>)> = Vec::new();
    for &host in reports {
        let own = fleet.iter().find(|one| one.name == host.name).map_or_else(|| vec![host.name.to_string()], own);
        for trouble in &host.troubles {
            // What to do is for one of them, with its own names in it, and for the others alike.
            let Trouble { message, causes, help: _ } = trouble;
            let key = common(&format!("{} {message} {causes:?}", is_bad(host.verdict)), &own);
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some((_, shared)) => shared.others.push(&host.name),
                None => all.push((key, Shared { host, trouble, others: Vec::new() })),
            }
        }
    }
    all.into_iter().map(|(_, shared)| shared).collect()
}

/// What a host is called in texts about it, the longest first.
#[must_use]
pub fn own(host: &FleetHost) -> Vec<String> {
    let port = host.ssh.port().unwrap_or(PORT);
    let mut own =
        vec![host.ssh.as_str().to_owned(), host.ssh.host().to_owned(), format!("port {port}"), host.name.to_string()];
    own.sort_by_key(|word| std::cmp::Reverse(word.len()));
    own
}

/// A text without these words: equal for hosts that have the same to tell.
#[must_use]
pub fn common(text: &str, own: &[String]) -> String {
    own.iter().filter(|word| !word.is_empty()).fold(text.to_owned(), |text, word| without(&text, word))
}

/// Only where it stands as a word: `web1` is not in `web10`.
fn without(text: &str, word: &str) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(word) {
        told.push_str(before);
        let joined = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let stands_alone = !joined(told.chars().next_back()) && !joined(after.chars().next());
        told.push_str(if stands_alone { OWN } else { word });
        rest = after;
    }
    told + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rollout::HostVerdict;
    use crate::model::ssh::SshTarget;

    fn host(name: &str, ssh: &str) -> FleetHost {
        let (name, ssh) = (HostName::new(name).unwrap(), SshTarget::new(ssh).unwrap());
        FleetHost { name, ssh, labels: std::collections::BTreeMap::new(), vars: std::collections::BTreeMap::new() }
    }

    #[test]
    fn what_differs_only_in_what_hosts_are_called_is_one() {
        let refused = |at: &str, host: &str, port: u16| {
            format!("`{at}` refuses the connection: connect to host {host} port {port}: Connection refused")
        };
        let rows = [
            ("the same words", "no space left", "no space left", true),
            ("its name", "`web1` is away", "`web10` is away", true),
            (
                "its address",
                &refused("deploy@a.example", "a.example", 22),
                &refused("b.example:2222", "b.example", 2222),
                false,
            ),
            (
                "its address and port",
                &refused("deploy@a.example", "a.example", 22),
                &refused("deploy@b.example:2222", "b.example", 2222),
                true,
            ),
            ("another reason", "`web1` is away", "`web10` is asleep", false),
            ("another's name", "`web1` is away", "`web1` is away", false),
            ("part of a word", "web10 told web1", "web100 told web10", false),
        ];
        let fleet = [host("web1", "deploy@a.example"), host("web10", "deploy@b.example:2222")];
        for (case, first, second, same) in rows {
            let reports: Vec<HostReport> = fleet
                .iter()
                .zip([first, second])
                .map(|(host, message)| HostReport {
                    verdict: HostVerdict::Unreachable,
                    troubles: vec![Trouble::new(message)],
                    ..HostReport::new(host.name.clone())
                })
                .collect();
            let told = shared(&reports.iter().collect::<Vec<_>>(), &fleet);
            let others: Vec<usize> = told.iter().map(|one| one.others.len()).collect();
            assert_eq!(others, if same { vec![1] } else { vec![0, 0] }, "{case}: {told:?}");
        }
    }

    #[test]
    fn why_it_is_so_and_how_bad_it_is_count_and_what_to_do_about_it_does_not() {
        let report = |name: &str, verdict, cause: &str, help: &str| HostReport {
            verdict,
            troubles: vec![Trouble {
                message: "no".to_owned(),
                causes: vec![cause.to_owned()],
                help: Some(help.to_owned()),
            }],
            ..HostReport::new(HostName::new(name).unwrap())
        };
        let rows = [
            (report("b", HostVerdict::Unreachable, "it is night", "ask 10.0.0.2"), 1),
            (report("b", HostVerdict::Unreachable, "it is day", "ask 10.0.0.1"), 2),
            (report("b", HostVerdict::Withheld, "it is night", "ask 10.0.0.1"), 2),
        ];
        let first = report("a", HostVerdict::Unreachable, "it is night", "ask 10.0.0.1");
        for (second, expected) in rows {
            assert_eq!(shared(&[&first, &second], &[]).len(), expected, "{second:?}");
        }
    }
}

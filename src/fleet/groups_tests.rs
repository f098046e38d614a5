//! Who speaks for hosts that are equal.

use super::*;

#[test]
fn the_first_host_of_the_manifest_speaks_whoever_answers_first() {
    let names = || ["web1", "web2", "web3", "db1"].into_iter().map(|name| HostName::new(name).unwrap());
    let shown = |pid: usize, diff: &str| Shown { diff: diff.to_owned(), text: format!("shop  2 actions\npid {pid}\n") };
    let orders = [[0, 1, 2, 3], [2, 1, 0, 3], [3, 1, 2, 0], [1, 3, 0, 2]];
    for order in orders {
        let mut looked = Looked::new(names(), false);
        for at in order {
            looked.group(at, Outcome::Drift, shown(at, if at == 3 { "-a" } else { "-b" }));
        }
        let looked = looked.done(Duration::ZERO);
        let told: Vec<(&str, usize, &str)> = looked
            .groups
            .iter()
            .map(|group| (group.teller.as_str(), group.hosts.len(), group.shown.text.as_str()))
            .collect();
        let expected = [("web1", 3, "shop  2 actions\npid 0\n"), ("db1", 1, "shop  2 actions\npid 3\n")];
        assert_eq!(told, expected, "{order:?}");
        let shown: usize = looked.groups.iter().map(|one| one.shown.text.len() + one.shown.diff.len()).sum();
        assert_eq!(looked.shown, shown);
    }
}

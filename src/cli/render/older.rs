//! Why an agent could not go by the newest manifests, for whoever asked it for a pass: all of it, as an error.

use super::problem::Complaint;
use crate::cli::about::{About, Trouble, Wrong};
use crate::model::wake::short_commit;

/// Most mistakes that are told one by one.
const MOST: usize = 20;

/// What is said, in colour. `agent` is its place in words, `why` the first line of what it gave as its reason, and
/// `about` what else it says.
#[must_use]
pub fn older(agent: &str, why: &str, about: Option<&About>) -> String {
    let same = |trouble: &&Trouble| trouble.message.lines().next().is_some_and(|line| line.starts_with(why.trim()));
    if let Some(refused) = about.and_then(|about| about.refused.as_ref()).filter(same) {
        return wrong(agent, refused);
    }
    let went = format!("{agent} could not ask for the newest manifests, and went by those in force");
    let Some(trouble) = about.and_then(|about| about.unreachable.as_ref()).filter(same) else {
        return Complaint::new(went).cause(why).render();
    };
    let causes = trouble.message.lines().map(str::to_owned).collect();
    Complaint { message: went, causes, help: trouble.help.clone() }.render()
}

fn wrong(agent: &str, refused: &Trouble) -> String {
    let of = refused.revision.as_ref().map(|revision| format!(", commit {}", short_commit(&revision.commit)));
    let went =
        format!("{agent} could not go by the newest manifests{}, and went by those in force", of.unwrap_or_default());
    if refused.mistakes.is_empty() {
        let causes = refused.message.lines().map(str::to_owned).collect();
        return Complaint { message: went, causes, help: refused.help.clone() }.render();
    }
    let mut text: String = refused.mistakes.iter().take(MOST).map(mistake).collect();
    let more = refused.mistakes.len().saturating_sub(MOST);
    let went = Complaint::new(went);
    let went = if more > 0 { went.help(format!("there are {more} mistakes more: `trueup validate`")) } else { went };
    text.push_str(&went.render());
    text
}

fn mistake(one: &Wrong) -> String {
    let place = match (one.line, one.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", one.file),
        _ => one.file.clone(),
    };
    Complaint { message: format!("{place}: {}", one.message), causes: Vec::new(), help: one.help.clone() }.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::about::Commit;

    fn said(why: &str, refused: Option<Trouble>, unreachable: Option<Trouble>) -> String {
        let about = About { version: None, revision: None, refused, unreachable, apps: Vec::new() };
        anstream::adapter::strip_str(&older("the agent", why, Some(&about))).to_string()
    }

    fn slip(line: usize, message: &str, help: &str) -> Wrong {
        let (file, message, help) = ("shop.yaml".to_owned(), message.to_owned(), Some(help.to_owned()));
        Wrong { file, line: Some(line), column: Some(3), message, help }
    }

    #[test]
    fn every_mistake_is_told_with_its_help() {
        let mistakes =
            vec![slip(7, "unknown key `cuont`", "did you mean `count`?"), slip(9, "`root` is missing", "add it")];
        let message = "shop.yaml:7:3: unknown key `cuont`\nshop.yaml:9:3: `root` is missing".to_owned();
        let revision = Some(Commit { commit: "3fa9c1d2b7f0a1c4e5d6".to_owned() });
        let refused = Trouble { revision, message, help: None, mistakes };
        let expected = "\
error: shop.yaml:7:3: unknown key `cuont`
   help: did you mean `count`?
error: shop.yaml:9:3: `root` is missing
   help: add it
error: the agent could not go by the newest manifests, commit 3fa9c1d2b7f0, and went by those in force
";
        assert_eq!(said("shop.yaml:7:3: unknown key `cuont`", Some(refused.clone()), None), expected);
        let unsigned = Trouble { message: "it is not signed".to_owned(), mistakes: Vec::new(), ..refused };
        let told = said("it is not signed", Some(unsigned), None);
        assert!(told.ends_with("went by those in force\n  cause: it is not signed\n"), "{told}");
    }

    #[test]
    fn all_that_git_said_is_told() {
        let message = "`git ls-remote` ended with exit code 128; its last output:\nfatal: no such host".to_owned();
        let help = Some("look at the network".to_owned());
        let away = Trouble { message, help, ..Trouble::default() };
        let expected = "\
error: the agent could not ask for the newest manifests, and went by those in force
  cause: `git ls-remote` ended with exit code 128; its last output:
  cause: fatal: no such host
   help: look at the network
";
        assert_eq!(
            said("`git ls-remote` ended with exit code 128; its last output:", None, Some(away.clone())),
            expected
        );
        // Nobody has answered yet, whatever was the matter before.
        let told = said("the source has not answered yet", None, Some(away));
        assert!(told.ends_with("\n  cause: the source has not answered yet\n"), "{told}");
    }
}

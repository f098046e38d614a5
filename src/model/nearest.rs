//! The name that somebody probably meant.

/// The known name nearest to a mistyped one, if one is near enough to be meant.
///
/// Case and the joints of a name (`_`, `-`) make no distance, so `stop_timeout` finds `stopTimeout`.
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let typed = plain(typed);
    let length = typed.chars().count();
    // Two slips are forgiven, but not in names so short that everything would be near.
    let limit = if length < 4 { 1 } else { (length / 3).max(2) };
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&typed, &plain(name)), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// ``did you mean `x`?`` where one is near, else all that are known.
#[must_use]
pub fn suggestion(typed: &str, known: &[&str]) -> String {
    match nearest(typed, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["count", "manager", "stopTimeout", "restartOn", "name", "env"];
        let rows = [
            ("conut", Some("count")),
            ("stop_timeout", Some("stopTimeout")),
            ("stoptimeout", Some("stopTimeout")),
            ("restart-on", Some("restartOn")),
            ("manger", Some("manager")),
            ("evn", Some("env")),
            ("replicas", None),
            ("x", None),
            ("", None),
        ];
        for (typed, meant) in rows {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}

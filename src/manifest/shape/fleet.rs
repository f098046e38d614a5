//! The hosts of one manifest and how a change goes through them, as they are written.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{DurationText, Share, Text};

/// The hosts that the manifest is for: a list, or the file that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// The hosts themselves.
    List(Vec<Host>),
    /// A file with such a list.
    File(String),
}

/// A file of hosts: nothing but the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(title = "Trueup hosts")]
pub struct HostList(#[schemars(length(min = 1))] pub Vec<Host>);

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// Unique in its list: letters, digits, `-`, `_` and `.`. An agent knows its host by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub name: Option<String>,
    /// Where it is reached: `USER@HOST:PORT`, of which only the host, or an alias of it in ssh's own configuration,
    /// must be given; IPv6 in brackets. The name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["web1", "deploy@web1.example.org", "deploy@[2001:db8::1]:2222"]))]
    pub ssh: Option<String>,
    /// For selecting it by `--limit` and in `order`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Text>,
    /// What differs on it: replaces `${vars.NAME}` in `workers[].count`, in `url`, `connectTo` and `headers` of
    /// `health.http`, and in the values of `env` of steps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Text>,
}

/// How a change is rolled out over the hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetRollout {
    /// How many hosts go first, as a number or as a share of all; 1 by default; 0: none do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Share>,
    /// How many hosts change together after them, as a number or as a share of all, rounded up; 25% by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Share>,
    /// How many hosts may fail or be out of reach; one more stops the rollout. 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000_u32))]
    pub max_failures: Option<u32>,
    /// The pause between two waves; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<DurationText>,
    /// How long the hosts of a wave must stay healthy before the next one begins; 10s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_for: Option<DurationText>,
    /// Who goes first: names of hosts, or `LABEL=VALUE` for all that have it. The others follow in the order in which
    /// they are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
}

impl Serialize for Hosts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(hosts) => hosts.serialize(serializer),
            Self::File(path) => BTreeMap::from([("file", path)]).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> de::Visitor<'de> for Either {
            type Value = Hosts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of hosts, or `file: PATH`")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Hosts, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Hosts::List)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Hosts, A::Error> {
                match map.next_entry::<String, String>()? {
                    Some((key, path)) if key == "file" => Ok(Hosts::File(path)),
                    Some((key, _)) => Err(de::Error::unknown_field(&key, &["file"])),
                    None => Err(de::Error::missing_field("file")),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Hosts {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hosts".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // What is said of keys holds for maps only, what is said of elements for lists only.
        json_schema!({
            "description": "The hosts that the manifest is for: a list, or the file that has it.",
            "type": ["array", "object"],
            "items": generator.subschema_for::<Host>(),
            "minItems": 1,
            "properties": {
                "file": {
                    "description": "A file with such a list and nothing else. Absolute, or relative to the directory of the manifest file.",
                    "type": "string",
                },
            },
            "required": ["file"],
            "additionalProperties": false,
        })
    }
}

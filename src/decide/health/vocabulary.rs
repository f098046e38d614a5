//! The words of the rule language: types, variables, and CEL's standard functions.

use super::ProbeKind;

/// What is known of a value's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// Nothing: only the run tells.
    Any,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Null,
    Duration,
    Timestamp,
    List,
    Map,
    Headers,
    Release,
    Workers,
    /// A type itself, such as `int`.
    Meta,
}

impl Type {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Bool => "true or false",
            Self::Int | Self::Uint => "a whole number",
            Self::Double => "a number",
            Self::Text => "a text",
            Self::Bytes => "bytes",
            Self::Null => "null",
            Self::Duration => "a duration",
            Self::Timestamp => "a time",
            Self::List => "a list",
            Self::Map | Self::Headers | Self::Release | Self::Workers => "a map",
            Self::Meta => "a type",
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    pub(super) fn is_map(self) -> bool {
        matches!(self, Self::Map | Self::Headers | Self::Release | Self::Workers)
    }

    pub(super) fn compares_with(self, other: Self) -> bool {
        self == other
            || self == Self::Any
            || other == Self::Any
            || (self.is_number() && other.is_number())
            || (self.is_map() && other.is_map())
    }
}

/// What a rule may name, and what that is.
pub(super) fn variables(probe: ProbeKind) -> &'static [(&'static str, Type)] {
    match probe {
        ProbeKind::Http => &[
            ("status", Type::Int),
            ("headers", Type::Headers),
            ("body", Type::Any),
            ("latency", Type::Duration),
            ("release", Type::Release),
            ("workers", Type::Workers),
        ],
        ProbeKind::Command => &[
            ("status", Type::Int),
            ("body", Type::Any),
            ("latency", Type::Duration),
            ("release", Type::Release),
            ("workers", Type::Workers),
        ],
        ProbeKind::File => {
            &[("body", Type::Any), ("age", Type::Duration), ("release", Type::Release), ("workers", Type::Workers)]
        }
    }
}

pub(super) const TYPE_NAMES: [&str; 11] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "dyn"];

/// The standard functions: name, result.
pub(super) const FUNCTIONS: [(&str, Type); 13] = [
    ("size", Type::Int),
    ("bool", Type::Bool),
    ("int", Type::Int),
    ("uint", Type::Uint),
    ("double", Type::Double),
    ("string", Type::Text),
    ("bytes", Type::Bytes),
    ("duration", Type::Duration),
    ("timestamp", Type::Timestamp),
    ("type", Type::Meta),
    ("dyn", Type::Any),
    ("matches", Type::Bool),
    ("has", Type::Bool),
];

/// The standard functions that are called on a value: name, result.
pub(super) const METHODS: [(&str, Type); 26] = [
    ("contains", Type::Bool),
    ("startsWith", Type::Bool),
    ("endsWith", Type::Bool),
    ("matches", Type::Bool),
    ("size", Type::Int),
    ("getFullYear", Type::Int),
    ("getMonth", Type::Int),
    ("getDate", Type::Int),
    ("getDayOfMonth", Type::Int),
    ("getDayOfWeek", Type::Int),
    ("getDayOfYear", Type::Int),
    ("getHours", Type::Int),
    ("getMinutes", Type::Int),
    ("getSeconds", Type::Int),
    ("getMilliseconds", Type::Int),
    ("hasValue", Type::Bool),
    ("value", Type::Any),
    ("or", Type::Any),
    ("orValue", Type::Any),
    ("all", Type::Bool),
    ("exists", Type::Bool),
    ("exists_one", Type::Bool),
    ("map", Type::List),
    ("filter", Type::List),
    ("optMap", Type::Any),
    ("optFlatMap", Type::Any),
];

pub(super) const RELEASE_KEYS: [&str; 2] = ["id", "path"];
pub(super) const WORKERS_KEYS: [&str; 5] = ["desired", "total", "fresh", "stale", "unknown"];

//! The JSON schema of a manifest document: for editors, and for the loader itself.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::shape::{AgentDocument, Document, HostList};

/// Made once; the loader asks for it at every document.
pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(json_schema);

/// The same of the agent's own configuration.
pub(super) static AGENT: LazyLock<Value> = LazyLock::new(agent_schema);

/// The same of a file of hosts.
pub(super) static HOSTS: LazyLock<Value> = LazyLock::new(of::<HostList>);

/// The schema of one document, draft 2020-12, made from the types that manifests are read into.
#[must_use]
pub fn json_schema() -> Value {
    of::<Document>()
}

/// The schema of the agent's own configuration, made likewise.
#[must_use]
pub fn agent_schema() -> Value {
    of::<AgentDocument>()
}

fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(Plain);
    Value::from(settings.into_generator().into_root_schema_for::<T>())
}

/// Takes out what the types cannot help saying and nobody should read.
#[derive(Debug, Clone, Copy)]
struct Plain;

impl Transform for Plain {
    fn transform(&mut self, schema: &mut Schema) {
        // A key that is there has a value: `user:` with nothing behind it is a mistake, not a default.
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                schema.insert("type".to_owned(), one);
            }
        }
        if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
            if let [Value::Object(one)] = choices.as_slice() {
                let one = one.clone();
                schema.remove("anyOf");
                for (key, value) in one {
                    schema.ensure_object().entry(key).or_insert(value);
                }
            }
        }
        if let Some(Value::Array(choices)) = schema.get_mut("enum") {
            choices.retain(|choice| !choice.is_null());
        }
        // Doc comments are wrapped; descriptions are not.
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace('\n', " ");
        }
        // `uint32` says nothing that minimum and maximum do not, and editors do not know it.
        schema.remove("format");
        transform_subschemas(self, schema);
    }
}

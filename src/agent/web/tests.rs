//! Every answer, asked for in this process; pictures of the documents are reviewed like prose.

mod documents;
mod doors;
mod fields;
mod metrics;
mod orders;
mod oversized;
mod past;
mod refusals;
mod rules;
mod webhooks;

/// What is of this moment only.
fn picture(name: &str, text: &str) {
    let filters = vec![(r#"(?m)^  "started": "[^"]+""#, r#"  "started": "[now]""#)];
    insta::with_settings!({filters => filters}, { insta::assert_snapshot!(name, text) });
}

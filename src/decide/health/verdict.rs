//! Applies a contract's rules to one answer, and says what they saw.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators as op};
use cel::objects::{Key, Map};
use cel::{Context, ExecutionError, Value};

use super::ProbeKind;
use super::limits::Limits;
use super::parse::{STANDARD, children, compile, with_stack};
use crate::model::health::{
    HealthContract, HealthVerdict, Probe, ProbeAnswer, ProbeFailure, Rule, RuleVerdict, WorkerNumbers,
};
use crate::model::names::ReleaseId;

/// Most characters of one value that a verdict shows.
const SHOWN: usize = 80;

/// Stands between what is a text, where something with keys was looked for, and the text itself.
const IS_TEXT: &str = " is a text: ";

/// Most values that one verdict shows.
const SHOWN_VALUES: usize = 8;

/// Judges one answer: every rule is evaluated, whatever the others say. A file older than `maxAge`
/// fails one rule more, worded like the others.
///
/// `release` and its directory are those that the App desires; `numbers` are of all its workers. Once `stop` is
/// set, what is left of the rules fails as having taken too long.
#[must_use]
pub fn judge(
    contract: &HealthContract,
    answer: &Result<ProbeAnswer, ProbeFailure>,
    release: (&ReleaseId, &Path),
    numbers: &WorkerNumbers,
    stop: &Arc<AtomicBool>,
) -> HealthVerdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return HealthVerdict::unanswered(failure.to_string()),
    };
    let variables = variables(ProbeKind::from(&contract.probe), answer, release, numbers);
    let (expected, stop) = (contract.expect.clone(), Arc::clone(stop));
    let judged = with_stack(move || expected.iter().map(|rule| verdict(rule, &variables, &stop)).collect());
    let Some(mut rules): Option<Vec<RuleVerdict>> = judged else {
        return HealthVerdict::unanswered("the rules could not be evaluated");
    };
    tell_text_once(&mut rules);
    rules.extend(freshness(&contract.probe, answer));
    HealthVerdict {
        healthy: rules.iter().all(|verdict| verdict.passed),
        rules,
        failure: None,
        latency_ms: Some(u64::try_from(answer.latency.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// An answer that is no JSON is shown with the first rule that stumbles over it, and not again with each.
fn tell_text_once(rules: &mut [RuleVerdict]) {
    let mut told: Option<String> = None;
    for reason in rules.iter_mut().filter_map(|verdict| verdict.reason.as_mut()) {
        let Some((_, text)) = reason.split_once(IS_TEXT) else { continue };
        match &told {
            Some(told) if told == text => {
                let end = reason.len() - text.len() - IS_TEXT.len();
                reason.replace_range(end.., " is that text");
            }
            _ => told = Some(text.to_owned()),
        }
    }
}

type Variables = BTreeMap<&'static str, Value>;

fn variables(
    probe: ProbeKind,
    answer: &ProbeAnswer,
    (id, path): (&ReleaseId, &Path),
    numbers: &WorkerNumbers,
) -> Variables {
    let text = |text: &str| Value::String(Arc::new(text.to_owned()));
    let count = |count: u32| Value::Int(i64::from(count));
    let mut found = Variables::new();
    found.insert("body", from_json(&answer.body));
    found.insert("release", map([("id", text(id.as_str())), ("path", text(&path.to_string_lossy()))]));
    found.insert(
        "workers",
        map([
            ("desired", count(numbers.desired)),
            ("total", count(numbers.total)),
            ("fresh", count(numbers.fresh)),
            ("stale", count(numbers.stale)),
            ("unknown", count(numbers.unknown)),
        ]),
    );
    if probe != ProbeKind::File {
        found.insert("status", answer.status.map_or(Value::Null, Value::Int));
        found.insert("latency", duration(answer.latency));
    }
    if probe == ProbeKind::File {
        found.insert("age", answer.age.map_or(Value::Null, duration));
    }
    if probe == ProbeKind::Http {
        found.insert("headers", map(answer.headers.iter().map(|(name, value)| (name.as_str(), text(value)))));
    }
    found
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries: HashMap<Key, Value> = entries.into_iter().map(|(key, value)| (Key::from(key), value)).collect();
    Value::Map(Map { map: Arc::new(entries) })
}

/// Integers become ints wherever they fit, so that they add up with literals.
fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => {
            let whole = number.as_i64().map(Value::Int).or_else(|| number.as_u64().map(Value::UInt));
            whole.unwrap_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)))
        }
        serde_json::Value::String(text) => Value::String(Arc::new(text.clone())),
        serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(from_json).collect())),
        serde_json::Value::Object(entries) => map(entries.iter().map(|(key, value)| (key.as_str(), from_json(value)))),
    }
}

/// CEL's own constructor makes it: its duration type belongs to a crate that we do not name.
fn duration(of: Duration) -> Value {
    let text = format!("{}.{:09}s", of.as_secs(), of.subsec_nanos());
    let literal = Expr::Literal(LiteralValue::String(text.into()));
    let args = vec![IdedExpr { id: 2, expr: literal }];
    let call = Expr::Call(CallExpr { func_name: "duration".to_owned(), target: None, args });
    let made = Value::resolve(&IdedExpr { id: 1, expr: call }, &Context::with_env(STANDARD.clone()));
    // Longer than 292 years: CEL has no such duration.
    made.unwrap_or(Value::Null)
}

/// `maxAge` in the words of a rule.
fn freshness(probe: &Probe, answer: &ProbeAnswer) -> Option<RuleVerdict> {
    let Probe::File { max_age: Some(limit), .. } = probe else { return None };
    let rule = Rule(format!("age <= duration(\"{}s\")", limit.as_secs_f64()));
    Some(match answer.age {
        Some(age) => RuleVerdict {
            rule,
            passed: age <= *limit,
            seen: format!("age = {}", seconds(age.as_millis())),
            reason: None,
        },
        None => RuleVerdict {
            rule,
            passed: false,
            seen: String::new(),
            reason: Some("how old the file is could not be read".to_owned()),
        },
    })
}

fn verdict(rule: &Rule, variables: &Variables, stop: &Arc<AtomicBool>) -> RuleVerdict {
    let failed =
        |seen: String, reason: String| RuleVerdict { rule: rule.clone(), passed: false, seen, reason: Some(reason) };
    let program = match compile(&rule.0) {
        Ok(program) => program,
        Err(error) => return failed(String::new(), error.message),
    };
    let mut context = Context::with_env(STANDARD.clone());
    for (name, value) in variables {
        context.add_variable_from_value(*name, value.clone());
    }
    let limits = Limits::new(stop);
    limits.attend(&mut context);
    let mut named = Named { variables, shadowed: Vec::new(), found: Vec::new() };
    named.collect(program.expression());
    let seen = named.seen(&context);
    let result = Value::resolve(&Limits::bounded(program.expression()), &context);
    if let Some(why) = limits.refused() {
        return failed(seen, why);
    }
    match result {
        Ok(Value::Bool(passed)) => RuleVerdict { rule: rule.clone(), passed, seen, reason: None },
        Ok(other) => {
            let shown = show(&other);
            failed(seen, format!("the result is {shown} ({}), not true or false", other.type_of()))
        }
        Err(error) => {
            let reason = named.missing(&context).unwrap_or_else(|| reason(&error));
            failed(seen, reason)
        }
    }
}

fn reason(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{key}`"),
        ExecutionError::UndeclaredReference(name) => format!("there is no `{name}` in this rule"),
        ExecutionError::ValuesNotComparable(one, two) => {
            format!("{} does not compare with {}", one.type_of(), two.type_of())
        }
        // Others carry whole values; their text is bounded like everything shown.
        other => shorten(&other.to_string()),
    }
}

/// The values that a rule names: `body.queue.size`, `headers["x"]`, longest spelling only.
struct Named<'a> {
    variables: &'a Variables,
    shadowed: Vec<&'a str>,
    found: Vec<(String, IdedExpr)>,
}

impl<'a> Named<'a> {
    fn collect(&mut self, expr: &'a IdedExpr) {
        if let Some(spelling) = self.spelling(expr) {
            if self.found.len() < SHOWN_VALUES && !self.found.iter().any(|(known, _)| *known == spelling) {
                self.found.push((spelling, untested(expr)));
            }
            return;
        }
        let outside = self.shadowed.len();
        for (at, part) in children(expr).into_iter().enumerate() {
            // The range comes first, and does not see the variables yet.
            if let (1, Expr::Comprehension(all)) = (at, &expr.expr) {
                self.shadowed.push(&all.iter_var);
                self.shadowed.extend(all.iter_var2.as_deref());
            }
            self.collect(part);
        }
        self.shadowed.truncate(outside);
    }

    fn spelling(&self, expr: &IdedExpr) -> Option<String> {
        match &expr.expr {
            Expr::Ident(name) => {
                let known = self.variables.contains_key(name.as_str()) && !self.shadowed.contains(&name.as_str());
                known.then(|| name.clone())
            }
            Expr::Select(select) => Some(format!("{}.{}", self.spelling(&select.operand)?, select.field)),
            Expr::Call(call) if call.func_name == op::INDEX => {
                let [of, IdedExpr { expr: Expr::Literal(index), .. }] = call.args.as_slice() else { return None };
                let index = match index {
                    LiteralValue::String(text) => quoted(text.inner()),
                    LiteralValue::Int(number) => number.inner().to_string(),
                    _ => return None,
                };
                Some(format!("{}[{index}]", self.spelling(of)?))
            }
            _ => None,
        }
    }

    fn seen(&self, context: &Context) -> String {
        let shown = self.found.iter().filter_map(|(spelling, expr)| {
            let value = Value::resolve(expr, context).ok()?;
            // All headers at once would show cookies and tokens that the rule never asked for.
            let shown = match (&value, spelling.as_str()) {
                (Value::Map(all), "headers") => format!("{} headers", all.map.len()),
                _ => show(&value),
            };
            Some(format!("{spelling} = {shown}"))
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The first part of a named value that is not there, in words.
    fn missing(&self, context: &Context) -> Option<String> {
        self.found.iter().find_map(|(spelling, expr)| {
            Value::resolve(expr, context).err()?;
            let (mut spelling, mut expr) = (spelling.clone(), expr);
            // Outwards in, until something is there.
            loop {
                let inner = match &expr.expr {
                    Expr::Select(select) => &*select.operand,
                    Expr::Call(call) => call.args.first()?,
                    _ => return None,
                };
                let shorter = self.spelling_unshadowed(inner)?;
                match Value::resolve(inner, context) {
                    Ok(Value::Map(_) | Value::List(_)) => return Some(format!("there is no `{spelling}`")),
                    Ok(other) => {
                        let is = kind(&other);
                        // A file that is no JSON may be anything, and no rule has asked for its text.
                        let of_file = self.variables.contains_key("age");
                        let text = if matches!(other, Value::String(_)) && !(shorter == "body" && of_file) {
                            format!(": {}", show(&other))
                        } else {
                            String::new()
                        };
                        return Some(format!("there is no `{spelling}`: `{shorter}` is {is}{text}"));
                    }
                    Err(_) => (spelling, expr) = (shorter, inner),
                }
            }
        })
    }

    fn spelling_unshadowed(&self, expr: &IdedExpr) -> Option<String> {
        Named { variables: self.variables, shadowed: Vec::new(), found: Vec::new() }.spelling(expr)
    }
}

/// `has(body.x)` names the value of `body.x`.
fn untested(expr: &IdedExpr) -> IdedExpr {
    let mut expr = expr.clone();
    if let Expr::Select(select) = &mut expr.expr {
        select.test = false;
    }
    expr
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
        Value::String(_) => "a text",
        Value::Duration(_) => "a duration",
        _ => "no map",
    }
}

fn show(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    shorten(&text)
}

fn write(value: &Value, into: &mut String) {
    // What is longer is cut off anyway.
    if into.len() > SHOWN * 4 {
        return;
    }
    match value {
        Value::Null => into.push_str("null"),
        Value::Bool(value) => into.push_str(&value.to_string()),
        Value::Int(value) => into.push_str(&value.to_string()),
        Value::UInt(value) => into.push_str(&value.to_string()),
        Value::Float(value) => into.push_str(&value.to_string()),
        Value::String(text) => into.push_str(&quoted(text)),
        Value::Duration(value) => {
            into.push_str(&seconds(u128::try_from(value.num_milliseconds()).unwrap_or_default()));
        }
        Value::List(items) => {
            into.push('[');
            for (at, item) in items.iter().enumerate().take(SHOWN) {
                into.push_str(if at == 0 { "" } else { ", " });
                write(item, into);
            }
            into.push(']');
        }
        Value::Map(Map { map }) => {
            let mut entries: Vec<(String, &Value)> = map.iter().map(|(key, value)| (key.to_string(), value)).collect();
            entries.sort_by(|one, two| one.0.cmp(&two.0));
            into.push('{');
            for (at, (key, item)) in entries.iter().enumerate().take(SHOWN) {
                into.push_str(if at == 0 { "" } else { ", " });
                into.push_str(&quoted(key));
                into.push_str(": ");
                write(item, into);
            }
            into.push('}');
        }
        other => into.push_str(&other.type_of().to_string()),
    }
}

/// In quotes, with control characters escaped: an answer must not draw on the terminal.
fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN + 1).collect();
    format!("\"{}\"", cut.escape_debug().to_string().replace("\\'", "'"))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
    }
}

fn seconds(milliseconds: u128) -> String {
    if milliseconds < 1000 {
        return format!("{milliseconds}ms");
    }
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}
